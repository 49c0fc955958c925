"""What influence is given by mistake: refused before work starts, with the way to mend it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robustnb.influence import (
    CG,
    Cholesky,
    LinearClassifier,
    LiSSA,
    cross_entropy,
    empirical_risk,
    fit_risk,
    influence_of,
    leave_one_out,
    refit_without,
    self_influence,
    up_loss,
    up_params,
)

DRAWS = torch.Generator().manual_seed(0)
X = torch.rand(30, 4, generator=DRAWS, dtype=torch.float64)
Y = torch.randint(0, 3, (30,), generator=DRAWS)


def risk_of(x=X, y=Y, model=None, loss=cross_entropy):
    model = model or LinearClassifier(4, classes=3).double()
    return empirical_risk(model, loss, x, y, l2=0.1)


@pytest.fixture(scope="module")
def fitted():
    return fit_risk(risk_of())


def changed(value):
    x = X.clone()
    x[3, 1] = value
    return x


@pytest.mark.parametrize(
    ("x", "y", "error", "named"),
    [
        (changed(float("nan")), Y, ValueError, "NaN or infinite"),
        (changed(float("inf")), Y, ValueError, "NaN or infinite"),
        (X[:0], Y[:0], ValueError, "at least one"),
        (X, Y[:5], ValueError, "30 and 5"),
        (X, Y + 1, ValueError, "0..2"),
        (X, Y - 1, ValueError, "0..2"),
        (X, Y.double(), TypeError, "int64"),
        (X, F.one_hot(Y, 3), ValueError, "one-hot"),
        ((10 * X).long(), Y, TypeError, "floats"),
        (X.float(), Y, TypeError, "float64"),
        (X.numpy(), Y, TypeError, "as_tensor"),
    ],
)
def test_training_points_that_cannot_be_used(x, y, error, named):
    with pytest.raises(error, match=named):
        risk_of(x, y)


@pytest.mark.parametrize(
    ("x", "y", "error", "named"),
    [
        (changed(float("nan"))[2:5], Y[2:5], ValueError, "NaN or infinite"),
        (X[:2].float(), Y[:2], ValueError, "float64"),
        (X[:2, :3], Y[:2], ValueError, "shape"),
        (X[:2], Y[:2] + 9, ValueError, "0..2"),
        (X[0], Y[:1], ValueError, "one example"),
    ],
)
@pytest.mark.parametrize("function", [up_loss, up_params])
def test_test_points_unlike_the_training_points(fitted, function, x, y, error, named):
    with pytest.raises(error, match=named):
        function(fitted, x, y, solver=Cholesky())


@pytest.mark.parametrize(
    ("model", "loss", "error", "named"),
    [
        (None, lambda z, y: F.cross_entropy(z, y), ValueError, "reduction"),
        (None, lambda z, y: (z.argmax(1) != y).double(), ValueError, "no derivative"),
        (nn.Linear(4, 1).double(), cross_entropy, ValueError, "one column"),
        (LinearClassifier, cross_entropy, TypeError, "class"),
    ],
)
def test_models_and_losses_without_an_influence(model, loss, error, named):
    with pytest.raises(error, match=named):
        risk_of(y=0 * Y, model=model, loss=loss)


@pytest.mark.parametrize("index", [[99], [-1], [], [0.5], torch.zeros(2, 2, dtype=torch.long)])
@pytest.mark.parametrize(
    "function",
    [
        lambda risk, index: refit_without(risk, index),
        lambda risk, index: leave_one_out(risk, X[:2], Y[:2], index=index),
        lambda risk, index: influence_of(risk, risk.theta[:, None], index=index),
        lambda risk, index: self_influence(risk, index=index),
    ],
)
def test_numbers_that_are_no_training_points(fitted, function, index):
    with pytest.raises(ValueError, match="index must"):
        function(fitted, index)


def test_a_list_a_mask_and_a_tensor_of_numbers_mean_the_same(fitted):
    mask = torch.zeros(30, dtype=torch.bool)
    mask[[4, 9]] = True
    found = [self_influence(fitted, index=index) for index in ([4, 9], mask, torch.tensor([4, 9]))]
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    torch.testing.assert_close(found[0], self_influence(fitted)[[4, 9]])


def test_the_only_training_point_cannot_leave():
    with pytest.raises(ValueError, match="only training point"):
        refit_without(fit_risk(risk_of(X[:1], Y[:1])), [0])


@pytest.mark.parametrize("solver", [Cholesky, CG, "cg"])
def test_what_is_no_solver(fitted, solver):
    with pytest.raises(TypeError, match="solver must be made"):
        up_loss(fitted, X[:2], Y[:2], solver=solver)


class InPlace(nn.Module):
    """Shifts its input in place before a smooth network."""

    def __init__(self):
        super().__init__()
        layers = nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)
        self.layers = nn.Sequential(*layers).double()

    def forward(self, x):
        return self.layers(x.sub_(0.5))


def test_a_model_that_works_in_place_changes_nothing_and_has_the_right_influence():
    net, x = InPlace(), X.clone()
    shifted = net.layers
    here = empirical_risk(net, cross_entropy, x, Y, l2=0.1)
    there = empirical_risk(shifted, cross_entropy, X - 0.5, Y, l2=0.1)
    way = {"solver": CG(), "curvature": "gauss_newton"}
    found, expected = (
        up_loss(risk, points[:2], Y[:2], **way) for risk, points in ((here, x), (there, X - 0.5))
    )
    torch.testing.assert_close(found, expected)
    assert torch.equal(x, X)


def test_lissa_without_a_generator_says_so():
    with pytest.raises(TypeError, match="generator"):
        LiSSA()
