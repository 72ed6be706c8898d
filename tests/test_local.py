"""local/: the Debian voices from tiny packages made here, and data directories from folders of recordings."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pyspk.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "local"))

import fetch_debian_voices as fetch  # noqa: E402
import make_speaker_folders as folders  # noqa: E402
from debian_voices import clips as voice_clips  # noqa: E402
from debian_voices import sources  # noqa: E402

RNG = np.random.default_rng(0)


def noise(seconds, rate_hz=8000):
    return RNG.integers(-3000, 3000, round(seconds * rate_hz)).astype(np.int16)


def write(path, samples, rate_hz=8000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate_hz)
    return path


def tree(folder):
    """Relative path -> bytes of every file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def lines(path):
    return path.read_text().splitlines()


# ---------------------------------------------------------------- clips to utterances

def lengths(*seconds):
    """The seconds of the utterances that clips of these seconds become."""
    clips = [np.zeros(round(s * 16000), np.int16) for s in seconds]
    return [len(utt) / 16000 for utt in voice_clips.join_clips(clips)]


def test_clips_are_joined_and_cut_to_three_to_six_seconds():
    assert lengths(2, 2, 2) == [6]                          # as many as fit into 6 s
    assert lengths(2, 2, 2, 2, 2) == [6, 4]
    assert lengths(2.5, 2.5, 2.5, 2.5) == [5, 5]            # a third would make 7.5 s
    assert lengths(2, 4, 2) == [4, 4]                       # a clip of 3 s or more stands alone
    assert lengths(3, 6) == [3, 6]
    assert lengths(7) == [3.5, 3.5]                         # more than 6 s: equal pieces, as few as can be
    assert lengths(13) == pytest.approx([13 / 3] * 3, abs=1e-4)
    assert lengths(2, 2, 2, 1) == [6, 1]                    # the rest; the caller drops it
    assert lengths() == []


def test_joining_keeps_every_sample_in_order():
    clips = [np.full(round(seconds * 16000), number, np.int16) for number, seconds in enumerate((1, 2.5, 4, 9, 1, 2))]
    joined = np.concatenate(list(voice_clips.join_clips(clips)))
    assert Counter(joined.tolist()) == {0: 16000, 1: 40000, 2: 64000, 3: 144000, 4: 16000, 5: 32000}


def test_silence_around_a_clip_is_cut_to_a_tenth_of_a_second():
    sound = np.full(1600, 1000, np.int16)
    zeros = np.zeros(16000, np.int16)
    assert len(voice_clips.cut_silence(np.concatenate([zeros, sound, zeros]))) == 1600 + 1600 + 1600
    inside = np.concatenate([sound, zeros, sound])
    np.testing.assert_array_equal(voice_clips.cut_silence(inside), inside)
    assert len(voice_clips.cut_silence(np.full(16000, 32, np.int16))) == 0
    assert len(voice_clips.cut_silence(zeros[:0])) == 0


def test_voices_are_told_by_package_language_and_character():
    def voice(package, path):
        source = sources.source_of(package, path)
        return source if isinstance(source, str) else (source.voice, source.language)

    asterisk, allison = "usr/share/asterisk/sounds", "asterisk-allison"
    game = "usr/share/games/fillets-ng/sound"
    assert voice("asterisk-core-sounds-es-wav", f"{asterisk}/es_MX_f_Allison/digits/1.wav") == (allison, "es")
    assert voice("asterisk-core-sounds-en-wav", f"{asterisk}/en_US_f_Allison/silence/1.wav") == "not speech"
    assert voice("asterisk-core-sounds-en-wav", f"{asterisk}/en_US_f_Allison/beeperr.wav") == "not speech"
    assert voice("asterisk-prompt-fr-armelle", f"{asterisk}/fr/digits/1.gsm") == ("asterisk-armelle", "fr")
    assert voice("fillets-ng-data-cs", f"{game}/city/cs/mes-m-cotoje.ogg") == ("fillets-cs-small", "cs")
    assert voice("fillets-ng-data-cs", f"{game}/share/border/cs/ob-v-cesta.ogg") == ("fillets-cs-big", "cs")
    assert voice("fillets-ng-data-cs", f"{game}/hanoi/cs/m-co.ogg") == ("fillets-cs-small2", "cs")
    assert voice("fillets-ng-data-nl", f"{game}/keys/nl/rand-0-1.ogg").startswith("of a character")
    assert voice("gcin-voice", "usr/share/gcin-voice/ogg/ㄅ/5.ogg") == ("gcin-5", "zh")
    assert voice("klettres-data", "usr/share/klettres/pt_BR/syllab/ba.ogg") == ("klettres-pt_BR", "pt_BR")
    assert voice("klettres-data", "usr/share/klettres/de/alpha/a.ogg") == "alpha and syllab are two speakers"
    assert voice("ktuberling-data", "usr/share/ktuberling/sounds/ru/tv_lion.ogg") == ("ktuberling-ru", "ru")
    assert voice("ktuberling-data", "usr/share/ktuberling/sounds/ru/tv_train.ogg") == "a second speaker"
    assert voice("ktuberling-data", "usr/share/ktuberling/sounds/da/guard-tux.ogg") == "a second speaker"


