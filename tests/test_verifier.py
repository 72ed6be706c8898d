"""A model folder put to use: the answers are the recipe's, and what cannot be answered is refused in words."""

import json
import logging
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import RATE_HZ, voice

import pyspk
from pyspk import Verifier
from pyspk.calibration import Calibration
from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.features import FeatureSettings, VoicedFeatures
from pyspk.model import save_model
from pyspk.nets import NETS
from pyspk.scoring.trials import read_scores
from pyspk.tables.archive import ArchiveReader, read_scp, write_vector
from pyspk.tables.text import read_table
from pyspk.verifier import Voice, verify
from pyspk.verifier.folder import check
from pyspk.verifier.origin import feature_settings, prove
from pyspk.verifier.voices import check_name, read_voices, write_voice


@pytest.fixture(scope="module")
def wavs(scored) -> dict[str, str]:
    return read_table(scored / "data/mine/wav.scp")


@pytest.fixture(scope="module")
def verifier(model) -> Verifier:
    return Verifier(model, "cpu")


@pytest.fixture
def copy(model, tmp_path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "copy"))


# ---- the recipe's answers

def test_embeddings_are_those_of_extract_xvectors(scored, verifier, wavs):
    extracted, reader = read_scp(scored / "exp/tiny/xvectors_mine/xvector.scp"), ArchiveReader()
    for utt, path in [*wavs.items()][::5]:
        np.testing.assert_allclose(verifier.embed(path), reader.vector(extracted[utt]), rtol=1e-4, atol=1e-5)


def test_scores_are_those_of_score_cosine(scored, verifier, wavs):
    scores = read_scores(scored / "trials.cosine")
    for i in range(0, len(scores.score), 23):
        first, second = scores.names[scores.enroll[i]], scores.names[scores.test[i]]
        assert verifier.verify(wavs[first], wavs[second]).score == pytest.approx(scores.score[i], abs=2e-6)


def test_the_vad_of_the_recipe_is_heeded(scored, verifier, wavs):
    utt, path = next(iter(wavs.items()))
    voiced = ArchiveReader().vector(read_scp(scored / "data/mine/vad.scp")[utt])
    assert 0 < voiced.sum() < len(voiced) and verifier.voice(path).voice_s == pytest.approx(voiced.sum() / 100)


def test_several_recordings_are_the_mean_as_in_spk_xvector(scored, verifier, wavs):
    mine = [path for utt, path in wavs.items() if utt.startswith("s1-")]
    mean = ArchiveReader().vector(read_scp(scored / "exp/tiny/xvectors_mine/spk_xvector.scp")["s1"])
    np.testing.assert_allclose(verifier.enroll(mine).emb, mean, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="takes one recording or more"):
        verifier.enroll([])


def test_from_pyspk_import_gives_the_verifier_and_nothing_else():
    assert pyspk.Verifier is Verifier
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        pyspk.Nothing  # noqa: B018


def test_mfccs_with_deltas_and_no_voice_activity_detection_are_features_too():
    samples = voice(1, 1, 0.5).astype(np.float32)
    features = VoicedFeatures(FeatureSettings("mfcc", {"num-ceps": "13"}, add_deltas=True, compress=False))
    assert features(samples).shape == (48, 39) and features.dim == 39
    with pytest.raises(UserError, match='features "plp": the features are fbank, mfcc'):
        FeatureSettings("plp")


# ---- decisions, by hand: the calibration of `model` is llr = 8 score - 3

@pytest.mark.parametrize("p_target", [0.5, 0.01])
def test_probability_and_threshold_follow_from_the_calibration(verifier, wavs, p_target):
    a, b, *_ = wavs.values()
    answer = verifier.verify(a, b, p_target=p_target)
    odds = math.exp(8 * answer.score - 3) * p_target / (1 - p_target)
    assert answer.llr == pytest.approx(8 * answer.score - 3)
    assert answer.probability == pytest.approx(odds / (1 + odds))
    assert answer.threshold == pytest.approx((math.log((1 - p_target) / p_target) + 3) / 8)
    assert answer.same == (answer.score > answer.threshold) == (answer.probability > 0.5)


def test_a_given_threshold_is_one_of_the_score(verifier, wavs):
    a, b, *_ = wavs.values()
    score = verifier.verify(a, b).score
    below, above = (verifier.verify(a, b, threshold=score + step) for step in (-0.01, 0.01))
    assert (below.same, above.same) == (True, False) and below.threshold == pytest.approx(score - 0.01)
    assert below.probability == above.probability


