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
    hinge,
    influence_of,
    inverse_hvp,
    leave_one_out,
    pert_loss,
    refit_without,
    self_influence,
    smooth_hinge,
    up_loss,
    up_params,
)
from robustnb.influence.checks import check_examples

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


class Around(nn.Module):
    """A linear or smooth network with something before and after it."""

    def __init__(self, *, before=None, after=None, linear=False):
        super().__init__()
        self.before, self.after = before or (lambda x: x), after or (lambda z: z)
        smooth = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
        self.net = LinearClassifier(4, classes=3).double() if linear else smooth

    def forward(self, x):
        return self.after(self.net(self.before(x)))


def normed(**settings):
    return nn.Sequential(
        nn.Linear(4, 5), nn.BatchNorm1d(5, **settings), nn.Tanh(), nn.Linear(5, 3)
    ).double()


@pytest.mark.parametrize(
    "model",
    [
        normed(track_running_stats=False),
        Around(after=lambda z: z - z.mean(0)),
        Around(before=lambda x: x - x.mean(0), linear=True),
        Around(before=F.dropout),
        Around(before=F.dropout, linear=True),
    ],
    ids=["batch norm", "mean of outputs", "mean of inputs", "dropout", "dropout, linear"],
)
def test_a_model_whose_answers_are_drawn_or_depend_on_their_batch(model):
    with pytest.raises(ValueError, match="otherwise in another batch"):
        risk_of(model=model)


def test_batch_norm_and_dropout_in_training_mode_are_asked_in_evaluation_mode():
    net = nn.Sequential(normed(), nn.Dropout()).train()
    way = {"curvature": "gauss_newton"}
    found = up_loss(risk_of(model=net), X[:2], Y[:2], **way)
    assert all(part.training for part in net.modules()) and int(net[0][1].num_batches_tracked) == 0
    assert torch.equal(found, up_loss(risk_of(model=net.eval()), X[:2], Y[:2], **way))


@pytest.mark.parametrize("after", [torch.Tensor.detach, lambda z: torch.tensor(z.tolist())])
def test_outputs_without_a_derivative_in_the_parameters(after):
    with pytest.raises(ValueError, match=r"no derivative in net.0.weight.*params=\[...\]"):
        risk_of(model=Around(after=after))


def test_parameters_that_the_outputs_do_not_use_are_named():
    net = Around()
    net.spare = nn.Linear(5, 3).double()
    with pytest.raises(ValueError, match=r"no derivative in spare\.weight, spare\.bias"):
        risk_of(model=net)
    used = [name for name, _ in net.named_parameters() if not name.startswith("spare")]
    assert empirical_risk(net, cross_entropy, X, Y, params=used).p == 43


@pytest.mark.parametrize(
    ("bad", "linear"), [(float("nan"), True), (float("nan"), False), (float("inf"), True)]
)
def test_parameters_that_are_not_finite(bad, linear):
    net = Around(linear=linear)
    with torch.no_grad():
        next(net.parameters())[0, 0] = bad
    with pytest.raises(ValueError, match="training diverged"):
        risk_of(model=net)


@pytest.mark.parametrize(
    ("loss", "named"),
    [
        (lambda z, y: F.cross_entropy(z, y, reduction="none") / len(y), "examples beside it"),
        (lambda z, y: F.cross_entropy(z, y).expand(len(y)), "examples beside it"),
        (lambda z, y: (z - z).sum(1).sqrt(), "NaN or infinite"),
        (hinge, "scores"),
        (smooth_hinge(0.1), "scores"),
    ],
)
def test_losses_that_are_not_of_one_example_each(loss, named):
    with pytest.raises(ValueError, match=named):
        risk_of(model=Around(), loss=loss)


@pytest.mark.parametrize("loss", [hinge, smooth_hinge(0.1), cross_entropy])
def test_scores_with_labels_0_and_1(loss):
    with pytest.raises(ValueError, match=r"2 \* y - 1"):
        risk_of(y=(Y > 0).long(), model=LinearClassifier(4).double(), loss=loss)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype):
    with pytest.raises(TypeError, match=r"x.double\(\)"):
        risk_of(X.to(dtype), model=LinearClassifier(4, classes=3).to(dtype))