def test_voices_of_a_language_are_one_group_and_a_voice_of_two_languages_joins_them():
    groups = sources.group_voices({"a": {"es"}, "b": {"en_GB"}, "c": {"nb"}, "d": {"nn"}, "e": {"sr@latin"},
                                         "f": {"sr"}, "g": {"pt_BR"}, "z": {"en", "es"}})
    assert groups == {"a": "en+es", "b": "en+es", "z": "en+es", "c": "no", "d": "no", "e": "sr", "f": "sr", "g": "pt"}


def readme_voices():
    """Voice -> languages, and the voices in bold, from the table of egs/mini/README.md."""
    languages, bold = {}, set()
    text = (ROOT / "egs/mini/README.md").read_text()
    for row in re.findall(r"^\| ([a-z]\S+-\S+) \| (.+) \| (.+) \| .+ \|$", text, re.M):
        for mark, voice in re.findall(r"(\*\*)?([a-z]+-[\w-]+)", row[1]):
            language = row[2] if len(row[2]) == 2 else voice.rpartition("-")[2]
            languages.setdefault(voice, set()).add(language)
            bold |= {voice} if mark else set()
    return languages, bold


def test_the_split_of_the_embedded_corpus_is_as_its_readme_says():
    languages, bold = readme_voices()
    groups = sources.group_voices(languages)
    chosen = folders.choose(groups, None, None)["eval"]
    assert len(languages) == 43 and chosen == bold and len(chosen) == 14
    assert not {groups[voice] for voice in chosen} & {groups[voice] for voice in languages.keys() - chosen}


# ---------------------------------------------------------------- fetch_debian_voices.py

needs_dpkg = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="no dpkg-deb on this machine")


def pack(folder, package, clips, version="1.0"):
    """Build folder/PACKAGE_VERSION_all.deb with clips: path below usr/share -> samples, a path to link to, or bytes."""
    root = folder / f"root-{package}"
    for name, content in clips.items():
        path = root / "usr/share" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.symlink_to(content)
        else:
            write(path, content)
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/control").write_text(f"Package: {package}\nVersion: {version}\nArchitecture: all\n"
                                         "Maintainer: x <x@y>\nDescription: test\n")
    deb = folder / f"{package}_{version}_all.deb"
    subprocess.run(["dpkg-deb", "-Znone", "--root-owner-group", "--build", root, deb], check=True, capture_output=True)
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def debs(tmp_path_factory):
    """Packages with Allison in two languages, aa and bb of 60 s or more, cc of less, and things to leave out."""
    if not shutil.which("dpkg-deb"):
        pytest.skip("no dpkg-deb on this machine")
    folder = tmp_path_factory.mktemp("debs")
    asterisk = "asterisk/sounds/{}_f_Allison"
    for code, language in (("en", "en_US"), ("es", "es_MX")):
        sounds = asterisk.format(language)
        clips = {f"{sounds}/digits/{n}.wav": noise(5) for n in range(8)}
        pack(folder, f"asterisk-core-sounds-{code}-wav",
             clips | {f"{sounds}/silence/5.wav": noise(5), f"{sounds}/beep.wav": noise(5)})
    clips = {f"klettres/aa/alpha/{n}.wav": noise(2.5) for n in range(30)}
    clips["klettres/aa/syllab/again.wav"] = clips["klettres/aa/alpha/7.wav"]
    clips["klettres/aa/syllab/link.wav"] = "../alpha/7.wav"
    clips["klettres/aa/syllab/zeros.wav"] = np.zeros(40000, np.int16)
    clips["klettres/aa/syllab/bad.wav"] = b"not audio"
    clips |= {f"klettres/bb_CC/alpha/{n}.wav": noise(7) for n in range(9)}
    clips |= {f"klettres/cc/alpha/{n}.wav": noise(2.5) for n in range(8)}
    clips |= {f"klettres/de/alpha/{n}.wav": noise(5) for n in range(1)}
    pack(folder, "klettres-data", clips, "4:22.12")
    return folder


def run_fetch(*arguments, path=None, **options):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path or os.environ["PATH"]}
    return subprocess.run([sys.executable, ROOT / "local/fetch_debian_voices.py", *map(str, arguments)],
                          env=environment, capture_output=True, text=True, **options)


