"""Mistakes of attacking models that show no gradient."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from robustnb.attacks.decision_tree import TreePaths
from robustnb.gallery.fixtures import digits, gradient, seeded, wrong_answers
from robustnb.gallery.pitfall import Form, Pitfall


def own_label_wrong(weights: Tensor, x: Tensor, oracle: Tensor) -> Tensor:
    """A step along the Jacobian's row for the oracle's label; weights: of a linear substitute."""
    label = (x @ weights.T).argmax(1)
    return x + 0.1 * weights[label].sign()


def own_label_right(weights: Tensor, x: Tensor, oracle: Tensor) -> Tensor:
    """A step along the Jacobian's row for the oracle's label; weights: of a linear substitute."""
    return x + 0.1 * weights[oracle].sign()


def _own_label_error(form: Form) -> float:
    """The share of points whose score for the oracle's label does not rise."""
    draws = seeded(0)
    weights = torch.randn(10, 50, generator=draws, dtype=torch.float64)
    x = torch.rand(1000, 50, generator=draws, dtype=torch.float64)
    oracle = torch.randint(0, 10, (1000,), generator=draws)
    moved = form(weights, x, oracle)
    rise = ((moved - x) * weights[oracle]).sum(1)
    return float((rise <= 0).double().mean())


def climbs_on_wrong(paths: TreePaths, leaf: int) -> int:
    """The leaf of another class below the first ancestor that has one."""
    node, found = leaf, leaf
    while (above := int(paths.parent[node])) >= 0:
        below = _other_leaf(paths, _sibling(paths, node), leaf)
        found = found if below is None else below
        node = above
    return found


def climbs_on_right(paths: TreePaths, leaf: int) -> int:
    """The leaf of another class below the first ancestor that has one."""
    node = leaf
    while (above := int(paths.parent[node])) >= 0:
        below = _other_leaf(paths, _sibling(paths, node), leaf)
        if below is not None:
            return below
        node = above
    return leaf


def _sibling(paths: TreePaths, node: int) -> int:
    left, right = paths.left[paths.parent[node]], paths.right[paths.parent[node]]
    return int(right if node == left else left)


def _other_leaf(paths: TreePaths, root: int, leaf: int) -> int | None:
    """The first leaf below `root` whose class is not that of `leaf`."""
    below = [root]
    for node in below:
        if paths.left[node] >= 0:
            below += [int(paths.left[node]), int(paths.right[node])]
    ends = [node for node in below if paths.left[node] < 0]
    return next((end for end in ends if paths.classes[end] != paths.classes[leaf]), None)


def _climbs_on_error(form: Form) -> float:
    """The mean number of edges climbed beyond the fewest."""
    from sklearn.tree import DecisionTreeClassifier

    draws = np.random.default_rng(0)
    x = draws.random((300, 8)).astype(np.float32)
    tree = DecisionTreeClassifier(random_state=0).fit(x, draws.integers(0, 4, 300))
    paths = TreePaths(tree.tree_)
    leaves = [int(node) for node in np.flatnonzero(paths.left < 0)]
    lines = {leaf: _line(paths, leaf) for leaf in leaves}

    def edges(leaf: int, target: int) -> int:
        return next(k for k, node in enumerate(lines[leaf]) if node in lines[target])

    extra = []
    for leaf in leaves:
        others = [other for other in leaves if paths.classes[other] != paths.classes[leaf]]
        extra.append(edges(leaf, form(paths, leaf)) - min(edges(leaf, o) for o in others))
    return float(np.mean(extra))


def _line(paths: TreePaths, leaf: int) -> list[int]:
    """The leaf and its ancestors, upwards."""
    line = [leaf]
    while paths.parent[line[-1]] >= 0:
        line.append(int(paths.parent[line[-1]]))
    return line


def two_rates_wrong(y: Tensor, clean: Tensor, moved: Tensor) -> float:
    """The share of images whose right answer a perturbation takes away."""
    return float((moved != clean).double().mean())


def two_rates_right(y: Tensor, clean: Tensor, moved: Tensor) -> float:
    """The share of images whose right answer a perturbation takes away."""
    return float(((clean == y) & (moved != y)).double().mean())


def _two_rates_error(form: Form) -> float:
    """What a perturbation that only mends mistakes is credited with."""
    net, x, y = digits()
    helped = x - 0.1 * gradient(net, x, y).sign()
    return float(form(y, _answers(x), _answers(helped)))


def _answers(x: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = digits().net(x).argmax(1)
    return found


def unequal_rows_wrong(x: Tensor, steps: Sequence[Tensor]) -> list[Tensor]:
    """The images of each attack, one row of a table for each."""
    return [x + step for step in steps]


def unequal_rows_right(x: Tensor, steps: Sequence[Tensor]) -> list[Tensor]:
    """The images of each attack, one row of a table for each."""
    lengths = torch.stack([step.flatten(1).norm(dim=1) for step in steps])
    shares = (lengths.amin(0) / lengths)[..., None, None, None]
    pairs = zip(shares, steps, strict=True)
    return [x + share * step for share, step in pairs]


def _unequal_rows_error(form: Form) -> float:
    """How far two rows are apart whose attacks go the same way, one three times as far."""
    net, x, y = digits()
    way = gradient(net, x, y).sign()
    short, long = form(x, [0.05 * way, 0.15 * way])
    apart = wrong_answers(net, long, y).double() - wrong_answers(net, short, y).double()
    return abs(float(apart.mean()))


def reservoir_end_wrong(n: int, size: int, u: Sequence[float]) -> list[int]:
    """A fair sample of `size` among n, from draws u in [0, 1)."""
    places = list(range(size))
    for i in range(size, n):
        place = int(u[i - size] * i)
        if place < size:
            places[place] = i
    return places


def reservoir_end_right(n: int, size: int, u: Sequence[float]) -> list[int]:
    """A fair sample of `size` among n, from draws u in [0, 1)."""
    places = list(range(size))
    for i in range(size, n):
        place = int(u[i - size] * (i + 1))
        if place < size:
            places[place] = i
    return places


def _reservoir_end_error(form: Form) -> float:
    """How far the chance of one of four is from a half, with two places; all draws are listed."""
    grid = [(k + 0.5) / 12 for k in range(12)]  # a multiple of the 2, 3 and 4 values of a draw
    samples = [form(4, 2, draws) for draws in itertools.product(grid, repeat=2)]
    return max(abs(sum(k in s for s in samples) / len(samples) - 0.5) for k in range(4))


PITFALLS = (
    Pitfall("own-label", own_label_wrong, own_label_right, _own_label_error, shown="share"),
    Pitfall("climbs-on", climbs_on_wrong, climbs_on_right, _climbs_on_error),
    Pitfall("two-rates", two_rates_wrong, two_rates_right, _two_rates_error, shown="share"),
    Pitfall("unequal-rows", unequal_rows_wrong, unequal_rows_right, _unequal_rows_error,
            shown="share"),
    Pitfall("reservoir-end", reservoir_end_wrong, reservoir_end_right, _reservoir_end_error,
            shown="share"),
)  # fmt: skip
