"""make_mfcc.py, apply_cmvn.py, failures that are allowed, and the disk space said before."""


import numpy as np
import pytest
import soundfile
from conftest import RATE_HZ, voice, write_data_dir

from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.features import EnergyVad, Fbank, Mfcc, add_deltas, sliding_cmvn, utterance_cmvn
from pyspk.shards import Shards
from pyspk.tables.archive import ArchiveReader, ArchiveWriter, read_scp


@pytest.fixture
def data_dir(tmp_path, recordings):
    return write_data_dir(tmp_path / "train", recordings, ["s0", "s1"])


def matrices(data_dir):
    reader = ArchiveReader()
    return {utt: reader.matrix(place) for utt, place in read_scp(data_dir / "feats.scp").items()}


def replace_first(data_dir, *rxfilenames):
    """Give the first utterances of wav.scp other recordings."""
    lines = (data_dir / "wav.scp").read_text().splitlines()
    for i, rxfilename in enumerate(rxfilenames):
        lines[i] = f"{lines[i].split()[0]} {rxfilename}"
    (data_dir / "wav.scp").write_text("".join(f"{line}\n" for line in lines))


def test_make_mfcc_writes_cepstra_and_their_deltas_by_kaldis_conf(step, data_dir, tmp_path):
    (tmp_path / "mfcc.conf").write_text("--sample-frequency=16000\n--num-mel-bins=30\n--num-ceps=20 # x-vectors\n"
                                        "--low-freq=20\n--high-freq=7600\n--snip-edges=false\n")
    said = step("make_mfcc.py", "--nj", 2, "--config", tmp_path / "mfcc.conf", "--compress", "false", "--add-deltas",
                "true", data_dir, tmp_path / "logs", tmp_path / "arks").splitlines()
    assert said[-1] == f"make_mfcc.py: wrote features of 12 utterances to {data_dir}/feats.scp"
    assert said[1] == ("make_mfcc.py: 0.01 h of audio (by the headers of 12 of 12 recordings), about 2040 frames of "
                       f"60 values: 0.5 MB in {tmp_path}/arks, {said[1].partition('arks, ')[2]}")      # 12 * 1.7 s
    assert (tmp_path / "logs" / "raw_mfcc_train.2.log").exists()
    assert (tmp_path / "arks" / "raw_mfcc_train.2.ark").exists()
    conf = {"num-mel-bins": "30", "num-ceps": "20", "high-freq": "7600", "snip-edges": "false"}
    wanted = add_deltas(Mfcc(conf)(voice(1, 4, 2.0).astype(np.float32)))
    np.testing.assert_array_equal(matrices(data_dir)["s1-u4"], wanted)
    assert wanted.shape == (200, 60) and Mfcc(conf, deltas=True).dim == 60
    assert (data_dir / "utt2num_frames").read_text().splitlines()[10] == "s1-u4 200"

    assert "feats.scp is current" in step("make_mfcc.py", "--config", tmp_path / "mfcc.conf", "--compress", "false",
                                          "--add-deltas", "true", data_dir)
    said = step("make_fbank.py", data_dir, code=1)
    assert "features was mfcc, is None" in said


def test_vad_takes_the_options_of_mfccs(step, data_dir, tmp_path):
    (tmp_path / "mfcc.conf").write_text("--num-ceps=20\n--snip-edges=false\n")
    step("compute_vad.py", "--nj", 1, "--mfcc-config", tmp_path / "mfcc.conf", data_dir)
    samples = voice(1, 4, 2.0).astype(np.float32)
    wanted = EnergyVad({})(Fbank({"snip-edges": "false"}).log_energy(samples))
    got = ArchiveReader().vector(read_scp(data_dir / "vad.scp")["s1-u4"])
    np.testing.assert_array_equal(got, wanted)
    said = step("compute_vad.py", "--mfcc-config", "a", "--fbank-config", "b", data_dir, code=1)
    assert "give one of them" in said


