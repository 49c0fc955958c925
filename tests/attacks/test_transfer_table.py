from __future__ import annotations

import pytest
import torch

from robustnb.attacks import PGDConfig, craft, transfer, transfer_matrix
from small_inputs import seeded

ATTACK = PGDConfig("up", eps=0.06, step=0.02, steps=4)


def test_it_agrees_with_one_transfer_at_a_time(curved, images):
    nets = {"a": curved(0), "b": curved(1)}
    y = nets["a"].eval()(images).argmax(1)
    made = {
        name: craft(net, images, y, attack=ATTACK, generator=seeded()) for name, net in nets.items()
    }
    found = transfer_matrix(made, nets, images, y)
    for source, net in nets.items():
        for target, other in nets.items():
            one = transfer(net, other, images, y, attack=ATTACK, generator=seeded())
            assert torch.equal(found.changed[source, target], ~one.adv_correct)
            assert torch.equal(found.clean[target], one.clean_correct)
            assert found.success_rate(source, target) == one.success_rate()


def test_without_labels_success_is_an_answer_that_changes(curved, images):
    net = curved()
    answer = net.eval()(images).argmax(1)
    moved = (images + 0.1).clamp(0, 1)
    found = transfer_matrix({"moved": moved, "same": images}, {"net": net}, images)
    assert bool(found.clean["net"].all()) and not bool(found.changed["same", "net"].any())
    assert torch.equal(found.changed["moved", "net"], net(moved).argmax(1) != answer)


def test_each_target_is_asked_once_about_each_image(counting, curved, images):
    net = counting(curved())
    y = torch.zeros(40, dtype=torch.int64)
    transfer_matrix({"a": images, "b": images}, {"net": net}, images, y)
    assert net.seen == 3 * 40


def test_images_of_another_shape_are_refused(curved, images):
    with pytest.raises(ValueError, match="crafted by 'a'"):
        transfer_matrix({"a": images[:3]}, {"net": curved()}, images)
