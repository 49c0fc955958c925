"""Attacks on a decision tree and on nearest neighbours beside ART's, on the same models and points.

Part 1: `decision_tree_attack` and ART's DecisionTreeAttack: CPU seconds, share of points that the
tree misclassifies, mean l2 length and features changed. Part 2: one signed step on
`SoftNearestNeighbour`, and ART's kernel-free way for a classifier without gradients, HopSkipJump,
on far fewer points since it asks so much; seconds are shown for each point. Part 3: growth with
points, depth and training images. Interleaved repeats on one thread; results/nonparametric.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measure import circumstances, interleaved, medians, peer_missing
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor

from robustnb.attacks import decision_tree_attack, fgsm
from robustnb.blackbox import labels_of
from robustnb.data import load, to_unit
from robustnb.models.nearest_neighbour import SoftNearestNeighbour

RESULTS = Path(__file__).parent / "results" / "nonparametric.json"
EPS = 0.3


def images(split: str, count: int) -> tuple[Tensor, Tensor]:
    """MNIST, flattened."""
    x, y = load("mnist", split)
    return to_unit(x[:count]).flatten(1), y[:count]


def by_art(tree: DecisionTreeClassifier, x: Tensor) -> Tensor:
    """ART's attack on the same tree."""
    try:
        from art.attacks.evasion import DecisionTreeAttack
        from art.estimators.classification import SklearnClassifier
    except ImportError as error:
        raise peer_missing(error) from error
    wrapped = SklearnClassifier(tree, clip_values=(0, 1))
    return torch.from_numpy(DecisionTreeAttack(wrapped, verbose=False).generate(x.numpy()))


def measured(jobs: dict[str, Callable[[], Tensor]], repeats: int) -> tuple[dict, dict]:
    """Medians and images of every job."""
    found: dict[str, Tensor] = {}

    def job(name: str) -> Callable[[], None]:
        def run() -> None:
            found[name] = jobs[name]()

        return run

    seconds = interleaved({name: job(name) for name in jobs}, repeats)
    return {name: medians(times) for name, times in seconds.items()}, found


def described(row: dict[str, Any], model: Any, x: Tensor, y: Tensor, x_adv: Tensor) -> None:
    """Success and size of a set of adversarial points, added to its row."""
    answers, clean = labels_of(model)(x_adv), labels_of(model)(x)
    row["misclassified"] = float((answers != y).double().mean())
    row["changed"] = float((answers != clean).double().mean())
    row["mean_l2"] = float((x_adv - x).norm(dim=1).mean())
    row["features"] = float((x_adv != x).sum(1).double().mean())


def trees(x: Tensor, y: Tensor, test: tuple[Tensor, Tensor], repeats: int) -> dict[str, Any]:
    """Part 1."""
    tree = DecisionTreeClassifier(random_state=0).fit(x.numpy(), y.numpy())
    points, labels = test
    jobs = {
        "robustnb": lambda: decision_tree_attack(tree, points),
        "ART": lambda: by_art(tree, points),
    }
    rows, found = measured(jobs, repeats)
    for name, row in rows.items():
        described(row, tree, points, labels, found[name])
    return {"n": len(points), "rows": rows, "ART_over_ours": ratio(rows, "ART")}


def neighbours(x: Tensor, y: Tensor, test: tuple[Tensor, Tensor], few: int) -> dict[str, Any]:
    """Part 2."""
    from art.attacks.evasion import HopSkipJump
    from art.estimators.classification import SklearnClassifier

    near = KNeighborsClassifier(1, algorithm="brute").fit(x.numpy(), y.numpy())
    soft = SoftNearestNeighbour(x, y, classes=10)
    wrapped = SklearnClassifier(near, clip_values=(0, 1))
    hop = HopSkipJump(wrapped, norm="inf", max_iter=5, max_eval=200, init_eval=20, verbose=False)
    points, labels = test

    def ours() -> Tensor:
        pairs = zip(points.split(200), labels.split(200), strict=True)
        return torch.cat([fgsm(soft, a, b, eps=EPS, loss="margin") for a, b in pairs])

    def theirs() -> Tensor:
        return torch.from_numpy(hop.generate(points[:few].numpy()))

    rows, found = measured({"robustnb": ours, "ART": theirs}, 2)
    for name, row in rows.items():
        count = len(found[name])
        described(row, near, points[:count], labels[:count], found[name])
        row["cpu_seconds_a_point"] = row["cpu_seconds"] / count
        row["linf"] = float((found[name] - points[:count]).abs().amax(1).mean())
    each = {name: {"cpu_seconds": row["cpu_seconds_a_point"]} for name, row in rows.items()}
    return {"n": len(points), "few": few, "rows": rows, "ART_over_ours": ratio(each, "ART")}


def ratio(rows: dict[str, dict], name: str) -> float:
    """CPU seconds of a peer over ours."""
    return rows[name]["cpu_seconds"] / rows["robustnb"]["cpu_seconds"]


def growth(x: Tensor, y: Tensor, points: Tensor) -> list[dict[str, Any]]:
    """Part 3: CPU seconds of both of our attacks."""
    found = []
    for count in (len(x) // 4, len(x)):
        soft = SoftNearestNeighbour(x[:count], y[:count], classes=10)
        for depth in (5, None):
            tree = DecisionTreeClassifier(max_depth=depth, random_state=0)
            tree.fit(x[:count].numpy(), y[:count].numpy())
            for n in (len(points) // 4, len(points)):
                some = points[:n]
                jobs = {
                    "tree": lambda tree=tree, some=some: decision_tree_attack(tree, some),
                    "neighbour": lambda soft=soft, some=some: [
                        fgsm(soft, part, torch.zeros(len(part), dtype=torch.int64), eps=EPS,
                             loss="margin") for part in some.split(200)],
                }  # fmt: skip
                times = interleaved(jobs, 2)
                row = {name: medians(t)["cpu_seconds"] for name, t in times.items()}
                found.append({"images": count, "depth": tree.get_depth(), "points": n, **row})
    return found


def main() -> None:
    """Measure, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--few", type=int, default=5, help="points of HopSkipJump")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    told = circumstances(("adversarial-robustness-toolbox", "scikit-learn"))
    x, y = images("train", given.train)
    test = images("test", given.points)
    result = {
        "trees": trees(x, y, test, given.repeats),
        "neighbours": neighbours(x, y, (test[0][:1000], test[1][:1000]), given.few),
        "growth": growth(x, y, test[0][:1000]),
        **told,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for part in ("trees", "neighbours"):
        print(part, "ART over ours:", round(result[part]["ART_over_ours"], 1))


if __name__ == "__main__":
    main()
