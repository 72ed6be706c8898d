"""pyspk.augment: levels, rooms and speeds as measured; a description says all that is done; mistakes are named."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
from augmentation import DIRECT, T60_S, room, tone, write_sources
from conftest import RATE_HZ, voice, write_data_dir

from pyspk import audio
from pyspk.augment.augmenter import Augmenter
from pyspk.augment.config import AugmentConfig, load_config, to_toml
from pyspk.augment.copies import augmented_reader, draw_copies, write_copies
from pyspk.augment.description import Added, Reverb, Speed, parse, to_text
from pyspk.augment.effects import add_noise, babble, repeat, reverberate, speed
from pyspk.augment.sources import Sources
from pyspk.datadir import DataDir
from pyspk.errors import UserError


@pytest.fixture
def speech():
    return voice(1, 0, 2.0).astype(np.float32)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return write_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture
def config(sources):
    return load_config(sources / "augment.toml").below(sources)


def snr_db(speech, noise):
    return 10 * np.log10(np.mean(speech.astype(float) ** 2) / np.mean(noise.astype(float) ** 2))


def t60_s(response):
    """Reverberation time by Schroeder's backward integration, from the fall between -5 and -25 dB."""
    left = np.cumsum(response.astype(float)[::-1] ** 2)[::-1]
    level_db = 10 * np.log10(left / left[0])
    fall = np.flatnonzero((level_db < -5) & (level_db > -25))
    return -60 / (np.polyfit(fall, level_db[fall], 1)[0] * RATE_HZ)


def loudest_hz(samples):
    return np.abs(np.fft.rfft(samples * np.hanning(len(samples)))).argmax() * RATE_HZ / len(samples)


# ---- effects

@pytest.mark.parametrize("wanted", [-5.0, 0.0, 7.3, 20.0])
def test_noise_is_added_at_the_ratio_that_is_asked_for(speech, wanted):
    noise = np.random.default_rng(0).normal(0, 5, len(speech)).astype(np.float32)
    noisy = add_noise(speech, noise, wanted)
    assert noisy.dtype == np.float32
    assert snr_db(speech, noisy - speech) == pytest.approx(wanted, abs=0.01)
    assert np.corrcoef(noisy - speech, noise)[0, 1] > 0.9999


def test_a_gain_worked_out_by_hand():
    got = add_noise(np.array([2, -2], np.float32), np.array([1, 1], np.float32), 20.0)
    np.testing.assert_allclose(got, [2.2, -1.8], rtol=1e-6)      # power 4 against 1, 20 dB: g = sqrt(4 / 100)


def test_silence_stays_silent_and_silent_noise_is_refused(speech):
    assert not add_noise(np.zeros(10, np.float32), np.ones(10, np.float32), 5.0).any()
    with pytest.raises(UserError, match="the noise is silent, so no level of it"):
        add_noise(speech, np.zeros_like(speech), 5.0)


def test_babble_is_the_sum():
    got = babble([np.array([1, 2], np.float32), np.array([10, 20], np.float32), np.array([100, 200], np.float32)])
    np.testing.assert_array_equal(got, [111, 222])


@pytest.mark.parametrize(("n", "start", "expected"), [
    (2, 0, [1, 2]), (2, 1, [2, 3]), (3, 2, [3, 1, 2]), (7, 1, [2, 3, 1, 2, 3, 1, 2])])
def test_noise_is_cut_or_begins_anew(n, start, expected):
    assert repeat(np.array([1, 2, 3]), n, start).tolist() == expected


@pytest.mark.parametrize("wanted", [0.2, 0.4, 0.8])
def test_a_reverberated_click_decays_as_the_room_does_and_comes_without_delay(wanted):
    click = np.zeros(3 * RATE_HZ, np.float32)
    click[5000] = 10000
    heard = reverberate(click, room(wanted).astype(np.float32))
    assert heard.shape == click.shape and heard.dtype == np.float32
    assert np.abs(heard).argmax() == 5000
    assert t60_s(heard[5000:5000 + int(wanted * RATE_HZ)]) == pytest.approx(wanted, rel=0.1)
    assert np.abs(heard[:5000]).max() < 1e-3 * heard[5000]               # nothing sounds before it is said


