"""Folders with any name, folders that cannot be written, and folders on another disk."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from robustnb import unfinished
from robustnb.errors import RunError, UsageError
from robustnb.reproduce import batch, book, cli, disk, keys, pipeline, profiles, project, single
from robustnb.reproduce.atomic import move_folder, write_atomically
from robustnb.reproduce.project import Project

ODD = "an odd é {b} {seed} {{ }1 'q' \"w $HOME `x` %s #x [y] * ? \\d ~ ;&"


@pytest.fixture
def odd(toy, tmp_path) -> Project:
    """The toy project in a folder whose name holds all that some tool takes for its own."""
    root = tmp_path / ODD
    root.mkdir()
    for name in ("notebooks", "Snakefile"):
        shutil.move(tmp_path / name, root / name)
    return Project(root, root / "build")


def small(place: Project) -> profiles.Profile:
    return profiles.get(place.notebooks, "smoke")


def test_a_run_and_a_batch_work_in_a_folder_with_an_odd_name(odd):
    runs = [keys.resolve_run(odd, "toy2020", small(odd), 0)]
    with batch.lock(odd):
        batch.run_all(odd, runs, jobs=1, report=lambda _line: None)
    assert (runs[0].folder(odd.runs) / "record.json").is_file()
    single.run_one(odd, "toy2020", small(odd), 0, ["size=3"], report=lambda _line: None)
    assert len(list(odd.runs.glob("custom/toy2020/*/x.ipynb"))) == 1


@pytest.mark.parametrize(("name", "copied"), [("a {b} c", False), ("a [b] c", True)])
def test_the_pages_are_copied_where_jupyter_book_would_read_the_path_as_a_pattern(
    tmp_path, name, copied
):
    root = tmp_path / name
    (root / "book" / "papers").mkdir(parents=True)
    for file in ("_config.yml", "_toc.yml", "book/intro.md"):
        (root / file).touch()
    source = book.source_root(Project(root, root / "build"))
    assert source == (root / "build" / "stage" if copied else root)
    assert (source / "book" / "intro.md").is_file()


def test_a_killed_run_in_a_folder_with_an_odd_name_is_swept(odd):
    killed = """
import os, pathlib, sys
from robustnb import unfinished
with unfinished.folder(pathlib.Path(sys.argv[1]), "run-key"):
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", killed, str(odd.work)], check=False)
    assert len(list(odd.work.iterdir())) == 1
    unfinished.sweep(odd.build, below=True)
    assert list(odd.work.iterdir()) == []


def test_a_path_of_this_machine_is_found_in_an_output_whatever_its_letters(odd):
    source = odd.notebook("toy2020")
    told = "import os, time\nprint(os.environ['ROBUSTNB_ROOT'])\n"
    source.write_text(source.read_text().replace("import time\n", told))
    with pytest.raises(RunError, match="path of this machine"):
        single.run_one(odd, "toy2020", small(odd), 0, report=lambda _line: None)


def test_a_leading_tilde_is_the_users_home(toy, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ROBUSTNB_ROOT", "~")
    monkeypatch.setenv("ROBUSTNB_BUILD", "~/elsewhere")
    assert project.find() == Project(tmp_path, tmp_path / "elsewhere")
    monkeypatch.setenv("ROBUSTNB_BUILD", str(tmp_path / "~"))
    assert project.find().build == tmp_path / "~"


def no_rename_between_disks(monkeypatch, *, moved_below: Path):
    """Let a rename fail as it does where `moved_below` is the root of another disk."""
    rename = os.rename

    def across(source, target):
        if Path(source).is_relative_to(moved_below) != Path(target).is_relative_to(moved_below):
            raise OSError(errno.EXDEV, "Invalid cross-device link", str(source), None, str(target))
        rename(source, target)

    monkeypatch.setattr(os, "rename", across)


def test_finished_runs_may_lie_on_another_disk(toy, monkeypatch):
    no_rename_between_disks(monkeypatch, moved_below=toy.runs)
    folder = single.run_one(toy, "toy2020", small(toy), 0, report=lambda _line: None)
    assert {p.name for p in folder.iterdir()} == {"x.ipynb", "record.json"}
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]
    assert list(toy.work.iterdir()) == []


