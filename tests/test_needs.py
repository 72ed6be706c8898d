"""What a step needs, said and checked before it begins: worked out by hand, and beside what is really written."""

import logging
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT, environment, write_data_dir

from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.losses import SphereSpeaker
from pyspk.model import build_net, save_model
from pyspk.needs import amounts, checks, machine
from pyspk.needs.amounts import audio_amount, frame_amount
from pyspk.needs.checks import (
    check_copies,
    check_embeddings,
    check_features,
    check_features_like,
    check_scores,
    say_pace,
)
from pyspk.needs.machine import Pace, memory_bytes, memory_taken_bytes, pace
from pyspk.needs.sizes import embedding_bytes, feature_bytes, in_words, training_bytes
from pyspk.nets import ResNet
from pyspk.tables.archive import ArchiveWriter
from pyspk.training.config import TrainConfig
from pyspk.training.cost import check_training, sample_cost, weights_of
from pyspk.training.loop import train
from pyspk.training.report import Forecast
from pyspk.world import World


@pytest.fixture
def data_dir(tmp_path, recordings):
    return write_data_dir(tmp_path / "waves", recordings, ["s0", "s1"])


@pytest.fixture
def free(monkeypatch, caplog):
    """free(bytes): what the disk has."""
    caplog.set_level(logging.INFO, logger="pyspk")
    usage = namedtuple("usage", "free")
    return lambda n_bytes: monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(n_bytes))


def written(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and ".made" not in path.parts)


# ---- how much there is

def test_the_length_of_the_audio_is_taken_from_what_tells_it(data_dir, tmp_path):
    def amount():
        return audio_amount(DataDir(data_dir))

    lengths = (1.2, 1.4, 1.6, 1.8, 2.0, 2.2)                             # of each of the two speakers
    assert amount() == (pytest.approx(2 * sum(lengths)), 12, 0, "by the headers of 12 of 12 recordings")
    lines = (data_dir / "wav.scp").read_text().splitlines()
    lines[:2] = "s0-u0 cat x.wav |", f"s0-u1 {tmp_path}/none.wav"
    (data_dir / "wav.scp").write_text("".join(f"{line}\n" for line in lines))
    got = amount()                                # a pipe has no header, and who is not there is said by the job
    assert got[1:] == (11, 1, "by the headers of 10 of 11 recordings")
    assert got.seconds == pytest.approx(11 / 10 * (20.4 - 1.2 - 1.4))
    utts = list(DataDir(data_dir).utt2spk)
    (data_dir / "reco2dur").write_text("".join(f"{utt} 2.5\n" for utt in utts))
    assert amount() == (30.0, 12, 0, "by reco2dur")
    (data_dir / "segments").write_text("".join(f"{utt} {utts[0]} 0.5 1.25\n" for utt in utts))
    assert amount() == (9.0, 12, 0, "by segments")
    (data_dir / "utt2dur").write_text("".join(f"{utt} 1.5\n" for utt in utts))
    assert amount() == (18.0, 12, 0, "by utt2dur")
    (data_dir / "utt2dur").write_text("s0-u0 1.5\ns0-u1 long\n")
    with pytest.raises(UserError, match='utt2dur:2: "s0-u1 long" does not end with a number of seconds'):
        amount()


def test_of_many_recordings_a_sample_of_headers_is_read(data_dir, monkeypatch):
    monkeypatch.setattr(amounts, "N_HEADERS", 5)
    got = audio_amount(DataDir(data_dir))                                # every third: u0 and u3 of each speaker
    assert got == (pytest.approx(12 * (1.2 + 1.8) / 2), 12, 0, "by the headers of 4 of 12 recordings")


def test_the_frames_of_features_are_told_by_utt2num_frames_or_some_headers(data, monkeypatch):
    assert frame_amount(data) == (48, 48 * 30, 6, "by the headers of 48 of 48 features")
    monkeypatch.setattr(amounts, "N_HEADERS", 5)
    assert frame_amount(data).source == "by the headers of 5 of 48 features"
    (data.path / "utt2num_frames").write_text("".join(f"{utt} 7\n" for utt in data.utt2spk))
    assert frame_amount(data) == (48, 48 * 7, 6, "by utt2num_frames")
    (data.path / "f.ark").unlink()
    assert frame_amount(data) is None


# ---- sizes

@pytest.mark.parametrize("compress", [False, True])
def test_features_take_what_was_said(tmp_path, compress):
    rng = np.random.default_rng(0)
    with ArchiveWriter(tmp_path / "a.ark", tmp_path / "a.scp", 1 if compress else None) as writer:
        for i in range(50):
            writer.write(f"u{i}", rng.normal(0, 1, (400, 80)).astype(np.float32))
    assert written(tmp_path) == pytest.approx(feature_bytes(50, 50 * 400, 80, compress), rel=0.02)


