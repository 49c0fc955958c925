from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import click
import pytest
import yaml
from click.shell_completion import BashComplete
from click.testing import CliRunner

from robustnb.errors import DataError, RunError
from robustnb.reproduce import batch, cli, keys, pipeline, profiles, project, registry, single
from robustnb.reproduce.atomic import write_atomically

HEAVY = ("torch", "jupytext", "nbformat", "papermill", "nbclient", "zmq", "snakemake", "sphinx")
WRONG_NAMES = {
    "run toy2021": "did you mean 'toy2020'",
    "run toy2020 --profile labtop": "did you mean 'laptop'",
    "reproduce toy2021": "did you mean 'toy2020'",
    "reproduce --executor slrum": "did you mean 'slurm'",
    "book --profile labtop": "did you mean 'laptop'",
    "claims toy2021": "did you mean 'toy2020'",
    "why toy2020.C": "did you mean 'toy2020.C1'",
    "records list toy2021": "did you mean 'toy2020'",
    "records confirm toy2021": "did you mean 'toy2020'",
    "records confirm --profile labtop": "did you mean 'laptop'",
    "register toy2021": "did you mean 'toy2020'",
    "power toy2021": "did you mean 'toy2020'",
    "power toy2020 --profile labtop": "did you mean 'laptop'",
    "picture toy2021": "did you mean 'toy2020'",
    "data fetch mnits": "did you mean 'mnist'",
    "data fetch efficientnet_lit0": "did you mean 'efficientnet_lite0'",
    "data verify mnits": "did you mean 'mnist'",
    "zoo train cifar10_lnif": "did you mean 'cifar10_linf'",
    "zoo verify cifar10_lnif": "did you mean 'cifar10_linf'",
}
LIGHT = f"""
import json, sys
from robustnb.reproduce.cli import run
codes = {{}}
for words in {list(WRONG_NAMES)!r}:
    sys.argv = ["robustnb", *words.split()]
    try:
        run()
    except SystemExit as error:
        codes[words] = error.code
print(json.dumps([codes, [name for name in {HEAVY!r} if name in sys.modules]]))
"""


@pytest.fixture
def recorded(toy, made):
    """Five committed records of today's code."""
    size = profiles.get(toy.notebooks, "laptop")
    for seed in range(5):
        source = keys.resolve_run(toy, "toy2020", size, seed).source
        data = {"mnist": {"train": ["a", "b"]}}
        path = toy.records / "laptop" / "toy2020" / f"seed{seed}.json"
        write_atomically(path, json.dumps(made(seed, source=source, data=data)))


@pytest.mark.parametrize(("words", "hint"), WRONG_NAMES.items())
def test_a_wrong_name_exits_with_2_and_the_nearest_one(robustnb, words, hint):
    code, out, err = robustnb(*words.split())
    assert (code, out) == (2, "")
    assert err.startswith("robustnb: unknown ") and hint in err


def test_a_wrong_name_loads_no_torch_no_notebook_tool_and_no_kernel(toy):
    environment = {**os.environ, "ROBUSTNB_ROOT": str(toy.root)}
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], env=environment, capture_output=True, text=True, check=True
    )
    codes, heavy = json.loads(done.stdout)
    assert codes == dict.fromkeys(WRONG_NAMES, 2)
    assert heavy == []


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("sise=3", "did you mean 'size'"),
        ("size=x", "write size=3"),
        ("size=1.5", "parameter 'size' is int"),
        ("size", "is not name=value"),
        ("seed=3", "write --seed 3 instead"),
    ],
)
def test_a_wrong_parameter_exits_with_2_before_anything_is_started(toy, robustnb, word, message):
    code, _, err = robustnb("run", "toy2020", "--profile", "smoke", "-p", word)
    assert code == 2 and message in err
    assert not toy.build.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run toy2020 --profil smoke", "Did you mean '--profile'"),
        ("rnu toy2020", "Did you mean 'run'"),
        ("run toy2020 --seed -1", "not in the range"),
        ("reproduce --jobs 0", "not in the range"),
        ("reproduce --snakemake=--executor --snakemake=slurm", "choose the executor with"),
        ("reproduce --snakemake=-e=slurm", "choose the executor with"),
        ("why", "Missing argument"),
    ],
)
def test_a_wrong_option_or_command_exits_with_2(robustnb, words, message):
    code, _, err = robustnb(*words.split())
    assert code == 2 and message in err


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0-4", [0, 1, 2, 3, 4]), ("0,2,5", [0, 2, 5]), ("7", [7]), ("3,0-1,1", [0, 1, 3])],
)
def test_seeds_are_ranges_and_lists(robustnb, monkeypatch, text, seeds):
    asked = []
    monkeypatch.setattr(pipeline, "reproduce", lambda *a, **k: asked.append(a) or {"papers": {}})
    code, _, err = robustnb("reproduce", "toy2020", "--seeds", text)
    assert code == 0, err
    (_project, papers, size, given) = asked[0]
    assert (papers, size.name, given) == (["toy2020"], "laptop", seeds)