def test_reverberation_keeps_length_and_energy_and_equals_the_sum_written_out(speech):
    rir = np.array([0.0, 0.1, -1.0, 0.5, 0.25], np.float32)
    expected = np.zeros(len(speech))
    for k, weight in enumerate(rir):
        at = np.arange(len(speech)) + 2 - k                               # 2: the direct path
        inside = (at >= 0) & (at < len(speech))
        expected[inside] += weight * speech[at[inside]].astype(float)
    expected *= np.sqrt(np.sum(speech.astype(float) ** 2) / np.sum(expected ** 2))
    heard = reverberate(speech, rir)
    np.testing.assert_allclose(heard, expected, atol=0.05)
    assert np.sum(heard.astype(float) ** 2) == pytest.approx(np.sum(speech.astype(float) ** 2), rel=1e-4)
    assert not reverberate(np.zeros(10, np.float32), rir).any()
    with pytest.raises(UserError, match="the impulse response is silent"):
        reverberate(speech, np.zeros(5, np.float32))


@pytest.mark.parametrize(("factor", "hz"), [(0.9, 900), (1.1, 1100)])
def test_speed_changes_length_and_pitch_and_keeps_the_level(factor, hz):
    wave = tone(1000, 2.0).astype(np.float32)
    got = speed(wave, factor)
    assert abs(len(got) - len(wave) / factor) <= 1 and got.dtype == np.float32
    assert loudest_hz(got) == pytest.approx(hz, abs=1)
    assert np.sqrt(np.mean(got[500:-500] ** 2)) == pytest.approx(3000 / np.sqrt(2), rel=0.01)


# ---- descriptions

@pytest.mark.parametrize(("augmentation", "text"), [
    ((), "clean"),
    ((Speed(0.9),), "speed factor=0.9"),
    ((Reverb("room-a"),), "reverb id=room-a"),
    ((Added("noise", (("a=b,c", 3.214),), 7.3),), "noise id=a=b,c at=3.214 snr=7.3"),
    ((Added("music", (("m", 12345.678),), -0.25),), "music id=m at=12345.678 snr=-0.25"),
    ((Added("babble", (("a", 0.0), ("b", 1.5)), 13.0),), "babble id=a at=0.0 id=b at=1.5 snr=13.0"),
    ((Speed(1.1), Reverb("r"), Added("noise", (("n", 0.5),), 5.0)),
     "speed factor=1.1 reverb id=r noise id=n at=0.5 snr=5.0"),
])
def test_a_description_and_its_text_say_the_same(augmentation, text):
    assert to_text(augmentation) == text
    assert parse(text) == augmentation


@pytest.mark.parametrize(("text", "message"), [
    ("", 'says nothing of what is done; the word for nothing is "clean"'),
    ("id=a noise", '"id=a" stands before the kind of augmentation'),
    ("nois id=a at=0 snr=5", '"nois" is no kind of augmentation; the kinds are speed, reverb, noise, music, babble'),
    ("clean reverb id=a", '"clean" is no kind of augmentation'),
    ("noise id=a snr=5", '"noise" has id= snr= behind it, not id= at= snr='),
    ("music id=a at=0 id=b at=0 snr=5", '"music" has id= at= id= at= snr= behind it, not id= at= snr='),
    ("babble id=a at=0 id=b snr=5", '"babble" has id= at= id= snr= behind it, not id= at= ... snr='),
    ("babble snr=5", '"babble" has snr= behind it, not id= at= ... snr='),
    ("reverb", '"reverb" has nothing behind it, not id='),
    ("noise id=a at=-1 snr=5", "at=-1: it must be a number of 0 or more"),
    ("noise id=a at=0 snr=loud", "snr=loud: it must be a number"),
    ("noise id=a at=0 snr=inf", "snr=inf: it must be a number"),
    ("speed factor=9", "factor=9.0: it must be from 0.5 to 2 and have at most three decimals"),
    ("speed factor=0.9004", "factor=0.9004: it must be"),
])
def test_a_text_that_says_something_else_is_refused(text, message):
    with pytest.raises(UserError) as refused:
        parse(text)
    assert str(refused.value).startswith(message)


# ---- settings

def test_settings_are_written_and_read_back(tmp_path):
    config = AugmentConfig(noise_prob=0.25, noise_dirs=('a "b"', "c\\d"), speeds=(), babble_voices=(2, 2))
    (tmp_path / "a.toml").write_text("\n".join(to_toml(config)) + "\n")
    assert load_config(tmp_path / "a.toml") == config
    assert load_config(None) == AugmentConfig()
    assert AugmentConfig(noise_dirs=("/a", "b")).below("x").noise_dirs == ("/a", "x/b")


