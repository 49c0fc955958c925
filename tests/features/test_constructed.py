from __future__ import annotations

import pytest
import torch
from torch import nn

from robustnb.features import (
    ConstructedDataset,
    match_representation,
    penultimate,
    relabelled_dataset,
    representation_dataset,
)
from robustnb.models import MLP, LightCNN
from robustnb.tensorfile import DamagedFile


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def net():
    return MLP(shape=(1, 4, 4), hidden=(8,), classes=3, generator=draws())


@pytest.fixture
def examples():
    return torch.rand(30, 1, 4, 4, generator=draws(1)), torch.arange(30) % 3


def test_the_representation_is_what_the_last_layer_is_given():
    net, x = LightCNN(generator=draws()), torch.rand(3, 1, 28, 28, generator=draws(1))
    seen = penultimate(net)(x)
    torch.testing.assert_close(net.head[2](seen), net(x))
    assert not net.head[2]._forward_pre_hooks
    with pytest.raises(ValueError, match="no linear layer"):
        penultimate(nn.Conv2d(1, 1, 3))


def test_a_linear_representation_is_matched(examples):
    x, _ = examples
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2), nn.Linear(2, 2))
    start = torch.full_like(x, 0.5)
    found, apart = match_representation(net, x, start, steps=400, step=0.01)
    target = penultimate(net)(x)
    exact = (penultimate(net)(found) - target).norm(dim=1) / target.norm(dim=1)
    torch.testing.assert_close(apart, exact.detach())
    assert apart.median() < 0.05
    assert found.min() >= 0 and found.max() <= 1
    assert torch.equal(start, torch.full_like(x, 0.5))


def test_an_image_that_matches_already_stays(net, examples):
    x, _ = examples
    found, apart = match_representation(net, x, x.clone(), steps=3)
    assert torch.equal(found, x)
    assert apart.tolist() == [0] * 30


def test_matching_does_not_depend_on_the_batches(net, examples):
    x, _ = examples
    way = {"steps": 5, "step": 0.05}
    one, _ = match_representation(net, x, x.flip(0), **way)
    two, _ = match_representation(net, x, x.flip(0), **way, batch_size=7)
    torch.testing.assert_close(one, two)


def test_every_image_starts_at_another_whatever_its_label(net, examples):
    x, y = examples
    made = representation_dataset(net, x, y, generator=draws(2), steps=20, step=0.05)
    assert torch.equal(made.labels, y)
    origin = (made.partners[:, None] == x[None]).flatten(2).all(2)
    assert origin.sum(1).tolist() == [1] * 30
    assert not origin.diagonal().any()
    assert torch.equal(y[origin.int().argmax(1)], made.old_labels)
    assert 0 < int((made.old_labels == y).sum()) < 30
    target = penultimate(net)(x)
    began = (penultimate(net)(made.partners) - target).norm(dim=1) / target.norm(dim=1)
    assert made.distances.mean() < 0.7 * began.mean()


def test_noise_is_a_start_too(net, examples):
    x, y = examples
    made = representation_dataset(net, x, y, generator=draws(2), start="noise", steps=2)
    assert made.old_labels.tolist() == [-1] * 30
    assert made.recipe["start"] == "noise"
    assert not torch.equal(made.partners, x)


def test_next_and_random_targets(examples):
    x, y = examples
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    nn.init.normal_(net[1].weight, generator=draws(5))
    way = {"classes": 3, "eps": 2.0, "step": 0.2, "steps": 30}
    following = relabelled_dataset(net, x, y, targets="next", **way)
    assert torch.equal(following.labels, (y + 1) % 3)
    assert (net(following.images).argmax(1) == following.labels).float().mean() > 0.9
    assert following.distances.max() <= 2.0 + 1e-5
    torch.testing.assert_close(following.distances, (following.images - x).flatten(1).norm(dim=1))
    many, labels = x.repeat(40, 1, 1, 1), y.repeat(40)
    drawn = relabelled_dataset(
        net, many, labels, targets="random", generator=draws(3), **{**way, "steps": 1}
    )
    shares = torch.bincount(drawn.labels, minlength=3) / 1200
    torch.testing.assert_close(shares, torch.full((3,), 1 / 3), atol=0.05, rtol=0)
    assert float((drawn.labels == labels).float().mean()) == pytest.approx(1 / 3, abs=0.05)
    assert torch.equal(drawn.old_labels, labels)