@needs_dpkg
def test_fetch_writes_voices_of_sixty_seconds_in_utterances_of_three_to_six(debs, tmp_path):
    corpus = tmp_path / "cache" / "voices"
    done = run_fetch("--packages-dir", debs, "--min-voices", 3, corpus)
    assert done.returncode == 0, done.stderr
    assert "wrote 3 voices" in done.stderr
    assert "left out 1 voices of less than 60 s: klettres-cc" in done.stderr
    assert "1 a duplicate, 1 alpha and syllab are two speakers, 4 not speech, 1 silent, 1 unreadable" in done.stderr

    wavs = sorted(corpus.rglob("*.wav"))
    assert {wav.parent.name for wav in wavs} == {"asterisk-allison", "klettres-aa", "klettres-bb_CC"}
    assert all(re.fullmatch(rf"{wav.parent.name}-\d{{4}}\.wav", wav.name) for wav in wavs)
    infos = [soundfile.info(wav) for wav in wavs]
    assert {(info.samplerate, info.channels, info.subtype) for info in infos} == {(16000, 1, "PCM_16")}
    seconds = {voice: [info.duration for wav, info in zip(wavs, infos, strict=True) if wav.parent.name == voice]
               for voice in {wav.parent.name for wav in wavs}}
    assert seconds["klettres-aa"] == [5.0] * 15             # two of 2.5 s each
    assert seconds["klettres-bb_CC"] == [3.5] * 18          # 7 s cut in two
    assert seconds["asterisk-allison"] == [5.0] * 16

    assert lines(corpus / "groups") == ["asterisk-allison en+es", "klettres-aa aa", "klettres-bb_CC bb"]
    rows = list(csv.DictReader(lines(corpus / "sources.tsv"), delimiter="\t"))
    assert [tuple(row.values()) for row in rows] == [
        ("asterisk-allison", "asterisk-core-sounds-en-wav", "1.0", "en", "CC-BY-SA-3.0", "40.0"),
        ("asterisk-allison", "asterisk-core-sounds-es-wav", "1.0", "es", "CC-BY-SA-3.0", "40.0"),
        ("klettres-aa", "klettres-data", "4:22.12", "aa", "GPL-2+", "75.0"),
        ("klettres-bb_CC", "klettres-data", "4:22.12", "bb_CC", "GPL-2+", "63.0")]
    left_out = dict(line.split("\t") for line in lines(corpus / "left_out"))
    assert left_out["klettres-data/usr/share/klettres/aa/syllab/bad.wav"].startswith("unreadable: not readable as")
    assert sorted(path.name for path in corpus.parent.iterdir()) == [".voices.lock", "voices"]