def test_the_recipe_s_settings_are_the_defaults():
    recipe = Path(__file__).parents[1] / "egs" / "voxceleb" / "conf" / "augment.toml"
    assert load_config(recipe) == AugmentConfig()


@pytest.mark.parametrize(("line", "message"), [
    ("nois_prob = 0.1", 'no setting is called "nois_prob"; the settings are noise_prob, music_prob, '),
    ("noise_prob = 1.5", "noise_prob = 1.5: it must be from 0 to 1"),
    ('noise_prob = "often"', "noise_prob = 'often' must be a number"),
    ("noise_prob = true", "noise_prob = True must be a number"),
    ("noise_prob = nan", "noise_prob = nan must be a number"),
    ("noise_prob = 0.9", "noise_prob + music_prob + babble_prob + reverb_prob = 1.35: it must be at most 1"),
    ("noise_dirs = []", "noise_dirs = (): it must be one directory or more, or noise_prob 0"),
    ('noise_dirs = "data/x"', "noise_dirs = 'data/x' must be a list of texts"),
    ('noise_dirs = ["a", "a"]', "noise_dirs = ('a', 'a'): it must be each directory once"),
    ("music_snr_db = [15, 5]", "music_snr_db = (15.0, 5.0): it must be two numbers, from and to"),
    ("music_snr_db = [5]", "music_snr_db = (5.0,): it must be two numbers, from and to"),
    ("music_snr_db = 5", "music_snr_db = 5 must be a list of numbers"),
    ("babble_voices = [3, 4.5]", "babble_voices = [3, 4.5] must be a list of whole numbers"),
    ("babble_voices = [0, 4]", "babble_voices = (0, 4): it must be 1 or more"),
    ("speeds = [0.9, 1.0]", "speeds = (0.9, 1.0): it must be different factors other than 1"),
    ("speeds = [0.1]", "factor=0.1: it must be from 0.5 to 2"),
    ("speeds = [", "not TOML: "),
])
def test_an_impossible_setting_is_refused_with_what_is_valid(tmp_path, line, message):
    (tmp_path / "a.toml").write_text(line + "\n")
    with pytest.raises(UserError) as refused:
        load_config(tmp_path / "a.toml")
    assert str(refused.value).startswith(f"{tmp_path}/a.toml: {message}")


# ---- recordings

def test_a_stretch_is_the_part_of_the_recording_and_begins_anew_at_its_end(sources):
    noise = Sources("noise", [str(sources / "data" / "musan_noise")])
    whole, _ = audio.load(str(sources / "data" / "musan_noise" / "noise-0.wav"))                  # 0.7 s
    np.testing.assert_array_equal(noise.stretch("noise-0", RATE_HZ, 0.25, 3200), whole[4000:7200])
    expected = np.concatenate([whole[8000:], whole, whole])[:16000]
    np.testing.assert_array_equal(noise.stretch("noise-0", RATE_HZ, 0.5, 16000), expected)


def test_only_the_stretch_is_read(sources, monkeypatch):
    lengths = []
    read = soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read",
                        lambda self, frames=-1, **rest: lengths.append(frames) or read(self, frames, **rest))
    Sources("noise", [str(sources / "data" / "musan_noise")]).stretch("noise-2", RATE_HZ, 1.5, 8000)
    assert lengths == [8000]


def test_segments_pipes_channels_and_other_rates_are_read_as_elsewhere(tmp_path):
    ramp = np.arange(16000, dtype=np.int16)
    soundfile.write(tmp_path / "a.wav", np.stack([ramp, -ramp], axis=1), 16000)
    (tmp_path / "wav.scp").write_text(f"rec cat {tmp_path}/a.wav |\n")
    (tmp_path / "utt2spk").write_text("a a\nb b\n")
    (tmp_path / "segments").write_text("a rec 0.0 0.25\nb rec 0.75 1.2\n")                        # 0.2 s too long
    noise = Sources("noise", [str(tmp_path)])
    assert noise.seconds("a") == 0.25 and noise.seconds("b") == 0.25
    np.testing.assert_array_equal(noise.stretch("b", 16000, 0.2, 1600), np.r_[15200:16000, 12000:12800])
    with pytest.raises(UserError, match="16000 Hz, but 8000 Hz is wanted; convert it with --resample true"):
        noise.stretch("a", 8000, 0.0, 100)
    low = Sources("noise", [str(tmp_path)], resample=True).stretch("a", 8000, 0.1, 800)
    np.testing.assert_allclose(low[50:-50], np.arange(1600, 3200, 2)[50:-50], atol=20)


