"""The laws take any library's numbers, and refuse sizes, radii and generators that are none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robustnb.theory import carmon2019, koh2017, schmidt2018, tsipras2019, zhang2019

LAWS = {
    "robust error": lambda rng, f, i: schmidt2018.robust_error(
        0.5, 0.5, d=i(10), sigma=f(1), eps=f(0.25)
    ),
    "fixed law": lambda rng, f, i: schmidt2018.fixed_law(rng, d=i(10), draws=i(3)).cosine(
        n=i(5), sigma=f(1)
    ),
    "one sample": lambda rng, f, i: schmidt2018.single_sample_error(
        i(3), d=i(5), tau=f(0.25), eps=f(0.5)
    ),
    "averaging": lambda rng, f, i: schmidt2018.averaging_draws(
        rng, d=i(5), n=i(3), tau=f(0.25), eps=f(0.5), draws=i(4)
    ),
    "posterior": lambda rng, f, i: schmidt2018.posterior_attack(
        rng, schmidt2018.nearest_label, d=i(3), n=i(4), sigma=f(1), eps=f(0.5), draws=i(5)
    ),
    "self-training": lambda rng, f, i: (
        carmon2019.self_trained_law(
            rng, carmon2019.Regime(i(100), f(2), f(0.25)), n=i(4), unlabelled=i(5), draws=i(2)
        ).cosine
    ),
    "features": lambda rng, f, i: tsipras2019.DataModel(f(0.75), i(4), f(0.5)).sample(rng, i(3))[0],
    "instance": lambda rng, f, i: (
        zhang2019.random_instance(rng, points=i(3), count=i(2), zeros=f(0.5)).mass
    ),
    "logistic": lambda rng, f, i: koh2017.LogisticProblem.random(
        rng, n=i(4), d=i(2), l2=f(0.5)
    ).minimiser(),
}
KINDS = [(np.float32, np.int64), (torch.tensor, torch.tensor), (np.array, np.array)]


@pytest.mark.parametrize("kind", KINDS, ids=["numpy", "tensors", "arrays"])
@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_numbers_of_any_library(law, kind):
    expected = law(np.random.default_rng(0), float, int)
    assert np.array_equal(law(np.random.default_rng(0), *kind), expected)


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_sizes_and_radii_below_0_are_no_law(law):
    for kind in ((float, lambda value: -value), (lambda value: -value, int)):
        if law is not LAWS["fixed law"] or kind[1] is not int:
            with pytest.raises(ValueError, match=r"must|need"):
                law(np.random.default_rng(0), *kind)


@pytest.mark.parametrize("name", sorted(LAWS.keys() - {"robust error", "one sample"}))
def test_laws_want_numpys_generator(name):
    for wrong in (3, torch.Generator()):
        with pytest.raises(TypeError, match=r"pass np\.random\.default_rng\(3\)"):
            LAWS[name](wrong, float, int)


def test_no_direction_has_no_error():
    with pytest.raises(ValueError, match="theta must not be 0"):
        carmon2019.linear_error(np.zeros(3), np.ones(3), sigma=1.0)
