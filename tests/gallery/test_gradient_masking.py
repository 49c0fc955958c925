"""Three models that hide their gradients look robust, are not, and never pass for judged."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from robustnb.gallery import inspect_masked
from robustnb.gallery.fixtures import digits
from robustnb.gallery.gradient_masking import Masked, _quantise, _saturate
from robustnb.reproduce import words
from robustnb.reproduce.estimands import Arm
from robustnb.reproduce.evidence import RunData
from robustnb.reproduce.verdict import judge_all

MASKED = ("quantised input", "saturated logits", "random pixels dropped")


@pytest.fixture(scope="module")
def found():
    return {f.name: f for f in inspect_masked()}


def verdict_on(part, audit):
    rng = np.random.default_rng(0)

    def arm(rate):
        x = (rng.random(500) < rate).astype(float)
        return Arm(500, float(x.mean()), x)

    runs = [RunData(seed, {"a": arm(0.9), "b": arm(0.5)}, (), (audit,)) for seed in range(5)]
    return judge_all([(part, runs)], "laptop", draws=200)[0]


def test_all_three_and_the_sound_one_are_inspected(found):
    assert tuple(found) == (*MASKED, "nothing masked")


@pytest.mark.parametrize("name", MASKED)
def test_a_masked_model_looks_more_robust_than_it_is(found, name):
    f = found[name]
    assert f.naive - f.undone > 0.1  # what one run of PGD overstates


@pytest.mark.parametrize("name", MASKED)
def test_the_self_audit_catches_it(found, name):
    wanted = {"random pixels dropped": {"deterministic"}}.get(name, {"zero_gradients", "large_eps"})
    assert wanted <= set(found[name].audit)


@pytest.mark.parametrize("name", MASKED)
def test_the_ensembles_findings_catch_it_too(found, name):
    wanted = {"random pixels dropped": {"deterministic", "again"}}.get(name, {"gradients"})
    assert wanted <= set(found[name].findings)


@pytest.mark.parametrize("name", MASKED)
def test_a_claim_on_it_is_inconclusive_however_clear_its_numbers(part, found, name):
    f = found[name]
    assert not f.verdict["ok"]
    judged = verdict_on(part(audited=True), f.verdict)
    assert judged.word == words.AUDIT
    assert "the attack audit failed" in judged.text


def test_the_same_claim_on_a_sound_model_is_judged(part, found):
    f = found["nothing masked"]
    assert f.verdict["ok"] and f.audit == f.findings == {}
    assert abs(f.naive - f.undone) < 0.02 and f.ensemble <= f.undone
    assert verdict_on(part(audited=True), f.verdict).word != words.AUDIT


def test_the_page_says_what_the_ensemble_could_and_could_not_do(found):
    rounded, scaled = found["quantised input"], found["saturated logits"]
    assert rounded.clean == rounded.naive and scaled.clean == scaled.naive
    assert scaled.ensemble <= scaled.undone  # broken in full
    assert rounded.ensemble > rounded.undone + 0.05  # not in full, and it says so:
    assert "black_box" in rounded.findings
    assert found["random pixels dropped"].ensemble < found["random pixels dropped"].undone


@pytest.mark.parametrize("wrapped", [{"before": _quantise}, {"after": _saturate}])
def test_a_mask_leaves_the_gradient_of_cross_entropy_at_zero(wrapped):
    net, x, y = digits()
    sure = net(x).argmax(1) == y
    leaf = x[sure].clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(Masked(net, **wrapped)(leaf), y[sure])
    (grad,) = torch.autograd.grad(loss, leaf)
    assert float((grad == 0).double().mean()) > 0.9


def test_what_was_found_can_be_stored(found):
    for f in found.values():
        assert json.loads(json.dumps(f.to_json()))["name"] == f.name
