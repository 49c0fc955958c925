"""Ask one source after the other until one gives exactly the bytes the catalogue knows."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from robustnb.data import decode
from robustnb.data.registry_clients import SourceError, one_line
from robustnb.data.sources import Source
from robustnb.errors import DataError

if TYPE_CHECKING:
    from robustnb.data.decode import Arrays
    from robustnb.data.sets import Dataset

Report = Callable[[str], None]

LOG = logging.getLogger("robustnb.data")
LOG.addHandler(logging.NullHandler())  # else Python prints warnings to a notebook's stderr

_dead: dict[str, str] = {}  # client -> why it is of no more use to this process


def say(report: Report, message: str, *, level: int = logging.INFO) -> None:
    """Log one line and hand it to `report`."""
    LOG.log(level, message)
    report(message)


def _ask(dataset: Dataset, source: Source) -> Arrays:
    if source.client in _dead:
        raise SourceError(f"skipped, it failed before: {_dead[source.client]}")
    try:
        with tempfile.TemporaryDirectory(prefix="robustnb-") as folder:
            arrays = source.read(Path(folder))
        decode.check(dataset, arrays)
    except SourceError as error:
        if error.dead:
            _dead[source.client] = str(error)
        raise
    except Exception as error:
        # whatever a source's bytes did to a parser, the next source may still be good
        verb = "failed" if isinstance(error, OSError) else "refused"
        raise SourceError(f"{verb}: {one_line(error) or type(error).__name__}") from error
    return arrays


def obtain(dataset: Dataset, sources: Sequence[Source], report: Report) -> Arrays:
    """The checked arrays of all splits from the first source that has them.

    Reports one line per source. Raises DataError listing what each of them said.
    """
    answers: list[str] = []
    for source in sources:
        try:
            arrays = _ask(dataset, source)
        except SourceError as error:
            answers.append(f"{source.name}: {error}")
            say(report, f"{dataset.name} from {source.name}: {error}")
            continue
        say(report, f"{dataset.name} from {source.name}: every digest is right")
        return arrays
    raise DataError("\n".join([f"{dataset.name} could not be had from any source:", *answers]))
