"""pyspk.frontend: what the device makes of a batch is what WaveReader makes of each chunk."""

import pickle

import numpy as np
import pytest
import soundfile
import torch
from augmentation import write_sources
from conftest import RATE_HZ
from torch.utils.data import DataLoader

from pyspk.augment.augmenter import Augmenter
from pyspk.augment.config import KINDS, AugmentConfig
from pyspk.chunks import ChunkBatches
from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.frontend import Frontend, WaveBatches
from pyspk.waves import WaveReader

NEVER = {f"{kind}_prob": 0.0 for kind in KINDS}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return write_sources(tmp_path_factory.mktemp("sources"))


def augmenter(sources, **settings):
    return Augmenter(AugmentConfig(**{"reverb_dirs": ("data/rirs",), **settings}).below(sources))


def batches(kind, reader, utts=None, chunk_frames=40, n_samples=24, epoch=0):
    utts = utts or list(reader.utt2spk)
    return kind(reader, utts, range(len(utts)), chunk_frames, 8, n_samples, seed=3, epoch=epoch)


def assert_same_feats(got, wanted):
    """Rounding errors beside the loudest frequencies of a synthetic voice apart (test_batched.py), within 1e-3."""
    off = (got - wanted).abs()
    assert got.shape == wanted.shape and got.dtype == torch.float32
    assert off.max() < 0.05 and (off > 1e-3).float().mean() < 1e-3 and off.mean() < 1e-4


@pytest.mark.parametrize("conf", [{}, {"snip-edges": "false", "num-mel-bins": "40", "frame-length": "32"}])
@pytest.mark.parametrize("voiced", [None, lambda t: t % 5 > 1, lambda t: t < 0])
def test_without_augmentation_features_are_those_of_the_reader(make_data, conf, voiced):
    reader, frontend = WaveReader(make_data(conf, voiced), conf), Frontend(conf)
    for chunk_frames in (20, 150):                                        # 150: more than there are, so they repeat
        ours, theirs = (batches(kind, reader, chunk_frames=chunk_frames) for kind in (WaveBatches, ChunkBatches))
        assert len(ours) == len(theirs) == 3
        for i in range(len(ours)):
            (batch, spk), (feats, same_spk) = ours[i], theirs[i]
            assert_same_feats(frontend(batch), feats)
            assert torch.equal(spk, same_spk) and ours.names(i) == theirs.names(i)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_augmentation_is_done_as_by_the_reader(make_data, sources, kind):
    data = make_data({}, lambda t: t % 5 > 1)
    reader = WaveReader(data, {}, augmenter(sources, **{**NEVER, f"{kind}_prob": 1.0, "speeds": ()}))
    batch, _ = batches(WaveBatches, reader)[0]
    assert len(batch.in_rooms if kind == "reverb" else batch.noisy) == 8
    feats, _ = batches(ChunkBatches, reader)[0]
    assert_same_feats(Frontend({})(batch), feats)
    clean, _ = batches(ChunkBatches, WaveReader(data, {}))[0]
    assert (feats - clean).abs().mean() > 0.01


def test_some_of_a_batch_are_augmented_and_some_speak_at_another_speed(make_data, sources):
    reader = WaveReader(make_data({}), {}, augmenter(sources))
    utts = [utt for utt in reader.utt2spk if not utt.startswith("sp1.1")]
    ours, theirs = (batches(kind, reader, utts, n_samples=48) for kind in (WaveBatches, ChunkBatches))
    n_noisy, n_in_rooms, frontend = 0, 0, Frontend({})
    for i in range(len(ours)):
        batch, feats = ours[i][0], theirs[i][0]
        n_noisy, n_in_rooms = n_noisy + len(batch.noisy), n_in_rooms + len(batch.in_rooms)
        slow = torch.tensor([name.startswith("sp") for name in ours.names(i)])
        got = frontend(batch)
        assert_same_feats(got[~slow], feats[~slow])
        # Sped-up samples are rounded to int16, and above 7200 Hz, from bin 76 on, nothing else is left at speed 0.9.
        assert (got - feats)[slow][..., :76].abs().mean() < 0.01
    assert 10 < n_noisy < 35 and 1 < n_in_rooms < 20                      # of 48: 0.45 and 0.15


def test_batches_follow_from_seed_and_epoch_alone(make_data, sources):
    reader = WaveReader(make_data({}), {}, augmenter(sources))

    def content(n_workers, epoch=0):
        loader = DataLoader(batches(WaveBatches, reader, epoch=epoch), batch_size=None, num_workers=n_workers)
        return [tensor for batch, spk in loader for tensor in (*batch, spk)]

    alone, shared, later = content(0), content(2), content(0, epoch=1)
    assert all(map(torch.equal, alone, shared)) and not all(map(torch.equal, alone, later))


def test_a_batch_goes_to_the_device_as_a_whole(make_data, sources):
    reader = WaveReader(make_data({}), {}, augmenter(sources))
    batch, _ = next(iter(DataLoader(batches(WaveBatches, reader), batch_size=None)))
    assert batch.waves.dtype == torch.int16 and batch.waves.shape[1] % 4096 == 0
    moved = batch.to(torch.device("meta"), non_blocking=True)
    assert type(moved) is type(batch) and all(tensor.is_meta for tensor in moved)