@pytest.mark.parametrize("text", ["4-0", "-1", "1.5", "a", "0,,2", "", "0-"])
def test_seeds_that_are_none_exit_with_2_and_an_example(robustnb, text):
    code, _, err = robustnb("reproduce", "toy2020", f"--seeds={text}")
    assert code == 2 and "write 0-4" in err


def test_more_seeds_than_anyone_runs_exit_with_2(robustnb):
    code, _, err = robustnb("reproduce", "toy2020", "--seeds=0-99999999999")
    assert code == 2 and "more than 10,000 seeds" in err


def test_reproduce_without_papers_means_all(robustnb, monkeypatch):
    asked = []
    monkeypatch.setattr(pipeline, "reproduce", lambda *a, **k: asked.append(a) or {"papers": {}})
    assert robustnb("reproduce")[0] == 0
    assert asked[0][1] == ["toy2020"]


def test_a_dry_run_tells_what_is_to_do_and_starts_nothing(toy, robustnb, leave_run):
    laptop = profiles.get(toy.notebooks, "laptop")
    done = leave_run(keys.resolve_run(toy, "toy2020", laptop, 1)) / "record.json"
    code, out, err = robustnb("reproduce", "--seeds", "0-1,99", "--dry-run")
    assert code == 0 and "left out seeds that no part of its registry lists: 99" in err
    rows = [line.split(maxsplit=1) for line in out.splitlines()]
    assert rows[1:] == [["toy2020-laptop-seed0", "to do"], ["toy2020-laptop-seed1", "there"]]
    assert "there" not in robustnb("reproduce", "--seeds", "0-1", "--dry-run", "--fresh")[1]
    assert list(toy.build.rglob("*.json")) == [done]


def test_a_dry_run_checks_the_words_for_snakemake(robustnb):
    code, _, err = robustnb("reproduce", "--dry-run", "--snakemake=--exec=slurm")
    assert code == 2 and "write one in full: --executor" in err


def test_a_run_that_is_there_is_named_and_not_repeated(toy, robustnb, leave_run):
    folder = leave_run(keys.resolve_run(toy, "toy2020", profiles.get(toy.notebooks, "smoke"), 0))
    code, out, err = robustnb("run", "toy2020", "--profile", "smoke")
    assert (code, out) == (0, f"{folder / 'x.ipynb'}\n")
    assert "is there already" in err
    assert robustnb("run", "toy2020", "--profile", "smoke", "--quiet") == (0, out, "")


def commands(group=cli.cli, path=()):
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_command_has_help(path):
    found = CliRunner().invoke(cli.cli, [*path, "--help"])
    assert found.exit_code == 0
    said = found.output.split("\n\n")[1].strip()
    assert said.endswith(".") and len(said) > 10
    assert found.output == CliRunner().invoke(cli.cli, [*path, "-h"]).output


def test_the_help_tells_the_exit_codes():
    text = " ".join(CliRunner().invoke(cli.cli, ["--help"]).output.split())
    assert "2 wrong name or value" in text and "130 interrupted" in text


def completions(words, start):
    shell = BashComplete(cli.cli, {}, "robustnb", "_ROBUSTNB_COMPLETE")
    return [item.value for item in shell.get_completions(words, start)]


