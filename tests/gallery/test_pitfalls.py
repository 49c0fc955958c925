"""Every pitfall fails in its wrong form and holds in its right one, by the same measure."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.nn import functional as F

from robustnb.attacks.projections import lp_distance
from robustnb.blackbox import reservoir_sample
from robustnb.gallery import pitfalls
from robustnb.gallery.attack_loop import byte_mask_wrong
from robustnb.gallery.black_box import reservoir_end_right, two_rates_right, two_rates_wrong
from robustnb.gallery.fixtures import digits
from robustnb.gallery.objective import shadowed_branch_right
from robustnb.gallery.skip_connections import name_match_right, name_match_wrong

PITFALLS = pitfalls()
# What must be lost at least for the pitfall to be worth a page; exact where it is known.
KNOWN = {
    "flat-batch": 9.0,  # the root of 100, less 1
    "kl-mean": 0.9,  # one of ten classes
    "added-lists": 0.9,  # one of ten draws
    "always-rescale": 0.7,  # from 0.3 to 1
    "shadowed-branch": 99.0,  # two drops by ten
    "raw-nll": 10.0,
    "shared-relu": 0.875,  # 1 - gamma^3
    "name-match": 3.0,  # blocks 10, 20 and 30
    "feature-mean": 15 / 16,  # one of sixteen features
    "normalised-eps": 1 - 0.3081,
    "no-noise": 1.0,
    "text-flag": 1.0,
    "reservoir-end": 1 / 6,  # the last of four is let in by two of three, not of four
}


def named(pitfall):
    return pitfall.name


@pytest.mark.parametrize("pitfall", PITFALLS, ids=named)
def test_the_right_form_holds_and_the_wrong_form_does_not(pitfall):
    errors = pitfall.errors()
    assert errors["right"] <= pitfall.limit < errors["wrong"]
    assert pitfall.holds(pitfall.right) and not pitfall.holds(pitfall.wrong)


@pytest.mark.parametrize("pitfall", PITFALLS, ids=named)
def test_the_wrong_form_is_wrong_by_far_more_than_rounding(pitfall):
    assert pitfall.errors()["wrong"] > max(0.02, 10 * pitfall.limit)


@pytest.mark.parametrize("name", KNOWN)
def test_an_error_that_can_be_computed_by_hand_is_measured(name):
    (pitfall,) = [e for e in PITFALLS if e.name == name]
    assert pitfall.measure(pitfall.wrong) == pytest.approx(KNOWN[name], rel=1e-5)


@pytest.mark.parametrize("pitfall", PITFALLS, ids=named)
def test_a_measurement_gives_the_same_number_again(pitfall):
    assert pitfall.errors() == pitfall.errors()


def test_names_are_unique():
    assert len({e.name for e in PITFALLS}) == len(PITFALLS) >= 20


def test_measuring_leaves_the_global_generator_and_the_network_alone():
    net, x, _ = digits()
    before, state = net(x).detach(), torch.get_rng_state()
    for pitfall in PITFALLS:
        pitfall.errors()
    assert torch.equal(state, torch.get_rng_state())
    assert not net.training and torch.equal(before, net(x).detach())


def test_no_measurement_warns_but_the_one_that_shows_a_warning_away():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for pitfall in PITFALLS:
            pitfall.errors()


def test_a_byte_mask_keeps_the_last_restart_whatever_it_did():
    old, new = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)
    assert torch.equal(byte_mask_wrong(old, new, torch.tensor([True, False])), new)


def test_kl_div_at_the_clean_image_has_a_gradient_of_rounding_only():
    net, x, _ = digits()
    leaf = x.clone().requires_grad_()
    clean = net(x).detach().softmax(1)
    loss = F.kl_div(net(leaf).log_softmax(1), clean, reduction="sum")
    (grad,) = torch.autograd.grad(loss, leaf)
    assert 0 < float(grad.abs().max()) < 1e-5


def test_a_rule_by_name_loses_the_blocks_whose_number_ends_in_nought():
    names = [f"layer3.{block}.relu" for block in range(36)]
    apart = [n for n in names if name_match_wrong(n) != name_match_right(n)]
    assert apart == ["layer3.10.relu", "layer3.20.relu", "layer3.30.relu"]
    assert not name_match_right("layer1.0.relu") and not name_match_right("relu")


def test_the_schedule_drops_in_the_epochs_of_its_docstring():
    rates = [shadowed_branch_right(epoch) for epoch in (1, 74, 75, 89, 90, 99, 100)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.0001])


@pytest.mark.parametrize("name", ["ball-then-box", "always-rescale"])
def test_both_forms_of_a_projection_stay_in_the_ball(name):
    (pitfall,) = [e for e in PITFALLS if e.name == name]
    x = torch.rand(20, 1, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    far = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    for form in (pitfall.wrong, pitfall.right):
        assert float(lp_distance(form(far, x, eps=0.5), x, "l2").max()) <= 0.5 + 1e-12


def test_rates_of_changed_and_of_spoilt_labels_differ_by_what_is_mended():
    y, clean, moved = (torch.tensor(labels) for labels in ([0] * 4, [0, 0, 1, 1], [0, 1, 0, 2]))
    assert two_rates_wrong(y, clean, moved) == 0.75  # one spoilt, one mended, one wrong twice
    assert two_rates_right(y, clean, moved) == 0.25


def test_a_reservoir_of_all_keeps_all_and_the_right_form_is_the_librarys():
    assert reservoir_end_right(3, 3, []) == [0, 1, 2]
    drawn = torch.rand(20, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ours = reservoir_sample(24, 4, generator=torch.Generator().manual_seed(3))
    assert reservoir_end_right(24, 4, drawn.tolist()) == ours.tolist()
