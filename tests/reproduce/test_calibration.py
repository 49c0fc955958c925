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


def test_the_work_is_measured_in_cpu_seconds_of_another_process_once(unmeasured):
    found = calibration.measure()
    assert found > 0.05
    assert calibration.measure() == found


def test_a_machine_that_cannot_do_the_work_is_told_in_one_line(unmeasured, monkeypatch, tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('no room for torch')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RunError, match=r"torch does not work here.*: ImportError: no room"):
        calibration.measure()
