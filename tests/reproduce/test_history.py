from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from robustnb import provenance
from robustnb.errors import RobustnbError
from robustnb.reproduce import history


def git(root, *words):
    who = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", "-C", str(root), *who, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", f"{name}: {text}")
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def clone(tmp_path):
    root = tmp_path / "clone"
    root.mkdir()
    git(root, "init", "--quiet")
    return root


@pytest.fixture
def running(clone, monkeypatch):
    """As if the code that runs were the clone's own."""
    file = clone / "robustnb" / "reproduce" / "history.py"
    monkeypatch.setattr(history, "__file__", str(file))
    return commit(clone, "robustnb/reproduce/history.py", "x = 1\n")


def test_the_commit_is_named_while_the_code_is_as_committed(clone, running):
    assert history.commit(clone) == running
    (clone / "README.md").write_text("Prose is no code.\n")
    assert history.commit(clone) == running


@pytest.mark.parametrize("name", ["robustnb/reproduce/history.py", "notebooks/new2020.md"])
def test_no_commit_is_named_after_an_edit(clone, running, name):
    (clone / name).parent.mkdir(exist_ok=True)
    (clone / name).write_text("x = 2\n")
    assert history.commit(clone) is None


def test_no_commit_is_named_for_code_that_is_not_running(clone):
    commit(clone, "robustnb/reproduce/history.py", "x = 1\n")
    assert history.commit(clone) is None


def test_a_folder_inside_a_repository_is_none(clone, running):
    inside = clone / "build" / "copy"
    inside.mkdir(parents=True)
    assert history.is_repository(clone) and not history.is_repository(inside)


def test_a_folder_without_history_or_a_machine_without_git_is_none(clone, tmp_path, monkeypatch):
    assert not history.is_repository(tmp_path)
    monkeypatch.setenv("PATH", "")
    assert not history.is_repository(clone) and history.commit(clone) is None


def test_candidates_come_in_order_and_each_code_once(clone):
    first = commit(clone, "robustnb/a.py", "a = 1\n")
    second = commit(clone, "robustnb/a.py", "a = 2\n")
    brought = commit(clone, "book/records/seed0.json", "{}")  # the same code as the second
    third = commit(clone, "robustnb/a.py", "a = 3\n")
    record = clone / "book" / "records" / "seed0.json"
    assert list(history.candidates(clone, None, record)) == [brought, first, third]
    assert list(history.candidates(clone, first, record)) == [first, brought, third]
    assert list(history.candidates(clone, "0" * 40, record)) == [brought, first, third]
    assert second not in history.candidates(clone, None, record)


def test_candidates_of_a_record_that_was_never_committed_are_all_commits(clone):
    first, second = (commit(clone, "robustnb/a.py", f"a = {n}\n") for n in (1, 2))
    assert list(history.candidates(clone, None, clone / "seed0.json")) == [second, first]


def digests(**modules):
    """The modules of a record, from their sources."""
    named = {name.replace("_", "."): source for name, source in modules.items()}
    return {name: provenance.source_digest(source) for name, source in named.items()}


def test_of_a_long_history_only_the_codes_with_the_records_modules_are_left(clone, monkeypatch):
    today = Path(provenance.__file__).read_text()
    old = commit(clone, "robustnb/provenance.py", "how = 'otherwise'\n")
    first = commit(clone, "robustnb/provenance.py", today)
    for n in range(30):
        commit(clone, "robustnb/b.py", f"b = {n % 3}\n")
        commit(clone, "robustnb/a.py", f"a = {n}\n")
    wanted = git(clone, "rev-parse", "HEAD~8")  # a = 25, b = 1
    asked, real = [], subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: asked.append(a) or real(*a, **k))
    modules = digests(robustnb_a="a = 25  # said otherwise\n", robustnb_b="b = 1\n")
    assert git(clone, "show", f"{wanted}:robustnb/a.py") == "a = 25"
    assert list(history.candidates(clone, None, clone / "seed0.json", modules)) == [wanted, old]
    assert len(asked) < 20, "git is not asked for every commit"
    assert first not in history.candidates(clone, None, clone / "seed0.json", modules)


def test_no_commit_is_left_out_when_digests_were_reckoned_in_another_way(clone):
    codes = [commit(clone, "robustnb/a.py", f"a = {n}\n") for n in range(4)]
    found = history.candidates(clone, codes[1], clone / "seed0.json", digests(robustnb_a="a = 9"))
    assert list(found) == [codes[1], codes[3], codes[2], codes[0]]


def test_a_package_or_a_source_of_another_python_is_read_as_it_is(clone):
    package = commit(clone, "robustnb/a/__init__.py", "a = 1\n")
    broken = commit(clone, "robustnb/a/__init__.py", "print 'as of old'\n")
    latin = clone / "robustnb" / "a" / "__init__.py"
    latin.write_bytes("# Gauß\na = 2\n".encode("latin-1"))
    git(clone, "commit", "--all", "--quiet", "--message", "latin")
    found = list(history.candidates(clone, None, clone / "x", digests(robustnb_a="a = 1")))
    assert found[0] == package and set(found) >= {package, broken} and len(found) == 3


def test_a_commit_is_unpacked_without_a_trace_in_git(clone, tmp_path):
    first = commit(clone, "robustnb/a.py", "a = 1\n")
    commit(clone, "robustnb/a.py", "a = 2\n")
    before = sorted(str(p) for p in (clone / ".git").rglob("*"))
    code = history.unpack(clone, first, tmp_path / "code")
    assert (code / "robustnb" / "a.py").read_text() == "a = 1\n"
    assert not (code / ".git").exists()
    assert sorted(str(p) for p in (clone / ".git").rglob("*")) == before


def test_a_commit_that_is_not_there_says_what_helps(clone, tmp_path):
    commit(clone, "robustnb/a.py", "a = 1\n")
    with pytest.raises(RobustnbError, match="--old"):
        history.unpack(clone, "0" * 40, tmp_path / "code")


def test_git_is_asked_of_the_clone_and_not_of_the_working_folder(clone, running, monkeypatch):
    monkeypatch.chdir(Path("/"))
    assert history.commit(clone) == running
