from __future__ import annotations

import hashlib
import json

import pytest
import torch

from robustnb.errors import DataError, UsageError
from robustnb.reproduce import render, zoo_table
from robustnb.zoo import counts, load, measure, names, publishing, recipes
from robustnb.zoo.digests import SHA256
from robustnb.zoo.loading import answers_as_recorded, file_of
from robustnb.zoo.measuring import agrees


def published(toy, zoo, monkeypatch, name="toy_standard"):
    """Train and publish a network through the commands, as a new version of the package has it."""
    told = zoo("train", name)
    (file,) = toy.models.glob("*.safetensors")
    assert str(file) in told
    zoo("publish", name, file, "--images", 10, "--clean", 20)
    recipes.manifest.cache_clear()
    table = {}
    exec((toy.folder / publishing.DIGESTS).read_text(encoding="utf-8"), table)
    monkeypatch.setitem(SHA256, name, table["SHA256"][name])
    return recipes.find(name)


@pytest.fixture
def entry(toy, zoo, monkeypatch):
    return published(toy, zoo, monkeypatch)


def test_a_published_network_is_loaded_as_it_was_trained(toy, entry):
    (file,) = toy.models.glob("*.safetensors")
    trained, origin = publishing.trained(entry, file)
    model = load(entry.name)
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    assert not model.training and torch.equal(model(x), trained(x))
    assert torch.equal(load(entry.name)(x), model(x))
    assert load(entry.name, dtype=torch.float64)(x.double()).dtype == torch.float64
    assert entry.trained["kept_epoch"] == origin["kept_epoch"]
    digest = hashlib.sha256(file_of(entry.name).read_bytes()).hexdigest()
    assert entry.trained["sha256"] == SHA256[entry.name] == digest


def test_an_edited_file_is_refused_with_the_way_out(entry, zoo):
    path = file_of(entry.name)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="not the file of toy_standard that robustnb knows"):
        load(entry.name)
    with pytest.raises(DataError, match="not as they should be: toy_standard"):
        zoo("verify", entry.name)


def test_a_missing_file_is_named(entry):
    file_of(entry.name).unlink()
    with pytest.raises(DataError, match=r"toy_standard\.safetensors cannot be read"):
        load(entry.name)


def test_code_that_means_something_else_is_noticed(toy, entry, zoo):
    assert answers_as_recorded(entry.name)
    known = json.loads((toy.folder / recipes.FILE).read_text(encoding="utf-8"))
    known[entry.name]["trained"]["probe"][0][0] += 0.01
    (toy.folder / recipes.FILE).write_text(json.dumps(known), encoding="utf-8")
    recipes.manifest.cache_clear()
    assert not answers_as_recorded(entry.name)
    with pytest.raises(DataError, match="not as they should be"):
        zoo("verify", entry.name)


def test_verify_measures_again_and_refuses_what_the_measurement_excludes(toy, entry, zoo):
    told = zoo("verify", entry.name, "--images", 10)
    assert "its digest is right" in told and "clean: " in told
    known = json.loads((toy.folder / recipes.FILE).read_text(encoding="utf-8"))
    clean = known[entry.name]["accuracy"]["clean"]
    clean["right"] = 0 if clean["right"] > 10 else 20
    (toy.folder / recipes.FILE).write_text(json.dumps(known), encoding="utf-8")
    recipes.manifest.cache_clear()
    with pytest.raises(DataError, match="not as they should be"):
        zoo("verify", entry.name, "--images", 40)


def test_the_list_and_the_tables_say_what_the_manifest_says(entry, zoo):
    rows = {row["name"]: row for row in json.loads(zoo("list", "--json"))}
    assert set(rows) == set(names())
    assert rows["toy_linf"]["accuracy"] == "not trained yet"
    assert "clean " in rows["toy_standard"]["accuracy"]
    right = entry.accuracy["clean"]["right"] / 20
    assert f"{right:.1%}" in zoo("list") and f"{right:.1%} [" in zoo_table.table("accuracies")
    for what in ("accuracies", "audit", "origin", "recipes"):
        text = render.substitute(f"{{{{ zoo {what} }}}}", {}, page=render.Page(recipes.FOLDER))
        assert "`toy_standard`" in text and "`toy_linf`" not in text
    with pytest.raises(UsageError, match="did you mean 'audit'"):
        zoo_table.table("audti")


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("word", ["train", "verify"])
def test_an_unknown_network_gets_the_nearest_one(zoo, word):
    with pytest.raises(UsageError, match="did you mean 'toy_linf'"):
        zoo(word, "toy_lnif")


def test_what_is_no_training_of_the_recipe_is_not_published(toy, zoo):
    zoo("train", "toy_standard", "--max-batches", 2)
    (cut,) = toy.models.glob("*.safetensors")
    with pytest.raises(UsageError, match="max_batches differs"):
        zoo("publish", "toy_standard", cut)
    with pytest.raises(UsageError, match="adversary"):
        zoo("publish", "toy_linf", cut)
    cut.write_bytes(b"nothing")
    with pytest.raises(UsageError, match="name a file that `robustnb zoo train` wrote"):
        zoo("publish", "toy_standard", cut)
    assert not list(toy.folder.glob("*.safetensors"))


@pytest.mark.parametrize("name", sorted(SHA256))
def test_the_networks_of_the_zoo_answer_as_recorded(name):
    assert answers_as_recorded(name)


@pytest.mark.network
@pytest.mark.parametrize("name", sorted(SHA256))
def test_the_recorded_accuracy_is_found_again_on_test_images(name):
    entry = recipes.find(name)
    again = measure(load(name), entry.recipe, images=1, clean=1_000, against=[])
    assert agrees(counts(entry.accuracy)[0], counts(again)[0])
