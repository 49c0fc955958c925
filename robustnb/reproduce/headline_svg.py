"""A headline as an SVG that takes its ink from the page around it, light or dark.

Inside an HTML page its text has the colour of the page's text, and every other colour is a CSS
variable `--rnb-plot-<name>`; on its own the colours are those of `robustnb.lesson.plot`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from robustnb.lesson import plot
from robustnb.reproduce.headline import Drawing, Shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

POINTS = 13.6  # of every word: 9 CSS pixels where the figure is 358 wide
_ASPECT = 0.72
_OFFSETS = {"left": (-13, 0), "right": (13, 0), "above": (0, 17), "below": (0, -17)}
_ALIGN = {"left": "right", "right": "left", "above": "center", "below": "center"}
_HEAD = re.compile(r"^.*?<svg [^>]*?viewBox=\"([^\"]*)\"[^>]*>", re.DOTALL)
_DROPPED = re.compile(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", re.DOTALL)


def draw(drawing: Drawing) -> str:
    """The SVG; equal drawings give equal text."""
    import matplotlib as mpl
    from matplotlib.text import Text

    fig, ax = plot.figure("column", _ASPECT)
    mpl.rcParams["svg.fonttype"] = "none"
    main, strip = _panels(fig, ax, any(s.mark.apart for s in drawing.shown))
    for shown, style in zip(drawing.shown, _styles(drawing.shown), strict=True):
        _mark(strip if shown.mark.apart else main, shown, style, named=not drawing.headline.rows)
    for k, line in enumerate(_lines(drawing.shown)):
        xy = [s.centre for s in drawing.shown if s.mark.line == line]
        main.plot(*zip(*xy, strict=True), **{**plot.style_of(k), "marker": ""}, zorder=1)
    if drawing.headline.rows:
        _rows(drawing, main)
    else:
        _axes(drawing, main, strip)
    for text in fig.findobj(Text):
        text.set_fontsize(POINTS)
    out = io.StringIO()
    fig.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _themed(out.getvalue(), drawing.alt(), mpl.rcParams["grid.color"])


def _panels(fig: Any, ax: Axes, broken: bool) -> tuple[Axes, Axes]:
    """The axes, and those below the break; the same twice where nothing lies apart."""
    if not broken:
        return ax, ax
    fig.clear()
    main, strip = fig.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    main.spines["bottom"].set_visible(False)
    main.tick_params(axis="x", length=0)
    cut: dict[str, Any] = {
        "marker": [(-1, -0.6), (1, 0.6)], "markersize": 11, "linestyle": "none", "clip_on": False,
        "color": plot.GREY, "markeredgecolor": plot.GREY, "markeredgewidth": 1.3,
    }  # fmt: skip
    main.plot([0], [0], transform=main.transAxes, **cut)
    strip.plot([0], [1], transform=strip.transAxes, **cut)
    return main, strip


def _lines(shown: Sequence[Shown]) -> list[str]:
    return list(dict.fromkeys(s.mark.line for s in shown if s.mark.line))


def _styles(shown: Sequence[Shown]) -> list[dict[str, Any]]:
    """One style for each line, then one for each mark on no line."""
    known = {line: k for k, line in enumerate(_lines(shown))}
    found = []
    for s in shown:
        k = known.setdefault(s.mark.line or s.mark.label, len(known))
        found.append({**plot.style_of(k), "linestyle": "none"})
    return found


def _mark(ax: Axes, shown: Shown, style: Mapping[str, Any], *, named: bool) -> None:
    """Single seeds faint, their mean large, the page's run ringed, and the label if `named`."""
    xs, ys = zip(*shown.seeds, strict=True)
    ax.plot(xs, ys, **{**style, "markersize": 5, "alpha": 0.4, "markeredgewidth": 0}, zorder=2)
    ax.plot(*shown.centre, **{**style, "markersize": 11}, zorder=4)
    if shown.here is not None:
        ring: dict[str, Any] = {
            "marker": "o", "markersize": 10, "markerfacecolor": "none", "linestyle": "none",
            "markeredgecolor": plot.INK, "markeredgewidth": 1.4,
        }  # fmt: skip
        ax.plot(*shown.here, **ring, zorder=3)
    if shown.mark.label and named:
        side = shown.mark.side
        ax.annotate(
            shown.mark.label, shown.centre, xytext=_OFFSETS[side], textcoords="offset points",
            ha=_ALIGN[side], va="center", color=style["color"], fontweight="bold", zorder=3,
            bbox={"facecolor": plot.PAPER, "edgecolor": "none", "alpha": 0.7, "pad": 1.0},
        )  # fmt: skip


def _axes(drawing: Drawing, main: Axes, strip: Axes) -> None:
    """Labels, round numbers, and room for the words beside the marks."""
    plain = drawing.headline.plain
    main.set_ylabel(drawing.headline.ylabel)
    strip.set_xlabel(drawing.headline.xlabel)
    main.margins(x=0.2, y=0.12)
    _ticks(main.yaxis, 6, plain)
    if strip is not main:
        low, high = strip.get_ylim()
        strip.set_ylim(max(0.0, low - 0.02) - 0.015, high + 0.02)
        strip.margins(x=0.2)
        _ticks(strip.yaxis, 2, plain)
    places = sorted({s.mark.x for s in drawing.shown if not isinstance(s.mark.x, Mapping)})
    if not places:
        _ticks(strip.xaxis, 5, plain)
        return
    strip.set_xscale("log")
    strip.set_xticks(places, [f"{x:,g}" for x in places])
    strip.minorticks_off()
    strip.set_xlim(places[0] / 1.5, places[-1] * (places[-1] / places[0]) ** 0.65)


def _rows(drawing: Drawing, ax: Axes) -> None:
    """A name at each row, and the paper's number as an empty diamond."""
    diamond: dict[str, Any] = {
        "marker": "D", "markersize": 9, "markerfacecolor": "none", "linestyle": "none",
        "markeredgecolor": plot.GREY, "markeredgewidth": 1.6,
    }  # fmt: skip
    places = [shown.centre[1] for shown in drawing.shown]
    for shown, place in zip(drawing.shown, places, strict=True):
        if shown.mark.paper is not None:
            ax.plot(shown.mark.paper, place, **diamond, zorder=3)
    ax.set_yticks(places, [shown.name for shown in drawing.shown])
    ax.set_xlabel(drawing.headline.xlabel)
    ax.margins(x=0.06, y=0.1)
    _ticks(ax.xaxis, 5, drawing.headline.plain)


def _ticks(axis: Axis, ticks: int, plain: bool) -> None:
    """At most so many ticks, at round numbers or whole per cent."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    axis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 5, 10]))
    if not plain:
        axis.set_major_formatter(PercentFormatter(xmax=1, decimals=0, symbol=" %"))


def _themed(svg: str, alt: str, grid: str) -> str:
    """The SVG without a size, style sheet or date of its own, in the colours of the page."""
    svg = _HEAD.sub(
        lambda m: f'<svg xmlns="http://www.w3.org/2000/svg" '
        f'xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{m[1]}" role="img" '
        f'aria-label="{escape(alt)}" style="stroke-linejoin: round; stroke-linecap: butt">',
        _DROPPED.sub("", svg), count=1,
    )  # fmt: skip
    named = {**plot.PALETTE, "grey": plot.GREY, "paper": plot.PAPER, "grid": grid}
    names = {colour: name for name, colour in named.items() if colour != plot.INK}
    for colour, name in names.items():
        svg = svg.replace(colour, f"var(--rnb-plot-{name}, {colour})")
    return svg.replace(plot.INK, "currentColor")
