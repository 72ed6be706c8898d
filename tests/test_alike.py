"""Vectors of one dimension read many at a time: the same as one at a time, and nothing else taken for them."""

from pathlib import Path

import numpy as np
import pytest

from pyspk.errors import UserError
from pyspk.scoring.vectors import read_vectors
from pyspk.tables import alike
from pyspk.tables.alike import read_alike
from pyspk.tables.archive import ArchiveReader, ArchiveWriter, read_scp

DIM = 5


@pytest.fixture
def scps(tmp_path):
    """Two scp files: 40 vectors of DIM between matrices, with keys of any length, and 3 vectors more."""
    rng = np.random.default_rng(0)
    for name, n in (("a", 40), ("b", 3)):
        with ArchiveWriter(tmp_path / f"{name}.ark", tmp_path / f"{name}.scp") as writer:
            for i in range(n):
                writer.write(f"{name}{i:02}v{'x' * rng.integers(20)}", rng.standard_normal(DIM).astype(np.float32))
                writer.write(f"{name}{i:02}w", rng.standard_normal((rng.integers(1, 9), 3)).astype(np.float32))
    return tmp_path / "a.scp", tmp_path / "b.scp"


@pytest.mark.parametrize(("span", "gap"), [(1 << 22, 1 << 16), (1, 1 << 16), (100, 1 << 16), (1 << 22, 0)])
def test_in_any_order_of_several_files_and_more_than_once(scps, monkeypatch, span, gap):
    monkeypatch.setattr(alike, "_SPAN_BYTES", span)
    monkeypatch.setattr(alike, "_GAP_BYTES", gap)
    places = [place for scp in scps for key, place in read_scp(scp).items() if key[3] == "v"]
    places = list(np.random.default_rng(1).permutation([*places, places[7], places[7]]))
    reader = ArchiveReader()
    assert np.array_equal(read_alike(places, DIM), [reader.vector(place) for place in places])


def test_whatever_else_is_left_to_the_reader_of_one(scps, tmp_path):
    places = read_scp(scps[0])
    good = next(iter(places.values()))
    (tmp_path / "text").write_text("x [ 1 2 3 4 5 ]\n")
    with ArchiveWriter(tmp_path / "more.ark", tmp_path / "more.scp") as writer:
        writer.write("double", np.zeros(DIM, np.float64))
        writer.write("too_long", np.zeros(DIM + 1, np.float32))
    more = read_scp(tmp_path / "more.scp")
    path = good.rpartition(":")[0]
    for other in (places["a00w"], more["too_long"], more["double"], f"{good}[0:2]", f"{tmp_path}/text:2",
                  f"{tmp_path}/no:2", f"{tmp_path}/\0:2", f"cat {path} |", "-", f"{path}:{10 ** 9}",
                  f"{path}:{10 ** 30}", f"{path}:0", path):
        assert read_alike([good, other], DIM) is None, other
    assert read_alike([good], DIM) is not None


def test_an_archive_that_is_cut_short_is_named_with_the_place(scps):
    names = [key for key in read_scp(scps[0]) if key[3] == "v"]
    place = read_scp(scps[0])[names[-1]]
    path, _, offset = place.rpartition(":")
    with Path(path).open("r+b") as file:
        file.truncate(int(offset) + 20)
    with pytest.raises(UserError, match=f"a.ark:{offset}: the archive is cut short"):
        read_vectors(scps[0], names)
    assert len(read_vectors(scps[0], names[:-1])[1]) == 39


def test_doubles_are_read_too(tmp_path):
    values = np.random.default_rng(0).standard_normal((4, DIM))
    with ArchiveWriter(tmp_path / "d.ark", tmp_path / "d.scp") as writer:
        for i, value in enumerate(values):
            writer.write(f"d{i}", value if i % 2 else value.astype(np.float32))
    assert np.allclose(read_vectors(tmp_path / "d.scp")[1], values)
