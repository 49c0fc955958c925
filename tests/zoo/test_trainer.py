from __future__ import annotations

import pytest
import torch

from robustnb import data
from robustnb.models import parameter_count
from robustnb.training import training_loop
from robustnb.zoo import build, train, trainer
from robustnb.zoo.recipes import find


def test_the_network_normalises_and_works_on_blocks_of_pixels():
    model = build(find("cifar10_standard").recipe)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(v)[:, None, None] for v in (trainer._MEAN, trainer._STD))
    blocks = ((x - mean) / std).reshape(2, 3, 16, 2, 16, 2).permute(0, 1, 3, 5, 2, 4)
    body = model.eval()[-1]
    assert torch.equal(model(x), body(blocks.reshape(2, 12, 16, 16)))
    assert model(x).shape == (2, 10)


def test_the_network_is_the_same_for_the_same_recipe_and_small():
    recipe = find("cifar10_linf").recipe
    one, two = build(recipe).state_dict(), build(recipe).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert parameter_count(build(recipe)) < 1_400_000  # 6 MB hold no more in float32


@pytest.mark.parametrize("name", ["toy_standard", "toy_linf"])
def test_a_cut_training_is_kept_and_found_again(toy, monkeypatch, name):
    def origin():
        return {"commit": "abc"}

    model, record = train(name, max_batches=2, origin=origin)
    history = record["history"]
    assert len(history["epochs"]) == 2 and history["commit"] == "abc"
    assert history["data"] == data.catalogue()["cifar10"].digest
    assert record["threads"] == find(name).recipe.threads
    monkeypatch.setattr(data, "load", None)  # so a second training would fail
    again, _ = train(name, max_batches=2, origin=origin)
    weights = again.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert len(list(toy.models.iterdir())) == 1


def test_an_interrupted_training_goes_on_to_the_same_weights(toy, monkeypatch):
    whole, _ = train("toy_linf", max_batches=2)
    (kept,) = toy.models.iterdir()
    kept.unlink()
    select, epochs = training_loop._select, []

    def stop_in_the_second_epoch(*given):
        epochs.append(1)
        if len(epochs) == 2:
            raise KeyboardInterrupt
        select(*given)

    monkeypatch.setattr(training_loop, "_select", stop_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        train("toy_linf", max_batches=2)
    assert [path.suffix for path in toy.models.iterdir()] == [".checkpoint"]
    resumed, _ = train("toy_linf", max_batches=2)
    assert len(epochs) == 3  # the first epoch is not trained again
    weights = resumed.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in whole.state_dict().items())


def test_a_training_takes_its_own_threads_and_gives_them_back():
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError), trainer.threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise RuntimeError
    assert torch.get_num_threads() == before
