"""Mistakes in the attack loop: which image is kept, against which label, in which mode."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustnb.attacks.projected_gradient import pgd
from robustnb.attacks.projections import direction
from robustnb.gallery.fixtures import digits, gradient, seeded, wrong_answers
from robustnb.gallery.pitfall import Form, Pitfall
from robustnb.models.modes import eval_mode

EPS, STEP, STEPS = 0.06, 0.02, 3


def byte_mask_wrong(best: Tensor, new: Tensor, correct: Tensor) -> Tensor:
    """Keep the new restart where it fooled the model; `correct` (N,) is bool."""
    misclassified = ~correct.byte()  # 254 and 255, never 0
    return torch.where(misclassified[:, None, None, None] != 0, new, best)


def byte_mask_right(best: Tensor, new: Tensor, correct: Tensor) -> Tensor:
    """Keep the new restart where it fooled the model; `correct` (N,) is bool."""
    misclassified = ~correct
    return torch.where(misclassified[:, None, None, None], new, best)


def _byte_mask_error(form: Form) -> float:
    """Of the images that some restart fooled, the share whose kept image does not."""
    net, x, y = digits()
    best, ever, draws = x, wrong_answers(net, x, y), seeded(3)
    for _ in range(4):
        new = pgd(net, x, y, eps=EPS, step=STEP, steps=1, keep="last", generator=draws)
        lost = wrong_answers(net, new, y)
        best, ever = form(best, new, ~lost), ever | lost
    return float((ever & ~wrong_answers(net, best, y)).sum() / ever.sum())


def last_iterate_wrong(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """PGD from x that keeps an iterate which fools the model."""
    best, at = x, x
    for _ in range(STEPS):
        misclassified = model(at).argmax(1) != y  # the last one never is
        best = torch.where(misclassified[:, None, None, None], at, best)
        at = at + STEP * gradient(model, at, y).sign()
        at = at.clamp(x - EPS, x + EPS).clamp(0, 1)
    return best


def last_iterate_right(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """PGD from x that keeps an iterate which fools the model."""
    return pgd(
        model, x, y, eps=EPS, step=STEP, steps=STEPS,
        start="zero", keep="worst",
    )  # fmt: skip


def _last_iterate_error(form: Form) -> float:
    """How much the returned images overstate robust accuracy against all iterates."""
    net, x, y = digits()
    at, fallen = x, wrong_answers(net, x, y)
    for _ in range(STEPS):
        at = (at + STEP * gradient(net, at, y).sign()).clamp(x - EPS, x + EPS).clamp(0, 1)
        fallen |= wrong_answers(net, at, y)
    return float(fallen.float().mean() - wrong_answers(net, form(net, x, y), y).float().mean())


def predicted_label_wrong(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Attack a test set."""
    predicted = model(x).argmax(1)
    return pgd(
        model, x, predicted, eps=EPS, step=STEP, steps=STEPS,
        start="zero", keep="last",
    )  # fmt: skip


def predicted_label_right(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Attack a test set."""
    return pgd(
        model, x, y, eps=EPS, step=STEP, steps=STEPS,
        start="zero", keep="last",
    )  # fmt: skip


def _predicted_label_error(form: Form) -> float:
    """Of the images that are misclassified without an attack, the share that it mends."""
    net, x, y = digits()
    before = wrong_answers(net, x, y)
    return float((before & ~wrong_answers(net, form(net, x, y), y)).sum() / before.sum())


def tiny_gradient_wrong(grad: Tensor) -> Tensor:
    """The gradient of each image over its l2 norm."""
    square = grad.flatten(1).square().sum(1)
    return grad / square.clamp_min(1e-12).sqrt()[:, None, None, None]


def tiny_gradient_right(grad: Tensor) -> Tensor:
    """The gradient of each image over its l2 norm."""
    return direction(grad, "l2")


def _tiny_gradient_error(form: Form) -> float:
    """How far the shortest step falls short of length 1, over gradients of all sizes."""
    sizes = 10.0 ** -torch.arange(0, 13, 2).float()
    grad = torch.randn(len(sizes), 1, 4, 4, generator=seeded(4)) * sizes[:, None, None, None]
    return 1 - float(form(grad).flatten(1).norm(dim=1).min())


def _two_layers() -> tuple[nn.Module, Tensor, Tensor]:
    """A network with batch normalisation that has seen some data, and images for it."""
    with torch.random.fork_rng(devices=[]):  # torch draws first weights from the global generator
        net = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.BatchNorm1d(16), nn.Linear(16, 10))
    draws = seeded(5)
    with torch.no_grad():
        for weights in net.parameters():
            weights.copy_(torch.randn(weights.shape, generator=draws) / weights.shape[-1] ** 0.5)
    _, x, y = digits()
    for _ in range(30):
        net.train()(x)
    return net, x[:100], y[:100]


def train_mode_wrong(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Craft adversarial images in the middle of training."""
    return (x + EPS * gradient(model, x, y).sign()).clamp(0, 1)


def train_mode_right(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Craft adversarial images in the middle of training."""
    with eval_mode(model):
        return (x + EPS * gradient(model, x, y).sign()).clamp(0, 1)


def _train_mode_error(form: Form) -> float:
    """The largest change of a clean logit by attacking other images, over the largest logit."""
    net, x, y = _two_layers()
    before = net.eval()(x).detach()
    form(net.train(), 1 - x, y)
    return float((net.eval()(x).detach() - before).abs().max() / before.abs().max())


def batch_mates_wrong(model: nn.Module, x: Tensor) -> Tensor:
    """The model's answers on a test set."""
    answers: Tensor = model(x).argmax(1)  # in training mode, too
    return answers


def batch_mates_right(model: nn.Module, x: Tensor) -> Tensor:
    """The model's answers on a test set."""
    with eval_mode(model):
        answers: Tensor = model(x).argmax(1)
    return answers


def _batch_mates_error(form: Form) -> float:
    """The share of answers that change with the other images in the batch."""
    net, x, _ = _two_layers()
    net.train()
    whole = form(net, x)
    pairs = torch.cat([form(net, part) for part in torch.split(x, 2)])
    return float((whole != pairs).float().mean())


PITFALLS = (
    Pitfall("byte-mask", byte_mask_wrong, byte_mask_right, _byte_mask_error, shown="share"),
    Pitfall("last-iterate", last_iterate_wrong, last_iterate_right, _last_iterate_error,
            shown="share"),
    Pitfall("predicted-label", predicted_label_wrong, predicted_label_right,
            _predicted_label_error, shown="share"),
    Pitfall("tiny-gradient", tiny_gradient_wrong, tiny_gradient_right, _tiny_gradient_error,
            limit=1e-5, shown="share"),
    Pitfall("train-mode", train_mode_wrong, train_mode_right, _train_mode_error, shown="share"),
    Pitfall("batch-mates", batch_mates_wrong, batch_mates_right, _batch_mates_error,
            shown="share"),
)  # fmt: skip