def test_each_directory_is_as_likely_as_the_others(sources):
    both = Sources("noise", [str(sources / "data" / name) for name in ("musan_speech", "rirs")])
    ids = [both.draw(np.random.default_rng(i)) for i in range(400)]
    assert 150 < sum(id.startswith("room") for id in ids) < 250                                   # 2 of 10 recordings
    assert len(set(ids)) == 10


@pytest.mark.parametrize(("dirs", "id", "message"), [
    (["none"], "noise-0", "none: no such data directory"),
    (["musan_noise"], "noise-9", 'no noise recording is called "noise-9" in .*musan_noise$'),
    ([], "noise-0", 'no noise recording is called "noise-0" in any directory: noise_dirs is empty'),
    (["musan_noise", "copy"], "noise-0", 'noise recording "noise-0" is in .*musan_noise and in .*copy; name it otherw'),
    (["musan_noise"], "noise-0", 'noise recording "noise-0" has only 0.700 s, but at=5.0'),
    (["empty"], "noise-0", "empty/utt2spk: empty"),
    (["gone"], "noise-1", "/no/such.wav: no such file"),
])
def test_a_recording_that_cannot_be_had_is_named(sources, tmp_path, dirs, id, message):
    for name, ids in (("copy", ["noise-0"]), ("empty", []), ("gone", ["noise-1"])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "utt2spk").write_text("".join(f"{one} {one}\n" for one in ids))
        (tmp_path / name / "wav.scp").write_text("".join(f"{one} /no/such.wav\n" for one in ids))
    folders = [sources / "data" / name if name.startswith("musan") else tmp_path / name for name in dirs]
    with pytest.raises(UserError, match=message):
        Sources("noise", [str(folder) for folder in folders]).stretch(id, RATE_HZ, 5.0, 100)


# ---- drawing and applying

def test_what_is_drawn_says_all_that_is_done(config, speech):
    augmenter, other = Augmenter(config), pickle.loads(pickle.dumps(Augmenter(config)))
    kinds = set()
    for i in range(60):
        drawn = augmenter.draw(np.random.default_rng(i))
        assert drawn == other.draw(np.random.default_rng(i)) == parse(to_text(drawn))
        kinds.add(to_text(drawn).split()[0])
        if i < 12:
            ours, theirs = (one.apply(speech, RATE_HZ, drawn) for one in (augmenter, other))
            assert ours.tobytes() == theirs.tobytes() and len(ours) == len(speech)
    assert kinds == {"clean", "noise", "music", "babble", "reverb"}


def test_ranges_and_shares_are_those_of_the_settings(config):
    augmenter = Augmenter(config)
    rng = np.random.default_rng(0)
    drawn = [augmenter.draw(rng) for _ in range(2000)]
    steps = [step for (step,) in filter(None, drawn)]
    assert sum(not one for one in drawn) / 2000 == pytest.approx(0.4, abs=0.04)
    assert sum(isinstance(step, Reverb) for step in steps) / 2000 == pytest.approx(0.15, abs=0.03)
    for kind, (low, high) in {"noise": (0, 15), "music": (5, 15), "babble": (13, 20)}.items():
        added = [step for step in steps if isinstance(step, Added) and step.kind == kind]
        assert len(added) / 2000 == pytest.approx(0.15, abs=0.03)
        ratios = [step.snr_db for step in added]
        assert low <= min(ratios) < low + 0.2 and high - 0.2 < max(ratios) <= high
        counts = {len(step.parts) for step in added}
        assert counts == ({3, 4, 5, 6, 7} if kind == "babble" else {1})
        assert all(len({id for id, _ in step.parts}) == len(step.parts) for step in added)        # different voices
    assert all(augmenter.draw(rng, clean=False) for _ in range(200))


