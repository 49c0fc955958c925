from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustnb.attacks import evaluate, multi_loss_pgd, pgd_attack, robustness_audit
from robustnb.attacks.audit import summary
from robustnb.attacks.autoattack import AttackEnsemble
from robustnb.data import load, subset, to_unit
from robustnb.identity import UnknownIdentity
from robustnb.lesson import Experiment, experiment
from robustnb.lesson.experiment import Evaluations
from robustnb.models import MLP
from robustnb.training import (
    checkpoint,
    cosine,
    fit,
    natural_accuracy,
    pgd_training,
    standard,
    training_loop,
    triangular,
)

EPS, OFFSET = 0.1, 4
PAPER = pgd_attack(eps=EPS, step=EPS / 2, steps=3)
STRONGEST = AttackEnsemble(EPS, attacks=("apgd-ce", "square"), steps=3, queries=4)
AUDIT = multi_loss_pgd(EPS, steps=2, restarts=3)
FOLLOWING = {"objective": standard(), "epochs": 2, "batch_size": 20, "lr": 0.1, "offset": 2}

Train = Callable[..., nn.Module]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROBUSTNB_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("ROBUSTNB_FRESH", raising=False)
    return tmp_path / "models"


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(3)
    return subset(*load("mnist_embedded", "train"), size=40, generator=draws)