def test_the_features_are_float32_and_the_same_under_autocast(make_data, sources):
    frontend, reader = Frontend({}), WaveReader(make_data({}), {}, augmenter(sources))
    batch, _ = batches(WaveBatches, reader)[0]
    wanted = frontend(batch)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(frontend(batch), wanted)
    assert wanted.dtype == torch.float32 and wanted.mean(dim=1).abs().max() < 1e-4
    assert not frontend.state_dict() and not list(frontend.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_on_a_gpu_the_features_are_the_same_and_nothing_waits_for_it(make_data, sources):
    reader, frontend = WaveReader(make_data({}), {}, augmenter(sources)), Frontend({})
    batch, _ = batches(WaveBatches, reader)[0]
    wanted = frontend(batch)
    moved, frontend = batch.to(torch.device("cuda")), frontend.to("cuda")
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.autocast("cuda", torch.bfloat16):
            got = frontend(moved)
    finally:
        torch.cuda.set_sync_debug_mode("default")
        torch.set_float32_matmul_precision(precision)
    assert_same_feats(got.cpu(), wanted)


def test_voiced_frames_far_apart_bound_the_stretch(make_data):
    reader = WaveReader(make_data({}, lambda t: t % 9 == 0), {})
    samples, frames, _ = reader.stretch("s0-u0", 8, 0.0, most_frames=32)
    assert frames.tolist() == [0, 9, 18, 27, 0, 9, 18, 27]
    assert len(samples) == (27 + 3) * 160 + 400                           # three frames more than the last
    assert reader.stretch("s0-u0", 8, 0.0).frames.tolist() == [9 * t for t in range(8)]
    batch, _ = batches(WaveBatches, reader, chunk_frames=8)[0]
    assert all(len(set(row)) == 4 and row[:4] == row[4:] for row in batch.frames.tolist())


def test_no_more_of_a_recording_is_read_than_the_frames_rest_on(make_data, monkeypatch):
    data, lengths = make_data({}), []
    read = soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read",
                        lambda self, frames=-1, **rest: lengths.append(frames) or read(self, frames, **rest))
    batches(WaveBatches, WaveReader(data, {}))[0]
    assert len(lengths) == 8 and max(lengths) == (39 + 2 * 3) * 160 + 400     # 40 frames, three more on either side


def test_samples_beyond_int16_are_rounded_and_clipped(tmp_path):
    samples = 4 * np.arange(20000) - 40000 + 0.75
    soundfile.write(tmp_path / "u.wav", samples / 32768, RATE_HZ, subtype="FLOAT")
    (tmp_path / "wav.scp").write_text(f"u {tmp_path}/u.wav\n")
    (tmp_path / "utt2spk").write_text("u s\n")
    batch, _ = batches(WaveBatches, WaveReader(DataDir(tmp_path), {}), chunk_frames=200)[0]
    wave = batch.waves[0][:batch.n_samples[0]].numpy()
    np.testing.assert_array_equal(wave, np.clip(np.rint(samples), -32768, 32767))


def test_what_cannot_be_read_is_named(make_data, sources, tmp_path):
    data, silent = make_data({}), tmp_path / "silent"
    with pytest.raises(UserError, match='utterance "s9" is not in wav.scp'):
        batches(WaveBatches, WaveReader(data, {}), utts=["s9"])[0]
    silent.mkdir()
    soundfile.write(silent / "r.wav", np.zeros(100), RATE_HZ)
    (silent / "wav.scp").write_text(f"r {silent}/r.wav\n")
    (silent / "utt2spk").write_text("r r\n")
    settings = {**NEVER, "reverb_prob": 1.0, "reverb_dirs": (str(silent),), "speeds": ()}
    with pytest.raises(UserError, match='utterance "s[01]-u.": reverb id=r: the impulse response is silent'):
        batches(WaveBatches, WaveReader(data, {}, augmenter(sources, **settings)))[0]
    (silent / "wav.scp").write_text("r /no/such.wav\n")
    with pytest.raises(UserError, match='utterance "s[01]-u.": reverb id=r: /no/such.wav: no such file'):
        batches(WaveBatches, WaveReader(data, {}, augmenter(sources, **settings)))[0]


def test_silent_noise_leaves_the_chunk_clean(make_data, sources, tmp_path, caplog):
    data, silent = make_data({}), tmp_path / "silent"
    silent.mkdir()
    soundfile.write(silent / "n.wav", np.zeros(RATE_HZ), RATE_HZ)
    (silent / "wav.scp").write_text(f"n {silent}/n.wav\n")
    (silent / "utt2spk").write_text("n n\n")
    settings = {**NEVER, "noise_prob": 1.0, "noise_dirs": (str(silent),), "speeds": ()}
    batch, _ = batches(WaveBatches, WaveReader(data, {}, augmenter(sources, **settings)))[0]
    assert len(batch.noisy) == 0 and "is silent there: these samples stay without it" in caplog.text
    assert torch.isfinite(Frontend({})(batch)).all()


def test_a_frontend_can_be_sent_to_another_process():
    frontend, waves = Frontend({}), torch.randn(2, 4000)
    again = pickle.loads(pickle.dumps(frontend))
    assert torch.equal(again.fbank(waves), frontend.fbank(waves))