@pytest.mark.parametrize("size", [0, -1, 2.5])
def test_a_chunk_holds_a_whole_number_of_examples(size):
    with pytest.raises(ValueError, match="chunk_size"):
        empirical_risk(Around(), cross_entropy, X, Y, chunk_size=size)


def test_columns_that_are_no_solution(fitted):
    for bad in (torch.ones(5, 2).double(), fitted.theta, torch.full((12, 1), torch.nan).double()):
        with pytest.raises(ValueError, match="s_test"):
            influence_of(fitted, bad)
    with pytest.raises(ValueError, match="s_test"):
        pert_loss(fitted, X[:2], Y[:2], fitted.theta[:5])


def test_parameters_and_labels_that_are_not_of_this_risk(fitted):
    with pytest.raises(ValueError, match="theta must be"):
        fitted.at(fitted.theta[:5])
    with pytest.raises(ValueError, match=r"0\.\.2"):
        fitted.relabelled(Y + 5)
    with pytest.raises(ValueError, match="index must"):
        fitted.replaced(torch.tensor([-1]), X[:1])
    with pytest.raises(ValueError, match="NaN"):
        fitted.replaced(torch.tensor([0]), torch.full_like(X[:1], torch.nan))


def test_refits_of_other_points(fitted):
    with pytest.raises(ValueError, match="2 retrained models for 3"):
        leave_one_out(fitted, X[:2], Y[:2], index=[0, 1, 2], refits=refit_without(fitted, [0, 1]))


@pytest.mark.parametrize("solver", [CG(), Cholesky()])
def test_gradients_that_are_not_finite_are_not_solved(fitted, solver):
    with pytest.raises(ValueError, match="gradient holds NaN"):
        solver.solve(fitted, torch.full((12, 1), torch.nan).double())


def test_a_matrix_without_curvature_says_how_much_damping_it_needs():
    risk = empirical_risk(LinearClassifier(4, classes=3).double(), lambda z, y: z[:, 0], X, Y)
    for solver in (CG(), Cholesky()):
        with pytest.raises(ArithmeticError, match=r"curvature 0 <= 0.*damping: 1e-06"):
            up_loss(risk, X[:2], Y[:2], solver=solver)


def test_a_solution_no_better_than_zero_is_told(fitted):
    short = LiSSA(torch.Generator().manual_seed(0), scale=1e9, depth=5)
    for function in (up_loss, up_params):
        with pytest.warns(UserWarning, match="say little"):
            function(fitted, X[:2], Y[:2], solver=short)


def test_influence_is_the_same_where_gradients_are_off(fitted):
    s = inverse_hvp(fitted, X[:2], Y[:2]).x
    expected = up_loss(risk_of(), X[:2], Y[:2]), pert_loss(fitted, X[:3], Y[:3], s)
    with torch.no_grad():
        found = up_loss(risk_of(), X[:2], Y[:2]), pert_loss(fitted, X[:3], Y[:3], s)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    with torch.inference_mode(), pytest.raises(RuntimeError, match="inference_mode"):
        risk_of()


def test_lissa_wants_a_generator_and_not_none():
    with pytest.raises(TypeError, match="draws batches"):
        LiSSA(generator=None)


def test_examples_are_checked_a_part_at_a_time(monkeypatch):
    seen, finite = [], torch.isfinite
    monkeypatch.setattr(torch, "isfinite", lambda part: seen.append(len(part)) or finite(part))
    many = torch.zeros(3_500, 2)
    check_examples(many, many[:, 0].long())
    assert sum(seen) == 3_500 and max(seen) <= 1_000
    many[-1, -1] = torch.inf
    with pytest.raises(ValueError, match="x holds NaN or infinite"):
        check_examples(many, many[:, 0].long())
