"""Figures: equal figures give equal bytes, colours are legible, labels never collide."""

from __future__ import annotations

import io
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from robustnb.lesson import plot

DARK_PAGE = "#121212"


def luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def sample() -> plot.Picture:
    fig, ax = plot.figure()
    x = np.linspace(0, 0.4, 9)
    for k, name in enumerate(("standard", "TRADES")):
        y = np.exp(-x * (5 - 3 * k))
        ax.plot(x, y, label=name, **plot.style_of(k))
        plot.band(ax, x, y - 0.05, y + 0.05, color=plot.palette[k])
    plot.direct_label(ax, 0.1, 0.5, "here")
    ax.set(xlabel="eps (share of the pixel range)", ylabel="robust accuracy")
    plot.percent(ax)
    plot.label_ends(ax)
    return plot.finish(fig, "accuracy falls with eps")


@pytest.fixture(scope="module")
def picture() -> plot.Picture:
    return sample()


def test_equal_figures_give_equal_bytes(picture: plot.Picture) -> None:
    import matplotlib

    matplotlib.rcParams.update(
        {"lines.linewidth": 9, "axes.xmargin": 0.4}
    )  # another figure's settings must not leak in
    assert sample().digest == picture.digest


def test_a_column_is_640_css_pixels_at_two_device_pixels_each(picture: plot.Picture) -> None:
    image = Image.open(io.BytesIO(picture.data))
    assert picture.size[0] == 640 and image.size[0] == 1280
    data, metadata = picture._repr_mimebundle_()
    assert metadata["image/png"]["width"] == 640 and "eps" in data["text/plain"]


def test_a_chart_is_on_opaque_white_which_the_page_turns_with_its_theme(
    picture: plot.Picture,
) -> None:
    pixels = np.asarray(Image.open(io.BytesIO(picture.data)).convert("RGBA"))
    assert (pixels[..., 3] == 255).all() and (pixels[0, 0] == 255).all()
    assert picture.kind == "chart" and picture.panels == 1


def test_two_panels_meet_in_the_middle_of_the_picture() -> None:
    fig, axes = plot.figure("wide", 0.4, panels=2)
    for ax, values in zip(axes, ([0, 1], [1e-5, 2e-5]), strict=True):
        ax.plot(values, values, label="a rather long name")
        ax.set(xlabel="x", ylabel="a quantity with a long name")
    plot.label_ends(axes[1])
    two = plot.finish(fig, "two lines")
    pixels = np.asarray(Image.open(io.BytesIO(two.data)).convert("L"))
    assert two.panels == 2
    assert (pixels[:, pixels.shape[1] // 2] == 255).all(), "a label crosses the middle"
    assert two.size == (pixels.shape[1] // 2, pixels.shape[0] // 2)


def test_a_share_of_whole_per_cents_has_no_digits_after_the_point() -> None:
    fig, ax = plot.figure()
    ax.plot([0, 1], [0.5, 0.85])
    plot.percent(ax)
    fig.draw_without_rendering()
    assert [t.get_text() for t in ax.get_yticklabels()][1] == "50 %"


@pytest.mark.parametrize("colour", [plot.NEUTRAL, plot._MISTAKE])
def test_the_ink_of_images_reads_on_white_and_on_the_dark_page(colour: str) -> None:
    assert contrast(colour, "#ffffff") >= 4 and contrast(colour, DARK_PAGE) >= 4


@pytest.mark.parametrize("name", [*plot.PALETTE, "grey"])
def test_text_in_every_colour_is_legible(name: str) -> None:
    assert contrast({**plot.PALETTE, "grey": plot.GREY}[name], plot.PAPER) >= 4.5


# Machado, Oliveira, Fernandes (2009), severity 1, on linear RGB
BLINDNESS = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
               [-0.011820, 0.042940, 0.968881]],
}  # fmt: skip


def lab(colour: str, matrix: Any) -> np.ndarray:
    rgb = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.asarray(matrix) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    f = np.cbrt(np.asarray(to_xyz) @ linear / [0.9505, 1, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("matrix", [np.eye(3), *BLINDNESS.values()], ids=["full", *BLINDNESS])
def test_the_first_four_colours_differ_for_every_eye(matrix: Any) -> None:
    for a, b in itertools.combinations(plot.palette[:4], 2):
        assert np.linalg.norm(lab(a, matrix) - lab(b, matrix)) > 15


def test_at_most_six_styles_and_all_differ_without_colour() -> None:
    styles = [plot.style_of(k) for k in range(len(plot.palette))]
    assert len({(s["marker"], str(s["linestyle"])) for s in styles}) == len(styles) == 6
    with pytest.raises(ValueError, match="fewer lines"):
        plot.style_of(6)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_end_labels_keep_their_order_and_distance(heights: list[float]) -> None:
    moved = plot._apart(sorted(heights), 0.07)
    assert all(b - a >= 0.07 - 1e-9 for a, b in itertools.pairwise(moved))
    assert np.mean(moved) == pytest.approx(np.mean(heights))


def test_labels_that_are_far_apart_stay_where_they_are() -> None:
    assert plot._apart([0.1, 0.5, 0.9], 0.07) == [0.1, 0.5, 0.9]


def test_an_axis_without_its_unit_is_refused() -> None:
    fig, ax = plot.figure()
    ax.plot([0, 1], [0, 1])
    with pytest.raises(ValueError, match="has no label"):
        plot.finish(fig, "a line")


def test_a_figure_without_words_for_it_is_refused() -> None:
    fig, _ = plot.figure()
    with pytest.raises(ValueError, match="alt is empty"):
        plot.finish(fig, " ")


def test_images_need_no_axis_labels() -> None:
    fig, axes = plot.figure("wide", 0.3, panels=2)
    for ax in axes:
        ax.imshow(np.eye(3), cmap="gray")
        ax.set_axis_off()
    assert plot.finish(fig, "two images").size == (960, 288)


@pytest.mark.parametrize(
    "settings", [{"width": "huge"}, {"aspect": 0}, {"panels": 0}], ids=lambda s: next(iter(s))
)
def test_an_impossible_figure_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        plot.figure(**settings)


def test_images_are_framed_where_they_are_mistakes_and_need_no_axis_labels() -> None:
    pictures = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    rows = {"clean": pictures, "attacked": 1 - pictures}
    fig = plot.images(
        rows, notes={"clean": "abc", "attacked": "abd"},
        wrong={"clean": [False] * 3, "attacked": [False, False, True]},
    )  # fmt: skip
    shown = fig.axes
    assert len(shown) == 6
    assert [ax.get_xlabel() for ax in shown] == list("abcabd")
    assert [ax.get_ylabel() for ax in shown] == ["clean", "", "", "attacked", "", ""]
    frames = [ax.spines["top"].get_linewidth() for ax in shown]
    assert frames[-1] > max(frames[:-1])
    assert np.array_equal(shown[1].images[0].get_array(), pictures[1, 0].numpy())
    assert plot.finish(fig, "six images").size[0] == 640


def test_images_without_a_note_each_are_refused() -> None:
    pictures = torch.zeros(2, 3, 4, 4)
    with pytest.raises(ValueError, match="as many images, notes and marks"):
        plot.images({"a": pictures}, notes={"a": ["x"]}, wrong={"a": [False, False]})
