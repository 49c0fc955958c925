"""One style for every figure: few colours safe for colour blindness, direct labels, bands.

`use()` sets the style, `figure` opens a figure as wide as the text (or wider), and `finish` closes
it and shows it as a PNG whose bytes depend on the figure alone. A chart is drawn on white, which
the page's style turns with the theme; a figure of images is drawn on nothing, in an ink that can
be read on a white and on a dark page, since images must not be turned. Two panels meet in the
middle of the PNG, so that a narrow screen can show one above the other.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's set, darkened so that each has contrast 4.5 with the paper: its text can be read
PALETTE: dict[str, str] = {
    "blue": "#0067a5",
    "vermillion": "#b84d00",
    "green": "#007a58",
    "purple": "#a8467f",
    "ochre": "#8a6500",
    "black": "#222222",
}
palette: tuple[str, ...] = tuple(PALETTE.values())
PAPER = "#ffffff"
INK = "#222222"
GREY = "#6b6b6b"
NEUTRAL = "#757575"  # on white as on the dark page
_GRID = "#e4e4e0"
_DPI = 200  # two device pixels for each of the 100 CSS pixels an inch
_WIDTHS = {"column": 6.4, "wide": 9.6}  # inches, hence 640 and 960 CSS pixels
_MISTAKE = "#c85a00"  # on white as on the dark page
_MARKERS = ("o", "s", "^", "D", "v", "P")
_DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)), "-", (0, (4, 1)))

_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "mathtext.fontset": "dejavusans",
    "font.size": 12.5,
    "axes.titlesize": 13.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelsize": 12.5,
    "xtick.labelsize": 12,
    "ytick.labelsize": 12,
    "legend.fontsize": 12,
    "legend.frameon": True,  # opaque, so that no line runs through the words
    "legend.framealpha": 1.0,
    "legend.facecolor": PAPER,
    "legend.edgecolor": "none",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.9,
    "axes.linewidth": 0.9,
    "lines.linewidth": 2.2,
    "lines.markersize": 6.5,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "figure.dpi": _DPI,
    "savefig.dpi": _DPI,
    "figure.max_open_warning": 0,
    "svg.hashsalt": "robustnb",
}


def use() -> None:
    """Set the style for the figures that follow; `figure` does it by itself."""
    import matplotlib as mpl
    import seaborn as sns
    from cycler import cycler

    mpl.rcdefaults()  # an earlier figure's settings must not leak into this one
    sns.set_theme(context="notebook", style="ticks", palette=list(palette))
    mpl.rcParams.update({**_STYLE, "axes.prop_cycle": cycler(color=palette)})


def figure(
    width: Literal["column", "wide"] = "column", aspect: float = 0.56, *, panels: int = 1
) -> tuple[Figure, Any]:
    """A figure with its axes: one, or an array of `panels` side by side.

    `aspect` is height over width. The figure belongs to no window and no global state.
    """
    if width not in _WIDTHS:
        raise ValueError(f"width must be 'column' or 'wide', got {width!r}")
    if not 0.1 <= aspect <= 3:
        raise ValueError(f"aspect is height over width, between 0.1 and 3, got {aspect}")
    if panels < 1:
        raise ValueError(f"panels must be at least 1, got {panels}")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as NewFigure

    use()
    size = (_WIDTHS[width], _WIDTHS[width] * aspect)
    fig = NewFigure(figsize=size, dpi=_DPI)
    fig.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)  # air inside the opaque card
    FigureCanvasAgg(fig)
    axes = fig.subplots(1, panels)
    return fig, axes


def style_of(index: int) -> dict[str, Any]:
    """Colour, marker and dashes of the index-th line: told apart in grey, too."""
    if not 0 <= index < len(palette):
        raise ValueError(f"there are {len(palette)} line styles; draw fewer lines, or more panels")
    return {
        "color": palette[index],
        "marker": _MARKERS[index],
        "linestyle": _DASHES[index],
        "markeredgecolor": PAPER,
        "markeredgewidth": 1.0,
    }


def band(
    ax: Axes, x: Any, low: Any, high: Any, *, color: str = palette[0], label: str | None = None
) -> None:
    """A band from low to high over x: an interval, beside the line of its centre."""
    ax.fill_between(x, low, high, color=color, alpha=0.16, linewidth=0, label=label)


def direct_label(
    ax: Axes,
    x: float,
    y: float,
    text: str,
    *,
    color: str = INK,
    offset: tuple[float, float] = (8, 0),
    align: Literal["left", "center", "right"] = "left",
) -> None:
    """A label beside the thing it names, instead of a legend; offset in points, data at (x, y)."""
    ax.annotate(
        text,
        (x, y),
        xytext=offset,
        textcoords="offset points",
        color=color,
        ha=align,
        va="center",
        fontsize=12,
        fontweight="bold",
        bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.85, "pad": 1.0},
        zorder=5,
    )


def label_ends(ax: Axes, *, gap: float = 0.065) -> None:
    """Name every labelled line at its right end, in its colour, instead of a legend.

    Labels nearer than `gap` (a share of the axes' height) are moved apart, in the lines' order.
    Call it last: it reads the limits of the axes.
    """
    lines = [line for line in ax.get_lines() if not str(line.get_label()).startswith("_")]
    if not lines:
        raise ValueError("no line has a label; ax.plot(x, y, label='TRADES 6', **style_of(0))")
    ax.set_xlim(ax.get_xlim())
    ax.set_ylim(ax.get_ylim())
    to_axes = ax.transData + ax.transAxes.inverted()
    points: list[Any] = [line.get_xydata() for line in lines]
    ends = [float(to_axes.transform(xy[-1])[1]) for xy in points]
    order = sorted(range(len(lines)), key=lambda k: ends[k])
    for k, height in zip(order, _apart([ends[k] for k in order], gap), strict=True):
        ax.annotate(
            str(lines[k].get_label()),
            (1.015, height),
            xycoords="axes fraction",
            color=lines[k].get_color(),
            fontsize=12,
            fontweight="bold",
            va="center",
            annotation_clip=False,
        )


def _apart(heights: Sequence[float], gap: float) -> list[float]:
    """The sorted heights moved as little as need be, so that neighbours are `gap` apart."""
    groups: list[list[float]] = []  # each [centre, size] of labels that touch
    for height in heights:
        groups.append([height, 1])
        while len(groups) > 1:
            (below, m), (above, n) = groups[-2:]
            if above - below >= gap * (m + n) / 2:
                break
            groups[-2:] = [[(below * m + above * n) / (m + n), m + n]]
    return [
        centre + gap * (k - (size - 1) / 2) for centre, size in groups for k in range(int(size))
    ]


def images(
    rows: Mapping[str, Any], *, notes: Mapping[str, Sequence[str]], wrong: Mapping[str, Any]
) -> Figure:
    """A figure of images, a row for each name, with a note under each; mistakes are framed.

    rows: name -> (K, C, H, W) in [0, 1], with C 1 or 3 and the same K; notes: name -> K texts;
    wrong: name -> K truth values.
    """
    sizes = [len(told.get(name, ())) for told in (rows, notes, wrong) for name in rows]
    if len(set(sizes)) != 1:
        raise ValueError(f"every row needs as many images, notes and marks, got {sizes}")
    fig, _ = figure("column", 1.2 * len(rows) / sizes[0])
    fig.clear()
    fig.set_facecolor("none")
    grid = fig.subplots(len(rows), sizes[0], squeeze=False)
    for line, (name, pictures) in zip(grid, rows.items(), strict=True):
        for ax, pixels, note, bad in zip(line, pictures, notes[name], wrong[name], strict=True):
            shown = pixels.permute(1, 2, 0).squeeze(-1)
            ax.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            for side in ax.spines.values():
                side.set(visible=True, linewidth=3 if bad else 0.9)
                side.set_color(_MISTAKE if bad else NEUTRAL)
            ax.set_xlabel(note, fontsize=12, color=_MISTAKE if bad else NEUTRAL)
        line[0].set_ylabel(name, fontweight="bold", color=NEUTRAL)
    return fig


def percent(ax: Axes, axis: Literal["x", "y", "both"] = "y") -> None:
    """Print shares in [0, 1] as per cent on that axis, without digits that all ticks share."""
    from matplotlib.ticker import FuncFormatter

    for name, side in (("x", ax.xaxis), ("y", ax.yaxis)):
        if axis in (name, "both"):
            side.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.6g} %"))


def png(fig: Figure) -> bytes:
    """The figure as PNG at twice the screen's resolution; equal figures give equal bytes."""
    buffer = io.BytesIO()
    fig.savefig(
        buffer,
        format="png",
        dpi=_DPI,
        bbox_inches=_shown(fig),
        facecolor=fig.get_facecolor(),
        metadata={"Software": None, "Title": None},
    )
    return buffer.getvalue()


def _shown(fig: Figure) -> Any:
    """What of the sheet is shown, in inches: all of it, widened so that two panels meet halfway."""
    from matplotlib.transforms import Bbox

    width, height = (float(side) for side in fig.get_size_inches())
    left, right = 0.0, width
    if panels_of(fig) == 2:
        fig.draw_without_rendering()
        boxes: list[Any] = [ax.get_tightbbox() for ax in fig.axes]
        middle = (boxes[0].x1 + boxes[1].x0) / 2 / fig.dpi
        reach = round(max(middle, width - middle), 2)
        left, right = round(middle - reach, 2), round(middle + reach, 2)
    return Bbox([[left, 0], [right, height]])


def panels_of(fig: Figure) -> int:
    """How many panels of a chart stand side by side; images and colour bars do not count."""
    return len(_plotted(fig.axes)) if len(_plotted(fig.axes)) == len(fig.axes) else 1


@dataclass(frozen=True)
class Picture:
    """A finished figure as a notebook shows it: PNG bytes, and a text for who cannot see it."""

    data: bytes = field(repr=False)
    alt: str
    size: tuple[int, int]  # width and height in CSS pixels
    kind: Literal["chart", "images"] = "chart"
    panels: int = 1

    @property
    def digest(self) -> str:
        """SHA-256 of the PNG."""
        return hashlib.sha256(self.data).hexdigest()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        width, height = self.size
        data = {
            "image/png": base64.b64encode(self.data).decode("ascii"),
            "text/plain": f"Figure: {self.alt}",
        }
        shown = {"kind": self.kind, "panels": self.panels}
        return data, {"image/png": {"width": width, "height": height, "alt": self.alt, **shown}}


def finish(fig: Figure, alt: str) -> Picture:
    """Close the figure; return the picture, as the last value of a cell, to show it.

    `alt` says in a sentence what the figure shows. Every axis must name its quantity and unit.
    """
    if not alt.strip():
        raise ValueError("alt is empty; say in one sentence what the figure shows")
    for ax in _plotted(fig.axes):
        for name, text in (("x", ax.get_xlabel()), ("y", ax.get_ylabel())):
            shared = any(other.get_ylabel() for other in fig.axes) and name == "y"
            if not text and not shared:
                raise ValueError(f"the {name} axis has no label; ax.set_{name}label('eps (pixel)')")
    shown = _shown(fig)
    size = (round(shown.width * 100), round(shown.height * 100))
    kind: Literal["chart", "images"] = "chart" if _plotted(fig.axes) else "images"
    return Picture(png(fig), alt, size, kind, panels_of(fig))


def _plotted(axes: Sequence[Axes]) -> list[Axes]:
    """The axes that show numbers, and not an image."""
    return [ax for ax in axes if ax.axison and not ax.images and ax.get_label() != "<colorbar>"]
