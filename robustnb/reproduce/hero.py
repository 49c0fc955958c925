"""The picture of the book's first screen: one digit, two networks, one attack.

A standard network and one trained with TRADES are made from the digits that an installed package
carries, so that everybody can make the picture again. The digit is the first test image: nothing
is chosen by what comes out.

    book/_static/hero-<network>.png   the digit, the change and their sum, side by side
    book/_static/hero.json            settings, answers and accuracies
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustnb.reproduce.atomic import write_atomically

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

Report = Callable[[str], None]
_PIXEL = 6  # pixels of the picture for one of the digit, whose side is 28
_GAP = 24
_BRIGHTER, _DARKER = (0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2)  # Okabe and Ito


@dataclass(frozen=True)
class Settings:
    """Sizes of the two trainings and of the attack; `eps` and `step` in pixels of [0, 1]."""

    dataset: str = "mnist_embedded"
    train_size: int = 3000
    test_size: int = 200
    epochs: int = 8
    batch_size: int = 50
    lr: float = 0.1
    beta: float = 3.0
    eps: float = 0.2
    train_step: float = 0.05
    train_steps: int = 7
    step: float = 0.02
    steps: int = 40


def write(folder: Path, settings: Settings | None = None, *, report: Report) -> dict[str, Any]:
    """Write the pictures and hero.json into `folder`, and return what hero.json holds."""
    from robustnb.lesson.experiment import Experiment

    given, experiment = settings or Settings(), Experiment(0)
    x, y = experiment.test_images(given.dataset, size=given.test_size)
    told: dict[str, Any] = {**asdict(given), "label": int(y[0]), "networks": {}}
    for name, network in _networks(experiment, given, report).items():
        attacked = _attacked(network, x, y, given, experiment.seeded(4))
        told["networks"][name] = {
            "clean": _answer(network, x[:1]),
            "attacked": _answer(network, attacked[:1]),
            "natural": _accuracy(network, x, y),
            "robust": _accuracy(network, attacked, y),
        }
        strip = _strip(x[0, 0].numpy(), attacked[0, 0].numpy(), given.eps)
        write_atomically(folder / f"hero-{name}.png", strip)
    write_atomically(folder / "hero.json", json.dumps(told, indent=1) + "\n")
    return told


def _networks(experiment: Any, given: Settings, report: Report) -> dict[str, nn.Module]:
    """The same untrained network trained in two ways, or found in the store."""
    from robustnb.data import load, subset, to_unit
    from robustnb.models import build
    from robustnb.training import standard, trades, triangular

    drawn = subset(
        *load(given.dataset, "train"), size=given.train_size, generator=experiment.seeded()
    )
    objectives = {
        "standard": standard(),
        "trades": trades(
            beta=given.beta, eps=given.eps, step=given.train_step, steps=given.train_steps
        ),
    }
    start, trained = build("light_cnn", generator=experiment.seeded(3)), {}
    for name, objective in objectives.items():
        report(f"train the {name} network, or find it")
        trained[name] = experiment.train(
            name, start, to_unit(drawn[0]), drawn[1], objective=objective, epochs=given.epochs,
            batch_size=given.batch_size, lr=given.lr,
            schedule=triangular(epochs=given.epochs, peak=0.3), offset=2,
        )  # fmt: skip
    return trained


def _attacked(network: nn.Module, x: Tensor, y: Tensor, given: Settings, generator: Any) -> Tensor:
    from robustnb.attacks import pgd

    found: Tensor = pgd(
        network, x, y, eps=given.eps, step=given.step, steps=given.steps, generator=generator
    )
    return found


def _answer(network: nn.Module, x: Tensor) -> dict[str, Any]:
    """The class of one image and its probability by softmax."""
    import torch

    with torch.no_grad():
        p = network(x).softmax(1)[0]
    return {"answer": int(p.argmax()), "probability": round(float(p.max()), 4)}


def _accuracy(network: nn.Module, x: Tensor, y: Tensor) -> float:
    import torch

    with torch.no_grad():
        return float((network(x).argmax(1) == y).double().mean())


def _strip(before: NDArray[Any], after: NDArray[Any], eps: float) -> bytes:
    """Three tiles in a row on a transparent ground: the digit, its change, their sum.

    The change has its colour from its sign and its opacity from its size, full at `eps`.
    """
    import numpy as np
    from PIL import Image

    change = after - before
    tiles = [_grey(before), _signed(np.clip(change / eps, -1, 1)), _grey(after)]
    side = tiles[0].shape[0] * _PIXEL
    strip = Image.new("RGBA", (3 * side + 2 * _GAP, side), (0, 0, 0, 0))
    for k, tile in enumerate(tiles):
        strip.paste(Image.fromarray(tile).resize((side, side), 0), (k * (side + _GAP), 0))
    out = io.BytesIO()
    strip.quantize(256, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def _grey(pixels: NDArray[Any]) -> NDArray[Any]:
    """Pixels of [0, 1] as opaque grey."""
    import numpy as np

    grey = np.rint(255 * pixels).astype(np.uint8)[..., None]
    return np.concatenate([grey] * 3 + [np.full_like(grey, 255)], axis=-1)


def _signed(change: NDArray[Any]) -> NDArray[Any]:
    """A change in [-1, 1] as colour and opacity."""
    import numpy as np

    colour = np.where(change[..., None] > 0, _BRIGHTER, _DARKER).astype(np.uint8)
    opacity = np.rint(255 * abs(change)).astype(np.uint8)[..., None]
    return np.concatenate([colour, opacity], axis=-1)