def test_failures_that_are_allowed_are_listed_with_their_reasons(step, data_dir, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE_HZ, np.int16), RATE_HZ)
    soundfile.write(tmp_path / "short.wav", voice(0, 0, 0.02), RATE_HZ)
    replace_first(data_dir, tmp_path / "silent.wav", tmp_path / "short.wav", tmp_path / "none.wav")
    said = step("make_fbank.py", "--nj", 6, "--allow-failures", 2, data_dir, code=1)      # 2 and 1 in two jobs
    assert "3 of 12 utterances failed (s0-u0, s0-u1, s0-u2), 2 may; " in said and "raw_fbank_train.*.log" in said
    assert not (data_dir / "feats.scp").exists()
    kept = data_dir / "data" / "raw_fbank_train.6.ark"
    before = kept.stat().st_mtime_ns

    soundfile.write(tmp_path / "none.wav", voice(0, 2, 1.6), RATE_HZ)                     # one is mended
    said = step("make_fbank.py", "--nj", 6, "--allow-failures", 2, data_dir)
    assert ("2 utterances failed (s0-u0, s0-u1) and are not in feats.scp, but still in utt2spk; their reasons are in "
            f"{data_dir}/failed_utts. Take them out of every table with: steps/fix_data_dir.py {data_dir}") in said
    assert kept.stat().st_mtime_ns == before                                              # what was whole stays
    failed = (data_dir / "failed_utts").read_text().splitlines()
    assert failed[0] == f"s0-u0 {tmp_path}/silent.wav: silent: all its samples are 0; leave it out"
    assert failed[1].startswith("s0-u1 320 samples are shorter than one frame of 25 ms") and len(failed) == 2
    assert list(matrices(data_dir)) == list(DataDir(data_dir).utt2spk)[2:]
    assert len((data_dir / "utt2num_frames").read_text().splitlines()) == 10

    said = step("make_fbank.py", "--nj", 6, data_dir, code=1)
    assert f"feats.scp lacks 2 utterances that failed (see {data_dir}/failed_utts), 0 may; " in said
    with pytest.raises(UserError, match=r"2 utterances of utt2spk are missing \(s0-u0, s0-u1\)"):
        DataDir(data_dir).table("feats.scp")


def test_failures_of_all_leave_nothing_to_write(step, data_dir, tmp_path):
    replace_first(data_dir, *[tmp_path / "none.wav"] * 12)
    said = step("make_fbank.py", "--nj", 1, "--allow-failures", 99, data_dir, code=1)
    assert "12 of 12 utterances failed (s0-u0, s0-u1, s0-u2, ...), and none is left; " in said
    assert not (data_dir / "feats.scp").exists()


def failing(*bad):
    def compute(key):
        if key in bad:
            raise UserError(f"{key} is bad")
        return np.ones((3, 2), np.float32)
    return compute


def test_a_shard_with_failures_is_tried_again_and_forgets_them(tmp_path):
    shards = Shards("x", tmp_path, tmp_path, ["a", "b", "c"], 1, "run.py")
    with pytest.raises(UserError, match=r"2 of 3 utterances failed \(a, c\); each is named above"):
        shards.write(1, failing("a", "c"), allow_failures=1)
    assert not list(tmp_path.iterdir())
    shards.write(1, failing("a", "c"), allow_failures=2)
    assert list(read_scp(tmp_path / "x.1.scp")) == ["b"] and shards.failed() == {"a": "a is bad", "c": "c is bad"}
    assert shards.size_bytes() == (tmp_path / "x.1.ark").stat().st_size
    shards.write(1, failing())
    assert list(read_scp(tmp_path / "x.1.scp")) == ["a", "b", "c"] and shards.failed() == {}


def write_feats(data_dir, table, values):
    with ArchiveWriter(data_dir / f"{table}.ark", data_dir / f"{table}.scp") as writer:
        for utt, value in values.items():
            writer.write(utt, value)


@pytest.fixture
def feats_dir(data_dir):
    """Features of 400 to 411 frames and decisions for them; the second utterance has no voiced frame."""
    rng = np.random.default_rng(6)
    utts = DataDir(data_dir).utt2spk
    feats = {utt: rng.normal(8, 2, (400 + i, 5)).astype(np.float32) for i, utt in enumerate(utts)}
    vad = {utt: (rng.random(len(feat)) < 0.6).astype(np.float32) for utt, feat in feats.items()}
    vad["s0-u1"][:] = 0
    write_feats(data_dir, "feats", feats)
    write_feats(data_dir, "vad", vad)
    (data_dir / "text").write_text("".join(f"{utt} words\n" for utt in utts))
    return data_dir


def test_apply_cmvn_normalises_over_all_frames_and_keeps_the_voiced(step, feats_dir, tmp_path):
    before, out = matrices(feats_dir), tmp_path / "egs"
    options = ["--select-voiced", "true", "--compress", "false"]
    said = step("apply_cmvn.py", "--nj", 2, *options, feats_dir, out)
    assert said.splitlines()[-1] == f"apply_cmvn.py: wrote normalised features of 12 utterances to {out}/feats.scp"
    after, vad = matrices(out), ArchiveReader().vector(read_scp(feats_dir / "vad.scp")["s1-u3"])
    wanted = sliding_cmvn(before["s1-u3"], 300, center=True)[vad == 1]
    np.testing.assert_array_equal(after["s1-u3"], wanted)
    np.testing.assert_array_equal(after["s0-u1"], sliding_cmvn(before["s0-u1"], 300, center=True))
    assert 'utterance "s0-u1" has no voiced frame; all' in (out / "log" / "cmvn_egs.1.log").read_text()
    assert {path.name for path in out.iterdir()} == {
        ".made", "data", "log", "feats.scp", "utt2num_frames", "utt2spk", "wav.scp", "text"}
    assert f"s1-u3 {len(wanted)}" in (out / "utt2num_frames").read_text().splitlines()
    assert DataDir(out).table("feats.scp") and (out / "text").read_text() == (feats_dir / "text").read_text()

    assert "feats.scp is current" in step("apply_cmvn.py", *options, feats_dir, out)
    said = step("apply_cmvn.py", *options, "--cmn-window", 600, feats_dir, out, code=1)
    assert "cmn_window was 300, is 600; --overwrite makes it anew" in said