def untrained(seed: int = 0) -> nn.Module:
    return MLP(generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def train(store: Path, digits: tuple[Tensor, Tensor]) -> Train:
    """Train one network, with what is given in place of the usual."""

    def train(**changes: Any) -> nn.Module:
        given = {"network": untrained(), "images": digits[0], "labels": digits[1], **FOLLOWING}
        seed = changes.pop("seed", 0)
        return Experiment(seed).train(changes.pop("name", "arm"), **{**given, **changes})

    return train


@pytest.fixture(scope="module")
def networks(
    digits: tuple[Tensor, Tensor], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, nn.Module]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUSTNB_MODELS", str(tmp_path_factory.mktemp("models")))
        lossy = {"clean": standard(), "pgd": pgd_training(eps=EPS, step=EPS / 2, steps=2)}
        settings = {**FOLLOWING, "epochs": 15}
        return {
            name: Experiment(0).train(
                name, untrained(), *digits, **{**settings, "objective": objective}
            )
            for name, objective in lossy.items()
        }


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    return Experiment(0).test_images("mnist_embedded", size=20)


@pytest.fixture(scope="module")
def found(networks: dict[str, nn.Module], images: tuple[Tensor, Tensor]) -> Evaluations:
    return Experiment(0).evaluate(
        networks, *images, paper=PAPER, strongest=STRONGEST, offset=OFFSET, audit=AUDIT,
        audit_size=8, sources={"pgd": networks["clean"]},
    )  # fmt: skip


def weights(net: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in net.state_dict().items()}


def draw(seed: int, offset: int) -> list[float]:
    return torch.rand(3, generator=Experiment(seed).seeded(offset)).tolist()


def test_every_seed_and_offset_has_draws_of_its_own() -> None:
    places = [(seed, offset) for seed in (0, 1, 2) for offset in (0, 1, 999)]
    assert len({tuple(draw(*place)) for place in places}) == len(places)
    assert draw(1, 5) == draw(1, 5)


@pytest.mark.parametrize("offset", [-1, 1000])
def test_an_offset_that_would_meet_another_seed_is_refused(offset: int) -> None:
    with pytest.raises(ValueError, match="offset must lie in"):
        Experiment(0).seeded(offset)


def test_every_seed_meets_the_same_test_images() -> None:
    x, y = Experiment(0).test_images("mnist_embedded", size=30)
    again = Experiment(7).test_images("mnist_embedded", size=30)
    assert torch.equal(x, again[0]) and torch.equal(y, again[1])
    stored = load("mnist_embedded", "test")
    assert len(x) == len(y) == 30
    assert all((to_unit(stored[0]) == image).flatten(1).all(1).any() for image in x)


def test_training_is_a_fit_with_the_generator_of_the_offset(
    train: Train, digits: tuple[Tensor, Tensor]
) -> None:
    by_hand = untrained()
    settings = {**FOLLOWING, "generator": torch.Generator().manual_seed(3002)}
    del settings["offset"]
    fit(by_hand, *digits, **settings)
    assert weights(train(seed=3)) == weights(by_hand)


def test_the_network_that_is_handed_in_stays_untrained(train: Train) -> None:
    start = untrained()
    trained = train(network=start)
    assert weights(start) == weights(untrained()) != weights(trained)
    assert start.training and not trained.training


def test_an_equal_training_is_read_from_the_store(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train()
    monkeypatch.setattr(experiment, "fit", lambda *_, **__: pytest.fail("trained again"))
    assert weights(train()) == weights(first)


def halved(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *given: loss(*given) / 2


def test_whatever_decides_the_weights_decides_the_place_in_the_store(
    train: Train, store: Path, digits: tuple[Tensor, Tensor]
) -> None:
    images, labels = digits
    score = natural_accuracy(images, labels)
    changes: list[dict[str, Any]] = [
        {}, {"name": "other"}, {"seed": 1}, {"offset": 3}, {"network": untrained(1)},
        {"images": 255 - images}, {"labels": labels.flip(0)}, {"lr": 0.2}, {"epochs": 1},
        {"batch_size": 10}, {"optimizer": "adam"}, {"validate": score},
        {"validate": natural_accuracy(images, labels.flip(0))}, {"schedule": cosine(epochs=2)},
        {"schedule": triangular(epochs=2)}, {"objective": halved(standard())},
        {"objective": pgd_training(eps=EPS, step=EPS, steps=1)},
        {"objective": pgd_training(eps=EPS, step=EPS, steps=2)},
    ]  # fmt: skip
    for number, change in enumerate(changes, 1):
        train(**change)
        assert len(list(store.glob("*.safetensors"))) == number, change


def test_an_objective_of_other_code_and_the_same_name_is_trained_again(
    train: Train, store: Path
) -> None:
    for body in ("loss(*given)", "loss(*given) * 2"):
        scope: dict[str, Any] = {"__name__": "__main__", "loss": standard()}
        exec(f"def objective(*given):\n    return {body}", scope)
        train(objective=scope["objective"])
    assert len(list(store.glob("*.safetensors"))) == 2


def test_a_setting_that_cannot_be_told_from_others_is_refused(train: Train) -> None:
    factors = iter(float(n) for n in range(100))
    with pytest.raises(UnknownIdentity, match="name it"):
        train(schedule=lambda _: next(factors))


def test_a_trained_network_can_be_trained_further(
    train: Train, digits: tuple[Tensor, Tensor]
) -> None:
    further = train(network=train(), offset=9)
    by_hand = untrained()
    for seed in (2, 9):
        settings = {**FOLLOWING, "generator": torch.Generator().manual_seed(seed)}
        del settings["offset"]
        fit(by_hand, *digits, **settings)
    assert weights(further) == weights(by_hand)


def test_a_training_of_several_epochs_can_be_interrupted(
    train: Train, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, saves = train(), []
    (only,) = store.iterdir()
    only.unlink()

    def save_and_end_the_first(*given: Any) -> None:
        checkpoint.save(*given)
        saves.append(given)
        if len(saves) == 2:  # the first one holds the beginning
            raise KeyboardInterrupt

    monkeypatch.setattr(training_loop, "save", save_and_end_the_first)
    with pytest.raises(KeyboardInterrupt):
        train()
    assert [path.suffix for path in store.iterdir()] == [".checkpoint"]
    assert weights(train()) == weights(whole)
    assert len(saves) == 1 + FOLLOWING["epochs"]


def test_each_network_is_attacked_as_if_it_were_alone(
    found: Evaluations, networks: dict[str, nn.Module], images: tuple[Tensor, Tensor]
) -> None:
    assert list(found) == ["clean", "pgd"] and len(found) == 2
    for name, net in networks.items():
        alone = evaluate(
            net, *images, attacks=[PAPER, STRONGEST],
            generator=torch.Generator().manual_seed(OFFSET),
        )  # fmt: skip
        assert torch.equal(found[name].robust, alone.robust)
        assert torch.equal(
            found[name].results[PAPER.name].x_adv, alone.results[PAPER.name].x_adv
        )  # fmt: skip


def test_an_audit_adds_to_what_the_attacks_met(
    found: Evaluations, networks: dict[str, nn.Module], images: tuple[Tensor, Tensor]
) -> None:
    own = robustness_audit(
        networks["pgd"], images[0][:8], images[1][:8], attack=AUDIT, source=networks["clean"],
        queries=4, generator=torch.Generator().manual_seed(OFFSET + 1),
    )  # fmt: skip
    assert found.audits == {"pgd": found["pgd"].findings | own}
    assert "transfer" in own and "black_box" in found.audits["pgd"]
    assert found.audit() == summary(found.audits)
    assert list(found.audit({"subject": "pgd"})["value"]) == ["subject"]
    with pytest.raises(ValueError, match="'clean' was not audited; name it in sources"):
        found.audit(["pgd", "clean"])


def test_audits_without_a_network_or_an_attack_are_refused(
    networks: dict[str, nn.Module], images: tuple[Tensor, Tensor]
) -> None:
    ask = partial(
        Experiment(0).evaluate, networks, *images, paper=PAPER, strongest=STRONGEST, offset=0
    )
    with pytest.raises(ValueError, match="'trades', which is not among the networks"):
        ask(audit=AUDIT, sources={"trades": None})
    with pytest.raises(ValueError, match="pass both or neither"):
        ask(sources={"pgd": None})
    with pytest.raises(ValueError, match="pass both or neither"):
        ask(audit=AUDIT)


def test_an_example_is_robust_if_it_survives_both_attacks(found: Evaluations) -> None:
    for name in found:
        natural, paper, strongest = (
            found.outcome(name, which) for which in ("natural", "paper", "strongest")
        )
        assert torch.equal(found.outcome(name, "robust"), natural & paper & strongest)
        assert natural.any() and not found.outcome(name, "robust").all()
    with pytest.raises(ValueError, match="'strong' is not one of natural, paper"):
        found.outcome("pgd", "strong")  # type: ignore[arg-type]


def test_arms_are_named_after_network_and_column(found: Evaluations) -> None:
    assert list(found.arms(["pgd"])) == ["pgd.natural", "pgd.paper", "pgd.robust"]
    own = found.arms(columns={"nat": "natural", "strong": "robust"}, prefix="cifar-")
    assert list(own) == [
        f"cifar-{name}.{column}" for name in ("clean", "pgd") for column in ("nat", "strong")
    ]
    assert torch.equal(own["cifar-pgd.strong"], found["pgd"].robust)


def test_the_threat_is_the_strongest_attack_on_what_the_caller_says(found: Evaluations) -> None:
    threat = found.threat(data="mnist_embedded", model="mlp")
    assert threat == {
        "norm": "linf", "eps": EPS, "data": "mnist_embedded", "n": 20, "attack": STRONGEST.name,
        "access": "white box", "model": "mlp", "settings": STRONGEST.to_json(),
    }  # fmt: skip


def test_the_table_has_a_row_for_each_network_and_the_shares_of_its_outcomes(
    found: Evaluations,
) -> None:
    table = found.table()
    assert list(table.columns) == ["natural", PAPER.name, STRONGEST.name, "both attacks"]
    for name in found:
        assert table.loc[name, "both attacks"] == f"{found[name].robust.double().mean():.1%}"
    assert list(found.table({"clean images": "natural"}).columns) == ["clean images"]
