from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from robustnb import provenance
from robustnb.errors import UsageError
from robustnb.reproduce import atomic, convert, estimands, keys, profiles


def plan(toy, **settings):
    profile = profiles.get(toy.notebooks, settings.pop("profile", "smoke"))
    return keys.resolve_run(toy, "toy2020", profile, settings.pop("seed", 0), **settings)


def test_prose_comments_and_layout_do_not_change_the_key(toy, edit):
    before = plan(toy).key
    edit("Prose before.", "Other prose, and more of it.")
    edit("time.sleep(sleep)", "# wait\ntime.sleep( sleep )")
    assert plan(toy).key == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("generator.random(size) < 0.1", "generator.random(size) < 0.2"),
        ("size: int = 40", "size: int = 41"),
        ("from robustnb.lesson import measure", "from robustnb.lesson import measure, plot"),
    ],
)
def test_code_parameters_and_imports_change_the_key(toy, edit, old, new):
    before = plan(toy).key
    edit(old, new)
    assert plan(toy).key != before


def test_seed_profile_and_override_each_give_another_key(toy):
    runs = [
        plan(toy),
        plan(toy, seed=1),
        plan(toy, profile="laptop"),
        plan(toy, given={"shift": 0.5}),
    ]
    assert len({run.key for run in runs}) == len(runs)


def test_an_override_makes_the_run_a_custom_one(toy):
    assert plan(toy, given={"shift": 0.5}).folder(toy.runs).parts[-3] == "custom"
    assert plan(toy).folder(toy.runs).parts[-3] == "smoke"


def test_versions_change_the_key_but_not_the_source(toy, monkeypatch):
    before = plan(toy)
    monkeypatch.setattr(keys, "versions", lambda: {"torch": "0.4.1"})
    after = plan(toy)
    assert (after.key != before.key) and (after.source == before.source)


def test_an_unknown_parameter_is_refused(toy):
    with pytest.raises(UsageError, match="did you mean 'shift'"):
        plan(toy, given={"shfit": 0.5})


def test_a_second_seed_among_the_overrides_is_refused(toy):
    with pytest.raises(UsageError, match="an argument of its own"):
        plan(toy, given={"seed": 3})


def test_a_rule_for_a_parameter_is_a_comment_and_not_in_the_key(toy, edit):
    before = plan(toy).key
    edit("size: int = 40", "size: int = 40  # allowed: [1, 1000]")
    assert plan(toy).key == before
    with pytest.raises(UsageError, match=r"allowed: \[1, 1000\]"):
        plan(toy, given={"size": 0})


def test_conversion_is_the_same_each_time(toy):
    import nbformat

    path = toy.notebook("toy2020")
    first = nbformat.writes(convert.convert(path))
    convert._read.cache_clear()
    assert nbformat.writes(convert.convert(path)) == first


def test_docstrings_and_comments_do_not_count_and_constants_do():
    plain = provenance.source_digest("def f():\n    return 1\n")
    told = provenance.source_digest('def f():\n    """Say."""\n    # why\n    return 1\n')
    other = provenance.source_digest("def f():\n    return 2\n")
    assert plain == told != other


def test_a_new_export_of_a_package_leaves_its_digest_alone():
    init = 'from robustnb._lazy import lazy\n\nx = lazy(__name__, {"a": "robustnb.a"%s})\n'
    assert provenance.source_digest(init % "") == provenance.source_digest(init % ', "b": "b"')
    assert provenance.source_digest(init % "") != provenance.source_digest(init.replace("x", "y"))


def test_the_closure_follows_lazy_exports_and_imports_inside_functions():
    modules = provenance.imported_modules("def f():\n    from robustnb.attacks import pgd\n")
    assert "robustnb.attacks.projected_gradient" in modules
    assert "robustnb.attacks.projections" in provenance.closure(modules)


def test_of_a_whole_package_only_the_names_that_are_used_count():
    used = provenance.imported_modules("import robustnb.attacks as a\n\nx = a.kl\n")
    assert "robustnb.attacks.losses" in used
    assert "robustnb.attacks.projected_gradient" not in used
    passed_on = provenance.imported_modules("from robustnb import attacks\n\nf(attacks)\n")
    assert "robustnb.attacks.projected_gradient" in passed_on


def test_modules_that_only_name_or_show_results_are_left_out():
    assert "robustnb.progress" not in provenance.closure(["robustnb.training.training_loop"])


def test_an_unrelated_module_is_not_in_the_closure():
    assert "robustnb.theory.zhang2019.calibration" not in provenance.closure(
        ["robustnb.attacks.projected_gradient"]
    )


def test_a_missing_module_is_named():
    with pytest.raises(ImportError, match=r"robustnb\.nothing"):
        provenance.closure(["robustnb.nothing"])


@pytest.mark.parametrize(
    ("source", "digest"),
    [
        ("class A:\n    def f(self, x=None):\n        return f'{x!r:>9}'\n", "873d19ccf97b9aca"),
        ("async def f(*a, **k):\n    async with a:\n        pass\n", "ce96bf2e74158816"),
        ("import x\n\ny = [g() for g in x if g]\n", "b4c3c714356ca0bd"),
    ],
)
def test_a_digest_of_code_is_the_same_on_every_python(source, digest):
    """Records are made on one version of Python and compared with today's code on another."""
    assert provenance.source_digest(source).startswith(digest)


@pytest.mark.parametrize("found", [atomic.move_folder, estimands.Arm, provenance.source_digest])
def test_a_definition_is_read_with_its_decorators_as_it_was_written(found):
    assert provenance.definition(found.__module__, found.__name__) == inspect.getsource(
        inspect.unwrap(found)
    ).rstrip("\n")


@pytest.mark.parametrize(
    ("module", "name", "why"),
    [
        ("robustnb.reproduce.atomic", "moved", r"robustnb\.reproduce\.atomic defines no moved"),
        ("robustnb.nowhere", "f", r"no module robustnb\.nowhere of robustnb"),
        ("numpy", "array", "no module numpy of robustnb"),
    ],
)
def test_a_definition_that_is_not_there_is_named(module, name, why):
    with pytest.raises(ImportError, match=why):
        provenance.definition(module, name)


def test_a_run_is_planned_without_torch_or_scipy():
    """Both take as long to import as the rest of a plan, once for every run."""
    script = (
        "import sys; from robustnb.reproduce import execute, profiles, project, single, keys\n"
        "home = project.find(); size = profiles.get(home.notebooks, 'smoke')\n"
        "[keys.resolve_run(home, paper, size, 0) for paper in home.papers()]\n"
        "assert not {'torch', 'scipy'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
