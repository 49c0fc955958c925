"""Certified accuracy against the radius, and radii in another norm."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from robustnb.scalars import finite, whole
from robustnb.smoothing.certificate import Certificate


def certified_correct(certificate: Certificate, y: Tensor, *, radius: float = 0.0) -> Tensor:
    """Where the prediction is y and the certified radius >= `radius`: (N,) bool on the CPU.

    To abstain is to be wrong, at every radius.
    """
    if not isinstance(y, Tensor):
        raise TypeError(f"y must be a torch tensor, got {type(y).__name__}; use torch.as_tensor(y)")
    if y.shape != (len(certificate),):
        raise ValueError(
            f"y must have shape ({len(certificate)},), got {tuple(y.shape)}; pass the labels of "
            "the certified images"
        )
    radius = _distance("radius", radius)
    if bool((y < 0).any()):
        raise ValueError(
            "y must hold class numbers 0, 1, ...; -1 is how a certificate abstains, so it would "
            "count as right. Leave images without a class out"
        )
    return (certificate.prediction == y.cpu()) & (certificate.radius >= radius)


def certified_accuracy(certificate: Certificate, y: Tensor, radii: Sequence[float]) -> Tensor:
    """The share of images certified correct at each radius: (len(radii),) float64, falling.

    Each certificate fails with probability <= alpha, so about alpha of the images may be
    counted wrongly.
    """
    shares = [certified_correct(certificate, y, radius=r).double().mean() for r in radii]
    return torch.stack(shares) if shares else torch.zeros(0, dtype=torch.float64)


def average_radius(certificate: Certificate, y: Tensor) -> float:
    """The mean certified radius, 0 where the prediction is wrong: the area below the curve."""
    right = certified_correct(certificate, y)
    return float(torch.where(right, certificate.radius, 0.0).mean())


def radius_to_linf(radius: float, *, dimension: int) -> float:
    """The l_inf radius that an l2 radius covers: radius / sqrt(dimension).

    >>> radius_to_linf(0.28, dimension=784)
    0.01
    """
    return _distance("radius", radius) / math.sqrt(_checked(dimension))


def linf_to_radius(eps: float, *, dimension: int) -> float:
    """The l2 radius that covers the l_inf ball of radius eps: eps sqrt(dimension).

    >>> round(linf_to_radius(2 / 255, dimension=3 * 32 * 32), 6)
    0.434711
    """
    return _distance("eps", eps) * math.sqrt(_checked(dimension))


def _checked(dimension: int) -> int:
    return whole("dimension", dimension, hint="; use x[0].numel()")


def _distance(what: str, value: float) -> float:
    return finite(what, value, least=0, hint=" in pixel units")
