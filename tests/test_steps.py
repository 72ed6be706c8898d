"""The steps from recordings to embeddings, each run as a user runs it."""

import shutil
import subprocess

import numpy as np
import pytest
import soundfile
import torch
from conftest import RATE_HZ, environment, voice, write_data_dir

from pyspk.features import Fbank
from pyspk.model import load_model
from pyspk.tables.archive import ArchiveReader, read_scp

TINY = ["--set", "depth=18", "--set", "channels=2", "--set", "emb_dim=8", "--set", "chunk_frames=50", "--set",
        "batch_size=8", "--set", "n_epochs=1", "--set", "warmup_epochs=0.5", "--set", "margin_start_epoch=0", "--set",
        "margin_full_epoch=0", "--device", "cpu"]


def read_vectors(scp):
    """(keys, vectors (n, D)) of an scp."""
    table, reader = read_scp(scp), ArchiveReader()
    return list(table), np.stack([reader.vector(place) for place in table.values()])


@pytest.fixture
def data_dir(tmp_path, recordings):
    return write_data_dir(tmp_path / "train", recordings, [f"s{i}" for i in range(3)])


def matrices(data_dir, table="feats.scp"):
    reader, scp = ArchiveReader(), read_scp(data_dir / table)
    return {utt: (reader.matrix if table == "feats.scp" else reader.vector)(place) for utt, place in scp.items()}


def test_make_fbank_writes_what_kaldi_native_fbank_gives(step, data_dir):
    said = step("make_fbank.py", "--nj", 2, "--compress", "false", data_dir)
    assert said.splitlines()[0] == f"make_fbank.py: make_fbank.py --nj 2 --compress false {data_dir}"
    assert said.splitlines()[-1] == f"make_fbank.py: wrote features of 18 utterances to {data_dir}/feats.scp"
    got = matrices(data_dir)
    samples = voice(1, 4, 2.0).astype(np.float32)
    np.testing.assert_array_equal(got["s1-u4"], Fbank({})(samples))
    lengths = dict(line.split() for line in (data_dir / "utt2num_frames").read_text().splitlines())
    assert lengths == {utt: str(len(feats)) for utt, feats in got.items()}
    assert (data_dir / "frame_shift").read_text() == "0.01\n"


@pytest.mark.parametrize(("name", "table"), [("make_fbank.py", "feats.scp"), ("compute_vad.py", "vad.scp")])
def test_the_number_of_jobs_changes_nothing(step, data_dir, tmp_path, name, table):
    shutil.copytree(data_dir, tmp_path / "other")
    step(name, "--nj", 1, data_dir)
    step(name, "--nj", 4, tmp_path / "other")
    one, four = matrices(data_dir, table), matrices(tmp_path / "other", table)
    assert list(one) == list(four)
    assert all(one[utt].tobytes() == four[utt].tobytes() for utt in one)


def test_a_second_run_says_current_and_other_settings_are_refused(step, data_dir, tmp_path):
    step("make_fbank.py", data_dir)
    before = (data_dir / "feats.scp").stat().st_mtime_ns
    assert "feats.scp is current" in step("make_fbank.py", data_dir)
    (tmp_path / "fbank.conf").write_text("--num-mel-bins=23\n")
    said = step("make_fbank.py", "--config", tmp_path / "fbank.conf", data_dir, code=1)
    assert "conf was {}, is {'num-mel-bins': '23'}; --overwrite makes it anew" in said
    assert (data_dir / "feats.scp").stat().st_mtime_ns == before
    step("make_fbank.py", "--overwrite", "--config", tmp_path / "fbank.conf", data_dir)
    assert {feats.shape[1] for feats in matrices(data_dir).values()} == {23}


def test_features_made_elsewhere_are_not_touched(step, data_dir):
    (data_dir / "feats.scp").write_text("made by Kaldi\n")
    assert "it was not made by this step" in step("make_fbank.py", data_dir, code=1)
    assert (data_dir / "feats.scp").read_text() == "made by Kaldi\n"


