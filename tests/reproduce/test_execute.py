from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import date

import pytest

from robustnb import unfinished
from robustnb.errors import RunError, UsageError
from robustnb.reproduce import atomic, history, kernel, machine, profiles, status
from robustnb.reproduce.calibration import REFERENCE_SECONDS
from robustnb.reproduce.limits import Limits
from robustnb.reproduce.single import run_one

SMALL = profiles.Profile("smoke", "here", "tests", 20.0, 1.0, {"toy2020": {}})
STEP = "import time\n"


def run(toy, *words, seed=0, profile=SMALL, **settings):
    return run_one(toy, "toy2020", profile, seed, words, report=lambda _line: None, **settings)


def left_over(toy):
    return [p.name for folder in ("tmp", "status") for p in (toy.build / folder).glob("*")]


def streams(cells):
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return [output for output in outputs if output["output_type"] == "stream"]


@pytest.fixture(scope="module")
def finished(shared_toy):
    """The folder of a run that three tests look at, so that its kernel starts once."""
    return run(shared_toy)


def test_a_finished_run_holds_notebook_and_record_and_leaves_nothing_else(shared_toy, finished):
    folder = finished
    record = json.loads((folder / "record.json").read_text())
    assert {p.name for p in folder.iterdir()} == {"x.ipynb", "record.json"}
    assert record["measurements"][0]["arms"]["treated"]["n"] == 40
    cost = record["cost"]
    assert cost["cpu_seconds"] > 0 and cost["calibration_seconds"] > 0
    expected = cost["cpu_seconds"] / cost["calibration_seconds"] * REFERENCE_SECONDS
    assert cost["reference_seconds"] == pytest.approx(expected, abs=0.1)
    assert date.fromisoformat(record["made"]) and record["processor"] == machine.processor()
    assert left_over(shared_toy) == []


def test_a_record_names_the_commit_of_its_code_outside_of_the_key(toy, finished, monkeypatch):
    assert json.loads((finished / "record.json").read_text())["commit"] is None
    monkeypatch.setattr(history, "commit", lambda root: f"commit of {root.name}")
    folder = run(toy)
    record = json.loads((folder / "record.json").read_text())
    assert record["commit"] == f"commit of {toy.root.name}"
    assert folder.name == finished.name


def test_a_finished_run_is_not_repeated(shared_toy, finished):
    first = (finished / "x.ipynb").stat()
    again = (run(shared_toy) / "x.ipynb").stat()
    assert (again.st_ino, again.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)


def test_fresh_repeats_it_and_gives_the_same_outputs(shared_toy, finished):
    first = finished / "x.ipynb"
    cells, stamp = json.loads(first.read_text())["cells"], first.stat().st_mtime_ns
    again = run(shared_toy, fresh=True) / "x.ipynb"
    assert again == first and again.stat().st_mtime_ns != stamp
    assert json.loads(again.read_text())["cells"] == cells


def test_an_override_reaches_the_notebook_and_stays_out_of_the_ledgers_folders(toy):
    folder = run(toy, "size=7")
    record = json.loads((folder / "record.json").read_text())
    assert record["parameters"] == {"size": 7}
    assert record["measurements"][0]["arms"]["treated"]["n"] == 7
    assert "custom" in folder.parts


def test_an_unknown_parameter_stops_before_anything_is_started(toy):
    with pytest.raises(UsageError, match="did you mean 'size'"):
        run(toy, "sise=3")
    assert not (toy.build / "logs").exists()


def test_a_failing_cell_is_named_with_its_error_and_nothing_is_published(toy, edit):
    edit(STEP, "import time\nraise ValueError('eps must be >= 0')\n")
    with pytest.raises(RunError, match="ValueError: eps must be >= 0"):
        run(toy)
    assert not list(toy.runs.rglob("record.json"))
    assert (toy.build / "failed" / "toy2020-smoke-seed0.ipynb").is_file()
    assert left_over(toy) == []


def test_a_kernel_that_dies_fails_the_run(toy, edit):
    edit(STEP, "import os, time\nos.kill(os.getpid(), 9)\n")
    with pytest.raises(RunError, match=r"failed in code cell 2 .*: it lost its kernel"):
        run(toy)
    assert not list(toy.runs.rglob("record.json"))


def test_a_cell_in_which_nothing_moves_fails_the_run(toy):
    why = r"failed in code cell 2 \(import time\): it stood still for \d+ s .*--silence"
    with pytest.raises(RunError, match=why) as failed:
        run(toy, "sleep=3600.0", limits=Limits(silence=3.0))
    assert str(failed.value).count(" cell 2 ") == 1
    assert not list(toy.runs.rglob("record.json"))
    assert left_over(toy) == []


def test_a_kernel_that_hangs_before_its_first_cell_fails_the_run(toy, monkeypatch):
    sleeps = [sys.executable, "-c", "import time; time.sleep(3600)", "{connection_file}"]
    monkeypatch.setattr(kernel, "command", lambda: sleeps)
    with pytest.raises(RunError, match=r"before its first cell: it stood still for"):
        run(toy, limits=Limits(silence=3.0))
    assert left_over(toy) == []


