"""The cover's picture is what its command writes, up to what another processor rounds."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from robustnb.reproduce import hero


def pixels(path):
    with Image.open(io.BytesIO(path.read_bytes())) as picture:
        return np.asarray(picture.convert("RGBA"), dtype=float) / 255


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hero")
    return folder, hero.write(folder, report=lambda _line: None)


@pytest.fixture
def static(root):
    return root / "book" / "_static"


def test_the_committed_answers_are_those_that_the_command_finds(written, static):
    _, found = written
    kept = json.loads((static / "hero.json").read_text(encoding="utf-8"))
    settings = {name for name in kept if name != "networks"}
    assert {name: kept[name] for name in settings} == {name: found[name] for name in settings}
    assert kept["networks"].keys() == found["networks"].keys()
    for name, before in kept["networks"].items():
        now = found["networks"][name]
        for state in ("clean", "attacked"):
            assert now[state]["answer"] == before[state]["answer"]
            assert now[state]["probability"] == pytest.approx(before[state]["probability"], abs=0.1)
        for rate in ("natural", "robust"):
            assert now[rate] == pytest.approx(before[rate], abs=0.03)


def test_the_committed_pictures_are_those_that_the_command_draws(written, static):
    folder, found = written
    for name in found["networks"]:
        now, before = (pixels(at / f"hero-{name}.png") for at in (folder, static))
        assert now.shape == before.shape
        digit = now.shape[0]
        assert np.abs(now - before)[:, :digit].mean() < 0.001
        # where the loss hardly depends on a pixel, another processor finds the other sign
        assert np.abs(now - before).mean() < 0.1


def test_the_pictures_are_small_and_have_no_ground_of_their_own(static):
    for path in static.glob("hero-*.png"):
        assert path.stat().st_size < 10_000
        assert (pixels(path)[..., 3] == 0).any()


def test_the_change_is_drawn_by_sign_and_size():
    before, after = np.full((28, 28), 0.5), np.full((28, 28), 0.5)
    after[0, 0], after[0, 1], after[0, 2] = 0.7, 0.3, 0.6
    with Image.open(io.BytesIO(hero._strip(before, after, 0.2))) as picture:
        strip = np.asarray(picture.convert("RGBA"))
    side, gap = 28 * hero._PIXEL, hero._GAP
    up, down, half, none = (strip[0, side + gap + k * hero._PIXEL] for k in range(4))
    assert tuple(up) == (*hero._BRIGHTER, 255) and tuple(down) == (*hero._DARKER, 255)
    assert half[3] == pytest.approx(128, abs=2) and none[3] == 0