def test_every_bad_recording_is_named_and_the_rest_is_not_done_again(step, data_dir, tmp_path):
    lines = (data_dir / "wav.scp").read_text().splitlines()
    low, stereo, broken = (tmp_path / f"{name}.wav" for name in ("low", "stereo", "broken"))
    soundfile.write(low, voice(0, 0, 1.0), 8000)
    soundfile.write(stereo, np.stack([voice(0, 0, 1.0)] * 2, axis=1), RATE_HZ)
    broken.write_bytes(b"RIFF nonsense")
    bad = [f"s0-u0 {low}", f"s0-u1 {stereo}", f"s0-u2 {broken}", "s0-u3 /no/such.wav"]
    (data_dir / "wav.scp").write_text("\n".join(bad + lines[4:]) + "\n")
    said = step("make_fbank.py", "--nj", 3, data_dir, code=1)
    assert not (data_dir / "feats.scp").exists()
    log = (data_dir / "log" / "raw_fbank_train.1.log").read_text()
    for utt, reason in (("s0-u0", "--resample"), ("s0-u1", "--channel"), ("s0-u2", "broken.wav"),
                        ("s0-u3", "/no/such.wav")):
        assert any(f'utterance "{utt}"' in line and reason in line for line in log.splitlines()), log
    assert "4 of 6 utterances failed (s0-u0, s0-u1, s0-u2, ...)" in log and "raw_fbank_train.1.log" in said

    third = data_dir / "data" / "raw_fbank_train.3.ark"
    before = third.stat().st_mtime_ns
    (data_dir / "wav.scp").write_text("\n".join(lines) + "\n")
    step("make_fbank.py", "--nj", 3, "--overwrite", data_dir)
    assert len(matrices(data_dir)) == 18
    assert third.stat().st_mtime_ns > before                           # another wav.scp: nothing old is trusted


@pytest.fixture
def third(step, data_dir):
    """The third job's archive, made while the first job failed for want of a recording that is there by now."""
    late = data_dir.parent / "late.wav"
    lines = (data_dir / "wav.scp").read_text().splitlines()
    (data_dir / "wav.scp").write_text("\n".join([f"s0-u0 {late}", *lines[1:]]) + "\n")
    step("make_fbank.py", "--nj", 3, data_dir, code=1)
    soundfile.write(late, voice(0, 0, 1.0), RATE_HZ)
    return data_dir / "data" / "raw_fbank_train.3.ark"


def test_jobs_that_were_done_are_not_done_again(step, data_dir, third):
    before = third.stat().st_mtime_ns
    step("make_fbank.py", "--nj", 3, data_dir)
    assert third.stat().st_mtime_ns == before
    assert len(matrices(data_dir)) == 18


def test_resample_and_channel_settle_other_recordings(step, data_dir, tmp_path):
    low = tmp_path / "low.flac"
    soundfile.write(low, np.stack([voice(0, 0, 1.0)] * 2, axis=1), 8000)
    lines = (data_dir / "wav.scp").read_text().splitlines()
    (data_dir / "wav.scp").write_text("\n".join([f"s0-u0 {low}", *lines[1:]]) + "\n")
    step("make_fbank.py", "--resample", "true", "--channel", "mix", data_dir)
    assert len(matrices(data_dir)["s0-u0"]) == 1 + (2 * RATE_HZ - 400) // 160      # 1 s of samples, read as 8 kHz


def test_segments_cut_recordings(step, data_dir):
    wav = (data_dir / "wav.scp").read_text().split()[-1]
    (data_dir / "wav.scp").write_text(f"rec {wav}\n")
    (data_dir / "utt2spk").write_text("s2-a s2\ns2-b s2\n")
    (data_dir / "segments").write_text("s2-a rec 0.0 0.5\ns2-b rec 0.5 1.2\n")
    step("make_fbank.py", "--compress", "false", data_dir)
    samples, _ = soundfile.read(wav, dtype="int16")
    np.testing.assert_array_equal(matrices(data_dir)["s2-b"], Fbank({})(samples[8000:19200].astype(np.float32)))


def test_vad_has_a_decision_for_each_frame_and_names_silence(step, data_dir, tmp_path):
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.arange(RATE_HZ, dtype=np.int16) % 2, RATE_HZ)     # all zeros would be refused
    lines = (data_dir / "wav.scp").read_text().splitlines()
    (data_dir / "wav.scp").write_text("\n".join([f"s0-u0 {silent}", *lines[1:]]) + "\n")
    step("make_fbank.py", data_dir)
    step("compute_vad.py", "--nj", 1, data_dir)
    feats, vad = matrices(data_dir), matrices(data_dir, "vad.scp")
    assert {utt: len(decisions) for utt, decisions in vad.items()} == {utt: len(f) for utt, f in feats.items()}
    assert set(np.unique(np.concatenate(list(vad.values())))) <= {0.0, 1.0}
    assert not vad["s0-u0"].any() and vad["s1-u3"].any()
    assert 'utterance "s0-u0" has no voiced frame' in (data_dir / "log" / "vad_train.1.log").read_text()