def test_relabelling_is_the_paper_s_loop_written_out(examples):
    x, y = examples
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))
    for weights in net.parameters():
        nn.init.normal_(weights, generator=draws(6))
    way = {"classes": 3, "eps": 0.7, "step": 0.2, "steps": 6}
    made = relabelled_dataset(net, x, y, targets="next", **way)
    for image, target, found in zip(x, made.labels, made.images, strict=True):
        at = image[None].clone()
        for _ in range(6):
            leaf = at.clone().requires_grad_()
            nn.functional.cross_entropy(net(leaf), target[None]).backward()
            moved = at - 0.2 * leaf.grad / leaf.grad.norm() - image
            at = (image + moved * min(1.0, 0.7 / float(moved.norm()))).clamp(0, 1)
        torch.testing.assert_close(found, at[0], atol=1e-5, rtol=1e-4)


def test_a_relabelled_image_never_leaves_the_ball_or_the_box(net):
    x = torch.randint(0, 2, (40, 1, 4, 4), generator=draws(4)).float()
    y = torch.arange(40) % 3
    way = {"classes": 3, "eps": 0.3, "step": 0.3, "steps": 12}
    made = relabelled_dataset(net, x, y, targets="next", **way)
    assert made.images.min() >= 0 and made.images.max() <= 1
    assert float(made.distances.max()) <= 0.3


@pytest.mark.parametrize("count", [0, 1])
def test_no_image_and_one_are_relabelled(net, examples, count):
    x, y = (part[:count] for part in examples)
    way = {"classes": 3, "eps": 1.0, "step": 0.2, "steps": 5}
    made = relabelled_dataset(net, x, y, targets="next", **way)
    whole = relabelled_dataset(net, *examples, targets="next", **way)
    torch.testing.assert_close(made.images, whole.images[:count])
    assert made.distances.shape == (count,)


def test_targets_that_are_the_labels_and_images_that_cannot_move(net, examples):
    x, _ = examples
    way = {"classes": 3, "step": 0.2, "steps": 3}
    one_class = torch.zeros(30, dtype=torch.long)
    made = relabelled_dataset(
        net, x, one_class, targets="random", generator=draws(3), eps=0.5, **way
    )
    assert bool((made.labels == 0).any()) and bool(made.images.isfinite().all())
    still = relabelled_dataset(net, x, one_class, targets="next", eps=0.0, **way)
    assert torch.equal(still.images, x)
    blind = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    nn.init.zeros_(blind[1].weight)
    assert torch.equal(
        relabelled_dataset(blind, x, one_class, targets="next", eps=0.5, **way).images, x
    )


def test_labels_beyond_the_classes_are_refused(net, examples):
    x, y = examples
    way = {"eps": 0.5, "step": 0.1, "steps": 2}
    with pytest.raises(ValueError, match="from 0 to 1, got 0 to 2"):
        relabelled_dataset(net, x, y, targets="next", classes=2, **way)
    with pytest.raises(ValueError, match="one number each"):
        relabelled_dataset(net, x, y, targets="next", classes=3, **{**way, "step": [0.1, 0.2]})


def test_a_representation_of_zeros_has_an_absolute_distance(examples):
    x, _ = examples
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2, bias=False), nn.Linear(2, 2))
    target = torch.zeros_like(x[:2])
    found, apart = match_representation(net, target, x[:2], steps=2, step=0.01)
    torch.testing.assert_close(apart, penultimate(net)(found).norm(dim=1).detach())


def test_a_data_set_is_saved_with_recipe_and_digest(net, examples, tmp_path):
    x, y = examples
    way = {"classes": 3, "eps": 0.5, "step": 0.1, "steps": 2}
    made = relabelled_dataset(net, x, y, targets="next", **way)
    path = tmp_path / "set.safetensors"
    made.save(path)
    back = ConstructedDataset.load(path)
    assert back.digest == made.digest and dict(back.recipe) == dict(made.recipe)
    assert {"kind": "relabelled", "eps": 0.5, "targets": "next"}.items() <= back.recipe.items()
    assert torch.equal(back.images, made.images)
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DamagedFile, match="changed"):
        ConstructedDataset.load(path)


def test_what_cannot_be_made_is_refused(net, examples):
    x, y = examples
    way = {"classes": 3, "eps": 0.5, "step": 0.1, "steps": 2}
    with pytest.raises(ValueError, match="generator"):
        relabelled_dataset(net, x, y, targets="random", **way)
    with pytest.raises(ValueError, match="targets"):
        relabelled_dataset(net, x, y, targets="previous", **way)
    with pytest.raises(ValueError, match="must be in"):
        relabelled_dataset(net, 255 * x, y, targets="next", **way)
    with pytest.raises(ValueError, match="two images"):
        representation_dataset(net, x[:1], y[:1], generator=draws())
    with pytest.raises(ValueError, match="start"):
        representation_dataset(net, x, y, generator=draws(), start="zero")
    with pytest.raises(ValueError, match="alike"):
        match_representation(net, x, x[:3])