@pytest.mark.parametrize(
    ("words", "start", "offered"),
    [
        (["run"], "", ["toy2020"]),
        (["run"], "x", []),
        (["reproduce"], "toy", ["toy2020"]),
        (["claims"], "", ["toy2020"]),
        (["why"], "toy2020.", ["toy2020.C1"]),
        (["records", "confirm"], "", ["toy2020"]),
        (["records", "list"], "x", []),
        (["records", "confirm", "--profile"], "", ["smoke", "laptop", "gpu", "paper"]),
        (["run", "toy2020", "--profile"], "", ["smoke", "laptop", "gpu", "paper"]),
        ([], "rep", ["reproduce"]),
    ],
)
def test_the_shell_completes_papers_claims_and_profiles(toy_here, words, start, offered):
    assert completions(words, start) == offered


def test_the_list_names_papers_claims_and_budgets(robustnb):
    code, out, _ = robustnb("list")
    assert code == 0
    assert "toy2020.C1  The treatment works." in out and "laptop" in out
    plain = json.loads(robustnb("list", "--json")[1])
    assert plain["papers"]["toy2020"]["claims"] == {"toy2020.C1": "The treatment works."}
    assert plain["profiles"]["smoke"]["reference_seconds"] == 20


def test_the_claims_are_told_with_verdict_and_tally(robustnb, recorded):
    code, out, _ = robustnb("claims")
    assert code == 0
    assert "same direction" in out and "toy2020: 1 of 1 claims holds here." in out
    plain = json.loads(robustnb("claims", "toy2020", "--json")[1])
    assert plain["toy2020"]["toy2020.C1"]["group"] == "holds"


def test_why_leads_from_the_verdict_to_key_parameters_code_and_data(toy, robustnb, recorded):
    code, out, _ = robustnb("why", "toy2020.C1")
    assert code == 0
    source = keys.resolve_run(toy, "toy2020", profiles.get(toy.notebooks, "laptop"), 4).source
    assert re.search(r"from toy2020/laptop/seed4/record: treated 0\.\d+ \(n=300\)", out)
    assert f"key 0000000000000004, code and data {source}\n" in out
    assert 'parameters {"size": 300}' in out and "data mnist" in out and "torch 2.14.1" in out


def test_why_of_a_part_tells_of_it_alone(toy, robustnb, recorded):
    path = toy.claims / "toy2020.yaml"
    plain = yaml.safe_load(path.read_text())
    plain["claims"]["C1"]["parts"]["other"] = plain["claims"]["C1"]["parts"]["more"]
    path.write_text(yaml.safe_dump(plain, allow_unicode=True))
    whole = robustnb("why", "toy2020.C1")[1]
    code, out, _ = robustnb("why", "toy2020.C1.more")
    assert code == 0 and out.startswith("toy2020.C1: ")
    named = re.findall(r"^  (toy2020\.C1\.\w+): ", out, re.MULTILINE)
    assert named == ["toy2020.C1.more"]
    assert len(re.findall(r"^  (toy2020\.C1\.\w+): ", whole, re.MULTILINE)) == 2
    code, _, told = robustnb("why", "toy2020.C1.mroe")
    assert code == 2 and "did you mean 'toy2020.C1.more'" in told


def test_why_as_json_holds_every_run_behind_the_verdict(robustnb, recorded):
    plain = json.loads(robustnb("why", "toy2020.C1", "--json")[1])
    assert plain["claim"]["group"] == "holds"
    assert sorted(plain["runs"]) == [f"toy2020/laptop/seed{seed}/record" for seed in range(5)]
    run = plain["runs"]["toy2020/laptop/seed0/record"]
    assert {"key", "source", "parameters", "data", "versions", "device", "cost"} <= set(run)


def test_register_prints_the_block_to_paste(toy, robustnb):
    code, out, _ = robustnb("register", "toy2020")
    path = toy.claims / "toy2020.yaml"
    path.write_text(path.read_text() + out)
    (digest,) = yaml.safe_load(out)["registered"]["digests"].values()
    paper = registry.load(path)
    assert (code, paper.registered.digests) == (0, {"C1.more": digest})
    assert registry.unregistered_changes(paper) == []


def test_a_part_changed_without_an_amendment_exits_with_1(toy, robustnb, edit):
    path = toy.claims / "toy2020.yaml"
    path.write_text(path.read_text() + robustnb("register", "toy2020")[1])
    edit("sign: 1", "sign: -1", name="claims/toy2020.yaml")
    code, out, err = robustnb("register", "toy2020")
    assert code == 1 and out.startswith("registered:")
    assert "without an amendment: toy2020.C1.more" in err and "amendments" in err