@pytest.fixture
def trained(step, data_dir, tmp_path):
    step("make_fbank.py", "--nj", 2, data_dir)
    step("train.py", *TINY, data_dir, tmp_path / "exp")
    return tmp_path / "exp"


def test_training_and_extraction_write_what_the_design_names(step, data_dir, trained):
    out = trained / "xvectors_train"
    said = step("extract_xvectors.py", "--nj", 2, "--device", "cpu", trained, data_dir, out)
    assert said.splitlines()[-1].endswith(f"wrote 18 embeddings to {out}/xvector.scp")
    assert {path.name for path in trained.iterdir()} >= {"config.toml", "spk2id", "last.pt", "final.pt", "log"}
    utts, embs = read_vectors(out / "xvector.scp")
    assert len(utts) == 18 and embs.shape == (18, 8)
    spks, means = read_vectors(out / "spk_xvector.scp")
    assert spks == ["s0", "s1", "s2"]
    np.testing.assert_allclose(means[1], embs[6:12].mean(axis=0), rtol=1e-5)
    assert (out / "num_utts.ark").read_text() == "s0 6\ns1 6\ns2 6\n"
    np.testing.assert_allclose(ArchiveReader().vector(str(out / "mean.vec")), embs.mean(axis=0), rtol=1e-5)
    assert "final.pt is current" in step("train.py", *TINY, data_dir, trained)
    assert "xvector.scp is current" in step("extract_xvectors.py", "--device", "cpu", trained, data_dir, out)


def test_the_number_of_jobs_changes_embeddings_in_the_last_digit_only(step, data_dir, trained, tmp_path):
    embs = {}
    for nj in (1, 4):
        step("extract_xvectors.py", "--nj", nj, "--device", "cpu", trained, data_dir, tmp_path / f"x{nj}")
        embs[nj] = read_vectors(tmp_path / f"x{nj}" / "xvector.scp")[1]
    np.testing.assert_allclose(embs[1], embs[4], rtol=1e-5, atol=1e-5)


def test_training_with_other_settings_in_the_same_place_is_refused(step, data_dir, trained):
    before = (trained / "final.pt").read_bytes()
    said = step("train.py", *TINY, "--set", "lr=0.05", data_dir, trained, code=1)
    assert "lr was 0.2, is 0.05; --overwrite makes it anew" in said
    assert (trained / "final.pt").read_bytes() == before


def test_a_model_of_other_features_is_refused(step, data_dir, trained, tmp_path):
    (tmp_path / "fbank.conf").write_text("--num-mel-bins=23\n")
    step("make_fbank.py", "--overwrite", "--config", tmp_path / "fbank.conf", data_dir)
    step("extract_xvectors.py", "--nj", 1, "--device", "cpu", trained, data_dir, tmp_path / "x", code=1)
    assert "trained on features of 80 dimensions, " in (tmp_path / "x" / "log" / "xvector.1.log").read_text()


def test_a_shard_that_was_cut_short_is_made_again(step, data_dir, third):
    third.write_bytes(third.read_bytes()[:-100])
    step("make_fbank.py", "--nj", 3, data_dir)
    assert all(len(feats) for feats in matrices(data_dir).values())


def test_training_goes_where_it_was_told_whatever_the_names(step, data_dir, tmp_path):
    data_dir = data_dir.rename(tmp_path / "JOB SHARDS")
    step("make_fbank.py", "--nj", 2, data_dir)
    step("train.py", "--cmd", "run.py", *TINY, data_dir, tmp_path / "JOB")
    assert (tmp_path / "JOB" / "final.pt").exists()


