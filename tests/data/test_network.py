"""The real sources give exactly the bytes of the catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustnb.data import catalogue, decode
from robustnb.data.registry_clients import SourceError
from robustnb.data.sources import sources_of

FIRST_LABELS = {
    "mnist": [5, 0, 4, 1, 9],
    "fashion_mnist": [9, 0, 0, 3, 0],
    "cifar10": [6, 9, 9, 4, 1],
    "stamps": [0, 0, 0, 0, 0],
}


@pytest.mark.network
@pytest.mark.parametrize("name", FIRST_LABELS)
def test_every_source_in_reach_gives_the_known_bytes_and_one_is(name: str, tmp_path: Path) -> None:
    dataset = catalogue()[name]
    answered, refused = [], []
    for number, source in enumerate(sources_of(dataset)):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            arrays = source.read(folder)
        except SourceError as error:
            refused.append(f"{dataset.sources[number]}: {error}")
            continue
        decode.check(dataset, arrays)
        labels = arrays.get("train", arrays["test"])[1]
        assert labels[:5].tolist() == FIRST_LABELS[name]
        answered.append(dataset.sources[number])
    assert answered, refused
