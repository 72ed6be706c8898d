"""The steps from a data directory to features and decisions of augmented copies, each run as a user runs it."""

import numpy as np
import pytest
from augmentation import write_sources
from conftest import RATE_HZ, write_data_dir

from pyspk.audio import utterance_reader
from pyspk.augment.augmenter import Augmenter
from pyspk.augment.config import load_config
from pyspk.augment.copies import FILES
from pyspk.augment.description import Added, parse
from pyspk.datadir import DataDir
from pyspk.features import EnergyVad, Fbank
from pyspk.tables.archive import ArchiveReader, read_scp
from pyspk.tables.text import read_table


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return write_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture
def data_dir(tmp_path, recordings):
    return write_data_dir(tmp_path / "train", recordings, ["s0", "s1"])


@pytest.fixture
def options(sources):
    return ["--config", sources / "augment.toml", "--root", sources]


def values(data_dir, table):
    reader, scp = ArchiveReader(), read_scp(data_dir / table)
    return {utt: (reader.matrix if table == "feats.scp" else reader.vector)(place) for utt, place in scp.items()}


def written(data_dir):
    return {name: (data_dir / name).read_bytes() for name in FILES if (data_dir / name).exists()}


def test_features_of_copies_are_those_of_the_source_s_recordings_augmented(step, data_dir, options, sources, tmp_path):
    one, three = tmp_path / "one", tmp_path / "three"
    for out, nj in ((one, 1), (three, 3)):
        said = step("augment_data_dir.py", *options, "--seed", 4, data_dir, out)
        assert said.splitlines()[-1] == f"augment_data_dir.py: wrote 72 utterances made of 12 to {out}/utt2aug"
        step("make_fbank.py", "--nj", nj, "--compress", "false", out)
        step("compute_vad.py", "--nj", nj, out)
    assert written(one) == written(three)
    feats, vad = values(one, "feats.scp"), values(one, "vad.scp")
    for table, got in (("feats.scp", feats), ("vad.scp", vad)):
        again = values(three, table)
        assert got.keys() == again.keys() and all(got[utt].tobytes() == again[utt].tobytes() for utt in got)

    augmenter = Augmenter(load_config(sources / "augment.toml").below(sources))
    source, fbank, decide = utterance_reader(DataDir(data_dir), RATE_HZ), Fbank({}), EnergyVad({})
    for utt, line in read_table(one / "utt2aug").items():
        source_utt, _, text = line.partition(" ")
        steps = parse(text)
        samples = augmenter.apply(source(source_utt), RATE_HZ, steps)
        np.testing.assert_array_equal(feats[utt], fbank(samples))
        at_speed = steps[:1] if text.startswith("speed") else ()
        clean = augmenter.apply(source(source_utt), RATE_HZ, at_speed)
        np.testing.assert_array_equal(vad[utt], decide(fbank.log_energy(clean)))
        assert len(vad[utt]) == len(feats[utt])
        if steps and isinstance(steps[-1], Added):          # energies in a band add up, but for how the phases meet
            together = np.logaddexp(feats[utt.removesuffix("-aug1")], fbank(samples - clean))
            assert abs(np.mean(feats[utt] - together)) < 0.2
    longer = len(feats["sp0.9-s1-u5"]) / len(feats["s1-u5"])
    assert longer == pytest.approx(1 / 0.9, rel=0.01)
    assert not any(path.suffix in (".wav", ".flac") for path in tmp_path.rglob("*"))


def test_a_rerun_is_current_goes_on_after_a_kill_and_refuses_what_has_changed(step, data_dir, options, tmp_path):
    out = tmp_path / "out"
    command = ["augment_data_dir.py", *options, data_dir, out]
    step(*command)
    whole = written(out)
    assert f"{out}/utt2aug is current" in step(*command)
    for name in ("utt2aug", "spk2utt"):                                    # as a kill leaves it: the list comes last
        (out / name).unlink()
    step(*command)
    assert written(out) == whole

    step("make_fbank.py", out)
    assert "seed was 0, is 1; --overwrite makes it anew" in step(*command, "--seed", 1, code=1)
    step(*command, "--seed", 1, "--overwrite", "--copies", 2, "--include-source", "false")
    assert written(out) != whole and len(read_table(out / "utt2aug")) == 96
    said = step("make_fbank.py", out, code=1)
    assert "its input out/utt2aug has changed" in said and "--overwrite" in said


def test_a_change_of_the_noises_is_noticed(step, data_dir, tmp_path):
    mine = write_sources(tmp_path / "mine")
    command = ["augment_data_dir.py", "--config", mine / "augment.toml", "--root", mine, data_dir, tmp_path / "out"]
    step(*command)
    wav_scp = mine / "data" / "musan_noise" / "wav.scp"
    wav_scp.write_text(wav_scp.read_text().replace("noise-0.wav", "noise-1.wav"))
    assert f"its input noise {mine}/data/musan_noise/wav.scp has changed" in step(*command, code=1)


def test_mistakes_end_in_one_line(step, data_dir, options, tmp_path):
    def refused(*words):
        return step("augment_data_dir.py", *words, code=1).splitlines()[-1].removeprefix("augment_data_dir.py: error: ")

    assert refused(*options, data_dir, data_dir) == f"{data_dir}: the copies need a directory of their own"
    assert refused(data_dir, tmp_path / "out") == "data/musan_noise: no such data directory"
    other = write_data_dir(tmp_path / "other", data_dir, [])
    (other / "utt2spk").write_text("a a\n")
    assert "other/wav.scp exists, but it was not made by this step" in refused(*options, data_dir, other)
    assert (other / "utt2spk").read_text() == "a a\n"
    (tmp_path / "bad.toml").write_text("speeds = [1]\n")
    assert refused("--config", tmp_path / "bad.toml", data_dir, tmp_path / "out").startswith(
        f"{tmp_path}/bad.toml: speeds = (1.0,): it must be different factors other than 1")
    assert not (tmp_path / "out").exists()


def test_a_noise_that_is_gone_is_named_with_the_utterance(step, data_dir, tmp_path):
    mine = write_sources(tmp_path / "mine")
    (mine / "augment.toml").write_text('music_prob = 0\nbabble_prob = 0\nreverb_prob = 0\nspeeds = []\n')
    step("augment_data_dir.py", "--config", mine / "augment.toml", "--root", mine, data_dir, tmp_path / "out")
    for wav in (mine / "data" / "musan_noise").glob("*.wav"):
        wav.unlink()
    step("make_fbank.py", "--nj", 1, tmp_path / "out", code=1)
    log = (tmp_path / "out" / "log" / "raw_fbank_out.1.log").read_text()
    assert 'utterance "s0-u0-aug1": ' in log and "musan_noise/noise-" in log and ".wav: no such file" in log
    assert "12 of 24 utterances failed (s0-u0-aug1, s0-u1-aug1, s0-u2-aug1, ...)" in log