def test_training_begins_with_a_model_given(step, data_dir, trained, tmp_path):
    begin_there = ["--init-model", trained, *TINY, "--set", "lr=1e-9", "--set", "final_lr=1e-9", data_dir]
    step("train.py", *begin_there, tmp_path / "again")
    (before, _), (after, _) = load_model(trained), load_model(tmp_path / "again")
    for name, weight in before.named_parameters():
        torch.testing.assert_close(after.get_parameter(name), weight, rtol=0, atol=1e-6)
    assert "final.pt is current" in step("train.py", "--cmd", "run.py", *begin_there, tmp_path / "again")
    said = step("train.py", "--init-model", trained, *TINY, "--set", "emb_dim=9", data_dir, tmp_path / "x", code=1)
    assert "training cannot start from another network: emb_dim is 8 there, 9 here" in said
    said = step("train.py", "--init-model", tmp_path, *TINY, data_dir, tmp_path / "x", code=1)
    assert f"{tmp_path}/final.pt: no such model" in said
    assert not (tmp_path / "x").exists()


def test_what_is_wrong_is_found_before_old_weights_go(step, data_dir, trained):
    for wrong, said in ((["--device", "cuda:99"], "not on this machine"), (["--cmd", "no.pl"], "no such program")):
        assert said in step("train.py", *TINY, *wrong, "--overwrite", "--set", "seed=1", data_dir, trained, code=1)
    (data_dir / "feats.scp").unlink()
    assert "feats.scp" in step("train.py", *TINY, "--overwrite", "--set", "seed=1", data_dir, trained, code=1)
    assert (trained / "final.pt").exists() and (trained / "last.pt").exists()


@pytest.mark.parametrize(("arguments", "said"), [
    (["train.py", "nowhere", "exp"], "nowhere: no such data directory"),
    (["train.py", "--set", "rate=1", "nowhere", "exp"], 'no setting is called "rate"'),
    (["train.py", "--colour", "red", "a", "b"], "No such option"),
    (["train.py", "--augment-config", "a.toml", "nowhere", "exp"], "--augment-config needs --fbank-config"),
    (["train.py"], "Missing argument 'TRAIN_DATA'"),
    (["make_fbank.py", "--nj", "0", "d"], "0 is not in the range x>=1"),
    (["make_fbank.py", "--config", "no.conf", "d"], "no.conf: no such file"),
    (["compute_vad.py", "--resample", "maybe", "d"], "not a valid boolean"),
    (["extract_xvectors.py", "exp", "nowhere", "out"], "nowhere: no such data directory"),
])
def test_a_wrong_call_ends_with_one_line(step, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    lines = step(*arguments, code=1).splitlines()
    assert len(lines) == 2 and said in lines[1] and lines[1].startswith(f"{arguments[0]}: error: ")
    assert not list(tmp_path.iterdir())


def test_a_device_that_is_not_here_is_named(step, data_dir, tmp_path):
    step("make_fbank.py", data_dir)
    said = step("train.py", "--device", "cuda:99", data_dir, tmp_path / "exp", code=1)
    assert "--device cuda:99: not on this machine" in said


def test_extraction_without_a_model_names_the_stage(step, data_dir, tmp_path):
    step("make_fbank.py", data_dir)
    assert "final.pt: no such file" in step("extract_xvectors.py", tmp_path, data_dir, tmp_path / "x", code=1)


def test_features_are_copied_looked_at_and_compressed(step, data_dir, tmp_path):
    step("make_fbank.py", "--compress", "false", data_dir)
    feats, small = f"scp:{data_dir}/feats.scp", tmp_path / "small"
    said = step("copy_feats.py", "--compress", "true", feats, f"ark,scp:{small}.ark,{small}.scp")
    assert said.splitlines()[-1] == f"copy_feats.py: wrote 18 values to ark,scp:{small}.ark,{small}.scp"
    ark = next(data_dir.glob("data/raw_fbank_*.1.ark"))
    assert small.with_suffix(".ark").stat().st_size < 0.3 * sum(
        path.stat().st_size for path in data_dir.glob("data/raw_fbank_*.ark"))
    shown = subprocess.run(f"copy_feats.py ark:- ark,t:- < {ark} | head -n 1", shell=True, env=environment(),
                           capture_output=True, text=True)
    assert shown.stdout == "s0-u0  [\n" and "Traceback" not in shown.stderr
    ark.write_bytes(ark.read_bytes()[:5000])
    said = step("copy_feats.py", f"ark:{ark}", f"ark:{tmp_path}/copy.ark", code=1)
    assert 'utterance "s0-u0": the archive is cut short or damaged' in said and not (tmp_path / "copy.ark").exists()
    assert "needs --compress true" in step("copy_feats.py", "--compression-method", 2, "ark:-", "ark:-", code=1)
