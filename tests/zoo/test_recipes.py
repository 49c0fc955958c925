from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from robustnb import data
from robustnb.errors import UsageError
from robustnb.zoo import manifest, names, recipes
from robustnb.zoo.digests import SHA256
from robustnb.zoo.loading import file_of
from robustnb.zoo.publishing import DIGESTS

ENTRIES = list(manifest().values())
TRAINED = [entry for entry in ENTRIES if entry.trained]


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(UsageError, match="did you mean 'cifar10_linf'"):
        recipes.find("cifar10_lnif")


def test_all_networks_are_of_one_architecture_and_one_data_set():
    # what transfer and features compare: only the training differs
    assert len({(e.recipe.dataset, e.recipe.depth, e.recipe.widen) for e in ENTRIES}) == 1
    assert len({e.recipe.batch_size for e in ENTRIES}) == 1


def test_one_step_of_fast_training_is_longer_than_the_radius():
    # Wong 2020, Algorithm 3: alpha = 1.25 eps
    own = recipes.find("cifar10_linf").recipe.adversary
    assert (own.norm, own.steps) == ("linf", 1)
    assert (own.eps, own.step / own.eps) == pytest.approx((8 / 255, 1.25))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"epochs": 0}, "epochs"),
        ({"lr": 0.0}, "lr"),
        ({"seed": -1}, "seed"),
        ({"held_out": 1.5}, "held_out"),
        ({"weight_decay": float("nan")}, "weight_decay"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(change, says):
    with pytest.raises((TypeError, ValueError), match=says):
        replace(recipes.find("cifar10_standard").recipe, **change)


@pytest.mark.parametrize("change", [{"norm": "l3"}, {"eps": 0.0}, {"step": -1.0}, {"steps": 0}])
def test_an_adversary_that_cannot_work_is_refused(change):
    with pytest.raises((TypeError, ValueError), match=next(iter(change))):
        replace(recipes.find("cifar10_linf").recipe.adversary, **change)


def test_a_recipe_is_read_as_it_was_written(toy):
    for entry in manifest().values():
        text = (toy.folder / recipes.FILE).read_text(encoding="utf-8")
        assert json.loads(text)[entry.name]["recipe"] == entry.recipe.to_json()


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda recipe: recipe.pop("epochs"), "epochs"),
        (lambda recipe: recipe.update(epoch=3), "epoch"),
        (lambda recipe: recipe.pop("adversary"), "adversary"),
        (lambda recipe: recipe.update(adversary={"norm": "linf"}), "eps"),
    ],
)
def test_a_manifest_that_lacks_or_adds_something_is_refused_by_name(toy, edit, says):
    path = toy.folder / recipes.FILE
    known = json.loads(path.read_text(encoding="utf-8"))
    edit(known["toy_linf"]["recipe"])
    path.write_text(json.dumps(known), encoding="utf-8")
    recipes.manifest.cache_clear()
    with pytest.raises(UsageError, match=f"toy_linf is not as it should be: .*{says}"):
        names()


def test_the_files_of_weights_are_small_and_known_by_one_digest():
    files = {path.stem: path for path in recipes.FOLDER.glob("*.safetensors")}
    assert set(files) == {entry.name for entry in TRAINED} == set(SHA256)
    sizes = {name: path.stat().st_size for name, path in files.items()}
    assert max(sizes.values()) <= 6e6 and sum(sizes.values()) <= 30e6
    for entry in TRAINED:
        assert entry.trained["sha256"] == SHA256[entry.name]
        assert entry.trained["bytes"] == sizes[entry.name]
        assert file_of(entry.name) == files[entry.name]


@pytest.mark.parametrize("entry", TRAINED, ids=lambda entry: entry.name)
def test_the_manifest_says_where_weights_come_from_and_what_they_do(entry):
    origin, scores = entry.trained, entry.trained["held_out_scores"]
    assert re.fullmatch("[0-9a-f]{40}", origin["commit"]) and origin["machine"]
    assert origin["data"] == data.catalogue()[entry.recipe.dataset].digest
    assert origin["seconds"] > 0 < origin["cpu_seconds"] and origin["versions"]["torch"]
    assert len(scores) == len(origin["losses"]) == entry.recipe.epochs
    assert origin["kept_epoch"] == 1 + scores.index(max(scores))  # the earliest of the best
    assert entry.accuracy["clean"]["images"] == 10_000


@pytest.mark.parametrize("entry", TRAINED, ids=lambda entry: entry.name)
def test_stronger_attacks_leave_fewer_right_on_the_same_images(entry):
    for found in entry.accuracy["attacked"]:
        order = [found["ensemble"]["right"], found["pgd"]["right"], found["natural"]]
        assert order == sorted(order) and order[-1] <= found["images"]
        own = entry.recipe.adversary
        assert own is None or (own.norm, own.eps) == (found["norm"], found["eps"])


def test_weights_and_manifest_are_package_data(root):
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    assert '"zoo/*.json"' in text and '"zoo/*.safetensors"' in text
    assert {recipes.FILE, DIGESTS} <= {path.name for path in recipes.FOLDER.iterdir()}