def test_a_shift_with_durations_and_norms_is_taken_from_the_two_voices(model, copy):
    # llr = 8 score - 3 + 0.5 min(log s) - 0.25 |log s - log s'| + 0.125 min(norm) + 2 |norm - norm'|
    qualities = {"duration.min": 0.5, "duration.difference": -0.25, "norm.min": 0.125, "norm.difference": 2}
    Calibration({"cosine": 8.0}, -3.0, qualities).save(copy / "calibration.json")
    replace_hash(copy, "calibration.json")
    verifier = Verifier(copy, "cpu")
    a, b = Voice(unit(16, 0) * 3, 2.0), Voice(unit(16, 1) * 7, 5.0)
    answer = verifier.verify(a, b)
    shift = 0.5 * math.log(2) - 0.25 * math.log(5 / 2) + 0.125 * 3 + 2 * 4
    assert answer.llr == pytest.approx(8 * answer.score - 3 + shift)
    assert answer.threshold == pytest.approx((3 - shift) / 8) and answer.same == (answer.llr > 0)


def test_without_calibration_only_a_given_threshold_decides(copy, wavs):
    rewrite(copy, lambda saved: saved["files"].pop("calibration.json"))
    verifier, (a, b, *_) = Verifier(copy, "cpu"), wavs.values()
    assert verifier.verify(a, b)[1:5] == (None, None, None, None)
    assert verifier.verify(a, b, threshold=-1.0)[1:5] == (None, None, -1.0, True)


def test_identify_ranks_by_score(verifier, wavs):
    known = {spk: verifier.enroll([path for utt, path in wavs.items() if utt.startswith(spk)]) for spk in ("s0", "s1")}
    ranked = verifier.identify(wavs["s1-u0"], known)
    assert [name for name, _ in ranked] == sorted(known, key=lambda spk: -verifier.verify(known[spk], wavs["s1-u0"])[0])
    assert ranked[0][1].score >= ranked[1][1].score


def test_a_prior_is_a_share(verifier, wavs):
    a, b, *_ = wavs.values()
    for p_target in (0, 1, 50):
        with pytest.raises(UserError, match="the share of questions whose answer is yes, between 0 and 1"):
            verifier.verify(a, b, p_target=p_target)


def test_an_embedding_without_direction_is_refused(verifier):
    mean = verifier.model.mean
    with pytest.raises(UserError, match="zero or not finite"):
        verifier.verify(Voice(mean, 1.0), Voice(mean + 1, 1.0))


def test_embeddings_of_two_sizes_are_refused(verifier):
    with pytest.raises(UserError, match="embeddings of 16 and 5 dimensions do not come from one model; enroll again"):
        verifier.verify(Voice(np.ones(16, np.float32), 3.0), Voice(np.ones(5, np.float32), 3.0))


# ---- recordings

def test_samples_are_taken_as_soundfile_gives_them(verifier, wavs):
    path = next(iter(wavs.values()))
    emb = verifier.embed(path)
    for dtype in ("int16", "float32", "float64"):
        np.testing.assert_array_equal(verifier.embed(soundfile.read(path, dtype=dtype)), emb)