def test_a_folder_moved_to_another_disk_is_gone_here(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "x").write_text("x")
    (tmp_path / "there").mkdir()
    no_rename_between_disks(monkeypatch, moved_below=tmp_path / "there")
    move_folder(tmp_path / "here", tmp_path / "there" / "y")
    assert [p.name for p in (tmp_path / "there").rglob("*")] == ["y", "x"]
    assert not (tmp_path / "here").exists()


def failing(code: int, path: str | None):
    def fail(*_words, **_settings):
        raise OSError(code, os.strerror(code), path)

    return fail


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_disk_that_takes_nothing_is_told_in_one_line_with_the_variable(
    toy, monkeypatch, capsys, code
):
    monkeypatch.setenv("ROBUSTNB_ROOT", str(toy.root))
    monkeypatch.setenv("ROBUSTNB_BUILD", str(toy.build))
    monkeypatch.setattr(Path, "mkdir", failing(code, str(toy.build)))
    monkeypatch.setattr(sys, "argv", ["robustnb", "reproduce", "toy2020"])
    with pytest.raises(SystemExit) as ended:
        cli.run()
    said = capsys.readouterr().err
    assert ended.value.code == 1 and said.count("\n") == 1
    assert str(toy.root) in said and "set ROBUSTNB_BUILD to a folder" in said


@pytest.mark.parametrize(
    ("below", "variable"),
    [("build", "ROBUSTNB_BUILD"), ("data", "ROBUSTNB_DATA"), ("home", "XDG_CACHE_HOME")],
)
def test_the_variable_is_the_one_that_moves_the_folder(toy, monkeypatch, below, variable):
    monkeypatch.setenv("ROBUSTNB_DATA", str(toy.root / "data"))
    monkeypatch.setenv("HOME", str(toy.root / "home"))
    error = OSError(errno.EROFS, "Read-only file system", str(toy.root / below / "x" / "y"))
    assert f"set {variable}" in disk.explain(error, toy)


def test_a_file_of_the_checkout_that_is_missing_is_named_with_the_fix(toy, robustnb, monkeypatch):
    def lost(*_arguments, **_settings):
        return (toy.root / "_config.yml").read_text()

    monkeypatch.setattr(pipeline, "make_book", lost)
    code, _, err = robustnb("book")
    assert code == 1 and "_config.yml is missing; restore it: git checkout -- _config.yml" in err
    monkeypatch.setattr(pipeline, "make_book", lambda *_, **__: (toy.build / "x").read_text())
    with pytest.raises(FileNotFoundError):
        robustnb("book")


def test_a_limit_on_the_size_of_files_is_named(toy, robustnb, monkeypatch):
    monkeypatch.setattr(disk, "_try", failing(errno.EFBIG, None))
    code, _, err = robustnb("run", "toy2020", "--profile", "smoke")
    assert code == 5 and "larger than this process may write; raise the limit (ulimit -f" in err


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder that takes no other")
def test_a_build_folder_that_cannot_be_made_is_named(toy, robustnb, monkeypatch):
    monkeypatch.setenv("ROBUSTNB_BUILD", "/proc/build")
    code, _, err = robustnb("reproduce", "toy2020")
    assert code == 1 and "/proc/build cannot be made; set ROBUSTNB_BUILD to a folder that" in err
    assert err.count("\n") == 1


def test_a_folder_in_place_of_a_file_is_named(toy, robustnb):
    (toy.build / "lock").mkdir(parents=True)
    code, _, err = robustnb("reproduce", "toy2020")
    assert code == 1 and f"{toy.build / 'lock'} is a folder where a file belongs" in err


def test_another_error_of_the_system_is_not_explained_away(toy):
    assert disk.explain(OSError(errno.EIO, "Input/output error", "x"), toy) == ""
    assert disk.trouble(toy) == "" and disk.writable(toy.build)


def test_a_disk_that_fills_up_during_a_run_is_named_in_its_error(toy, monkeypatch):
    monkeypatch.setattr("robustnb.reproduce.execute._clean", failing(errno.ENOSPC, None))
    with pytest.raises(RunError, match=r"seed0: no space left in .*; free some there, or set"):
        single.run_one(toy, "toy2020", small(toy), 0, report=lambda _line: None)
    assert not list(toy.runs.rglob("record.json")) and list(toy.work.iterdir()) == []
    monkeypatch.undo()
    single.run_one(toy, "toy2020", small(toy), 0, report=lambda _line: None)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_is_full_beforehand_is_told_before_a_kernel_starts(toy, monkeypatch, code):
    monkeypatch.setattr("robustnb.reproduce.disk._try", failing(code, None))
    monkeypatch.setattr("robustnb.reproduce.execute.manager_class", failing(errno.EIO, "started"))
    with pytest.raises(RunError, match=r"seed0: .* or set ROBUSTNB_BUILD to a folder") as told:
        single.run_one(toy, "toy2020", small(toy), 0, report=lambda _line: None)
    assert str(told.value).count("\n") == 0


