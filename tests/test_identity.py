"""Saved work is of one model: what it is known by, and that another's file is refused."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from robustnb.attacks import AttackEnsemble, evaluate, run_ensemble
from robustnb.identity import UnknownIdentity, describe, named, settings
from robustnb.models.fingerprint import facts_of
from robustnb.smoothing import certify, predict
from robustnb.training import standard, train_or_load
from robustnb.training.augment import crop_and_flip
from robustnb.training.training_loop import fit
from small_inputs import seeded


def net(seed):
    made = nn.Sequential(nn.Flatten(), nn.Linear(9, 3)).requires_grad_(False)
    made[1].weight.copy_(torch.randn(3, 9, generator=seeded(seed)))
    made[1].bias.zero_()
    return made


X = torch.rand(20, 1, 3, 3, generator=seeded())
A, B = net(1), net(2)
Y = A(X).argmax(1)
SHORT = AttackEnsemble(0.1, steps=3, targets=1, queries=4)


class Callable_:
    def __init__(self, inner):
        self.inner = inner

    def __call__(self, x):
        return self.inner(x)


class Clipped(nn.Module):
    """Two of them have the same weights and differ in a plain attribute."""

    def __init__(self, level):
        super().__init__()
        self.net, self.level = A, level

    def forward(self, x):
        return self.net(x).clamp(-self.level, self.level)


class Off:
    """Answers as A on every image but one that a fixed set of images hardly holds."""

    def __init__(self, threshold):
        self.threshold = threshold

    def __call__(self, x):
        far = (x.flatten(1)[:, 4] - 0.123456).abs() < self.threshold
        return torch.where(far[:, None], -A(x), A(x))


def through(model):
    return lambda x: model(x)


def scaled(x, *, by, model=A):
    return by * model(x)


def with_hook(scale):
    model = net(1)
    model.register_forward_hook(lambda module, args, output: output * scale)
    return model


def scripted(model, *, freeze=False):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.jit.script(model.eval())
        return torch.jit.freeze(made) if freeze else made


PAIRS = {
    "functions that close over the model": (through(A), through(B)),
    "functions of a global": (lambda x: A(x), lambda x: B(x)),
    "constants in the code": (lambda x: A(x) * 2.0, lambda x: A(x) * 3.0),
    "objects": (Callable_(A), Callable_(B)),
    "bound methods": (Callable_(A).__call__, Callable_(B).__call__),
    "partials of other models": (
        functools.partial(scaled, by=1.0, model=A),
        functools.partial(scaled, by=1.0, model=B),
    ),
    "partials": (functools.partial(scaled, by=1.0), functools.partial(scaled, by=-1.0)),
    "a plain attribute": (Clipped(5.0), Clipped(0.1)),
    "an attribute inside a function": (through(Clipped(5.0)), through(Clipped(0.1))),
    "weights": (A, B),
    "hooks": (with_hook(1.0), with_hook(-1.0)),
    "a rare image": (Off(1e-9), Off(1e-2)),
    "frozen modules": (scripted(A, freeze=True), scripted(B, freeze=True)),
    "modules compiled": (torch.compile(A, backend="eager"), torch.compile(B, backend="eager")),
    "defaults": (lambda x, m=A: m(x), lambda x, m=B: m(x)),
    "names": (named(A, "one"), named(A, "two")),
}
pairs = pytest.mark.parametrize(("one", "other"), PAIRS.values(), ids=PAIRS)


@pairs
def test_a_checkpoint_of_an_evaluation_is_of_one_model(one, other, tmp_path):
    path = tmp_path / "state"

    def run(model, **more):
        return run_ensemble(model, X, Y, ensemble=SHORT, generator=seeded(), **more)

    run(one, checkpoint=path)
    with pytest.raises(ValueError, match=r"of another evaluation: the model .* differs"):
        run(other, checkpoint=path)
    with pytest.raises(ValueError, match=r"the model .* differs"):
        evaluate(other, X, Y, attacks=[SHORT], generator=seeded(), checkpoint=str(path))
    again, fresh = run(one, checkpoint=path), run(one)
    assert torch.equal(again.robust, fresh.robust)


@pairs
def test_a_checkpoint_of_certificates_is_of_one_model(one, other, tmp_path):
    path = str(tmp_path / "rows")

    def run(model, procedure=certify, **more):
        return procedure(model, X, sigma=0.2, n=20, generator=seeded(), checkpoint=path, **more)

    first = run(one)
    with pytest.raises(ValueError, match=r"the model .* differs"):
        run(other)
    assert torch.equal(run(one).hits, first.hits)
    with pytest.raises(ValueError, match="work differs"):
        run(one, predict)


@pytest.mark.parametrize("make", [
    lambda: through(net(1)), lambda: Callable_(net(1)), lambda: Clipped(2.0), lambda: net(1),
    lambda: with_hook(2.0), lambda: functools.partial(scaled, by=2.0, model=net(1)),
    lambda: scripted(net(1), freeze=True),
], ids=["function", "object", "attribute", "module", "hook", "partial", "frozen"])  # fmt: skip
def test_the_same_model_made_again_is_the_same(make):
    assert facts_of(make(), X) == facts_of(make(), X)


def test_a_model_that_counts_its_calls_stays_itself(tmp_path):
    class Counting(nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.scale, self.calls, self.net = scale, 0, A
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            self.seen += len(x)
            return self.net(x) * self.scale

    model, path = Counting(1.0), tmp_path / "state"
    settings_ = dict(ensemble=SHORT, generator=seeded(), checkpoint=path)
    first = run_ensemble(model, X, Y, **settings_)
    settings_["generator"] = seeded()
    assert torch.equal(run_ensemble(model, X, Y, **settings_).robust, first.robust)
    with pytest.raises(ValueError, match="differs"):
        run_ensemble(Counting(2.0), X, Y, **{**settings_, "generator": seeded()})


def unreadable():
    """Answers as A, from behind a generator, whose state nothing can read."""
    stream = (A(x) for x in iter(lambda: waiting[-1], None))
    waiting = []

    def model(x):
        waiting.append(x)
        return next(stream)

    return model


def test_what_cannot_be_read_is_refused_until_it_has_a_name(tmp_path):
    path = tmp_path / "state"
    call = dict(ensemble=SHORT, generator=seeded())
    expected = run_ensemble(A, X, Y, **call).robust
    with pytest.raises(UnknownIdentity, match=r"generator.*robustnb\.identity\.named\(model"):
        run_ensemble(unreadable(), X, Y, checkpoint=path, **call)
    with pytest.raises(UnknownIdentity, match="named"):
        certify(unreadable(), X, sigma=0.2, n=20, generator=seeded(), checkpoint=path)
    assert not path.exists()
    call["generator"] = seeded()
    found = run_ensemble(named(unreadable(), "A"), X, Y, checkpoint=path, **call)
    assert torch.equal(found.robust, expected)


def test_a_named_module_keeps_its_modes_and_its_weights_count():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(9, 3)).train()
    known = named(model, "mine")
    run_ensemble(known, X, Y, ensemble=SHORT, generator=seeded())
    assert model[1].training
    before = facts_of(known, X)
    with torch.no_grad():
        model[2].weight.neg_()
    assert facts_of(known, X) != before


def fitted(path, **changes):
    model = changes.pop("model", None) or nn.Sequential(nn.Flatten(), nn.Linear(9, 3, bias=False))
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.Linear) and not changes.get("own_weights"):
            module.reset_parameters()
    changes.pop("own_weights", None)
    call = dict(objective=standard(), epochs=2, batch_size=5, lr=0.1, generator=seeded())
    fit(model, X, Y, checkpoint=path, **{**call, **changes})
    return model


def dropped(p):
    return nn.Sequential(nn.Flatten(), nn.Dropout(p), nn.Linear(9, 3))


FITS = {
    "Dropout's p": (lambda: dict(model=dropped(0.1)), lambda: dict(model=dropped(0.6))),
    "a lambda schedule": (
        lambda: dict(schedule=lambda t: 1.0), lambda: dict(schedule=lambda t: 0.1),
    ),
    "what a schedule closes over": (
        lambda: dict(schedule=(lambda low: lambda t: low)(0.5)),
        lambda: dict(schedule=(lambda low: lambda t: low)(0.25)),
    ),
    "a numpy eps": (
        lambda: dict(objective=functools.partial(noisy, size=np.float32(0.1))),
        lambda: dict(objective=functools.partial(noisy, size=np.float32(0.3))),
    ),
    "a tensor": (
        lambda: dict(objective=functools.partial(noisy, size=torch.tensor(0.1))),
        lambda: dict(objective=functools.partial(noisy, size=torch.tensor(0.3))),
    ),
    "augmentation": (
        lambda: dict(augment=crop_and_flip(padding=1)),
        lambda: dict(augment=crop_and_flip(padding=2)),
    ),
    "the weights it began with": (
        lambda: dict(model=net(1).requires_grad_(), own_weights=True),
        lambda: dict(model=net(2).requires_grad_(), own_weights=True),
    ),
}  # fmt: skip


def noisy(model, x, y, generator, *, size):
    noise = torch.rand(x.shape, generator=generator)
    return standard()(model, x + float(size) * noise, y, generator)


@pytest.mark.parametrize(("one", "other"), FITS.values(), ids=FITS)
def test_a_checkpoint_of_a_training_is_of_one_training(one, other, tmp_path):
    path = str(tmp_path / "training")
    first = fitted(path, **one())
    with pytest.raises(ValueError, match=r"of another training: .* differs"):
        fitted(path, **other())
    again = fitted(path, **one())
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("scale", [0.5, 0.25])
def test_the_store_trains_anew_what_its_code_closes_over(scale, tmp_path, monkeypatch):
    monkeypatch.setenv("ROBUSTNB_MODELS", str(tmp_path))
    monkeypatch.delenv("ROBUSTNB_FRESH", raising=False)
    made = []
    for lr, p in ((0.1, 0.0), (0.1 * scale, 0.0), (0.1, scale), (0.1, 0.0)):

        def build(p=p):
            torch.manual_seed(0)
            return dropped(p)

        def train(model, checkpoint, lr=lr):
            return fit(model, X, Y, objective=standard(), epochs=1, batch_size=5, lr=lr,
                       generator=seeded())  # fmt: skip

        made.append(train_or_load({"data": "X"}, build, train)[1]["key"])
    assert made[0] == made[3] and len(set(made)) == 3


def test_descriptions_are_json_and_the_same_in_another_process():
    code = (
        "import json, functools, torch\n"
        "from torch import nn\n"
        "from robustnb.identity import describe, settings\n"
        "torch.manual_seed(0)\n"
        "model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.3))\n"
        "f = lambda x, names=frozenset({'a', 'b', 'c'}): model(x) * 2 if x in {'p', 'q'} else x\n"
        "print(json.dumps([describe(f), settings(model), describe(functools.partial(f, names=1))]))"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={"PYTHONHASHSEED": str(seed), "PATH": ""},
        ).stdout
        for seed in (1, 2)
    }  # fmt: skip
    assert len(runs) == 1 and json.loads(runs.pop())


def test_circles_locks_and_opaque_parts_have_a_description():
    circle = Callable_(None)
    circle.inner = circle
    circle.lock = threading.Lock()
    assert describe(circle) == describe(circle)
    with pytest.raises(UnknownIdentity):
        describe([i for i in ()].__iter__ and (i for i in ()))
    assert describe((i for i in ()), opaque=True) == "opaque builtins.generator"
    assert settings(named(len, "length")) == {"name": "length"}
    with pytest.raises(ValueError, match="not empty"):
        named(len, "")