def test_another_rate_is_converted_and_said(verifier, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    for rate_hz in (48000, 8000):
        samples = np.repeat(voice(1, 1, 1.2), 3) if rate_hz == 48000 else voice(1, 1, 1.2)[::2]
        soundfile.write(tmp_path / "a.wav", samples, rate_hz)
        assert verifier.voice(tmp_path / "a.wav").voice_s > 0.3
        assert f"a.wav: {rate_hz} Hz, converted to 16000 Hz" in caplog.text
        assert ("the network expects sounds above 4000 Hz too" in caplog.text) == (rate_hz == 8000)


def test_several_channels_are_averaged_and_said_or_one_is_chosen(model, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    left, right = voice(1, 1, 1.2), voice(2, 1, 1.2)
    soundfile.write(tmp_path / "two.wav", np.stack([left, right], axis=1), RATE_HZ)
    mixed = Verifier(model, "cpu").embed(tmp_path / "two.wav")
    assert "two.wav: the mean of its 2 channels (--channel chooses one)" in caplog.text
    mean = (left.astype(np.float64) + right) / 2 / 32768
    np.testing.assert_allclose(mixed, Verifier(model, "cpu").embed((mean, RATE_HZ)), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(Verifier(model, "cpu", channel=1).embed(tmp_path / "two.wav"),
                                  Verifier(model, "cpu").embed((right, RATE_HZ)))
    with pytest.raises(UserError, match=r'two.wav: has no channel "2"; choose with --channel 0\|1\|mix'):
        Verifier(model, "cpu", channel=2).embed(tmp_path / "two.wav")


def test_of_a_long_recording_the_first_part_is_heard(verifier, wavs, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(verify, "MOST_VOICE_S", 0.5)
    assert verifier.voice(next(iter(wavs.values()))).voice_s == pytest.approx(0.5)
    assert "the first 0.5 s of its" in caplog.text


def test_little_voice_is_remarked(verifier, caplog):
    verifier.voice((voice(1, 1, 0.9), RATE_HZ))
    assert "the samples: 0." in caplog.text and "s of voice: so short, scores are uncertain" in caplog.text


def quiet(seconds):
    return np.random.default_rng(0).normal(0, 0.2, int(seconds * RATE_HZ)).round().astype(np.int16)


@pytest.mark.parametrize(("audio", "said"), [
    ((voice(1, 1, 0.004), RATE_HZ), "the samples: too short: 64 samples are shorter than one frame of 25 ms"),
    ((voice(1, 1, 0.2), RATE_HZ), r"the samples: too short: 0\.\d\d s of voice in 0.20 s; it takes 0.3 s"),
    ((np.zeros(16000, np.int16), RATE_HZ), "the samples: silent: all its samples are 0"),
    ((np.full(16000, 32767, np.int16), RATE_HZ), "the samples: clipped: all its samples are 32767"),
    ((np.full(16000, np.nan), RATE_HZ), "the samples: sample 0 is nan, which no sound is"),
    ((np.zeros(16000, np.int32), RATE_HZ), "samples of type int32: they must be int16, or floating from -1 to 1"),
    ((np.full(16000, 9000.0), RATE_HZ), "floating samples up to 9000: they must be from -1 to 1"),
    ((np.zeros((2, 2, 2)), RATE_HZ), r"samples of shape \(2, 2, 2\): they must be \(S,\) or \(S, C\)"),
    ((np.zeros(0), RATE_HZ), r"samples of shape \(0,\)"),
    ("nowhere.wav", "nowhere.wav: no such file"),
    ("touch /tmp/owned; cat a.wav |", 'a name that ends in "|" is a command in wav.scp, and none is run here'),
])
def test_what_cannot_be_heard_is_refused_in_words(verifier, audio, said):
    with pytest.raises(UserError, match=said):
        verifier.embed(audio)


def test_no_voice_at_all_is_said(copy):
    rewrite(copy, lambda saved: saved["features"].update(vad={"vad-energy-threshold": "5.5"}))
    with pytest.raises(UserError, match="the samples: no voice in its 1.0 s: too quiet throughout, or no speech"):
        Verifier(copy, "cpu").embed((quiet(1.0), RATE_HZ))


# ---- the folder

def rewrite(folder, change):
    saved = json.loads((folder / "model.json").read_text())
    change(saved)
    (folder / "model.json").write_text(json.dumps(saved))


def replace_hash(folder, name):
    import hashlib

    rewrite(folder, lambda saved: saved["files"].update(
        {name: hashlib.sha256((folder / name).read_bytes()).hexdigest()[:16]}))


def unit(dim, place):
    return np.eye(dim, dtype=np.float32)[place]


def remove(folder):
    shutil.rmtree(folder)


def other_mean(folder):
    write_vector(folder / "mean.vec", np.ones(5))
    replace_hash(folder, "mean.vec")


def of_asnorm(folder):
    Calibration({"asnorm": 8.0}, -3.0, {"cohort.min": 1.0}).save(folder / "calibration.json")
    replace_hash(folder, "calibration.json")


def upside_down(folder):
    Calibration({"cosine": -8.0}, -3.0).save(folder / "calibration.json")
    replace_hash(folder, "calibration.json")


@pytest.mark.parametrize(("damage", "said"), [
    (remove, "copy: no such model folder"),
    (lambda folder: (folder / "model.json").unlink(), "model.json: no such file; .* export_model.py EXP_DIR DATA_DIR"),
    (lambda folder: (folder / "model.json").write_text("{"), "model.json: damaged"),
    (lambda folder: (folder / "model.json").write_text('{"files": {}, "features": {}}'), "model.json: damaged"),
    (lambda folder: rewrite(folder, lambda saved: saved["features"].update(colour=1)),
     'no setting of features is called "colour"; the settings are kind, conf, add_deltas, compress, vad'),
    (lambda folder: (folder / "mean.vec").unlink(), "mean.vec: missing; copy the folder again, as a whole"),
    (lambda folder: (folder / "final.pt").write_bytes(b"x"), "final.pt: not the file that model.json was written for"),
    (other_mean, "mean.vec: a mean of 5 dimensions, but the network's embeddings have 16"),
    (of_asnorm, "a calibration of asnorm, cohort; of a pair of recordings the score cosine is known"),
    (upside_down, "with it a higher score speaks against one speaker"),
])
def test_a_folder_that_is_not_whole_is_refused(copy, damage, said):
    damage(copy)
    with pytest.raises(UserError, match=said):
        Verifier(copy, "cpu")


# ---- enrolled speakers

def test_enrolled_speakers_are_read_as_they_were_written(tmp_path):
    voice = Voice(np.array([0.1, -2.5e-8, 3.0], np.float32), 4.5)
    write_voice(check_name(tmp_path, "Zoë B", False), voice, "abc", ["a.wav"])
    (name, read), = read_voices(tmp_path, "abc").items()
    assert name == "Zoë B" and read.voice_s == 4.5
    np.testing.assert_array_equal(read.emb, voice.emb)


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../a", "a\nb"])
def test_a_name_that_no_file_can_have_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="it becomes the name of a file"):
        check_name(tmp_path, name, False)


def test_a_name_that_somebody_has_is_refused(tmp_path):
    (tmp_path / "ann.json").touch()
    with pytest.raises(UserError, match="ann is enrolled; choose another name, or --overwrite"):
        check_name(tmp_path, "ann", False)
    assert check_name(tmp_path, "ann", True) == tmp_path / "ann.json"


@pytest.mark.parametrize(("content", "said"), [
    (None, "nobody is enrolled there"),
    ("{", "ann.json: no enrolled speaker, or damaged"),
    ('{"embedding": [[1]], "voice_s": 1, "network": "abc"}', "no enrolled speaker, or damaged"),
    ('{"embedding": [1], "voice_s": 1, "network": "xyz"}', "enrolled with another network"),
    ('{"embedding": [1], "voice_s": -1, "network": "abc"}', "damaged .it has -1 s of voice"),
    ('{"embedding": [1], "voice_s": NaN, "network": "abc"}', "damaged .it has nan s of voice"),
])
def test_what_is_no_enrolled_speaker_is_refused(tmp_path, content, said):
    if content is not None:
        (tmp_path / "ann.json").write_text(content)
    with pytest.raises(UserError, match=said):
        read_voices(tmp_path, "abc")


# ---- export_model.py

def test_a_folder_is_made_in_place_too_and_remade_only_when_asked_to(step, scored, tmp_path):
    exp = Path(shutil.copytree(scored / "exp/tiny", tmp_path / "exp"))
    said = step("export_model.py", exp, scored / "data/mine")
    assert "the recording of utterance s0-u0 gives its features" in said and f"wrote the model folder {exp}" in said
    assert Verifier(exp, "cpu").model.mean is None
    assert "is current" in step("export_model.py", exp, scored / "data/mine")
    mean = ["--subtract-mean", exp / "xvectors_mine/mean.vec"]
    assert "its input mean.vec has changed; --overwrite makes it anew" in step(
        "export_model.py", *mean, exp, scored / "data/mine", code=1)
    Calibration({"cosine": 2.0}, -1.0).save(exp / "calibration.json")      # where it is to be: it stays as it is
    step("export_model.py", *mean, "--calibration", exp / "calibration.json", "--overwrite", exp, scored / "data/mine")
    model = Verifier(exp, "cpu").model
    assert model.mean is not None and model.calibration == Calibration({"cosine": 2.0}, -1.0)


def test_a_calibration_that_tells_nothing_is_left_out_aloud(step, scored, tmp_path):
    Calibration({"cosine": -2.0}, -1.0).save(tmp_path / "c.json")
    said = step("export_model.py", "--calibration", tmp_path / "c.json", scored / "exp/tiny", scored / "data/mine",
                tmp_path / "model")
    assert f"{tmp_path}/c.json: with it a higher score speaks against one speaker" in said
    assert Verifier(tmp_path / "model", "cpu").model.calibration is None


def test_a_folder_elsewhere_has_all_that_it_takes_and_nothing_else(model):
    assert sorted(path.name for path in model.iterdir() if path.is_file()) == [
        "calibration.json", "final.pt", "mean.vec", "model.json"]


def test_one_kind_of_features_is_given(step, scored, tmp_path):
    said = step("export_model.py", "--fbank-config", "a", "--mfcc-config", "b", scored / "exp/tiny",
                scored / "data/mine", tmp_path, code=1)
    assert "--fbank-config and --mfcc-config: the features are one or the other; give one of them" in said


def test_features_of_other_dimensions_are_refused_before_anything_is_written(scored, tmp_path):
    save_model(tmp_path / "final.pt", {"net": "xvector", "feat_dim": 10}, NETS["xvector"](10))
    with pytest.raises(UserError, match="the network reads features of 10 dimensions, but these settings make 80"):
        check(tmp_path, FeatureSettings())


@pytest.fixture
def mine(scored, tmp_path) -> Path:
    """A copy of the data directory, with its records."""
    return Path(shutil.copytree(scored / "data/mine", tmp_path / "mine"))


FBANK = {"sample-frequency": "16000", "num-mel-bins": "24", "snip-edges": "false"}
VAD = {"vad-energy-threshold": "-0.5", "vad-energy-mean-scale": "1", "vad-frames-context": "2",
       "vad-proportion-threshold": "0.3"}


def test_how_features_were_made_is_read_from_the_records(mine):
    settings = feature_settings(DataDir(mine))
    assert settings == FeatureSettings("fbank", FBANK, vad=VAD)
    assert prove(settings, DataDir(mine)) == "s0-u0"
    assert feature_settings(DataDir(mine), "fbank", FBANK, VAD) == settings
    (mine / "vad.scp").unlink()
    assert feature_settings(DataDir(mine)).vad is None


def test_how_features_of_others_were_made_is_for_a_person_to_say(mine):
    shutil.rmtree(mine / ".made")
    with pytest.raises(UserError, match="feats.scp: no record says how it was made; give .* --fbank-config"):
        feature_settings(DataDir(mine))
    with pytest.raises(UserError, match="vad.scp: no record says how it was made; .* --vad-config"):
        feature_settings(DataDir(mine), "fbank", FBANK)
    assert feature_settings(DataDir(mine), "fbank", FBANK, VAD) == FeatureSettings(
        "fbank", FBANK, compress=False, vad=VAD)


@pytest.mark.parametrize(("kind", "conf", "vad", "said"), [
    ("fbank", {"num-mel-bins": "80"}, None, "feats.scp: made with other options than --fbank-config says"),
    ("mfcc", FBANK, None, "feats.scp: made with other options than --mfcc-config says"),
    (None, None, {}, "vad.scp: made with other options than --vad-config says"),
])
def test_options_that_the_records_contradict_are_refused(mine, kind, conf, vad, said):
    with pytest.raises(UserError, match=said):
        feature_settings(DataDir(mine), kind, conf, vad)


def test_vad_options_for_features_without_vad_are_refused(mine):
    (mine / "vad.scp").unlink()
    with pytest.raises(UserError, match="vad.scp: no such file, so that every frame counts; leave --vad-config out"):
        feature_settings(DataDir(mine), vad=VAD)


@pytest.mark.parametrize(("change", "said"), [
    ({"conf": {**FBANK, "frame-shift": "20"}}, "its recording with these options: 120 frames .* not 60 of 24"),
    ({"conf": {**FBANK, "window-type": "rectangular", "preemphasis-coefficient": "0"}}, "the median difference is"),
    ({"vad": {**VAD, "vad-energy-threshold": "0.5"}}, 'of the decisions in vad.scp on utterance "s0-u0" only'),
])
def test_options_that_do_not_give_the_features_are_found_out(mine, change, said):
    settings = FeatureSettings(**{"conf": FBANK, "vad": VAD, **change})
    with pytest.raises(UserError, match=said):
        prove(settings, DataDir(mine))
