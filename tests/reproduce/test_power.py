from __future__ import annotations

import json

import pytest

from robustnb.errors import UsageError
from robustnb.reproduce import keys, power, profiles
from robustnb.stats import power_against

PILOTS = range(100, 105)
PART = "toy2020.C1.more"


@pytest.fixture
def pilot(toy, edit, leave_run):
    """Leave a run of the toy paper, whose part plans to see two points."""
    plan = "planned: {effect: 0.02, reason: what the paper saw}"
    edit("sign: 1", f"sign: 1\n        {plan}", name="claims/toy2020.yaml")

    def leave(seed, profile="laptop", given=None):
        size = profiles.get(toy.notebooks, profile)
        return leave_run(keys.resolve_run(toy, "toy2020", size, seed, given=given))

    return leave


def powers(toy, profile="laptop"):
    return power.powers(toy, "toy2020", profiles.get(toy.notebooks, profile))


def test_the_power_is_that_against_the_registered_effect(toy, pilot):
    for seed in PILOTS:
        pilot(seed)
    found = powers(toy)[PART]
    assert (found["effect"], found["pilot_seeds"]) == (0.02, list(PILOTS))
    assert found["degrees_of_freedom"] == 4
    expected = power_against(0.02, found["standard_error"], df=4)
    assert found["power"] == pytest.approx(expected, abs=2e-3) and 0.05 < expected < 0.95


def test_an_equivalence_is_given_the_power_to_find_no_difference(toy, pilot, edit):
    change = "kind: equivalence\n        margin: 0.02\n        margin_reason: small"
    edit("kind: direction", change, name="claims/toy2020.yaml")
    edit("        sign: 1\n", "", name="claims/toy2020.yaml")
    for seed in PILOTS:
        pilot(seed)
    found = powers(toy)[PART]
    one_sided = power_against(0.02, found["standard_error"], df=4, alpha=0.1)
    assert found["power"] == pytest.approx(max(0.0, 2 * one_sided - 1), abs=2e-3)


def test_only_runs_of_the_profile_with_todays_code_and_seeds_of_no_part_are_pilots(
    toy, pilot, edit
):
    pilot(99)
    edit("generator.random(size) < 0.1", "generator.random(size) < 0.2")
    pilot(100)
    pilot(101, given={"size": 81})
    pilot(102, profile="gpu")
    pilot(0)
    with pytest.raises(UsageError, match=r"5 seeds and 1 pilot runs at laptop .*\(seeds: 100\)"):
        powers(toy)


def test_a_paper_without_a_plan_is_told(toy):
    with pytest.raises(UsageError, match="no part of toy2020 has a planned effect"):
        powers(toy)


def test_what_is_kept_of_other_parts_stays(toy):
    power.keep(toy, {"b": {"power": 0.1}, "a": {"power": 0.2}})
    path = power.keep(toy, {"a": {"power": 0.3}})
    kept = json.loads(path.read_text())
    assert kept == {"schema": 1, "parts": {"a": {"power": 0.3}, "b": {"power": 0.1}}}


def test_the_command_keeps_the_powers_at_laptop_alone(toy, pilot, robustnb):
    for seed in PILOTS:
        pilot(seed)
        pilot(seed, profile="gpu")
    code, out, _ = robustnb("power", "toy2020", "--profile", "gpu", "--json")
    assert (code, [row["part"] for row in json.loads(out)]) == (0, [PART])
    assert not power.results_file(toy).exists()
    code, out, err = robustnb("power", "toy2020")
    assert code == 0 and PART in out and "power.json" in err
    assert list(json.loads(power.results_file(toy).read_text())["parts"]) == [PART]
