"""Mistakes of storing images and of counting successes."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from robustnb.attacks.projected_gradient import fgsm
from robustnb.attacks.rates import rate
from robustnb.gallery.fixtures import digits, gradient, seeded, wrong_answers
from robustnb.gallery.pitfall import Form, Pitfall


def eight_bits_wrong(x: Tensor) -> Tensor:
    """Images in [0, 1] as bytes, to be saved."""
    return (x * 255).to(torch.uint8)


def eight_bits_right(x: Tensor) -> Tensor:
    """Images in [0, 1] as bytes, to be saved."""
    return (x * 255).round().to(torch.uint8)


def _eight_bits_error(form: Form) -> float:
    """The mean shift of all pixels, in grey levels."""
    x = torch.rand(100_000, generator=seeded(0), dtype=torch.float64)
    return abs(float((form(x).double() - 255 * x).mean()))


def _saved(x: Tensor, **how: str) -> Tensor:
    """The images after being written by Pillow and read back."""
    kept = []
    for image in (x * 255).round().to(torch.uint8)[:, 0]:
        file = BytesIO()
        Image.fromarray(image.numpy()).save(file, **how)
        kept.append(torch.from_numpy(np.array(Image.open(file))))
    return torch.stack(kept)[:, None].to(x.dtype) / 255


def lossy_file_wrong(x_adv: Tensor) -> Tensor:
    """Adversarial images after a way through files."""
    return _saved(x_adv, format="JPEG")


def lossy_file_right(x_adv: Tensor) -> Tensor:
    """Adversarial images after a way through files."""
    return _saved(x_adv, format="PNG")


def _lossy_file_error(form: Form) -> float:
    """The largest change of a pixel beyond rounding, as a share of eps = 0.1."""
    net, x, y = digits()
    x_adv = fgsm(net, x[:100], y[:100], eps=0.1)
    change = float((form(x_adv) - x_adv).abs().max())
    return max(change - 0.5 / 255 - 1e-6, 0.0) / 0.1


def denominator_wrong(clean_correct: Tensor, adv_correct: Tensor) -> float:
    """The success rate of an attack."""
    return rate(~adv_correct).share


def denominator_right(clean_correct: Tensor, adv_correct: Tensor) -> float:
    """The success rate of an attack."""
    return rate(~adv_correct, clean_correct).share


def _denominator_error(form: Form) -> float:
    """The success rate of an attack that changes nothing."""
    net, x, y = digits()
    correct = ~wrong_answers(net, x, y)
    return float(form(correct, correct))


def doubled_index_wrong(x: Tensor, grad: Tensor) -> Tensor:
    """The images, then a copy of each moved along its gradient's sign: (2N, ...)."""
    both = torch.cat([x, x])
    for i in range(len(x)):
        both[2 * i] = both[i] + 0.1 * grad[i].sign()
    return both


def doubled_index_right(x: Tensor, grad: Tensor) -> Tensor:
    """The images, then a copy of each moved along its gradient's sign: (2N, ...)."""
    return torch.cat([x, x + 0.1 * grad.sign()])


def _doubled_index_error(form: Form) -> float:
    """The share of the wanted images, old and new, that are missing from the augmented set."""
    net, x, y = digits()
    x, y = x[:64], y[:64]
    grad = gradient(net, x, y)
    rows = {row.numpy().tobytes() for row in form(x, grad)}
    wanted = {row.numpy().tobytes() for row in [*x, *(x + 0.1 * grad.sign())]}
    return len(wanted - rows) / len(wanted)


PITFALLS = (
    Pitfall("eight-bits", eight_bits_wrong, eight_bits_right, _eight_bits_error, limit=0.01),
    Pitfall("lossy-file", lossy_file_wrong, lossy_file_right, _lossy_file_error, shown="share"),
    Pitfall("denominator", denominator_wrong, denominator_right, _denominator_error,
            shown="share"),
    Pitfall("doubled-index", doubled_index_wrong, doubled_index_right, _doubled_index_error,
            shown="share"),
)  # fmt: skip