def test_the_data_sets_are_listed_for_people_and_for_programs(robustnb):
    code, out, _ = robustnb("data", "list")
    rows = json.loads(robustnb("data", "list", "--json")[1])
    assert code == 0 and rows
    assert all(row["name"] in out and row["licence"] for row in rows)


@pytest.mark.parametrize(
    ("error", "code"),
    [(RunError("cell 3 failed"), 5), (DataError("no source"), 4), (KeyboardInterrupt(), 130)],
)
def test_each_kind_of_failure_has_its_exit_code_and_one_line(robustnb, monkeypatch, error, code):
    def fail(*_words, **_settings):
        raise error

    monkeypatch.setattr(single, "run_one", fail)
    found, out, err = robustnb("run", "toy2020")
    assert (found, out) == (code, "")
    told = "interrupted" if code == 130 else str(error)
    assert err.strip().splitlines()[-1].startswith(f"robustnb: {told}")


def test_a_second_command_in_one_checkout_exits_with_6(toy, robustnb):
    with batch.lock(toy):
        code, _, err = robustnb("reproduce", "toy2020")
        assert code == 6 and "another robustnb command" in err
        assert robustnb("book")[0] == 6


def test_a_readme_that_is_out_of_date_exits_with_1(toy, robustnb, recorded):
    path = toy.root / "README.md"
    path.write_text("<!-- verdicts: drawn -->\n<!-- end of verdicts -->\n")
    code, _, err = robustnb("readme", "--check")
    assert code == 1 and "make readme" in err
    assert robustnb("readme")[0] == 0 and robustnb("readme", "--check")[0] == 0


def test_without_a_checkout_around_the_way_out_is_told(robustnb, monkeypatch, tmp_path):
    monkeypatch.delenv("ROBUSTNB_ROOT")
    alone = tmp_path / "alone" / "site" / "robustnb" / "reproduce"
    alone.mkdir(parents=True)
    monkeypatch.chdir(alone)
    for old in tmp_path.glob("notebooks/profiles.yaml"):
        old.unlink()
    monkeypatch.setattr(project, "__file__", str(alone / "project.py"))
    code, out, err = robustnb("list")
    assert (code, out) == (2, "")
    assert "no checkout of the book" in err and "set ROBUSTNB_ROOT" in err


BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name == {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
from robustnb.reproduce.main import main
main()
"""


@pytest.mark.parametrize("missing", ["click", "pydantic", "yaml"])
def test_a_core_install_says_what_the_command_needs(missing):
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(missing=missing)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert f"needs {missing}; install it with: pip install 'robustnb[book]'" in done.stderr


def test_importing_robustnb_loads_neither_torch_nor_numpy():
    code = "import sys, robustnb, robustnb.attacks, robustnb.reproduce; print(sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert "'robustnb.attacks'" in done
    assert "'torch'" not in done and "'numpy'" not in done


@pytest.mark.parametrize(
    "words",
    ["run toy2020 --seed 3 --seed 1", "reproduce --seeds 0 --seeds 1", "book --jobs 1 --jobs 2",
     "records confirm --seed 0 --seed 1", "power toy2020 --profile laptop --profile gpu"],
)  # fmt: skip
def test_an_option_given_twice_is_refused(toy, robustnb, words):
    code, _, err = robustnb(*words.split())
    assert code == 2 and "is given twice; give it once" in err


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null"])
def test_a_damaged_record_of_a_run_counts_as_none_and_a_committed_one_is_named(
    toy, robustnb, content
):
    run = keys.resolve_run(toy, "toy2020", profiles.get(toy.notebooks, "smoke"), 0)
    write_atomically(run.folder(toy.runs) / "record.json", content or " ")
    (toy.runs / "smoke" / "toy2020" / "seedx-1").mkdir()
    assert robustnb("claims", "toy2020")[0] == 0
    write_atomically(toy.records / "laptop" / "toy2020" / "seed0.json", content or " ")
    code, _, err = robustnb("claims", "toy2020")
    assert code == 5 and "seed0.json is no record (" in err and "; restore it" in err