def test_embeddings_take_what_was_said(tmp_path):
    for name, n in (("xvector", 1000), ("spk_xvector", 20)):
        with ArchiveWriter(tmp_path / f"{name}.ark", tmp_path / f"{name}.scp") as writer:
            for i in range(n):
                writer.write(f"id00012-21Uxsk56VDQ-{i:05}", np.ones(256, np.float32))
    assert written(tmp_path) == pytest.approx(embedding_bytes(1000, 20, 256), rel=0.1)


def test_the_sizes_of_training_are_those_of_the_documentation():
    """docs/training.md: checkpoints of 90 MB, 27 MB for each epoch of the mean, 27.2 GFLOP a sample of 200 frames."""
    config = TrainConfig(depth=34, channels=32, chunk_frames=200)
    weights = weights_of(config, 80, 3 * 5994)
    net = ResNet(34, 80, 256, "prelu", 32)
    assert weights.net == sum(p.numel() for p in net.parameters())
    assert weights.classifier == sum(p.numel() for p in SphereSpeaker(256, 3 * 5994).parameters())
    assert weights == (weights.net, weights.buffers, 3 * 5994 * 256 + 1)
    assert training_bytes(weights, 1, 1) == pytest.approx(2 * 90e6 + 4 * 26.6e6, rel=0.01)
    assert sample_cost(config, 80).flops == pytest.approx(27.2e9, rel=0.005)


def test_the_cost_of_a_sample_grows_with_its_frames():
    """Each frame costs the same; pooling and embedding come once."""
    config = TrainConfig(net="xvector", channels=8, emb_dim=16)
    one, two, three = (sample_cost(replace(config, chunk_frames=50 * n), 10) for n in (1, 2, 3))
    assert three.flops - two.flops == two.flops - one.flops > 0.9 * one.flops
    assert one.kept_bytes < two.kept_bytes < three.kept_bytes


def test_training_takes_no_more_than_was_said(data, tmp_path):
    config = TrainConfig(net="xvector", channels=8, emb_dim=8, chunk_frames=20, batch_size=8, n_epochs=4,
                         valid_speakers=0, average_epochs=2, keep_checkpoints=2, margin_start_epoch=1,
                         margin_full_epoch=2, warmup_epochs=0)
    train(config, data, tmp_path / "exp", World())
    weights = weights_of(config, 6, 8)
    said = training_bytes(weights, 2, 2)
    there = sum(path.stat().st_size for path in (tmp_path / "exp").rglob("*.pt"))
    n_files = len(list((tmp_path / "exp").rglob("*.pt")))
    assert 0.4 * said < there < said + 20e3 * n_files      # torch writes some kB of names and zeros into each file
    assert n_files <= 2 + 4 + 1


# ---- checks

def test_a_disk_that_is_too_small_ends_it_before_it_begins(tmp_path, data_dir, free, caplog):
    (data_dir / "utt2dur").write_text("".join(f"{utt} 300000\n" for utt in DataDir(data_dir).utt2spk))
    data, there = DataDir(data_dir), tmp_path / "not" / "there"           # 1000 h, 360 million frames
    free(30e9)
    check_features(there, data, 10, 80, True, 0, False)
    assert ("1000.00 h of audio (by utt2dur), about 360000000 frames of 80 values: 28.8 GB in "
            f"{there}, where 30.0 GB are free") in caplog.text
    said = ("about 115.2 GB more are needed, but 30.0 GB are free there; make room, use --compress true, or name "
            "another folder as ARK_DIR, or go on all the same with --force")
    with pytest.raises(UserError, match=said):
        check_features(there, data, 10, 80, False, 0, False)
    check_features(there, data, 10, 80, False, 90 * 10**9, False)         # an earlier run made most of it
    with pytest.raises(UserError, match="make room, or name another folder as ARK_DIR"):
        check_features(there, data, 10, 160, True, 0, False)
    caplog.clear()
    check_features(there, data, 10, 160, True, 0, True)
    assert "57.6 GB more are needed, but 30.0 GB are free there; going on with --force" in caplog.text