def test_a_real_full_file_leaves_the_old_one(tmp_path):
    """RLIMIT_FSIZE lets the system itself refuse the write."""
    path = tmp_path / "x"
    write_atomically(path, "old")
    code = (
        "import pathlib, resource, signal, sys\n"
        "from robustnb.reproduce.atomic import write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_atomically(pathlib.Path(sys.argv[1]), 'new' * 1000)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "File too large" in done.stderr
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_batch_needs_no_home_that_can_be_written(toy, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    runs = [keys.resolve_run(toy, "toy2020", small(toy), 0)]
    with batch.lock(toy):
        batch.run_all(toy, runs, jobs=1, report=lambda _line: None)
    assert (runs[0].folder(toy.runs) / "record.json").is_file()


@pytest.mark.parametrize("build", ["file", "file/sub", "a" * 300])
def test_a_build_folder_that_cannot_be_one_is_named_with_its_variable(
    toy, tmp_path, monkeypatch, build
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ROBUSTNB_ROOT", str(toy.root))
    monkeypatch.setenv("ROBUSTNB_BUILD", str(tmp_path / build))
    command = [sys.executable, "-m", "robustnb.reproduce.main", "run", "toy2020"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (1, 2) and "ROBUSTNB_BUILD" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_root_that_is_none_is_not_replaced_by_another(monkeypatch, tmp_path):
    monkeypatch.setenv("ROBUSTNB_ROOT", str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="no checkout of the book around"):
        project.find()


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", "2>&-"])
def test_a_run_needs_none_of_the_standard_streams(toy, closed):
    environment = {**os.environ, "ROBUSTNB_ROOT": str(toy.root), "ROBUSTNB_BUILD": str(toy.build)}
    words = [sys.executable, "-m", "robustnb.reproduce.main", "run", "toy2020", "--profile=smoke"]
    command = f"exec {shlex.join(words)} {closed}"
    done = subprocess.run(["sh", "-c", command], env=environment, check=False)
    assert done.returncode == 0 and len(list(toy.runs.rglob("record.json"))) == 1


def shell(toy, command):
    environment = {**os.environ, "ROBUSTNB_ROOT": str(toy.root), "ROBUSTNB_BUILD": str(toy.build)}
    script = command.format(shlex.join([sys.executable, "-m", "robustnb.reproduce.main"]))
    words = ["sh", "-c", script]
    return subprocess.run(words, env=environment, check=False, capture_output=True, text=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
@pytest.mark.parametrize("words", ["list", "--help", "claims toy2020"])
def test_an_output_that_takes_no_more_is_told_as_that(toy, words):
    done = shell(toy, f"{{}} {words} > /dev/full")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "no space left where standard output goes; free some there, or send it" in done.stderr


def test_a_limit_on_open_files_is_raised_or_told_before_a_kernel_starts(toy):
    done = shell(toy, "ulimit -n 20; {} run toy2020 --profile smoke")
    assert done.returncode == 5 and "raise the limit (ulimit -n 1024" in done.stderr
    assert not list(toy.runs.rglob("*.json"))
    done = shell(toy, "ulimit -Sn 20; {} run toy2020 --profile smoke")
    assert done.returncode == 0 and len(list(toy.runs.rglob("record.json"))) == 1


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("_toc.yml", "_toc.yml: not readable as YAML"),
        ("book/parts.yml", "parts.yml: not readable as YAML"),
        ("notebooks/claims/toy2020.yaml", "toy2020.yaml: not readable as YAML"),
    ],
)
def test_a_damaged_file_of_the_book_is_named_before_a_run(toy, robustnb, file, told):
    for name in ("_config.yml", "_toc.yml"):
        (toy.root / name).write_text("{}")
    (toy.root / file).write_text("[")
    code, _, err = robustnb("book", "--profile", "smoke")
    assert code == 2 and told in err and err.count("\n") == 1
    assert not toy.runs.exists()
