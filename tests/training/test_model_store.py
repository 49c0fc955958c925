from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from robustnb import tensorfile
from robustnb.identity import named
from robustnb.training.model_store import models_folder, train_or_load
from robustnb.training.objectives import standard
from robustnb.training.training_loop import History, fit

Make = Callable[..., tuple[nn.Module, dict[str, Any]]]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROBUSTNB_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("ROBUSTNB_FRESH", raising=False)
    return tmp_path / "models"


@pytest.fixture
def make(small: SimpleNamespace, store: Path) -> Make:
    images, labels = small.blobs()
    make: Any

    def train(net: nn.Module, checkpoint: Path) -> History:
        make.trainings += 1
        return fit(
            net, images, labels, objective=make.objective, epochs=2, batch_size=20, lr=0.01,
            generator=torch.Generator().manual_seed(0), checkpoint=checkpoint,
        )  # fmt: skip

    def make(**changes: Any) -> tuple[nn.Module, dict[str, Any]]:
        recipe = {"data": "blobs", "lr": 0.01, "seed": 0}
        return train_or_load({**recipe, **changes}, small.moody, train)

    make.trainings, make.objective = 0, standard()
    return make


def only_file(store: Path) -> Path:
    (file,) = store.iterdir()
    return file


def test_a_model_is_trained_once_and_then_read(
    make: Make, store: Path, small: SimpleNamespace
) -> None:
    first, record = make()
    again, same = make()
    assert make.trainings == 1
    assert small.weights(first) == small.weights(again)
    assert record == same
    assert only_file(store).name == f"{record['key']}.safetensors"


def test_the_record_says_how_the_model_was_made(make: Make) -> None:
    model, record = make()
    assert record["recipe"] == {"data": "blobs", "lr": 0.01, "seed": 0}
    assert record["weights"] == tensorfile.weights_digest(model.state_dict())
    assert record["versions"]["torch"] == torch.__version__
    assert record["seconds"] > 0 and record["cpu_seconds"] > 0
    assert len(record["history"]["epochs"]) == 2
    assert record["warnings"] == []
    assert json.loads(json.dumps(record)) == record


@pytest.mark.parametrize("change", [{"lr": 0.02}, {"seed": 1}, {"more": None}])
def test_another_recipe_is_another_model(make: Make, change: dict[str, Any]) -> None:
    assert make()[1]["key"] != make(**change)[1]["key"]
    assert make.trainings == 2


def test_code_threads_and_torch_version_are_part_of_the_key(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [make()[1]["key"]]
    for target, value in [
        ("robustnb.training.model_store.closure_digest", lambda modules: "other code"),
        ("torch.get_num_threads", lambda: 77),
        ("torch.__version__", "0.0"),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(target, value)
            keys.append(make()[1]["key"])
    assert len(set(keys)) == 4


def test_what_is_set_on_a_function_is_part_of_the_key(make: Make, small: SimpleNamespace) -> None:
    def scaled(net: nn.Module, x: torch.Tensor, y: torch.Tensor, *_: Any) -> torch.Tensor:
        return standard()(net, x, y) * scaled.scale  # type: ignore[attr-defined]

    def by(scale: float) -> dict[str, Any]:
        scaled.scale = scale  # type: ignore[attr-defined]
        make.objective = scaled
        return make()[1]

    assert by(1.0)["key"] == by(1.0)["key"] != by(2.0)["key"]
    assert make.trainings == 2
    assert by(1.0)["key"] == by(1.0)["key"] and make.trainings == 2


def damage_weights(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def damage_record(file: Path) -> None:
    content = file.read_bytes()
    assert b"blobs" in content
    file.write_bytes(content.replace(b"blobs", b"blots"))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_weights, damage_record, cut, empty])
def test_a_damaged_file_is_trained_again_with_a_warning(
    make: Make, store: Path, small: SimpleNamespace, damage: Callable[[Path], None]
) -> None:
    first, _ = make()
    damage(only_file(store))
    again, record = make()
    assert make.trainings == 2
    assert "trained again" in record["warnings"][0]
    assert small.weights(first) == small.weights(again)
    make()
    assert make.trainings == 2


@pytest.mark.parametrize(("value", "trainings"), [("1", 2), ("0", 1), ("", 1)])
def test_fresh_ignores_what_is_there(
    make: Make, monkeypatch: pytest.MonkeyPatch, value: str, trainings: int
) -> None:
    make()
    monkeypatch.setenv("ROBUSTNB_FRESH", value)
    make()
    assert make.trainings == trainings


def test_an_interrupted_training_leaves_no_model_and_goes_on_next_time(
    make: Make, store: Path, small: SimpleNamespace
) -> None:
    calls: list[int] = []

    def objective(model: nn.Module, *batch: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return standard()(model, *batch)

    make.objective = named(objective, "may be interrupted")
    with pytest.raises(KeyboardInterrupt):
        make()
    assert only_file(store).suffix == ".checkpoint"
    resumed, _ = make()
    assert len(calls) == 5 + 3
    assert only_file(store).suffix == ".safetensors"
    make.objective = standard()
    assert small.weights(make(note="whole")[0]) == small.weights(resumed)


def test_a_recipe_of_objects_is_refused_with_the_fix(make: Make) -> None:
    with pytest.raises(TypeError, match="settings"):
        make(model=nn.Linear(1, 1))
    with pytest.raises(TypeError, match="settings"):
        make(lr=float("nan"))


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROBUSTNB_MODELS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert models_folder() == Path("/somewhere/robustnb/models")
    monkeypatch.setenv("ROBUSTNB_MODELS", "~/mine")
    assert models_folder() == Path.home() / "mine"


def test_a_tensor_file_gives_back_every_kind_of_tensor(tmp_path: Path) -> None:
    tied = torch.randn(2, 3)
    tensors = {
        "scalar": torch.tensor(3), "half": torch.ones(2, dtype=torch.bfloat16), "tied": tied,
        "twin": tied, "empty": torch.zeros(0, 4), "across": torch.randn(3, 2).T,
        "last": torch.randn(1, 2, 3, 3).to(memory_format=torch.channels_last),
        "flag": torch.tensor([True]),
    }  # fmt: skip
    path = tmp_path / "a" / "b"
    tensorfile.write(path, tensors, {"n": 1})
    found, record = tensorfile.read(path)
    assert record == {"n": 1}
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    tensorfile.write(path, {"a": torch.ones(1)}, {})
    with pytest.raises(ValueError):
        tensorfile.write(path, {"a": torch.zeros(1)}, {"bad": float("nan")})
    assert torch.equal(tensorfile.read(path)[0]["a"], torch.ones(1))
    assert list(tmp_path.iterdir()) == [path]