def test_what_is_not_known_is_said(tmp_path, data_dir, data, free, caplog):
    free(1e9)
    utts = list(DataDir(data_dir).utt2spk)
    wavs = (data_dir / "wav.scp").read_text().splitlines()
    (data_dir / "wav.scp").write_text("".join(f"{utt} true |\n" for utt in utts))
    check_features(tmp_path, DataDir(data_dir), 10, 80, True, 0, False)
    assert "disk space is not checked: the length of 12 recordings is not known before they are read" in caplog.text
    (data_dir / "wav.scp").write_text("".join(f"{line}\n" for line in [f"{utts[0]} true |", *wavs[1:]]))
    check_features(tmp_path, DataDir(data_dir), 10, 80, True, 0, False)
    assert "are free, and 1 utterances of unknown length" in caplog.text
    (data.path / "f.ark").unlink()
    check_features_like(data, tmp_path, True, 0, False)
    assert "disk space is not checked: no features can be read" in caplog.text


def test_each_kind_of_output_is_checked(tmp_path, data, data_dir, free):
    (tmp_path / "trials").write_text("spk1-utt1 spk2-utt2 nontarget\n" * 100)      # 30 bytes each, and 15 of a score
    config = TrainConfig(net="xvector", channels=8)
    copied = DataDir(data_dir)
    free(1000)
    for check, said in ((lambda force: check_scores(tmp_path / "out", tmp_path / "trials", force), "about 0.0 MB more"),
                        (lambda force: check_embeddings(tmp_path, data, 256, 0, force), "about 0.1 MB more"),
                        (lambda force: check_copies(tmp_path, copied, 6, force), "about 0.0 MB more"),
                        (lambda force: check_training(tmp_path / "exp", config, 80, 10, force), "MB more"),
                        (lambda force: checks.check_decisions(tmp_path, copied, 10, 0, force), "about 0.0 MB more")):
        with pytest.raises(UserError, match=rf"{said} are needed, but 0.0 MB are free there; make room.* with --force"):
            check(False)
        check(True)
    free(4500)
    check_scores(tmp_path / "out", tmp_path / "trials", False)
    free(4499)
    with pytest.raises(UserError):
        check_scores(tmp_path / "out", tmp_path / "trials", False)
    (tmp_path / "trials").write_text("")
    check_scores(tmp_path / "out", tmp_path / "trials", False)      # who reads it says that it is empty


def test_copies_take_what_was_said(tmp_path, data_dir, step):
    (tmp_path / "augment.toml").write_text("noise_prob = 0.0\nmusic_prob = 0.0\nbabble_prob = 0.0\nreverb_prob = 0.0\n")
    said = step("augment_data_dir.py", "--config", tmp_path / "augment.toml", "--copies", 0, data_dir,
                tmp_path / "copies")
    assert "tables of 36 copies: 0.0 MB in " in said
    tables = [(data_dir / name).stat().st_size for name in ("wav.scp", "utt2spk")]
    promised = 36 * (2 * sum(tables) / 12 + 120)
    assert 0.4 * promised < written(tmp_path / "copies") < promised


def test_going_on_counts_what_is_there(tmp_path, free):
    config = TrainConfig(net="xvector", channels=8)
    total = training_bytes(weights_of(config, 80, 10), 2, 1)
    (tmp_path / "last.pt").write_bytes(b"x" * 1000)
    free(total - 1000)
    check_training(tmp_path, config, 80, 10, False)
    free(total - 1001)
    with pytest.raises(UserError):
        check_training(tmp_path, config, 80, 10, False)


def test_steps_stop_when_the_disk_is_too_small_and_force_goes_on(step, data_dir, data, tmp_path):
    (data_dir / "utt2dur").write_text("".join(f"{utt} 1e15\n" for utt in DataDir(data_dir).utt2spk))
    for name in ("make_fbank.py", "make_mfcc.py", "compute_vad.py"):
        said = step(name, data_dir, code=1)
        assert "error: " in said.splitlines()[-1] and "are free there; make room" in said.splitlines()[-1]
    assert not (data_dir / "log").exists()
    assert "going on with --force" in step("make_fbank.py", "--nj", 1, "--force", data_dir)
    big = ["--set", "keep_checkpoints=1000000000", "--set", "net=xvector", "--set", "channels=8"]
    said = step("train.py", *big, data.path, tmp_path / "exp", code=1)
    assert "1000000000 checkpoints and the networks of 1 epochs, " in said and "GB more are needed, but" in said
    assert not (tmp_path / "exp" / "last.pt").exists()


# ---- what there is, and how fast it is

