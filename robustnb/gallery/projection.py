"""Mistakes about the ball of allowed images: its norm, its unit, the projection onto it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustnb.attacks.projected_gradient import fgsm
from robustnb.attacks.projections import lp_distance, project
from robustnb.gallery.fixtures import digits, gradient, seeded
from robustnb.gallery.pitfall import Form, Pitfall
from robustnb.models.layers import Normalize

EPS = 0.1
MEAN, STD = 0.1307, 0.3081  # of MNIST


def flat_batch_wrong(x_adv: Tensor, x: Tensor) -> Tensor:
    """The l2 norm of each perturbation, (N,)."""
    delta = x_adv - x
    rows = delta.unsqueeze(0).shape[0]  # always 1
    length: Tensor = delta.reshape(rows, -1).square().sum(1).sqrt()
    return length


def flat_batch_right(x_adv: Tensor, x: Tensor) -> Tensor:
    """The l2 norm of each perturbation, (N,)."""
    return lp_distance(x_adv, x, "l2")


def _flat_batch_error(form: Form) -> float:
    """The largest relative error of a norm in a batch of 100 perturbations of norm 1."""
    delta = torch.randn(100, 1, 4, 4, generator=seeded(0), dtype=torch.float64)
    delta = delta / delta.flatten(1).norm(dim=1)[:, None, None, None]
    return float((form(delta, torch.zeros_like(delta)) - 1).abs().max())


def normalised_eps_wrong(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Attack a network that wants normalised images; EPS is in pixel units."""
    z = (x - MEAN) / STD
    z_adv = z + EPS * gradient(net, z, y).sign()
    return z_adv * STD + MEAN


def normalised_eps_right(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Attack a network that wants normalised images; EPS is in pixel units."""
    model = nn.Sequential(Normalize([MEAN], [STD]), net)
    return fgsm(model, x, y, eps=EPS)


def _normalised_eps_error(form: Form) -> float:
    """How far the attack's radius in pixels is from eps, relative to eps."""
    net, x, y = digits()
    reach = float((form(net, x, y) - x).abs().max())
    return abs(reach / EPS - 1)


def always_rescale_wrong(x_adv: Tensor, x: Tensor, *, eps: float) -> Tensor:
    """The nearest image within l2 distance `eps` of x."""
    delta = x_adv - x
    length: Tensor = delta.flatten(1).norm(dim=1)[:, None, None, None]
    return x + delta * eps / length


def always_rescale_right(x_adv: Tensor, x: Tensor, *, eps: float) -> Tensor:
    """The nearest image within l2 distance `eps` of x."""
    return project(x_adv, x, eps=eps, norm="l2", clip=None)


def _always_rescale_error(form: Form) -> float:
    """How far an image that lies inside the ball is moved, in units of eps."""
    x = torch.rand(50, 1, 4, 4, generator=seeded(1), dtype=torch.float64)
    inside = torch.randn(x.shape, generator=seeded(2), dtype=torch.float64)
    inside = x + 0.3 * inside / inside.flatten(1).norm(dim=1)[:, None, None, None]
    return float(lp_distance(form(inside, x, eps=1.0), inside, "l2").max())


def ball_then_box_wrong(x_adv: Tensor, x: Tensor, *, eps: float) -> Tensor:
    """The nearest image to `x_adv` in the l2 ball around x and in the box."""
    delta = x_adv - x
    length: Tensor = delta.flatten(1).norm(dim=1)[:, None, None, None]
    return (x + delta * (eps / length).clamp_max(1)).clamp(0, 1)


def ball_then_box_right(x_adv: Tensor, x: Tensor, *, eps: float) -> Tensor:
    """The nearest image to `x_adv` in the l2 ball around x and in the box."""
    return project(x_adv, x, eps=eps, norm="l2")


def _ball_then_box_error(form: Form) -> float:
    """The mean share of the radius left unused where the nearest image lies on the sphere."""
    net, x, y = digits()
    grad = gradient(net, x, y).double()
    x = x.double()  # digits are nearly black and white, so that the box is always close
    far = x + 4 * grad / grad.flatten(1).norm(dim=1)[:, None, None, None]
    outside = lp_distance(far.clamp(0, 1), x, "l2") > 1.0  # of the ball, after clipping alone
    return float((1 - lp_distance(form(far, x, eps=1.0), x, "l2"))[outside].mean())


PITFALLS = (
    Pitfall("flat-batch", flat_batch_wrong, flat_batch_right, _flat_batch_error, limit=1e-12),
    Pitfall("normalised-eps", normalised_eps_wrong, normalised_eps_right, _normalised_eps_error,
            limit=1e-5, shown="share"),
    Pitfall("always-rescale", always_rescale_wrong, always_rescale_right, _always_rescale_error,
            limit=1e-12, shown="share"),
    Pitfall("ball-then-box", ball_then_box_wrong, ball_then_box_right,
            _ball_then_box_error, limit=1e-9, shown="share"),
)  # fmt: skip
