from __future__ import annotations

import pytest

from robustnb.errors import UsageError
from robustnb.reproduce import keys, profiles, registry
from robustnb.reproduce.yamlfile import read_mapping

DAMAGED = {
    "": "expected a mapping, got NoneType",
    "- 1\n": "expected a mapping, got list",
    "profiles: {a: [\n": "not readable as YAML",
    "profiles:\n\t- 1\n": "not readable as YAML",
    "papers: {}\npapers: {}\n": "'papers' stands twice",
    "a: \x00\n": "not readable as YAML",
}


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_file_is_one_line_that_names_it(toy, text):
    path = toy.notebooks / "profiles.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=rf"^profiles\.yaml: .*{DAMAGED[text]}") as caught:
        profiles.load(toy.notebooks)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_registry_is_one_line_that_names_it(toy, text):
    path = toy.claims / "toy2020.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=rf"^toy2020\.yaml: .*{DAMAGED[text]}") as caught:
        registry.load(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_utf_8_or_not_there_is_named(tmp_path):
    path = tmp_path / "x.yaml"
    with pytest.raises(UsageError, match=r"x\.yaml cannot be read"):
        read_mapping(path)
    path.write_bytes("title: Gauß\n".encode("latin-1"))
    with pytest.raises(UsageError, match=r"x\.yaml: not readable as YAML: .*utf-8"):
        read_mapping(path)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("papers:", "paper:", "unknown key 'paper'; did you mean 'papers'"),
        ("toy2020:\n    laptop: {size: 80}", "- toy2020", "papers should be a valid mapping"),
        ("size: 80", "1: 80", r"papers\.toy2020\.laptop\[1\]: .* should be a valid string, got 1"),
        ("  smoke:", "  smokey:", "must list the profiles smoke, laptop, gpu, paper"),
        ("laptop: {size: 80}", "labtop: {size: 80}", "toy2020 overrides 'labtop'"),
        ("laptop: {size: 80}", "smoke: {size: 80}", "toy2020 overrides 'smoke'"),
        ("laptop: {size: 80}", "laptop: [80]", "papers.toy2020: laptop should be a valid mapping"),
        ("laptop: {size: 80}", "laptop: {size: 80, seed: 3}", "sets the seed at laptop"),
        ("laptop: {size: 80}", "laptop: {size: 80, size: 90}", "'size' stands twice"),
        ("reference_seconds: 20, ", "", "profiles.smoke: reference_seconds is missing; add it"),
        ("reference_seconds: 20", "reference_seconds: much", "valid number, got 'much'"),
        ("reference_seconds: 20", "cpu_seconds: 20", "'cpu_seconds'; .*reference_seconds"),
        ("memory_gb: 1", "memory_gb: true", "memory_gb should be a valid number, got True"),
        ("memory_gb: 1", "memory_gb: .inf", "memory_gb should be a finite number, got inf"),
        ("memory_gb: 1", "memory_gb: 0", "the sizes of smoke must be more than 0"),
        ("toy2020:", "toy202O:", "did you mean 'toy2020'"),
        ("where: anywhere", "where: 3", "smoke: where should be a valid string, got 3"),
    ],
)
def test_what_a_profile_may_not_hold_is_told(toy, edit, old, new, why):
    edit(old, new, name="profiles.yaml")
    with pytest.raises(UsageError, match=rf"profiles\.yaml.*{why}"):
        profiles.load(toy.notebooks)


def test_a_profile_without_overrides_has_none(toy, edit):
    edit("laptop: {size: 80}", "laptop:", name="profiles.yaml")
    assert profiles.get(toy.notebooks, "laptop").papers == {"toy2020": {}}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("sise: 80", "unknown parameter 'sise'; did you mean 'size'"),
        ("size: 1.5", "'size' is int, got 1.5"),
        ("size: true", "'size' is int, got True"),
        ("size: 0", r"'size' is 0; allowed: \[1, 1000\]"),
        ("shift: .nan", "'shift' is float, got nan"),
        ("shift: 1e-3", r"got '1e-3'; write shift=0\.001"),
    ],
)
def test_a_value_of_a_profile_is_checked_before_anything_runs(toy, edit, given, why):
    edit("size: int = 40", "size: int = 40  # allowed: [1, 1000]")
    edit("{size: 80}", f"{{{given}}}", name="profiles.yaml")
    with pytest.raises(UsageError, match=rf"^profiles\.yaml, toy2020 at laptop: .*{why}"):
        keys.resolve_run(toy, "toy2020", profiles.get(toy.notebooks, "laptop"), 0)
