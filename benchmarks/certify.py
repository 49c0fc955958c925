"""CERTIFY against the reference procedure run image by image, with the same batch budget.

Both see the same noise, so their counts must agree; interleaved repeats on one thread. Stopping
early at one radius is timed beside them, as the other procedure that it is. Written to
benchmarks/results/certify.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from measure import circumstances, interleaved, medians
from scipy.stats import beta, norm
from torch import Tensor, nn

from robustnb import data
from robustnb.models import build
from robustnb.smoothing import Certificate, certify, certify_sequential, noise_seeds

ALPHA, SEED = 0.001, 1
RESULTS = Path(__file__).parent / "results" / "certify.json"


@torch.no_grad()
def count(
    model: nn.Module, x: Tensor, *, sigma: float, n: int, batch: int, stream: torch.Generator
) -> Tensor:
    """Class counts of one image (C, H, W), `batch` noisy copies at a time."""
    counts = torch.zeros(10, dtype=torch.int64)
    for start in range(0, n, batch):
        shape = (min(batch, n - start), *x.shape)
        noise = torch.randn(shape, generator=stream, dtype=x.dtype, device=x.device) * sigma
        counts += model(x + noise).argmax(1).cpu().bincount(minlength=10)
    return counts


def reference(
    model: nn.Module, x: Tensor, *, sigma: float, n0: int, n: int, batch: int
) -> list[tuple[int, int, int, float]]:
    """(top, hits, prediction, radius) of each image by the paper's pseudo-code."""
    rows = []
    for image, seed in zip(x, noise_seeds(len(x), generator=generator()), strict=True):
        stream = torch.Generator(x.device).manual_seed(seed)
        top = int(count(model, image, sigma=sigma, n=n0, batch=batch, stream=stream).argmax())
        hits = int(count(model, image, sigma=sigma, n=n, batch=batch, stream=stream)[top])
        low = float(beta.ppf(ALPHA, hits, n - hits + 1)) if hits else 0.0
        found = (top, sigma * float(norm.ppf(low))) if low > 0.5 else (-1, 0.0)
        rows.append((top, hits, *found))
    return rows


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


def noisy_network(name: str, sigma: float, epochs: int) -> nn.Module:
    """A network trained on noisy digits, so that certificates are worth something."""
    images, labels = data.load("mnist_embedded", "train")
    x, draw = data.to_unit(images), torch.Generator().manual_seed(0)
    settings = {"zero_last": False} if name == "small_cnn" else {}
    model = build(name, generator=draw, **settings)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(epochs * len(x) // 100):
        rows = torch.randint(len(x), (100,), generator=draw)
        noise = sigma * torch.randn(x[rows].shape, generator=draw)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[rows] + noise), labels[rows]).backward()
        optimizer.step()
    return model.eval()


def agreement(ours: Certificate, theirs: list[tuple[int, int, int, float]]) -> dict[str, object]:
    """Whether both procedures found the same, image by image."""
    top, hits, prediction, radius = torch.tensor(theirs, dtype=torch.float64).unbind(1)
    return {
        "images_with_other_counts": int(((ours.top != top) | (ours.hits != hits)).sum()),
        "images_with_another_prediction": int((ours.prediction != prediction).sum()),
        "largest_difference_of_radius": float((ours.radius - radius).abs().max()),
    }


def keep(results: dict[str, object], name: str, call: Callable[[], object]) -> None:
    """Run a call and remember what it returned."""
    results[name] = call()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--n0", type=int, default=100)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--sigma", type=float, default=0.25)
    parser.add_argument("--batch", type=int, default=400, help="noisy copies a forward pass")
    parser.add_argument("--target", type=float, default=0.5, help="l2 radius for stopping early")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--model", default="light_cnn", choices=["light_cnn", "small_cnn"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def main() -> None:
    given = arguments()
    torch.set_num_threads(1)
    model = noisy_network(given.model, given.sigma, given.epochs).to(given.device)
    images, _ = data.load("mnist_embedded", "test", limit=given.images)
    x = data.to_unit(images).to(given.device)
    sizes = {"sigma": given.sigma, "n0": given.n0, "n": given.n}
    ours = {**sizes, "alpha": ALPHA, "batch_size": given.batch}
    results: dict[str, object] = {}
    calls: dict[str, Callable[[], object]] = {
        "image by image": lambda: reference(model, x, batch=given.batch, **sizes),
        "robustnb certify": lambda: certify(model, x, generator=generator(), **ours),
        "robustnb certify_sequential": lambda: certify_sequential(
            model, x, target=given.target, generator=generator(), **ours
        ),
    }
    for call in calls.values() if given.device != "cpu" else ():
        call()  # first calls build kernels
    jobs = {name: partial(keep, results, name, call) for name, call in calls.items()}
    seconds = interleaved(jobs, given.repeats)
    early, full = results["robustnb certify_sequential"], results["robustnb certify"]
    rows = [{"name": name, **medians(seconds[name])} for name in calls]
    result = {
        "schema": 1,
        "settings": {
            **{k: str(v) for k, v in vars(given).items() if k != "out"},
            "alpha": ALPHA,
            "threads": 1,
        },
        **circumstances(["scipy"]),
        "rows": rows,
        # On a GPU the stream depends on the size of a draw, so there the counts differ.
        "agreement": agreement(full, results["image by image"]),
        "stopping_early": {
            "copies_per_image": float(early.samples.double().mean()),
            "certified_at_target": float((early.radius >= given.target).double().mean()),
            "certified_at_target_by_certify": float((full.radius >= given.target).double().mean()),
        },
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        print(f"{row['name']:28s} {row['cpu_seconds']:8.2f} CPU-s  {row['wall_seconds']:8.2f} s")
    print(result["agreement"], result["stopping_early"])


if __name__ == "__main__":
    main()
