from __future__ import annotations

import json
import platform
import socket
from types import SimpleNamespace

import psutil
import pytest

from robustnb.reproduce import machine


@pytest.fixture
def memory(monkeypatch):
    def free(gb):
        found = SimpleNamespace(available=gb * 2**30)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: found)

    return free


@pytest.mark.parametrize(
    ("cores", "gb", "each", "jobs"),
    [(2, 24, 4, 2), (16, 24, 4, 6), (16, 3.9, 4, 1), (1, 64, 4, 1), (64, 256, 1.5, 64)],
)
def test_jobs_are_the_cores_bounded_by_the_free_memory(monkeypatch, memory, cores, gb, each, jobs):
    monkeypatch.setattr(machine, "cores", lambda: cores)
    memory(gb)
    assert machine.jobs(each) == jobs


def test_there_is_a_core_to_run_on():
    assert 1 <= machine.cores() <= psutil.cpu_count()


def test_the_processor_is_named_by_its_model_and_not_by_the_host(monkeypatch, tmp_path):
    listing = tmp_path / "cpuinfo"
    listing.write_text("processor\t: 0\nmodel name\t: Some  CPU @ 2 GHz\nprocessor\t: 1\n")
    monkeypatch.setattr(machine, "_CPUINFO", listing)
    assert machine.processor() == "Some CPU @ 2 GHz"
    listing.write_text("processor\t: 0\n")
    assert machine.processor() == platform.machine()
    assert socket.gethostname() not in json.dumps(machine.processor())
