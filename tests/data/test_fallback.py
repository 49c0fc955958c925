from __future__ import annotations

import logging
import tarfile
from pathlib import Path
from typing import Any

import pytest

from robustnb.data import archive, decode, fetch, load
from robustnb.data.registry_clients import SourceError
from robustnb.errors import DataError


def html(folder: Path) -> Any:
    file = folder / "package.tgz"
    file.write_text("<!doctype html><p>please log in")
    archive.refuse_web_page(file)


def truncated(folder: Path) -> Any:
    decode.gunzip(b"\x1f\x8b\x08", limit=10)


def timing_out(folder: Path) -> Any:
    raise SourceError("no answer in 5 s", dead=True)


def crashing(folder: Path) -> Any:
    raise tarfile.HeaderError("a parser fell over")


def full(folder: Path) -> Any:
    raise OSError(28, "No space left on device")


BAD = {
    "web page": html,
    "truncated": truncated,
    "no answer": timing_out,
    "fell over": crashing,
    "No space left": full,
}


@pytest.mark.parametrize("said", BAD)
def test_a_bad_source_says_why_and_the_next_one_is_asked(tiny, said: str) -> None:
    tiny.add("bad", BAD[said])
    tiny.add_good()
    lines: list[str] = []
    fetch("tiny", report=lines.append)
    assert tiny.asked == ["bad", "good"]
    [answer] = [line for line in lines if "from bad:" in line]
    assert said in answer and "\n" not in answer
    assert "from good: every digest is right" in lines[-1]


def test_a_swapped_file_is_refused_and_the_next_source_asked(tiny) -> None:
    def swapped(folder: Path) -> Any:
        arrays = tiny.fresh()
        return {"train": arrays["train"], "test": arrays["train"]}

    tiny.add("swapped", swapped)
    tiny.add_good()
    lines: list[str] = []
    fetch("tiny", report=lines.append)
    assert any("swapped: refused: test images are uint8 (8, 1, 3, 2)" in line for line in lines)
    assert load("tiny", "test")[0].numpy().tobytes() == tiny.arrays["test"][0].tobytes()


def test_when_all_fail_the_error_says_what_each_said_and_what_to_do(tiny) -> None:
    for said, read in BAD.items():
        tiny.add(said, read)
    with pytest.raises(DataError) as caught:
        load("tiny", "train")
    message = str(caught.value)
    assert all(f"\n  {said}: " in message for said in BAD)
    for way_out in ("robustnb data fetch tiny", "ROBUSTNB_DATA", "PROFILE=smoke"):
        assert way_out in message
    assert caught.value.exit_code == 4


def test_a_dead_client_is_not_asked_again_in_this_process(tiny) -> None:
    tiny.add("one", timing_out, client="npm")
    tiny.add("two", timing_out, client="npm")
    for _ in range(2):
        with pytest.raises(DataError, match="two: skipped, it failed before: no answer in 5 s"):
            load("tiny", "train")
    assert tiny.asked == ["one"]


def test_a_source_that_answered_wrongly_is_asked_again(tiny) -> None:
    tiny.add("bad", truncated)
    for _ in range(2):
        with pytest.raises(DataError):
            load("tiny", "train")
    assert tiny.asked == ["bad", "bad"]


def test_an_interrupt_is_not_taken_for_a_bad_source(tiny) -> None:
    def interrupted(folder: Path) -> Any:
        raise KeyboardInterrupt

    tiny.add("slow", interrupted)
    tiny.add_good()
    with pytest.raises(KeyboardInterrupt):
        load("tiny", "train")
    assert tiny.asked == ["slow"]


def test_a_source_works_in_a_folder_that_is_gone_afterwards(tiny) -> None:
    seen: list[Path] = []

    def read(folder: Path) -> Any:
        assert folder.is_dir() and not list(folder.iterdir())
        (folder / "package.tgz").write_bytes(b"x")
        seen.append(folder)
        return tiny.fresh()

    tiny.add("good", read)
    load("tiny", "train")
    assert not seen[0].exists()


def test_every_line_goes_to_the_log_and_none_to_the_screen(
    tiny, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    tiny.add("bad", html)
    tiny.add_good()
    with caplog.at_level(logging.INFO, logger="robustnb.data"):
        load("tiny", "train")
    assert [record.name for record in caplog.records] == ["robustnb.data"] * 3
    assert capfd.readouterr() == ("", "")


def test_a_notebook_run_is_told_in_its_progress_file(
    tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "progress.txt"
    monkeypatch.setenv("ROBUSTNB_PROGRESS", str(file))
    tiny.add_good()
    load("tiny", "train")
    assert "fetch tiny: 1/1" in file.read_text()