def test_added_parts_are_the_recordings_at_the_ratio(config, sources, speech):
    got = Augmenter(config).apply(speech, RATE_HZ, parse("babble id=speech-1 at=0.5 id=speech-3 at=1.0 snr=14.5"))
    first, second = (audio.load(f"{sources}/data/musan_speech/speech-{i}.wav")[0] for i in (1, 3))
    expected = np.concatenate([first[8000:], first])[:32000] + np.concatenate([second[16000:], second])[:32000]
    assert snr_db(speech, got - speech) == pytest.approx(14.5, abs=0.01)
    assert np.corrcoef(got - speech, expected)[0, 1] > 0.99999


def test_the_room_that_is_named_is_the_one_that_is_heard(config):
    click = np.zeros(2 * RATE_HZ, np.float32)
    click[4000] = 10000
    for name, wanted in T60_S.items():
        heard = Augmenter(config).apply(click, RATE_HZ, (Reverb(name),))
        assert np.abs(heard).argmax() == 4000
        assert t60_s(heard[4000:4000 + int(wanted * RATE_HZ)]) == pytest.approx(wanted, rel=0.1)
    assert DIRECT > 0                                                     # or "no delay" would say nothing


def test_steps_are_done_one_after_the_other(config, speech):
    augmenter = Augmenter(config)
    slower = augmenter.apply(speech, RATE_HZ, parse("speed factor=0.9"))
    both = augmenter.apply(speech, RATE_HZ, parse("speed factor=0.9 noise id=noise-0 at=0.1 snr=3.0"))
    assert abs(len(both) - len(speech) / 0.9) <= 1
    assert snr_db(slower, both - slower) == pytest.approx(3.0, abs=0.01)


def test_a_pause_in_the_noise_leaves_the_samples_and_is_said(config, speech, tmp_path, caplog):
    soundfile.write(tmp_path / "pause.wav", np.zeros(RATE_HZ, np.int16), RATE_HZ)
    (tmp_path / "wav.scp").write_text(f"pause {tmp_path}/pause.wav\n")
    (tmp_path / "utt2spk").write_text("pause pause\n")
    augmenter = Augmenter(AugmentConfig(noise_dirs=(str(tmp_path),)))
    assert augmenter.apply(speech, RATE_HZ, parse("noise id=pause at=0.5 snr=5")) is speech
    assert '"noise id=pause at=0.5 snr=5.0" is silent there: these samples stay without it' in caplog.text


def test_what_cannot_be_drawn_is_refused(config, sources):
    nothing = AugmentConfig(noise_prob=0, music_prob=0, babble_prob=0, reverb_prob=0)
    assert Augmenter(nothing).draw(np.random.default_rng(0)) == ()
    with pytest.raises(UserError, match="all of noise_prob, .* are 0: nothing can be drawn"):
        Augmenter(nothing).draw(np.random.default_rng(0), clean=False)
    few = AugmentConfig(noise_prob=0, music_prob=0, babble_prob=1, reverb_prob=0, babble_voices=(9, 9)).below(sources)
    with pytest.raises(UserError, match="9 different babble recordings are to be drawn, but .*musan_speech has 8"):
        Augmenter(few).draw(np.random.default_rng(0))
    with pytest.raises(UserError, match='reverb id=attic: no reverb recording is called "attic" in '):
        Augmenter(config).apply(np.ones(10, np.float32), RATE_HZ, (Reverb("attic"),))


# ---- data directories of copies

@pytest.fixture
def data(tmp_path, recordings):
    return DataDir(write_data_dir(tmp_path / "train", recordings, ["s0", "s1"]))


def test_copies_of_every_speed_and_their_speakers(config, data):
    made = draw_copies(data, Augmenter(config), n_copies=2, seed=0)
    assert len(made) == 12 * 3 * 3
    of_one = {utt: copy for utt, copy in made.items() if copy.source_utt == "s1-u3"}
    expected = {f"{speed}s1-u3{copy}": f"{speed}s1" for speed in ("", "sp0.9-", "sp1.1-")
                for copy in ("", "-aug1", "-aug2")}
    assert {utt: copy.spk for utt, copy in of_one.items()} == expected
    assert of_one["s1-u3"].text == "clean" and of_one["sp0.9-s1-u3"].text == "speed factor=0.9"
    faster, added = parse(of_one["sp1.1-s1-u3-aug2"].text)
    assert faster == Speed(1.1) and isinstance(added, Added | Reverb)
    assert not {"s1-u3"} & draw_copies(data, Augmenter(config), 1, 0, include_source=False).keys()