def test_apply_cmvn_per_utterance_keeps_all_frames_and_their_decisions(step, feats_dir, tmp_path):
    out = tmp_path / "norm"
    step("apply_cmvn.py", "--nj", 1, "--sliding", "false", "--norm-vars", "true", "--compress", "false", feats_dir, out,
         tmp_path / "logs", tmp_path / "arks")
    np.testing.assert_array_equal(matrices(out)["s1-u3"], utterance_cmvn(matrices(feats_dir)["s1-u3"], norm_vars=True))
    assert (out / "vad.scp").read_text() == (feats_dir / "vad.scp").read_text()
    assert (tmp_path / "logs" / "cmvn_norm.1.log").exists() and (tmp_path / "arks" / "cmvn_norm.1.ark").exists()


def test_apply_cmvn_leaves_out_failures_that_are_allowed(step, feats_dir, tmp_path):
    out, options = tmp_path / "norm", ["--nj", 1, "--select-voiced", "true"]
    vad = {utt: np.ones(400 + (utt != "s0-u2"), np.float32) for utt in DataDir(feats_dir).utt2spk}
    write_feats(feats_dir, "vad", vad | {"s0-u0": np.ones(400, np.float32)})
    said = step("apply_cmvn.py", *options, "--allow-failures", 10, feats_dir, out)
    assert "10 utterances failed (s0-u2, s0-u3, s0-u4, ...) and are not in feats.scp" in said
    assert said.splitlines()[-1].endswith(f"wrote normalised features of 2 utterances to {out}/feats.scp")
    assert list(matrices(out)) == ["s0-u0", "s0-u1"]
    assert (out / "utt2num_frames").read_text() == "s0-u0 400\ns0-u1 401\n"
    failed = (out / "failed_utts").read_text().splitlines()
    assert len(failed) == 10 and failed[0].startswith("s0-u2 it has 402 frames, but 400 decisions in vad.scp")
    assert "feats.scp is current" in step("apply_cmvn.py", *options, "--allow-failures", 10, feats_dir, out)
    said = step("apply_cmvn.py", *options, feats_dir, out, code=1)
    assert f"feats.scp lacks 10 utterances that failed (see {out}/failed_utts), 0 may; " in said
    step("fix_data_dir.py", out)
    assert list(DataDir(out).table("feats.scp")) == ["s0-u0", "s0-u1"]


def test_apply_cmvn_says_and_checks_the_disk_space_first(step, feats_dir, tmp_path):
    out = tmp_path / "norm"
    (feats_dir / "utt2num_frames").write_text("".join(f"{utt} 1000000000000\n" for utt in DataDir(feats_dir).utt2spk))
    said = step("apply_cmvn.py", "--compress", "false", feats_dir, out, code=1).splitlines()
    assert ("12 utterances (by utt2num_frames), about 12000000000000 frames of 5 values: 240000.0 GB in "
            f"{out}/data, where ") in said[1]
    assert "about 240000.0 GB more are needed, but " in said[2] and "use --compress true" in said[2]
    assert not (out / "log").exists() and len(said) == 3


def test_apply_cmvn_names_what_does_not_fit(step, feats_dir, tmp_path):
    assert "is DATA_DIR itself" in step("apply_cmvn.py", feats_dir, f"{feats_dir}/../train", code=1)
    write_feats(feats_dir, "vad", {utt: np.ones(401, np.float32) for utt in DataDir(feats_dir).utt2spk})
    step("apply_cmvn.py", "--nj", 1, "--select-voiced", "true", feats_dir, tmp_path / "out", code=1)
    log = (tmp_path / "out" / "log" / "cmvn_out.1.log").read_text()
    assert 'utterance "s0-u0": it has 400 frames, but 401 decisions in vad.scp; make vad.scp again' in log
    assert "11 of 12 utterances failed" in log and not (tmp_path / "out" / "feats.scp").exists()
    (feats_dir / "vad.scp").unlink()
    said = step("apply_cmvn.py", "--select-voiced", "true", feats_dir, tmp_path / "other", code=1)
    assert "vad.scp: no such file" in said
