"""Every function that draws refuses a seed or another generator, and says what to pass."""

from __future__ import annotations

import importlib
import inspect

import numpy as np
import pytest
import torch
from torch import nn

from robustnb.attacks import AttackEnsemble, pgd_attack
from robustnb.generators import check_cpu_generator, check_generator, check_rng
from robustnb.influence import LinearClassifier, cross_entropy, empirical_risk
from robustnb.training import standard
from robustnb.transfer_learning import TransferNet
from small_inputs import linear_case, seeded

NET, X, Y = linear_case()
SIGNS = 2 * (Y > 0).long() - 1
PGD = pgd_attack(eps=0.1, step=0.05, steps=2)
BALL = {"eps": 0.1, "step": 0.1, "steps": 1}
RISK = empirical_risk(LinearClassifier(9, classes=3), cross_entropy, X, Y, l2=0.1)
DEEP = nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.Linear(4, 3))
OWN = TransferNet(nn.Flatten(), nn.Linear(9, 3))
TRAINED = {"epochs": 1, "batch_size": 4, "lr": 0.1, "objective": standard()}

ARGUMENTS = {
    "attacks": {
        "InputDiversity": ((NET,), {}),
        "apgd": ((NET, X, Y), {"eps": 0.1}),
        "craft": ((NET, X, Y), {"attack": PGD}),
        "evaluate": ((NET, X, Y), {"attacks": [PGD]}),
        "fab": ((NET, X, Y), {}),
        "mifgsm": ((NET, X, Y), BALL),
        "pgd": ((NET, X, Y), {**BALL, "start": "zero"}),
        "robustness_audit": ((NET, X, Y), {"attack": PGD}),
        "run_ensemble": ((NET, X, Y), {"ensemble": AttackEnsemble(0.1)}),
        "square": ((NET, X, Y), {"eps": 0.1}),
        "transfer": ((NET, NET, X, Y), {"attack": PGD}),
    },
    "smoothing": {
        "certify": ((NET, X), {"sigma": 0.1}),
        "certify_sequential": ((NET, X), {"sigma": 0.1, "target": 0.1}),
        "noise_seeds": ((3,), {}),
        "predict": ((NET, X), {"sigma": 0.1}),
    },
    "training": {
        "binary_trades_loss": ((lambda x: x.flatten(1)[:, 0], X, SIGNS), {"lam": 1.0, **BALL}),
        "corrupt_labels": ((Y,), {"share": 0.5, "classes": 3}),
        "fit": ((DEEP, X, Y), TRAINED),
        "fit_softmax": ((X, Y), {"classes": 3, "epochs": 1, "batch_size": 4, "lr": 0.1}),
        "pgd_training_loss": ((NET, X, Y), {**BALL, "start": "zero"}),
        "self_training_loss": ((NET, X, Y), {"objective": standard(), "images": X, "labels": Y}),
        "stability_loss": ((NET, X, Y), {"beta": 0, "sigma": 0.1}),
        "standard_loss": ((NET, X, Y), {}),
        "trades_loss": ((NET, X, Y), {"beta": 0, **BALL}),
        "train_val_split": ((X, Y), {"size": 2}),
    },
    "influence": {
        "LiSSA": ((), {}),
        "attack_training_set": (
            (RISK, X, Y), {"index": torch.tensor([0]), "steps": 1, "step": 0.1},
        ),
        "extreme_eigenvalues": ((RISK,), {}),
    },
    "features": {
        "relabelled_dataset": ((NET, X, Y), {"targets": "random", "classes": 3, **BALL}),
        "representation_dataset": ((NET, X, Y), {}),
    },
    "blackbox": {
        "random_signs": ((X,), {"eps": 0.1}),
        "reservoir_sample": ((5, 2), {}),
        "train_substitute": ((lambda x: Y[: len(x)], X), {"fit": lambda *_: NET, "rounds": 1}),
    },
    "transfer_learning": {
        "largest_shift": ((nn.Flatten(), X), BALL),
        "linear_head": ((3, 2), {}),
        "mlp_head": ((3, 2), {}),
        "reinitialise": ((DEEP, X), {"count": 1}),
        "without_forgetting_loss": ((OWN, X, Y), {"source": nn.Flatten(), "weight": 0}),
    },
    "models": {
        "ResNet": ((), {"blocks": (1, 1, 1, 1)}),
        "WideResNet": ((), {"depth": 10, "widen": 1}),
        "small_image_net": (("resnet18",), {}),
        "wide_resnet": ((), {"depth": 10, "widen": 1}),
        **{name: ((), {}) for name in (
            "BinaryCNN", "DenseNet", "LightCNN", "MLP", "PlainCNN", "SmallCNN", "TanhCNN",
            "resnet18",
        )},
    },
    "data": {
        "nested_subsets": ((X, Y), {"sizes": [2]}),
        "repeat_to": ((X, Y), {"count": 3}),
        "subset": ((X, Y), {"size": 2}),
    },
}  # fmt: skip
OF_NUMPY = {
    "crossed_bootstrap": ((np.ones((2, 1, 3)), lambda means: means[..., 0]), {}),
    "mean_over_seeds": ((np.ones((3, 2)),), {}),
    "paired_bootstrap": (([1.0, 0.0], [0.0, 1.0]), {}),
    "resampled_means": ((np.ones((3, 2)),), {}),
}
CALLS = [(room, name) for room, names in ARGUMENTS.items() for name in names]


def is_error(thing):
    return issubclass(thing, BaseException)


def drawing(module):
    """The public functions and classes of a module that take a generator."""
    found = set()
    for name in module.__all__:
        thing = getattr(module, name)
        plain = inspect.isfunction(thing) or (inspect.isclass(thing) and not is_error(thing))
        if plain and "generator" in inspect.signature(thing).parameters:
            found.add(name)
    return found


@pytest.mark.parametrize("room", [*ARGUMENTS, "stats"])
def test_no_function_that_draws_is_forgotten_here(room):
    known = OF_NUMPY if room == "stats" else ARGUMENTS[room]
    assert drawing(importlib.import_module(f"robustnb.{room}")) == set(known)


@pytest.mark.parametrize(
    "given", [3, np.random.default_rng(3), torch.Generator], ids=["seed", "numpy", "class"]
)
@pytest.mark.parametrize(("room", "name"), CALLS, ids=lambda word: word)
def test_a_seed_is_refused_with_what_to_write(room, name, given):
    args, keywords = ARGUMENTS[room][name]
    before = torch.random.get_rng_state()
    with pytest.raises(TypeError, match=r"pass generator=torch\.Generator\(\)\.manual_seed\(3\)"):
        getattr(importlib.import_module(f"robustnb.{room}"), name)(
            *args, **keywords, generator=given
        )
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("given", [3, torch.Generator(), None], ids=["seed", "torch", "none"])
@pytest.mark.parametrize("name", OF_NUMPY)
def test_numpys_functions_want_numpys_generator(name, given):
    args, keywords = OF_NUMPY[name]
    with pytest.raises(TypeError, match=r"pass np\.random\.default_rng\(3\)"):
        getattr(importlib.import_module("robustnb.stats"), name)(*args, **keywords, generator=given)


def test_where_draws_are_made():
    place = torch.device("meta")
    assert check_generator(seeded()) == torch.device("cpu")
    assert check_generator(None, place=place) == place and check_generator(None) is None
    with pytest.raises(ValueError, match="coins are tossed from a generator, which is missing"):
        check_generator(None, needed="coins are tossed")
    check_cpu_generator(None)
    check_cpu_generator(seeded(), needed="anything")
    check_rng(np.random.default_rng(0))
