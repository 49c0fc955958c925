"""Correcting labels in an order: the counts, the true labels at the end, and that it helps."""

from __future__ import annotations

import torch

from robustnb.influence import correct_labels, fit_risk, self_influence
from tests.influence.conftest import make_risk


def mislabelled():
    risk = make_risk("binary", l2=0.01, minimised=False, n=300)
    truth = (risk.x[:, 0] > 0).long() * 2 - 1
    y = truth.clone()
    y[::10] *= -1
    return fit_risk(risk.relabelled(y)), truth


def test_inspecting_everything_finds_every_flip_and_gives_the_clean_fit():
    risk, truth = mislabelled()
    found = correct_labels(
        risk, truth, risk.x, truth, order=torch.arange(300), checked=[0, 100, 300]
    )
    assert found.found.tolist() == [0, 10, 30]
    clean = fit_risk(risk.relabelled(truth))
    expected = clean.outputs_of(risk.x) * truth > 0
    assert bool((found.correct[-1] == expected).all())


def test_self_influence_finds_flips_sooner_than_chance():
    risk, truth = mislabelled()
    order = self_influence(risk).argsort()
    found = correct_labels(risk, truth, risk.x[:50], truth[:50], order=order, checked=[60])
    assert found.found[0] > 3 * 6