@needs_dpkg
def test_fetch_gives_the_same_bytes_again_is_current_then_and_refuses_other_settings(debs, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for corpus in (first, second):
        fetch.main.main(["--packages-dir", str(debs), "--min-voices", "3", str(corpus)], standalone_mode=False)
    assert tree(first) == tree(second)
    made_at = (first / "groups").stat().st_mtime_ns
    done = run_fetch("--min-voices", 3, first, path=str(tmp_path))               # no apt, no dpkg on this PATH
    assert done.returncode == 0 and "first is current" in done.stderr
    done = run_fetch("--min-voices", 3, "--max-seconds-per-voice", 72, first)
    assert done.returncode == 1 and "max_seconds_per_voice was 240.0, is 72.0; --overwrite makes it anew" in done.stderr
    assert (first / "groups").stat().st_mtime_ns == made_at
    arguments = ["--packages-dir", str(debs), "--min-voices", "3", "--max-seconds-per-voice", "72", "--overwrite"]
    fetch.main.main([*arguments, str(first)], standalone_mode=False)
    assert Counter(wav.parent.name for wav in first.rglob("*.wav")) == {
        "asterisk-allison": 14, "klettres-aa": 14, "klettres-bb_CC": 18}         # Allison: 7 of 5 s a language


@needs_dpkg
def test_a_clip_of_two_voices_is_used_once(debs, tmp_path):
    clip = noise(5)
    own = {voice: {f"klettres/{voice}/alpha/{n}.wav": noise(5) for n in range(12)} for voice in ("aa", "bb")}
    pack(tmp_path / "debs", "klettres-data", own["aa"] | own["bb"] | {
        "klettres/aa/alpha/x.wav": clip, "klettres/bb/alpha/x.wav": clip})
    fetch.main.main(["--packages-dir", str(tmp_path / "debs"), "--min-voices", "2", str(tmp_path / "voices")],
                    standalone_mode=False)
    assert Counter(wav.parent.name for wav in (tmp_path / "voices").rglob("*.wav")) == {
        "klettres-aa": 13, "klettres-bb": 12}
    assert lines(tmp_path / "voices/left_out") == ["klettres-data/usr/share/klettres/bb/alpha/x.wav\ta duplicate"]


@needs_dpkg
def test_kill_9_leaves_no_half_corpus_and_the_next_run_equals_one_never_killed(debs, tmp_path):
    slow = tmp_path / "bin" / "dpkg-deb"
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/bash\n"{shutil.which("dpkg-deb")}" "$@"\n[[ "$*" != *klettres* ]] || exec sleep 3\n')
    slow.chmod(0o755)
    corpus = tmp_path / "cache" / "voices"
    arguments = ["--packages-dir", str(debs), "--min-voices", "3"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": f"{slow.parent}:{os.environ['PATH']}"}
    running = subprocess.Popen([sys.executable, ROOT / "local/fetch_debian_voices.py", *arguments, corpus],
                               env=environment, stderr=subprocess.DEVNULL)
    unpacked = tmp_path / "cache/.voices.tmp/unpacked/klettres-data/usr/share/klettres/bb_CC"
    for _ in range(200):
        if unpacked.exists():
            break
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert unpacked.exists() and not corpus.exists()
    for folder in (corpus, tmp_path / "whole"):
        fetch.main.main([*arguments, str(folder)], standalone_mode=False)
    assert tree(corpus) == tree(tmp_path / "whole")
    assert not unpacked.exists()


@needs_dpkg
@pytest.mark.parametrize(("arguments", "message"), [
    (["--packages-dir", "{debs}", "{tmp}/new"], "only 3 voices of 60 s came together, 40 are wanted"),
    (["--packages-dir", "{tmp}", "{tmp}/new"], "no package with voices lies here, such as asterisk-core-sounds-en-"),
    (["--packages-dir", "{broken}", "{tmp}/new"], "klettres-data_1_all.deb: error: .*; remove it and fetch it again"),
    (["--packages-dir", "{debs}", "{debs}"], "holds something else already; name another folder")])
def test_what_fetch_refuses(debs, tmp_path, arguments, message):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/klettres-data_1_all.deb").write_bytes(b"half a package")
    places = {"debs": debs, "tmp": tmp_path, "broken": tmp_path / "broken"}
    with pytest.raises(UserError, match=message):
        fetch.main.main([argument.format(**places) for argument in arguments], standalone_mode=False)
    assert not (tmp_path / "new").exists() and not (tmp_path / ".new.tmp").exists()


@pytest.fixture
def apt(tmp_path, monkeypatch):
    """A PATH with nothing but programs that the test writes."""
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    monkeypatch.setenv("PATH", str(bin_dir))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    def program(name, body):
        (bin_dir / name).write_text(f"#!/bin/bash\n{body}\n")
        (bin_dir / name).chmod(0o755)

    program("dpkg-deb", "exit 1")
    return program


def test_without_apt_the_message_names_ones_own_recordings(apt, tmp_path):
    (tmp_path / "bin/dpkg-deb").unlink()
    with pytest.raises(UserError, match="^no apt-get and no apt-cache and no dpkg-deb here, and the voices are Debian "
                                        "packages; egs/mini/run.sh --corpus-dir DIR works on recordings of your own$"):
        fetch.main.main([str(tmp_path / "voices")], standalone_mode=False)
    assert not (tmp_path / "voices").exists()


def test_missing_package_lists_are_fetched_by_root_and_else_the_command_is_named(apt, tmp_path, monkeypatch):
    lists = tmp_path / "lists"
    apt("apt-cache", f"[ ! -e {lists} ] || echo klettres-data")
    apt("apt-get", f"[ $2 = update ] && echo klettres-data > {lists} && exit; > klettres-data_1_all.deb")
    with pytest.raises(UserError, match="apt has no package lists.*; type: sudo apt-get update, and see"):
        fetch.download(tmp_path / "packages")
    assert not lists.exists()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert fetch.download(tmp_path / "packages") == {"klettres-data": tmp_path / "packages/klettres-data_1_all.deb"}


def test_what_the_release_lacks_is_named(apt, tmp_path, caplog):
    apt("apt-cache", "echo gcin-voice; echo other; echo klettres-data")
    apt("apt-get", "shift $(($# - 1)); > ${1}_1_all.deb")
    assert sorted(fetch.download(tmp_path / "packages")) == ["gcin-voice", "klettres-data"]
    assert "this release lacks asterisk-core-sounds-en-wav, " in caplog.text


def test_without_a_network_there_is_one_clear_line_and_nothing_is_left(apt, tmp_path):
    apt("apt-cache", "echo klettres-data")
    apt("apt-get", "echo W: noise >&2; echo 'E: Failed to fetch x  Could not resolve y' >&2; exit 100")
    with pytest.raises(UserError, match=r"download klettres-data: E: Failed to fetch x  Could not resolve y. "
                                        r"Is there a network\?.*sudo apt-get update.*--corpus-dir DIR"):
        fetch.main.main([str(tmp_path / "cache/voices")], standalone_mode=False)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".voices.lock"]


# ---------------------------------------------------------------- make_speaker_folders.py

def prepare(corpus, data, *options):
    folders.main.main([*map(str, options), str(corpus), str(data)], standalone_mode=False)


def make_corpus(corpus, **n_files):
    """corpus/SPEAKER/N.wav of half a second."""
    for speaker, n in n_files.items():
        for number in range(1, n + 1):
            write(corpus / speaker / f"{number}.wav", noise(0.5))
    return corpus


def test_data_directories_and_trials_by_hand(tmp_path):
    corpus = make_corpus(tmp_path / "corpus", ann=2, bob=2, cid=1, dan=1, eve=1, fay=2)
    prepare(corpus, tmp_path / "data")                      # ann and dan: the first of each three
    data = tmp_path / "data"
    assert lines(data / "eval/utt2spk") == ["ann-1 ann", "ann-2 ann", "dan-1 dan"]
    assert lines(data / "eval/spk2utt") == ["ann ann-1 ann-2", "dan dan-1"]
    assert lines(data / "eval/wav.scp") == [f"ann-1 {corpus}/ann/1.wav", f"ann-2 {corpus}/ann/2.wav",
                                            f"dan-1 {corpus}/dan/1.wav"]
    assert lines(data / "eval/utt2dur") == ["ann-1 0.500", "ann-2 0.500", "dan-1 0.500"]
    assert lines(data / "train/utt2spk") == [
        "bob-1 bob", "bob-2 bob", "cid-1 cid", "eve-1 eve", "fay-1 fay", "fay-2 fay"]
    assert not (data / "train/segments").exists()
    assert lines(data / "trials/eval") == ["ann-1 ann-2 target", "ann-1 dan-1 nontarget", "ann-2 dan-1 nontarget"]
    assert lines(data / "left_out") == []


def test_a_group_is_never_split_nor_a_nontarget_trial(tmp_path):
    corpus = make_corpus(tmp_path / "corpus", a=2, b=1, c=1, d=1, e=1, f=1)
    (corpus / "groups").write_text("a g1\nb g3\nc g1\nd g4\ne g2\nf g3\n")       # g1, g4 of g1 g2 g3 g4
    prepare(corpus, tmp_path / "data")
    assert lines(tmp_path / "data/eval/utt2spk") == ["a-1 a", "a-2 a", "c-1 c", "d-1 d"]
    assert lines(tmp_path / "data/trials/eval") == [
        "a-1 a-2 target", "a-1 d-1 nontarget", "a-2 d-1 nontarget", "c-1 d-1 nontarget"]
    (tmp_path / "other").write_text("a ab\nb ab\n")                              # ab, e of ab c d e f
    prepare(corpus, tmp_path / "data2", "--groups", tmp_path / "other")
    assert lines(tmp_path / "data2/eval/spk2utt") == ["a a-1 a-2", "b b-1", "e e-1"]


def test_eval_speakers_overrides_the_rule(tmp_path):
    corpus = make_corpus(tmp_path / "corpus", a=1, b=1, **{"c d": 2}, e=1)
    (tmp_path / "eval").write_text("e\nc d\n\n")
    prepare(corpus, tmp_path / "data", "--eval-speakers", tmp_path / "eval")
    assert lines(tmp_path / "data/eval/utt2spk") == ["c_d-1 c_d", "c_d-2 c_d", "e-1 e"]


def test_dev_speakers_are_held_out_too_and_tried_among_themselves(tmp_path):
    corpus = make_corpus(tmp_path / "corpus", a=2, b=2, c=2, d=1, e=1, f=1, g=1, h=1)
    (tmp_path / "dev").write_text("e\nb\n\n")
    prepare(corpus, tmp_path / "data", "--dev-speakers", tmp_path / "dev")       # a and f of a c d f g h to evaluation
    data = tmp_path / "data"
    assert lines(data / "eval/utt2spk") == ["a-1 a", "a-2 a", "b-1 b", "b-2 b", "e-1 e", "f-1 f"]
    assert lines(data / "eval/spk2utt") == ["a a-1 a-2", "b b-1 b-2", "e e-1", "f f-1"]
    assert lines(data / "train/utt2spk") == ["c-1 c", "c-2 c", "d-1 d", "g-1 g", "h-1 h"]
    assert lines(data / "trials/dev") == ["b-1 b-2 target", "b-1 e-1 nontarget", "b-2 e-1 nontarget"]
    assert lines(data / "trials/eval") == ["a-1 a-2 target", "a-1 f-1 nontarget", "a-2 f-1 nontarget"]


def test_dev_trials_keep_the_rules_of_groups_recordings_and_number(tmp_path, caplog):
    corpus = make_corpus(tmp_path / "corpus", b=1, c=1, d=2, e=1, f=1, g=1, h=1)
    write(corpus / "a/long.wav", noise(21))                                      # three pieces of 7 s
    (corpus / "groups").write_text("a g1\nb g1\nc g2\nd g3\ne g4\nf g4\ng g5\nh g6\n")
    (tmp_path / "dev").write_text("a\nb\nc\n")
    prepare(corpus, tmp_path / "data", "--dev-speakers", tmp_path / "dev")       # g3, g6 of g3 g4 g5 g6 to evaluation
    pieces = ["a-long-0000000-0000700", "a-long-0000700-0001400", "a-long-0001400-0002100"]
    assert lines(tmp_path / "data/trials/dev") == [
        f"{pieces[0]} {pieces[1]} target", f"{pieces[0]} {pieces[2]} target", f"{pieces[0]} c-1 nontarget",
        f"{pieces[1]} {pieces[2]} target", f"{pieces[1]} c-1 nontarget", f"{pieces[2]} c-1 nontarget",
        "b-1 c-1 nontarget"]
    assert lines(tmp_path / "data/trials/eval") == ["d-1 d-2 target", "d-1 h-1 nontarget", "d-2 h-1 nontarget"]
    assert "1 speakers for development have a single recording (a); pieces of it are their target" in caplog.text
    prepare(corpus, tmp_path / "four", "--max-trials", 4, "--dev-speakers", tmp_path / "dev")
    assert Counter(line.split()[2] for line in lines(tmp_path / "four/trials/dev")) == {"target": 2, "nontarget": 2}
    assert len(lines(tmp_path / "four/trials/eval")) == 3                        # four each, not of both together


def test_ids_are_safe_deterministic_and_sorted_by_speaker(tmp_path):
    corpus = tmp_path / "corpus"
    for name in ("Zoë K/day one/a b.WAV", "Zoë K/day one/a b.Flac", "anna/x/y.wav", "anna/x-y.wav", "anna-maria/1.ogg",
                 "anna-maria/anna-maria-2.wav", "王伟/1.mp3", "10/10-1.wav"):
        samples = noise(0.5, 16000)
        (corpus / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(corpus / name, samples, 16000, format=Path(name).suffix[1:].upper())
    prepare(corpus, tmp_path / "data")
    tables = [(tmp_path / f"data/{part}/utt2spk").read_text().splitlines() for part in ("eval", "train")]
    everything = dict(line.split() for table in tables for line in table)
    assert everything == {
        "10--1": "10", "Zou00eb_K--day_one-a_b": "Zou00eb_K", "Zou00eb_K--day_one-a_b-2": "Zou00eb_K",
        "anna--x-y": "anna", "anna--x-y-2": "anna", "anna-maria--1": "anna-maria", "anna-maria--2": "anna-maria",
        "u738bu4f1f--1": "u738bu4f1f"}
    for table in tables:
        assert table == sorted(table)
        assert [line.split()[1] for line in table] == sorted(line.split()[1] for line in table)
    for part in ("eval", "train"):
        recordings = dict(line.split(" ", 1) for line in lines(tmp_path / f"data/{part}/wav.scp"))
        assert all(Path(path).is_file() for path in recordings.values())


def test_a_long_recording_is_cut_through_segments(tmp_path, caplog):
    corpus = make_corpus(tmp_path / "corpus", a=1, b=2, c=1, d=2)
    write(corpus / "a/long.wav", noise(25))
    prepare(corpus, tmp_path / "data")
    data = tmp_path / "data"
    assert lines(data / "eval/segments") == [               # 25 s: three pieces of 8.333 s
        "a-1 a-1 0.000 0.500",
        "a-long-0000000-0000833 a-long 0.000 8.333",
        "a-long-0000833-0001667 a-long 8.333 16.667",
        "a-long-0001667-0002500 a-long 16.667 25.000",
        "d-1 d-1 0.000 0.500",
        "d-2 d-2 0.000 0.500"]
    assert lines(data / "eval/reco2dur") == ["a-1 0.500", "a-long 25.000", "d-1 0.500", "d-2 0.500"]
    assert lines(data / "eval/utt2dur")[1] == "a-long-0000000-0000833 8.333"
    assert len(lines(data / "eval/wav.scp")) == 4 and not (data / "train/segments").exists()
    targets = [line for line in lines(data / "trials/eval") if line.endswith(" target")]
    assert targets == ["a-1 a-long-0000000-0000833 target", "a-1 a-long-0000833-0001667 target",
                       "a-1 a-long-0001667-0002500 target", "d-1 d-2 target"]    # no two pieces of one recording
    assert "single recording" not in caplog.text


def test_pieces_of_the_only_recording_of_a_speaker_are_targets_and_that_is_said(tmp_path, caplog):
    corpus = make_corpus(tmp_path / "corpus", b=2, c=1, d=1)
    write(corpus / "a/long.wav", noise(21))
    prepare(corpus, tmp_path / "data")
    assert sum(line.endswith(" target") for line in lines(tmp_path / "data/trials/eval")) == 3
    assert "1 speakers for evaluation have a single recording (a); pieces of it are their target trials" in caplog.text
    assert "1 speakers for training have a single utterance (c)" in caplog.text


def test_more_trials_than_wanted_are_sampled_the_same_each_time(tmp_path):
    utts = [folders.Utterance(f"{speaker}-{n}", speaker, f"{speaker}-{n}", Path(), 0, 1)
            for speaker in "abcd" for n in range(20)]
    group_of = dict(zip("abcd", "ggcd", strict=True))
    trials = folders.draw_trials(utts, group_of, 10**6, "eval")
    kinds = Counter(trial.split()[2] for trial in trials)
    assert kinds == {"target": 4 * 190, "nontarget": 5 * 400} and len(set(trials)) == len(trials)   # all but a with b
    sample = folders.draw_trials(utts, group_of, 100, "eval")
    assert Counter(trial.split()[2] for trial in sample) == {"target": 50, "nontarget": 50}
    assert set(sample) <= set(trials) and sample == sorted(sample)
    assert sample == folders.draw_trials(utts, group_of, 100, "eval")
    assert Counter(trial.split()[2] for trial in folders.draw_trials(utts, group_of, 2000, "eval")) == {
        "target": 760, "nontarget": 1240}                   # all targets, for they are less than half
    assert {trial.split()[0][0] + trial.split()[1][0] for trial in sample if trial.endswith("nontarget")} == {
        "ac", "ad", "bc", "bd", "cd"}


def test_what_cannot_be_used_is_left_out_by_name_and_said(tmp_path, caplog):
    corpus = make_corpus(tmp_path / "corpus", a=2, b=2, c=2, d=2)
    write(corpus / "a/short.wav", noise(0.25))
    write(corpus / "b/zeros.wav", np.zeros(8000, np.int16))
    write(corpus / "c/new\nline.wav", noise(1))
    (corpus / "d/text.mp3").write_text("not audio" * 50)
    (corpus / "d/notes.txt").write_text("not a recording")
    (corpus / "empty").mkdir()
    prepare(corpus, tmp_path / "data")
    assert lines(tmp_path / "data/left_out")[:3] == [
        "'a/short.wav'\t0.25 s, shorter than 0.3 s", "'b/zeros.wav'\tsilent",
        "'c/new\\nline.wav'\ta name with unprintable characters; rename it"]
    assert lines(tmp_path / "data/left_out")[3].startswith("'d/text.mp3'\tunreadable: ")
    assert "left out 4 of 12 recordings ('a/short.wav', 'b/zeros.wav', " in caplog.text
    assert "1 folders are without recordings (empty)" in caplog.text


ONE_EACH = [f"{speaker}/1.wav" for speaker in "abcdef"]


@pytest.mark.parametrize(("files", "options", "message"), [
    ([], {}, "corpus: no recordings; it should hold SPEAKER/NAME.wav"),
    (["a/1.txt"], {}, "corpus: no recordings"),
    (["1.wav", "2.wav", "a/1.wav"], {}, "corpus: 2 recordings lie directly in it; give each speaker a folder"),
    (["a/1.wav", "b/1.wav", "c/1.wav"], {}, "^1 of 3 speakers for evaluation, but it takes 2 at least; add"),
    (["a/1.wav", "b/1.wav", "c/1.wav", "d/1.wav"], {"eval-speakers": "a\nb\nd\n"}, "^1 of 4 speakers for training"),
    (["a/1.wav", "b/1.wav", "c/1.wav", "d/1.wav"], {}, "no target trial: no speaker for evaluation has two utterances"),
    (["a/1.wav", "a/2.wav", "b/1.wav", "c/1.wav", "d/1.wav"], {"groups": "a x\nd x\n", "eval-speakers": "a\nd\n"},
     "no nontarget trial: all speakers for evaluation are of one group"),
    (["a/1.wav", "b/1.wav"], {"eval-speakers": "a\nzoe\n"},
     r"eval-speakers: 1 speakers have no usable recordings in the corpus \(zoe\); it has a, b"),
    (["a/1.wav", "b/1.wav"], {"eval-speakers": None}, "eval-speakers: no such file"),
    (["a/1.wav", "b/1.wav"], {"dev-speakers": None}, "dev-speakers: no such file"),
    (["a/1.wav", "b/1.wav"], {"dev-speakers": "a\nzoe\n"},
     r"dev-speakers: 1 speakers have no usable recordings in the corpus \(zoe\); it has a, b"),
    (ONE_EACH, {"dev-speakers": "a\n"}, "^1 of 6 speakers for development, but it takes 2 at least; add speakers, or "
                                        "divide them otherwise with --dev-speakers FILE"),
    (ONE_EACH, {"dev-speakers": "a\nb\nc\nd\ne\nf\n"}, "^0 of 6 speakers for evaluation.* with --eval-speakers FILE"),
    (ONE_EACH, {"dev-speakers": "a\nb\nc\n", "eval-speakers": "d\ne\n"},
     "^1 of 6 speakers for training.* with --eval-speakers FILE"),
    (ONE_EACH, {"dev-speakers": "a\nb\n", "eval-speakers": "b\na\nc\n"},
     r"dev-speakers: 2 speakers are in .*/eval-speakers too \(a, b\); name each in one of the two"),
    (ONE_EACH, {"groups": "a x\ne x\n", "dev-speakers": "a\nb\n"},
     "dev-speakers: it divides the groups x; name all speakers of a group, or none"),
    (ONE_EACH, {"groups": "a x\nc x\n", "dev-speakers": "a\nb\n", "eval-speakers": "c\nd\n"},
     "dev-speakers: it divides the groups x; name all"),
    (ONE_EACH, {"dev-speakers": "a\nb\n"},
     "no target trial: no speaker for development has two utterances; .* others with --dev-speakers FILE"),
    (["a/2.wav", *ONE_EACH], {"groups": "a x\nb x\n", "dev-speakers": "a\nb\n"},
     "no nontarget trial: all speakers for development are of one group; .* with --dev-speakers FILE"),
    (["a/1.wav", "b/1.wav", "c/1.wav", "d/1.wav"], {"groups": "a x\nb x\n", "eval-speakers": "a\nd\n"},
     "it divides the groups x; name all speakers of a group, or none"),
    (["a b/1.wav", "a_b/1.wav"], {}, 'the speakers "a b" and "a_b" would both be called "a_b"; rename one')])
def test_what_cannot_be_split_or_tried_is_refused(tmp_path, files, options, message):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for file in files:
        write(corpus / file, noise(0.5)) if file.endswith("wav") else (corpus / "a").mkdir()
    arguments = []
    for name, content in options.items():
        arguments += [f"--{name}", tmp_path / name]
        if content is not None:
            (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        prepare(corpus, tmp_path / "data", *arguments)
    assert not (tmp_path / "data/trials/eval").exists() and not (tmp_path / "data/trials/dev").exists()


def test_a_second_run_is_current_a_changed_corpus_is_refused_and_overwrite_makes_it_anew(tmp_path, caplog):
    caplog.set_level("INFO")
    corpus = make_corpus(tmp_path / "corpus", a=2, b=2, c=2, d=2)
    write(corpus / "a/long.wav", noise(21))
    prepare(corpus, tmp_path / "data")
    before = tree(tmp_path / "data")
    prepare(corpus, tmp_path / "data")
    assert "trials/eval is current" in caplog.text and tree(tmp_path / "data") == before
    prepare(corpus, tmp_path / "again")
    assert {name: content for name, content in tree(tmp_path / "again").items() if ".made" not in name} == {
        name: content for name, content in before.items() if ".made" not in name}
    (corpus / "a/long.wav").unlink()
    with pytest.raises(UserError, match="trials/eval exists, but its input corpus has changed; --overwrite makes"):
        prepare(corpus, tmp_path / "data")
    prepare(corpus, tmp_path / "data", "--overwrite")
    assert not (tmp_path / "data/eval/segments").exists()
    with pytest.raises(UserError, match="max_trials was 100000, is 50"):
        prepare(corpus, tmp_path / "data", "--max-trials", 50)


def test_a_run_that_stopped_half_way_goes_on_to_the_same_end(tmp_path, monkeypatch):
    corpus = make_corpus(tmp_path / "corpus", a=2, b=2, c=2, d=2)
    prepare(corpus, tmp_path / "whole")
    whole = folders.write_data_dir
    monkeypatch.setattr(folders, "write_data_dir", lambda folder, utts: folder.name == "eval" and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepare(corpus, tmp_path / "data")
    assert not (tmp_path / "data/trials/eval").exists()
    monkeypatch.setattr(folders, "write_data_dir", whole)
    prepare(corpus, tmp_path / "data")
    assert tree(tmp_path / "data") == tree(tmp_path / "whole")


@pytest.fixture
def dev_run(tmp_path):
    """prepare() on one corpus with dev speakers a and b, given more options; it returns the folder of its trials."""
    corpus = make_corpus(tmp_path / "corpus", a=2, b=2, c=2, d=2, e=2, f=2, g=2, h=2)
    (tmp_path / "dev").write_text("a\nb\n")

    def call(data, *options, dev="dev"):
        prepare(corpus, tmp_path / data, *(["--dev-speakers", tmp_path / dev] if dev else []), *options)
        return tmp_path / data / "trials"

    return call


def test_a_second_run_with_dev_speakers_is_current_and_makes_a_lost_list_anew(tmp_path, dev_run, caplog):
    caplog.set_level("INFO")
    trials = dev_run("data")
    before = tree(tmp_path / "data")
    assert sorted(path.name for path in trials.glob("[!.]*")) == ["dev", "eval"] and "is current" not in caplog.text
    made_at = (trials / "dev").stat().st_mtime_ns
    dev_run("data")
    assert "trials/eval is current" in caplog.text and (trials / "dev").stat().st_mtime_ns == made_at
    (trials / "dev").unlink()
    dev_run("data")
    assert tree(tmp_path / "data") == before


def test_no_list_of_other_dev_speakers_survives(tmp_path, dev_run):
    trials = dev_run("data")
    (tmp_path / "other").write_text("c\nd\n")
    for dev in ("other", None):
        with pytest.raises(UserError, match="trials/eval exists, but its input dev-speakers has changed; --overwrite"):
            dev_run("data", dev=dev)
        assert lines(trials / "dev")[0] == "a-1 a-2 target"
    dev_run("data", "--overwrite", dev="other")
    assert {utt[0] for line in lines(trials / "dev") for utt in line.split()[:2]} == {"c", "d"}
    dev_run("data", "--overwrite", dev=None)
    assert (trials / "eval").exists() and not (trials / "dev").exists()
    assert {line.split()[1] for line in lines(tmp_path / "data/eval/utt2spk")} == {"a", "d", "g"}
    with pytest.raises(UserError, match="trials/eval exists, but its input dev-speakers has changed; --overwrite"):
        dev_run("data")


def test_a_run_that_stopped_between_the_lists_goes_on_to_the_same_end(tmp_path, dev_run, monkeypatch):
    dev_run("whole")
    write_trials = folders.write_trials
    monkeypatch.setattr(folders, "write_trials",
                        lambda path, trials: 1 / 0 if path.name == "eval" else write_trials(path, trials))
    with pytest.raises(ZeroDivisionError):
        dev_run("data")
    assert (tmp_path / "data/trials/dev").exists() and not (tmp_path / "data/trials/eval").exists()
    monkeypatch.setattr(folders, "write_trials", write_trials)
    with pytest.raises(UserError, match="trials/dev exists, but its input dev-speakers has changed; --overwrite"):
        dev_run("data", dev=None)
    dev_run("data")
    assert tree(tmp_path / "data") == tree(tmp_path / "whole")


def test_the_script_says_what_it_wrote_and_ends_with_one_line_on_a_mistake(tmp_path):
    def script(*arguments):
        return subprocess.run([sys.executable, ROOT / "local/make_speaker_folders.py", *arguments], text=True,
                              env=os.environ | {"PYTHONPATH": str(ROOT), "LC_ALL": "C"}, capture_output=True)

    corpus = make_corpus(tmp_path / "corpus", a=2, b=2, c=2, **{"dé": 2})
    done = script(corpus, tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert "wrote 4 utterances of 2 speakers to" in done.stderr
    assert "wrote 2 target and 4 nontarget trials" in done.stderr
    assert lines(tmp_path / "data/eval/spk2utt") == ["a a-1 a-2", "du00e9 du00e9-1 du00e9-2"]
    shutil.rmtree(corpus / "b")
    done = script(corpus, tmp_path / "other")
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith(
        "make_speaker_folders.py: error: 1 of 3 speakers for evaluation")