def test_why_a_kernel_did_not_start_stands_in_the_log_and_nowhere_else(toy, monkeypatch, capfd):
    fails = [sys.executable, "-c", "raise OSError(28, 'No space left')", "{connection_file}"]
    monkeypatch.setattr(kernel, "command", lambda: fails)
    with pytest.raises(RunError, match=r"before its first cell: it lost its kernel.*The log is"):
        run(toy)
    assert "Traceback" not in capfd.readouterr().err
    (log,) = (toy.build / "logs").glob("toy2020-*.log")
    assert "OSError: [Errno 28] No space left" in log.read_text()


def test_a_slow_cell_that_works_outlasts_the_silence_many_times(toy, edit):
    busy = (
        "import time\nend = time.process_time() + 4\nwhile time.process_time() < end:\n    pass\n"
    )
    edit(STEP, busy)
    assert (run(toy, limits=Limits(silence=1.0)) / "record.json").is_file()


def test_a_cell_that_only_tells_its_progress_outlasts_the_silence(toy, edit):
    telling = """import time
from robustnb.progress import progress
with progress("wait", total=10) as bar:
    for _ in range(10):
        time.sleep(0.6)
        bar.advance()
"""
    edit(STEP, telling)
    assert (run(toy, limits=Limits(silence=4.0)) / "record.json").is_file()


def test_a_total_ends_the_run_only_where_the_user_wants_one(toy):
    with pytest.raises(
        RunError, match=r"failed in code cell 2 .*: it ran past the 2 s of --timeout\."
    ):
        run(toy, "sleep=3600.0", limits=Limits(total=2.0))
    assert left_over(toy) == []


def test_a_late_output_is_waited_for(toy, monkeypatch):
    """nbclient by itself gives up an output that comes four seconds after the cell's reply."""
    import nbclient

    seen = []
    real = nbclient.NotebookClient.__init__

    def remember(self, *words, **settings):
        real(self, *words, **settings)
        seen.append((self.iopub_timeout, self.startup_timeout, self.timeout))

    monkeypatch.setattr(nbclient.NotebookClient, "__init__", remember)
    run(toy)
    ((output, start, cell),) = seen
    assert min(output, start) > 1e6 and cell is None


def test_what_goes_to_stderr_is_kept_out_of_the_page_and_told(toy, edit):
    edit(STEP, "import sys, time\nprint('careful', file=sys.stderr)\n")
    folder = run(toy)
    assert json.loads((folder / "record.json").read_text())["warnings"] == ["careful\n"]
    cells = json.loads((folder / "x.ipynb").read_text())["cells"]
    assert not any(output["name"] == "stderr" for output in streams(cells))


def test_a_page_that_shows_a_path_of_this_machine_is_refused(toy, edit):
    edit(STEP, "import os, time\nprint(os.environ['ROBUSTNB_ROOT'])\n")
    with pytest.raises(RunError, match="path of this machine"):
        run(toy)


def test_a_module_outside_the_key_is_refused(toy, edit):
    edit(STEP, "import importlib, time\nimportlib.import_module('robustnb.stats')\n")
    with pytest.raises(RunError, match=r"robustnb\.stats, which its key does not cover"):
        run(toy)


def test_an_undeclared_data_set_is_refused(toy, edit):
    edit(STEP, "import time\nfrom robustnb.data import load\nload('mnist_embedded', 'test')\n")
    with pytest.raises(RunError, match="mnist_embedded; name the parameter"):
        run(toy)


def test_the_status_tells_cell_and_what_is_waited_for(toy):
    with unfinished.folder(toy.work, "toy2020-smoke-seed0-key") as work:
        state = status.Status.start(toy, "toy2020-smoke-seed0", work, budget=20.0)
        state.set_cells(5)
        state.next_cell()
        state.note_file.write_text("train: 1/9\ntrain: 2/9\n")
        (line,) = status.lines(toy)
        told = (
            r"toy2020-smoke-seed0: cell 1 of 5, \d+ s \(budget 20 reference seconds\), train: 2/9"
        )
        assert re.fullmatch(told, line)
        status.sweep(toy)
        assert status.lines(toy)
    assert status.lines(toy) == [] and state.path.exists()
    status.sweep(toy)
    assert not state.path.exists()


@pytest.mark.parametrize("after", [0.3, 1.5])
def test_after_kill_9_the_same_command_finishes(toy, after):
    """Killed while it converts or starts the kernel, and in the middle of a cell."""
    environment = {**os.environ, "ROBUSTNB_ROOT": str(toy.root), "ROBUSTNB_BUILD": str(toy.build)}
    command = [sys.executable, "-m", "robustnb.reproduce.main", "run", "toy2020"]
    command += ["--profile", "smoke", "-p", "sleep=1.5"]
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    time.sleep(after)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(toy.runs.rglob("record.json"))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "custom" in done.stdout
    assert len(list(toy.runs.rglob("record.json"))) == 1
    assert left_over(toy) == []


def test_a_folder_without_its_record_is_replaced_and_a_fresh_run_loses_nothing(toy, monkeypatch):
    folder = run(toy)
    (folder / "record.json").unlink()
    assert (run(toy) / "record.json").is_file()
    before = (folder / "x.ipynb").read_bytes()

    def full(_result, _folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic, "move_folder", full)
    with pytest.raises((RunError, OSError)):
        run(toy, fresh=True)
    assert (folder / "x.ipynb").read_bytes() == before
    assert not list(folder.parent.glob(".*.old"))


def test_a_bare_magic_is_no_command(toy, edit):
    edit(STEP, STEP + "ls\n")
    with pytest.raises(RunError, match="NameError: name 'ls' is not defined"):
        run(toy)
