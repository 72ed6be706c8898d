"""pyspk.waves: without augmentation the frames of feats.scp, with it those of the augmented stretch."""

import pickle

import numpy as np
import pytest
import torch
from augmentation import write_sources
from conftest import RATE_HZ
from torch.utils.data import DataLoader

from pyspk.audio import utterance_reader
from pyspk.augment.augmenter import Augmenter
from pyspk.augment.config import AugmentConfig
from pyspk.augment.effects import speed
from pyspk.chunks import ChunkBatches, FeatureReader
from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.features import Fbank
from pyspk.tables.archive import ArchiveWriter
from pyspk.waves import WaveReader

NEVER = {f"{kind}_prob": 0.0 for kind in ("noise", "music", "babble", "reverb")}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return write_sources(tmp_path_factory.mktemp("sources"))


def augmenter(sources, **settings):
    return Augmenter(AugmentConfig(**{"reverb_dirs": ("data/rirs",), **settings}).below(sources))


@pytest.mark.parametrize("conf", [{}, {"snip-edges": "false", "num-mel-bins": "40", "frame-length": "32"}])
@pytest.mark.parametrize("voiced", [None, lambda t: t % 5 > 1, lambda t: t < 0])
def test_without_augmentation_chunks_are_those_of_feats_scp(make_data, conf, voiced):
    data = make_data(conf, voiced)
    from_feats, from_waves = FeatureReader.from_data_dir(data), WaveReader(data, conf)
    assert from_waves.dim == from_feats.dim
    for utt in ("s0-u0", "s1-u5"):
        np.testing.assert_allclose(from_waves.whole(utt), from_feats.whole(utt), atol=1e-3)
        for n_frames, place in ((20, 0.0), (20, 0.37), (20, 0.99999), (300, 0.5)):
            got, expected = (reader.chunk(utt, n_frames, place) for reader in (from_waves, from_feats))
            np.testing.assert_allclose(got, expected, atol=1e-3)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_sped_up_copies_are_utterances_of_new_speakers(make_data, sources, factor):
    data = make_data({})
    reader = WaveReader(data, {}, augmenter(sources, **NEVER))
    assert list(reader.utt2spk)[:12] == list(data.utt2spk) and len(reader.utt2spk) == 36
    assert reader.utt2spk[f"sp{factor}-s1-u2"] == f"sp{factor}-s1"
    expected = Fbank({})(speed(utterance_reader(data, RATE_HZ)("s1-u2"), factor))
    whole = reader.whole(f"sp{factor}-s1-u2")
    np.testing.assert_allclose(whole, expected - expected.mean(axis=0), atol=1e-3)
    part = reader.chunk(f"sp{factor}-s1-u2", 30, 0.5)
    start = int(0.5 * (len(expected) - 30 + 1))
    np.testing.assert_allclose(part, expected[start:start + 30] - expected[start:start + 30].mean(axis=0), atol=0.05)


def test_decisions_follow_the_speed(make_data, sources):
    reader = WaveReader(make_data({}, voiced=lambda t: t < 40), {}, augmenter(sources, **NEVER))
    assert len(reader.whole("s0-u0")) == 40
    assert len(reader.whole("sp0.9-s0-u0")) == 44                         # 40 / 0.9 = 44.4
    assert len(reader.whole("sp1.1-s0-u0")) == 36                         # 40 / 1.1 = 36.4


def test_a_chunk_s_augmentation_is_new_for_a_new_place_and_the_same_for_the_same(make_data, sources):
    data = make_data({})
    reader, plain = WaveReader(data, {}, augmenter(sources, **{**NEVER, "noise_prob": 1.0})), WaveReader(data, {})
    other = pickle.loads(pickle.dumps(reader))
    chunk = reader.chunk("s0-u0", 50, 0.1)
    assert chunk.tobytes() == other.chunk("s0-u0", 50, 0.1).tobytes()
    clean = plain.chunk("s0-u0", 50, 0.1)
    again = reader.chunk("s0-u0", 50, 0.1 + 1e-9)                         # the same frames, another noise
    assert np.abs(chunk - clean).mean() > 0.1 and np.abs(chunk - again).mean() > 0.1
    np.testing.assert_allclose(reader.whole("s0-u0"), plain.whole("s0-u0"), atol=1e-6)


def test_batches_do_not_depend_on_the_number_of_workers(make_data, sources):
    reader = WaveReader(make_data({}), {}, augmenter(sources))
    utts = list(reader.utt2spk)

    def content(n_workers, epoch=0):
        batches = ChunkBatches(reader, utts, [0] * len(utts), 40, 4, 36, seed=1, epoch=epoch)
        return torch.cat([feats for feats, _ in DataLoader(batches, batch_size=None, num_workers=n_workers)])

    assert torch.equal(content(0), content(2)) and not torch.equal(content(0), content(0, epoch=1))


def test_what_cannot_be_read_is_named(make_data, sources, tmp_path):
    data = make_data({})
    with pytest.raises(UserError, match='utterance "s9" is not in wav.scp'):
        WaveReader(data, {}).whole("s9")
    undecided = make_other(data, "undecided")
    with ArchiveWriter(tmp_path / "v.ark", undecided.path / "vad.scp") as writer:
        writer.write("s0-u0", np.ones(54))
    with pytest.raises(UserError, match='"s0-u0" has 88 frames, but 54 decisions in vad.scp; make vad.scp again'):
        WaveReader(undecided, {}).whole("s0-u0")
    with pytest.raises(UserError, match='utterance "s0-u0": .*u0.wav: 16000 Hz, but 8000 Hz is wanted'):
        WaveReader(make_other(data, "low"), {"sample-frequency": "8000", "high-freq": "0"}).whole("s0-u0")
    brief = make_other(data, "brief", segments="s0-u0 s0-u0 0.1 0.11\n")
    with pytest.raises(UserError, match='utterance "s0-u0" has 0.010 s, less than one frame; leave it out'):
        WaveReader(brief, {}).whole("s0-u0")
    (brief.path / "utt2aug").touch()
    with pytest.raises(UserError, match="brief has a utt2aug, so it is made of copies; train on its features, or on"):
        WaveReader(brief, {})


def make_other(data, name, segments="s0-u0 s0-u0 0.1 1.0\n"):
    """One utterance of `data`, without decisions."""
    folder = data.path.parent / name
    folder.mkdir()
    (folder / "wav.scp").write_text((data.path / "wav.scp").read_text())
    (folder / "utt2spk").write_text("s0-u0 s0\n")
    (folder / "segments").write_text(segments)
    return DataDir(folder)
