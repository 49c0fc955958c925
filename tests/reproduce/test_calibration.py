from __future__ import annotations

import pytest

from robustnb.errors import RunError
from robustnb.reproduce import calibration


@pytest.fixture
def unmeasured():
    calibration.measure.cache_clear()
    yield
    calibration.measure.cache_clear()


def test_a_machine_twice_as_slow_needs_the_same_reference_seconds():
    assert calibration.reference_seconds(300.0, 1.5) == calibration.reference_seconds(600.0, 3.0)
    assert calibration.reference_seconds(7.0, calibration.REFERENCE_SECONDS) == 7.0


def test_the_work_is_measured_in_cpu_seconds_of_another_process_once(unmeasured, tmp_path):
    found = calibration.measure(tmp_path)
    assert found > 0.05
    assert calibration.measure(tmp_path) == found


def test_a_machine_that_cannot_do_the_work_is_told_in_one_line(unmeasured, monkeypatch, tmp_path):
    broken = {"PYTHONPATH": str(tmp_path)}
    (tmp_path / "torch.py").write_text("raise ImportError('no room for torch')")
    monkeypatch.setattr(calibration, "isolated", lambda _environment, _folder: broken)
    with pytest.raises(RunError, match=r"torch does not work here.*: ImportError: no room"):
        calibration.measure(tmp_path)