def test_pace_leaves_out_the_first_and_what_fails(monkeypatch):
    clock = iter([0.0, 0.0, 10.0, 10.0, 11.0, 11.0, 12.0])      # bad, then slow, a and b from and to
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(clock))

    def act(thing):
        if thing == "bad":
            raise UserError("bad")

    assert pace(act, ["bad", "slow", "a", "b"], 30) == Pace(2, 2.0)
    monkeypatch.undo()
    assert pace(act, ["bad"], 1) == Pace(0, 0.0) and pace(act, [], 1) == Pace(0, 0.0)
    assert pace(act, ["a"], 1).n == 1 and pace(act, ["a"] * 5, 0).n == 1      # no time left: the first and one more


def test_hours_are_said_where_they_matter(caplog, monkeypatch):
    caplog.set_level(logging.INFO, logger="pyspk")
    monkeypatch.setattr(checks, "pace", lambda compute, few, budget_s: Pace(len(few), 18.0 * len(few)))
    say_pace(str, [str(i) for i in range(999)], 4)
    assert not caplog.records
    say_pace(str, [str(i) for i in range(2000)], 4)      # 10 h in all
    assert "about 2.50 h in 4 jobs as fast as this machine (18000 ms each, by 10 of 2000), each with" in caplog.text


def test_memory_is_what_the_machine_or_its_container_leaves(tmp_path, monkeypatch):
    there = memory_bytes()
    assert 0 < there < 2**50
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    assert memory_bytes() > 0
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("2000\n")
    assert memory_bytes() == 3000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_bytes() > 3000


def test_what_is_left_of_a_run_is_said_once(monkeypatch):
    from pyspk.training import report
    clock = iter([0.0, 1.0, 2.0, 3.0, 4.0, 20.0, 36.0, 52.0])
    monkeypatch.setattr(report.time, "monotonic", lambda: next(clock))
    forecast = Forecast()
    said = [forecast.step(n_left, 32) for n_left in range(1006, 998, -1)]
    assert said == [""] * 6 + ["about 4.44 h to go, at 2 samples/s", ""]      # 16 s a step, 1000 left: 16000 s


def test_a_size_in_words():
    assert in_words(1.25e9) == "1.2 GB" and in_words(999e6) == "999.0 MB"




def test_the_memory_of_a_program_is_its_own():
    """Not that of who started it: a program that holds 300 MB starts one that holds next to nothing."""
    hog = bytearray(300_000_000)
    code = "from pyspk.needs.machine import memory_taken_bytes; print(memory_taken_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    assert 5e6 < int(done.stdout) < 250e6 and memory_taken_bytes() > len(hog)


def test_many_embeddings_are_announced_and_checked(step, tmp_path):
    """1200 utterances of 8 speakers: more than MANY."""
    folder = tmp_path / "many"
    folder.mkdir()
    rng = np.random.default_rng(0)
    with ArchiveWriter(folder / "f.ark", folder / "feats.scp") as writer, (folder / "utt2spk").open("w") as utt2spk:
        for i in range(1200):
            writer.write(f"u{i:04}", rng.normal(0, 1, (30, 6)).astype(np.float32))
            utt2spk.write(f"u{i:04} s{i // 150}\n")
    settings = {"net": "xvector", "feat_dim": 6, "emb_dim": 16, "channels": 8}
    save_model(tmp_path / "exp" / "final.pt", settings, build_net(settings))
    said = step("extract_xvectors.py", "--nj", 2, "--device", "cpu", tmp_path / "exp", folder, tmp_path / "x")
    promised = 1208 * (4 * 16 + 120) / 1e6
    assert (f"embeddings of 1200 utterances and 8 speakers, 16 values each: {promised:.1f} MB in {tmp_path}/x, where "
            in said)
    assert re.search(r"about 0\.\d\d h in 2 jobs as fast as this machine \(\d+ ms each, by 9 of 1200\), each", said)
    assert "wrote 1200 embeddings to" in said


def test_the_recipe_hands_force_on(tmp_path, data_dir, recordings):
    other = write_data_dir(tmp_path / "eval", recordings, ["s2"])
    (data_dir / "utt2dur").write_text("".join(f"{utt} 1e15\n" for utt in DataDir(data_dir).utt2spk))
    (tmp_path / "trials").touch()
    command = [ROOT / "egs" / "voxceleb" / "run.sh", "--stage", "2", "--stop-stage", "2", "--nj", "1", "--train-data",
               data_dir, "--eval-data", other, "--trials", tmp_path / "trials", "--work-dir", tmp_path / "work"]
    done = subprocess.run(command, env=environment(), text=True, capture_output=True)
    assert done.returncode == 1 and "make room, or name another folder as ARK_DIR, or go on all the" in done.stderr
    done = subprocess.run([*command, "--force", "true"], env=environment(), text=True, capture_output=True)
    assert done.returncode == 0 and done.stderr.count("going on with --force") == 2      # features, decisions