def test_a_copy_depends_on_its_name_and_the_seed_alone(config, data, tmp_path, recordings):
    fewer = DataDir(write_data_dir(tmp_path / "fewer", recordings, ["s1"]))
    all_of_them, some, others = (draw_copies(one, Augmenter(config), 1, seed)
                                 for one, seed in ((data, 5), (fewer, 5), (fewer, 6)))
    assert some.items() <= all_of_them.items()
    assert some != others


def test_copies_that_cannot_be_named_or_made_are_refused(config, data, tmp_path):
    (tmp_path / "train" / "utt2aug").touch()
    with pytest.raises(UserError, match="train has a utt2aug, so it is made of copies; augment what it was made from"):
        draw_copies(data, Augmenter(config), 1, 0)
    (tmp_path / "train" / "utt2aug").unlink()
    with pytest.raises(UserError, match="no copies and no speeds: there is nothing to make"):
        draw_copies(data, Augmenter(AugmentConfig(speeds=())), 0, 0)
    data.utt2spk["s0-u0-aug1"] = "s0"
    with pytest.raises(UserError, match="train/utt2spk: two utterances each would be called s0-u0-aug1, sp0.9-s0"):
        draw_copies(data, Augmenter(config), 1, 0)


def test_a_copy_s_samples_are_the_source_s_with_the_description_applied(config, data, tmp_path):
    augmenter = Augmenter(config)
    write_copies(data, augmenter, draw_copies(data, augmenter, 1, 0), tmp_path / "out")
    out = DataDir(tmp_path / "out")
    read, read_clean = (augmented_reader(out, RATE_HZ, clean=clean) for clean in (False, True))
    source = audio.utterance_reader(data, RATE_HZ)
    lines = out.table("utt2aug")
    for utt in ("s0-u2", "s0-u2-aug1", "sp0.9-s0-u2", "sp0.9-s0-u2-aug1"):
        source_utt, _, text = lines[utt].partition(" ")
        expected = augmenter.apply(source(source_utt), RATE_HZ, parse(text))
        assert read(utt).tobytes() == expected.tobytes()
        slower = utt.startswith("sp0.9")
        np.testing.assert_array_equal(read_clean(utt), speed(source("s0-u2"), 0.9) if slower else source("s0-u2"))
        assert len(read_clean(utt)) == len(read(utt))
    assert augmented_reader(data, RATE_HZ)("s0-u2").tobytes() == source("s0-u2").tobytes()
    assert (tmp_path / "out" / "spk2utt").read_text().splitlines()[0].split()[:3] == ["s0", "s0-u0", "s0-u0-aug1"]


def test_segments_stay_segments(config, data, tmp_path):
    wav = data.table("wav.scp")["s0-u4"]
    for name, text in {"wav.scp": f"rec {wav}\n", "utt2spk": "s-a s\ns-b s\n",
                       "segments": "s-a rec 0.0 0.5\ns-b rec 0.5 1.2\n"}.items():
        (data.path / name).write_text(text)
    source, augmenter = DataDir(data.path), Augmenter(config)
    write_copies(source, augmenter, draw_copies(source, augmenter, 1, 0), tmp_path / "out")
    out = DataDir(tmp_path / "out")
    assert (tmp_path / "out" / "wav.scp").read_text() == f"rec {wav}\n"
    assert out.table("segments")["sp1.1-s-b-aug1"] == "rec 0.5 1.2"
    np.testing.assert_array_equal(augmented_reader(out, RATE_HZ)("s-b"), audio.load(wav, 0.5, 1.2)[0])


def test_a_wrong_line_is_named(config, data, tmp_path):
    augmenter = Augmenter(config)
    write_copies(data, augmenter, draw_copies(data, augmenter, 1, 0), tmp_path / "out")
    path = tmp_path / "out" / "utt2aug"
    lines = path.read_text().splitlines()
    lines[1] = lines[1].split()[0] + " s0-u0 nois id=x"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=r'out/utt2aug:2: "nois" is no kind of augmentation; the kinds are '):
        augmented_reader(DataDir(tmp_path / "out"), RATE_HZ)("s0-u0-aug1")
    path.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(UserError, match="out/utt2aug: 1 utterances of utt2spk are missing"):
        augmented_reader(DataDir(tmp_path / "out"), RATE_HZ)
    (tmp_path / "out" / "augment.toml").unlink()
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match="out/augment.toml: no such file"):
        augmented_reader(DataDir(tmp_path / "out"), RATE_HZ)
