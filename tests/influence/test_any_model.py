"""Models and targets of many kinds: scores are those of a dense twin, refusals say why."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.autograd.functional import hessian
from torch.func import functional_call, grad
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from robustnb.influence import (
    CG,
    Cholesky,
    LinearClassifier,
    LiSSA,
    NegativeCurvatureError,
    NotConvergedError,
    cross_entropy,
    empirical_risk,
    fit_risk,
    leave_one_out,
    solvers,
    up_loss,
)
from small_inputs import seeded

DRAWS = torch.Generator().manual_seed(0)
X = torch.randn(20, 5, generator=DRAWS, dtype=torch.float64)
Y = torch.randint(0, 3, (20,), generator=DRAWS)
TARGETS = torch.randn(20, 2, generator=DRAWS, dtype=torch.float64)
L2, DAMPING = 0.5, 3.0


def squares(outputs, targets):
    return (outputs - targets).square().sum(1)


def network(outputs=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, outputs)).double()


def dense(model, loss, y, names):
    """I_up,loss of the first two examples on all, by the whole Hessian, in reverse twice."""
    every = {name: part.detach() for name, part in model.named_parameters()}
    flat = torch.cat([every[name].reshape(-1) for name in names])

    def losses(theta, rows):
        parts = theta.split([every[name].numel() for name in names])
        chosen = {n: p.view_as(every[n]) for n, p in zip(names, parts, strict=True)}
        return loss(functional_call(model, {**every, **chosen}, (X[rows],)), y[rows])

    def gradient(i):
        return grad(lambda theta: losses(theta, slice(i, i + 1)).sum())(flat)

    matrix = hessian(lambda theta: losses(theta, slice(None)).mean(), flat)
    matrix = matrix + (L2 + DAMPING) * torch.eye(len(flat)).double()
    rows = torch.stack([gradient(i) for i in range(len(X))])
    return -rows[:2] @ torch.linalg.solve(matrix, (rows + L2 * flat).T)


@pytest.mark.parametrize(
    ("model", "loss", "y"),
    [
        (nn.Linear(5, 2).double(), squares, TARGETS),
        (network(2), squares, TARGETS),
        (network(3), nn.CrossEntropyLoss(reduction="none"), TARGETS[:, [0, 1, 0]].softmax(1)),
    ],
    ids=["linear regression", "regression", "soft labels"],
)
def test_targets_of_several_numbers(model, loss, y):
    expected = dense(model, loss, y, [name for name, _ in model.named_parameters()])
    risk = empirical_risk(model, loss, X, y, l2=L2)
    for solver in (Cholesky(), CG(tol=1e-10)):
        found = up_loss(risk, X[:2], y[:2], solver=solver, damping=DAMPING)
        torch.testing.assert_close(found, expected)
    rough = LiSSA(seeded(), batch_size=20, repeats=40)
    found = up_loss(risk, X[:2], y[:2], solver=rough, damping=DAMPING)
    assert (found - expected).norm() < 0.3 * expected.norm()
    with pytest.raises(ValueError, match="y of an example has shape"):
        up_loss(risk, X[:2], Y[:2])


def test_targets_that_are_not_finite_or_spread_over_the_outputs():
    bad = TARGETS.clone()
    bad[9, 0] = torch.nan
    with pytest.raises(ValueError, match="y holds NaN"):
        empirical_risk(network(2), squares, X, bad)
    with pytest.raises(ValueError, match="spread over each other"):
        empirical_risk(network(1), lambda z, y: (z - y).square(), X, TARGETS[:, 0])


def test_frozen_parameters_do_not_vary():
    net = network()
    net[0].requires_grad_(False)
    risk = empirical_risk(net, cross_entropy, X, Y, l2=L2)
    found = up_loss(risk, X[:2], Y[:2], solver=Cholesky(), damping=DAMPING)
    torch.testing.assert_close(found, dense(net, cross_entropy, Y, ["2.weight", "2.bias"]))
    assert empirical_risk(net.requires_grad_(False), cross_entropy, X, Y).p == 39


class Tied(nn.Module):
    """The last layer has the weights of the first."""

    def __init__(self):
        super().__init__()
        self.first, self.last = (nn.Linear(5, 5, bias=False).double() for _ in range(2))
        self.last.weight = self.first.weight

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


def test_tied_weights_are_one_parameter_and_go_by_their_first_name():
    net = Tied()
    found = up_loss(empirical_risk(net, cross_entropy, X, Y, l2=L2), X[:2], Y[:2],
                    solver=Cholesky(), damping=DAMPING)  # fmt: skip
    torch.testing.assert_close(found, dense(net, cross_entropy, Y, ["first.weight"]))
    for params in ("last", ["last.weight"]):
        with pytest.raises(ValueError, match="layers share goes by its first name"):
            empirical_risk(net, cross_entropy, X, Y, params=params)


class Sequence(nn.Module):
    """Three copies of an example through a layer for sequences, and the mean."""

    def __init__(self, layer):
        super().__init__()
        self.inner, self.layer, self.last = nn.Linear(5, 4), layer, nn.Linear(4, 3)
        self.double()

    def forward(self, x):
        out = self.layer(self.inner(x)[:, None].repeat(1, 3, 1))
        return self.last((out[0] if isinstance(out, tuple) else out).mean(1))


def test_attention_is_differentiated_by_its_formula(request):
    torch.manual_seed(0)
    net = Sequence(nn.TransformerEncoderLayer(4, 2, 4, batch_first=True, dropout=0.1)).eval()
    fused = torch.backends.mha.get_fastpath_enabled()
    risk = empirical_risk(net, cross_entropy, X, Y, l2=L2)
    found = up_loss(risk, X[:2], Y[:2], solver=CG(tol=1e-10), damping=DAMPING)
    assert torch.backends.mha.get_fastpath_enabled() == fused
    names = [name for name, _ in net.named_parameters()]
    request.addfinalizer(lambda: torch.backends.mha.set_fastpath_enabled(fused))
    torch.backends.mha.set_fastpath_enabled(False)  # it has no derivative
    with sdpa_kernel(SDPBackend.MATH):
        expected = dense(net, cross_entropy, Y, names)
    torch.testing.assert_close(found, expected)


def test_a_layer_that_torch_cannot_differentiate_twice_is_refused_at_once():
    net = Sequence(nn.LSTM(4, 4, batch_first=True))
    with pytest.raises(ValueError, match=r"second derivatives.*params='last'"):
        empirical_risk(net, cross_entropy, X, Y)
    risk = empirical_risk(net, cross_entropy, X, Y, l2=L2, params="last")
    found = up_loss(risk, X[:2], Y[:2], solver=Cholesky(), damping=DAMPING)
    torch.testing.assert_close(found, dense(net, cross_entropy, Y, ["last.weight", "last.bias"]))


def test_lissa_that_grows_by_negative_curvature_does_not_blame_its_scale():
    risk = empirical_risk(network(), cross_entropy, X, Y)
    with pytest.raises(NegativeCurvatureError, match="curvature -"):
        up_loss(risk, X[:2], Y[:2], solver=LiSSA(seeded(), scale=5.0, depth=20_000, repeats=1))


def test_a_singular_matrix_is_named_where_conjugate_gradients_run_away(monkeypatch):
    risk = empirical_risk(LinearClassifier(5, classes=3).double(), cross_entropy, X, Y, l2=L2)
    far = torch.tensor([1e19, 1.0], dtype=torch.float64)  # as rounding leaves it, on some machines
    monkeypatch.setattr(solvers, "relative_residuals", lambda *_, **__: far)
    with pytest.raises(NotConvergedError, match=r"singular or nearly so.*damping"):
        up_loss(risk, X[:2], Y[:2])


def test_what_training_left_to_do_is_not_taken_for_the_change_of_a_point():
    risk = empirical_risk(LinearClassifier(5, classes=3).double(), cross_entropy, X, Y, l2=L2)
    with pytest.warns(UserWarning, match=r"not at a minimum.*fit_risk"):
        leave_one_out(risk, X[:2], Y[:2], index=[0, 1])
    one = leave_one_out(fit_risk(risk), X[:2], Y[:2], index=[0])
    with pytest.raises(ValueError, match="two removed points"):
        one.pearson()


def test_class_weights_and_smoothed_labels_are_losses_like_others():
    weights = torch.tensor([1.0, 2.0, 5.0]).double()

    def loss(z, y):
        return F.cross_entropy(z, y, weight=weights, reduction="none", label_smoothing=0.1)

    net = network()
    found = up_loss(empirical_risk(net, loss, X, Y, l2=L2), X[:2], Y[:2], solver=Cholesky(),
                    damping=DAMPING)  # fmt: skip
    torch.testing.assert_close(
        found, dense(net, loss, Y, [name for name, _ in net.named_parameters()])
    )
