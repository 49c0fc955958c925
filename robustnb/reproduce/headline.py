"""The figure at the top of a paper's page, from the means that the ledger holds.

Large marks are means over the seeds of the records, small ones are single seeds, and a ring marks
the run that the page shows. What it draws is registered under `headline` of the paper's registry,
so that the figure and the sentences beside it are drawn from the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from robustnb.errors import UsageError
from robustnb.reproduce.measured import holds, recorded, value
from robustnb.reproduce.registry import load
from robustnb.reproduce.registry_types import Headline, Mark

Json = Mapping[str, Any]
Point = tuple[float, float]


@dataclass(frozen=True)
class Shown:
    """A mark with its points: one for each seed, and that of the page's run if it is comparable."""

    mark: Mark
    seeds: tuple[Point, ...]
    here: Point | None

    @property
    def centre(self) -> Point:
        """The mean over seeds."""
        return mean(x for x, _ in self.seeds), mean(y for _, y in self.seeds)

    @property
    def name(self) -> str:
        """Its label; on a line over a number, the line and the place on it."""
        if isinstance(self.mark.x, Mapping):
            return self.mark.label or self.mark.line
        return f"{self.mark.line} at {self.mark.x:,g}"


@dataclass(frozen=True)
class Drawing:
    """A registered headline with the points of a ledger."""

    headline: Headline
    profile: str
    page_profile: str
    n_seeds: int
    shown: tuple[Shown, ...]

    def alt(self) -> str:
        """What is seen, with its numbers, for who cannot see it."""
        told = "; ".join(f"{s.name}: {self._coordinates(s)}" for s in self.shown)
        return f"{self.headline.says} {self._means()}: {told}."

    def caption(self) -> str:
        """What the marks are, and which run is ringed."""
        marks = f"{self._means()}; small marks are single seeds"
        if any(s.mark.paper is not None for s in self.shown):
            marks += ", diamonds the paper's numbers"
        if any(s.here for s in self.shown):
            marks += ", rings the run that this page shows"
        elif self.page_profile != self.profile:
            marks += f"; the {self.page_profile} run that this page shows is too small to compare"
        return f"{self.headline.caption} {marks}."

    def _means(self) -> str:
        seeds = "one seed" if self.n_seeds == 1 else f"the mean over {self.n_seeds} seeds"
        return f"Each large mark is {seeds} at the {self.profile} size"

    def _coordinates(self, shown: Shown) -> str:
        x, y = shown.centre
        across = f"{self.headline.xlabel} {self._number(x)}"
        if self.headline.rows:
            paper = shown.mark.paper
            return across if paper is None else f"{across}, in the paper {self._number(paper)}"
        up = f"{self.headline.ylabel} {self._number(y)}"
        return f"{across}, {up}" if isinstance(shown.mark.x, Mapping) else up

    def _number(self, value: float) -> str:
        return f"{value:.2f}" if self.headline.plain else f"{100 * value:.1f} %"


def gather(ledger: Json, *, root: Path, paper: str, profile: str, run: str) -> Drawing:
    """The points of a paper's headline; `run` is the ledger's name of the run that a page shows.

    A mark whose arms no run holds is left out. Raises UsageError where the paper registers no
    headline or nothing of it was measured.
    """
    headline = load(paper, folder=root / "notebooks" / "claims").headline
    if headline is None:
        raise UsageError(f"{paper} registers no headline; add it to {paper}.yaml, or take the line")
    size, runs = recorded(ledger, paper)
    here = ledger["runs"].get(run) if profile == size else None
    shown: list[Shown] = []
    for mark in headline.marks:
        row = -len(shown)
        points = [_point(found, mark, row) for found in runs.values() if _has(found, mark)]
        if points:
            mine = _point(here, mark, row) if here is not None and _has(here, mark) else None
            shown.append(Shown(mark, tuple(points), mine))
    if not shown:
        raise UsageError(f"no run of {paper} holds an arm of its headline; name others")
    return Drawing(headline, size, profile, len(runs), tuple(shown))


def _has(run: Json, mark: Mark) -> bool:
    return all(holds(run, estimand) for estimand in mark.estimands())


def _point(run: Json, mark: Mark, row: int) -> Point:
    x = value(run, mark.x) if isinstance(mark.x, Mapping) else mark.x
    return x, row if mark.y is None else value(run, mark.y)


def file_of(paper: str) -> str:
    """The file beside the page."""
    return f"{paper}-headline.svg"


def block(paper: str, drawing: Drawing) -> str:
    """The figure as MyST Markdown, under the label `<paper>-fig-top`."""
    return (
        f"```{{figure}} {file_of(paper)}\n:figclass: rnb-headline\n:class: rnb-inline\n"
        f":name: {paper}-fig-top\n:alt: {drawing.alt()}\n\n{drawing.caption()}\n```"
    )
