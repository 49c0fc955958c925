from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import optimize

from robustnb.features import LinearLearner, fit_linear, worst_inputs
from robustnb.theory.tsipras2019 import DataModel, adversarial_minimiser


def blobs(n=60, d=4, seed=0):
    draws = torch.Generator().manual_seed(seed)
    y = torch.where(torch.rand(n, generator=draws) < 0.5, -1.0, 1.0).double()
    x = torch.randn(n, d, generator=draws).double() + 0.7 * y[:, None]
    return x, y


@pytest.mark.parametrize("clip", [None, (0.0, 1.0)])
def test_worst_inputs_are_the_worst_corners(clip):
    draws = torch.Generator().manual_seed(0)
    x, weights = torch.rand(6, 3, generator=draws), torch.tensor([0.5, -2.0, 0.1])
    y = torch.tensor([1, -1, 1, -1, 1, -1])
    learner = LinearLearner(weights, 0.3)
    found = learner.margins(x, y, eps=0.3, clip=clip)
    corners = torch.tensor(list(itertools.product((-0.3, 0.3), repeat=3)))
    every = x[:, None] + corners
    every = every if clip is None else every.clamp(*clip)
    margins = y[:, None] * (every @ weights + 0.3)
    torch.testing.assert_close(found, margins.amin(1))
    assert torch.equal(worst_inputs(weights, x, y, eps=0), x)


@pytest.mark.parametrize("eps", [0.0, 0.3])
@pytest.mark.parametrize("loss", ["hinge", "logistic"])
def test_the_fit_reaches_the_least_objective(eps, loss):
    x, y = blobs()
    found = fit_linear(x, y, eps=eps, l2=0.1, loss=loss, steps=3000, lr=0.02)

    def objective(at):
        w, b = at[:-1], at[-1]
        margins = y.numpy() * (x.numpy() @ w + b) - eps * np.abs(w).sum()
        each = np.maximum(0, 1 - margins) if loss == "hinge" else np.logaddexp(0, -margins)
        return each.mean() + 0.05 * w @ w

    at = np.append(found.weights.numpy(), found.bias)
    searched = min(
        optimize.minimize(
            objective, start, method="Powell", options={"xtol": 1e-10, "ftol": 1e-12}
        ).fun
        for start in (at, np.zeros(5))
    )
    assert objective(at) <= searched + 1e-4


def test_on_samples_of_the_law_the_fit_is_near_the_population_minimiser():
    model = DataModel.of_strength(0.95, 100, 4)
    x, y = (torch.from_numpy(part) for part in model.sample(np.random.default_rng(0), 20_000))
    found = fit_linear(x, y, eps=0.8, l2=0.1, loss="hinge", bias=False, steps=800, lr=0.03)
    share = float((x[:, 0] == y).double().mean())
    expected = adversarial_minimiser(share, eps=0.8, l2=0.1)
    assert float(found.weights[0]) == pytest.approx(expected, abs=0.02)
    assert float(found.weights[1:].abs().max()) < 0.01
    assert found.bias == 0


def test_what_cannot_be_fitted_is_refused():
    x, y = blobs(8)
    for wrong in ({"eps": -1.0}, {"l2": -1.0}, {"lr": 0.0}, {"steps": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            fit_linear(x, y, **{"eps": 0.1, "l2": 0.1, **wrong})
    with pytest.raises(ValueError, match="-1 or"):
        fit_linear(x, (y + 1) / 2, eps=0.1, l2=0.1)
    with pytest.raises(ValueError, match=r"\(N, d\)"):
        fit_linear(x[:0], y[:0], eps=0.1, l2=0.1)
