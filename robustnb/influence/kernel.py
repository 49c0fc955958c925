"""Finite features of a radial basis function kernel, so that a kernel machine is a linear one."""

from __future__ import annotations

import torch
from torch import Tensor

from robustnb.attacks.validation import check_images
from robustnb.scalars import finite


def rbf_features(x: Tensor, *, gamma: float, jitter: float = 1e-10) -> Tensor:
    """Features (n, n) whose inner products are exp(-gamma |x_i - x_j|^2), by a Cholesky factor.

    x (n, ...) holds training and test points together, since the factor is of their joint kernel;
    a linear machine on the features is then the kernel machine. `jitter` is added to the diagonal.
    """
    gamma, jitter = finite("gamma", gamma, above=0), finite("jitter", jitter, least=0)
    check_images(x.to(torch.float64), None)
    flat = x.detach().flatten(1).to(torch.float64)
    distance = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")
    kernel = torch.exp(-gamma * distance.square())
    kernel.diagonal().add_(jitter)
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(kernel)
    if int(failed):
        raise ValueError(
            f"the kernel matrix is singular up to rounding at gamma = {gamma:g} (points that are "
            f"alike, or a gamma too small); raise jitter, now {jitter:g}"
        )
    return factor
