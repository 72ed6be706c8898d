"""Chunks and batches: the right frames, in an order that depends on seed and epoch alone."""

import os
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from pyspk.chunks import ChunkBatches, FeatureReader
from pyspk.errors import UserError
from pyspk.tables.archive import ArchiveWriter, read_scp

N_FRAMES = {"u0": 50, "u1": 9, "u2": 30}


@pytest.fixture
def tables(tmp_path):
    """feats whose first column counts the frames; every third frame of u0 is unvoiced, u2 has no voice at all."""
    with ArchiveWriter(tmp_path / "f.ark", tmp_path / "feats.scp") as writer:
        for utt, n in N_FRAMES.items():
            writer.write(utt, np.stack([np.arange(n), np.random.default_rng(n).normal(size=n)], axis=1))
    with ArchiveWriter(tmp_path / "v.ark", tmp_path / "vad.scp") as writer:
        for utt, n in N_FRAMES.items():
            writer.write(utt, np.zeros(n) if utt == "u2" else (np.arange(n) % 3 > 0) if utt == "u0" else np.ones(n))
    return read_scp(tmp_path / "feats.scp"), read_scp(tmp_path / "vad.scp")


def frames_of(chunk):
    """Positions in the utterance, up to the mean that was subtracted."""
    return np.round(chunk[:, 0] - chunk[0, 0]).astype(int).tolist()


def test_whole_utterances_have_their_voiced_frames_centred(tables):
    reader = FeatureReader(*tables)
    whole = reader.whole("u0")
    assert frames_of(whole) == [i - 1 for i in range(50) if i % 3]
    np.testing.assert_allclose(whole.mean(axis=0), 0, atol=1e-5)
    assert len(reader.whole("u2")) == 30                               # no voiced frame: all of them
    assert len(FeatureReader(tables[0]).whole("u0")) == 50             # no vad.scp


@pytest.mark.parametrize(("place", "start"), [(0.0, 0), (0.5, 20), (0.999999, 40)])
def test_a_chunk_lies_where_it_is_asked_for(tables, place, start):
    reader = FeatureReader(tables[0])
    chunk = reader.chunk("u0", 10, place)
    assert frames_of(chunk) == list(range(10))
    expected = reader._archives.matrix(tables[0]["u0"], start, start + 10)
    np.testing.assert_allclose(chunk, expected - expected.mean(axis=0), atol=1e-5)


def test_a_chunk_skips_unvoiced_frames(tables):
    assert frames_of(FeatureReader(*tables).chunk("u0", 6, 0.0)) == [0, 1, 3, 4, 6, 7]


def test_a_short_utterance_repeats(tables):
    assert frames_of(FeatureReader(*tables).chunk("u1", 20, 0.7)) == [i % 9 for i in range(20)]


def test_vad_of_other_features_is_refused(tables):
    with pytest.raises(UserError, match='"u0" has 50 frames, but 9 decisions'):
        FeatureReader(tables[0], {**tables[1], "u0": tables[1]["u1"]}).whole("u0")


def test_an_utterance_of_another_dimension_is_named(tables, tmp_path):
    with ArchiveWriter(tmp_path / "o.ark", tmp_path / "o.scp") as writer:
        writer.write("u1", np.zeros((9, 3)))
    reader = FeatureReader({**tables[0], **read_scp(tmp_path / "o.scp")})
    assert reader.dim == 2
    with pytest.raises(UserError, match='"u1" has features of 3 dimensions, others have 2'):
        reader.whole("u1")


def batches(tables, seed=3, epoch=0, n_samples=7, balance="utterance"):
    return ChunkBatches(FeatureReader(*tables), list(N_FRAMES), [0, 1, 0], 8, 2, n_samples, seed, epoch, balance)


def test_each_utterance_comes_once_before_any_comes_again(tables):
    epoch = batches(tables)
    assert len(epoch) == 4                                             # 7 samples, rounded up to batches of 2
    names = [name for i in range(4) for name in epoch.names(i)]
    assert sorted(names[:3]) == sorted(names[3:6]) == list(N_FRAMES)
    feats, spk = epoch[0]
    assert feats.shape == (2, 8, 2) and feats.dtype == torch.float32
    assert spk.tolist() == [{"u0": 0, "u1": 1, "u2": 0}[name] for name in epoch.names(0)]


def test_each_speaker_comes_once_before_any_comes_again(tables):
    epoch = batches(tables, n_samples=100, balance="speaker")
    names = [name for i in range(50) for name in epoch.names(i)]
    assert all({"u1"} < set(pair) for pair in zip(names[::2], names[1::2], strict=True))     # both speakers each time
    assert 10 < names.count("u0") < 40 and names.count("u0") + names.count("u2") == 50


def test_order_depends_on_seed_and_epoch_alone(tables):
    def content(n_workers=0, **changes):
        loader = DataLoader(batches(tables, n_samples=40, **changes), batch_size=None, num_workers=n_workers)
        return torch.cat([feats for feats, _ in loader])

    torch.testing.assert_close(content(), content(n_workers=2), rtol=0, atol=0)
    assert not torch.equal(content(), content(epoch=1))
    assert not torch.equal(content(), content(seed=4))


def test_a_damaged_archive_is_named_with_utterance_and_offset(tables, tmp_path):
    place = int(tables[0]["u2"].rpartition(":")[2])
    os.truncate(tmp_path / "f.ark", place + 100)
    batches = ChunkBatches(FeatureReader(tables[0]), ["u2"], [0], 20, 2, 2, seed=0, epoch=0)
    with pytest.raises(UserError, match=rf'utterance "u2": .*f\.ark:{place}: the archive is cut short'):
        batches[0]


class Watched(ChunkBatches):
    """Tells with each batch the MiB that the process which read it has resident."""

    def __getitem__(self, i):
        super().__getitem__(i)
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


@pytest.mark.parametrize("method", [None, 2])
def test_workers_do_not_grow(tmp_path, method):
    n_utts, value = 300, np.random.default_rng(0).normal(size=(800, 80)).astype(np.float32)
    with ArchiveWriter(tmp_path / "f.ark", tmp_path / "feats.scp", method) as writer:
        for i in range(n_utts):                                        # 73 MiB as floats
            writer.write(f"u{i:03}", value)
    feats = read_scp(tmp_path / "feats.scp")
    resident = []
    for epoch in range(3):
        batches = Watched(FeatureReader(feats), list(feats), range(n_utts), 200, 30, 2 * n_utts, seed=0, epoch=epoch)
        resident += [float(mib) for mib in DataLoader(batches, batch_size=None, num_workers=1)]
    assert len(resident) == 3 * 20
    assert max(resident) - resident[0] < 10
