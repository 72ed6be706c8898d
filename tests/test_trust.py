"""Whom the toolkit trusts: files of others run no code, names stay names, unfinished files are nobody else's."""

import io
import os
import pickle
import re
import stat
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, environment, write_data_dir

from pyspk.augment.augmenter import Augmenter
from pyspk.augment.config import AugmentConfig
from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.jobs.call import parse_call
from pyspk.jobs.here import run_jobs
from pyspk.model import build_net, load_model, load_to_start, save_model
from pyspk.published import read_wespeaker
from pyspk.report.clips import make_clips
from pyspk.tables import records
from pyspk.tables.archive import ArchiveWriter, read_scp, refuse_commands_in
from pyspk.tables.atomic import atomic_write, open_private, temporary_path
from pyspk.tables.records import begin
from pyspk.training.average import mean_weights
from pyspk.training.checkpoint import Checkpoints, Progress, classifier_of
from pyspk.waves import WaveReader
from pyspk.world import World


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o022, 0o007])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


# ---- unfinished files

def test_a_file_is_private_until_it_has_its_name(tmp_path, umask):
    with atomic_write(tmp_path / "t") as file:
        file.write("x")
        assert mode_of(tmp_path / ".t.tmp") == 0o600
    with ArchiveWriter(tmp_path / "a.ark", tmp_path / "a.scp") as writer:
        writer.write("u", np.ones(2, np.float32))
        assert mode_of(tmp_path / ".a.ark.tmp") == 0o600
    assert {mode_of(tmp_path / name) for name in ("t", "a.ark", "a.scp")} == {0o666 & ~umask}


def test_a_checkpoint_is_private_until_it_has_its_name(tmp_path, umask, monkeypatch):
    seen = []
    plain = torch.save
    monkeypatch.setattr(torch, "save", lambda value, file: (plain(value, file), seen.append(mode_of(Path(file.name)))))
    checkpoints = Checkpoints(tmp_path, 2, World())
    for _ in range(2):
        checkpoints.save(Progress(), {}, {})
    assert seen == [0o600, 0o600] and {mode_of(path) for path in tmp_path.iterdir()} == {0o666 & ~umask}
    assert {path.name for path in tmp_path.iterdir()} == {"last.pt", "last.1.pt"}


def test_a_link_in_place_of_an_unfinished_file_is_not_followed(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / ".t.tmp").symlink_to(precious)
    (tmp_path / "t").symlink_to(precious)
    with atomic_write(tmp_path / "t") as file:
        file.write("new")
    assert precious.read_text() == "mine" and (tmp_path / "t").read_text() == "new"
    assert not (tmp_path / "t").is_symlink() and not (tmp_path / ".t.tmp").exists()


def test_who_puts_a_link_there_just_then_gets_nothing_written(tmp_path, monkeypatch):
    precious, target = tmp_path / "precious", temporary_path(tmp_path / "t")
    precious.write_text("mine")
    target.symlink_to(precious)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)      # as if it came right after
    with pytest.raises(FileExistsError):
        open_private(target)
    assert precious.read_text() == "mine"


def test_locks_and_logs_are_not_written_through_links(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "_held", {})
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / ".made").mkdir()
    (tmp_path / ".made" / ".out.lock").symlink_to(precious)
    with pytest.raises(OSError, match="symbolic links"):
        begin(tmp_path / "out", {}, {})
    (tmp_path / "x.log").symlink_to(precious)
    with pytest.raises(UserError, match=r"x\.log: this job cannot begin: .*symbolic links"):
        run_jobs(parse_call([str(tmp_path / "x.log"), "true"]))
    assert precious.read_text() == "mine"


def test_a_link_is_named_with_what_to_do(tmp_path, step):
    (tmp_path / "trials").write_text("a b target\n")
    (tmp_path / "scores").write_text("a b 1\n")
    (tmp_path / ".made").mkdir()
    (tmp_path / ".made" / ".out.lock").symlink_to(tmp_path / "precious")
    said = step("compute_metrics.py", "--output", tmp_path / "out", tmp_path / "trials", tmp_path / "scores", code=1)
    assert said.endswith("a symbolic link, through which nothing is written here; remove it\n")
    assert f"{tmp_path}/.made/.out.lock: " in said


def test_records_are_not_written_into_a_folder_of_somebody_else(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "_held", {})
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".made").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"\.made: a symbolic link, and could lead .*choose a folder of your own"):
        begin(tmp_path / "out", {}, {})
    assert not list((tmp_path / "elsewhere").iterdir())
    (tmp_path / ".made").unlink()
    tmp_path.chmod(0o1777)      # as /tmp is
    begin(tmp_path / "mine", {}, {})
    if os.geteuid() == 0:      # whose folders everybody trusts
        os.chown(tmp_path / ".made", 12345, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(UserError, match=r"\.made: of user \d+, and could lead .*choose a folder of your own"):
        begin(tmp_path / "out", {}, {})
    tmp_path.chmod(0o777)      # a folder that a group shares
    begin(tmp_path / "out", {}, {})


def test_a_corpus_that_is_being_built_is_private(tmp_path, umask, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "local")
    import fetch_debian_voices as fetch

    seen = []
    monkeypatch.setattr(fetch, "find_packages", lambda folder: {})
    monkeypatch.setattr(fetch, "build", lambda packages, building, *_: seen.append(mode_of(building)) or 3)
    fetch.main.callback(300.0, 3, tmp_path, False, tmp_path / "voices")
    assert seen == [0o700] and mode_of(tmp_path / "voices") == 0o777 & ~umask


def test_a_package_writes_nothing_outside_of_its_folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "local")
    import fetch_debian_voices as fetch

    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in ("./usr/good.wav", "../up.wav", f"{tmp_path}/absolute.wav", "./usr/../../up.wav"):
            member = tarfile.TarInfo(name)
            member.size = 3
            archive.addfile(member, io.BytesIO(b"RIF"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "dpkg-deb").write_text(f"#!/bin/sh\ncat {tmp_path}/tar\n")
    (tmp_path / "bin" / "dpkg-deb").chmod(0o755)
    (tmp_path / "tar").write_bytes(content.getvalue())
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    fetch.unpack(tmp_path / "x.deb", tmp_path / "deep" / "package")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.wav")] == ["deep/package/usr/good.wav"]


# ---- commands in place of files

REFUSED = " is a command, "


@pytest.fixture
def marker(tmp_path):
    """A file that a command would leave, and the command: it writes what `cat` of a file would."""
    path = tmp_path / "was_run"
    return path, lambda file: f"touch {path}; cat {file} |"


@pytest.fixture
def piped(tmp_path, recordings, marker):
    """A data directory of two speakers whose third utterance is a command."""
    folder = write_data_dir(tmp_path / "piped", recordings, ["s0", "s1"])
    lines = (folder / "wav.scp").read_text().splitlines()
    utt, _, wav = lines[2].partition(" ")
    lines[2] = f"{utt} {marker[1](wav)}"
    (folder / "wav.scp").write_text("".join(f"{line}\n" for line in lines))
    return folder


@pytest.mark.parametrize("words", [
    ["make_fbank.py", "--nj", 1, "{piped}"], ["make_mfcc.py", "--nj", 1, "{piped}"],
    ["compute_vad.py", "--nj", 1, "{piped}"], ["augment_data_dir.py", "--copies", 0, "{piped}", "{tmp}/copies"],
    ["train.py", "--fbank-config", "{conf}", "--set", "n_workers=2", "{piped}", "{tmp}/exp"]],
    ids=lambda words: words[0])
def test_no_pipes_refuses_a_command_in_wav_scp(step, tmp_path, piped, marker, words):
    (tmp_path / "fbank.conf").write_text("--num-mel-bins=20\n")
    places = {"piped": piped, "tmp": tmp_path, "conf": tmp_path / "fbank.conf"}
    words = [str(word).format(**places) for word in words]
    said = step(words[0], "--no-pipes", *words[1:], code=1)
    assert f'error: {piped}/wav.scp:3: "s0-u2"{REFUSED}"touch ' in said and "--no-pipes runs none" in said
    assert not marker[0].exists() and not (piped / "feats.scp").exists()


def test_without_it_the_command_is_run_as_in_kaldi(step, piped, marker):
    step("make_fbank.py", "--nj", 1, piped)
    assert marker[0].exists()


def test_no_pipes_reaches_every_job(step, piped, marker):
    """A job asks for itself: what it reads may have changed since."""
    said = step("make_fbank.py", "--no-pipes", "--nj", 1, "--job", 1, piped, code=1)
    assert REFUSED in said and not marker[0].exists()


@pytest.mark.parametrize("range_", ["", ":0", "[0:9]"])
@pytest.mark.parametrize("words", [
    ["apply_cmvn.py", "--nj", 1, "{data}", "{tmp}/out"], ["train.py", "{data}", "{tmp}/exp"],
    ["extract_xvectors.py", "--nj", 1, "{tmp}/exp", "{data}", "{tmp}/out"]], ids=lambda words: words[0])
def test_no_pipes_refuses_a_command_in_feats_scp(step, tmp_path, data, marker, words, range_):
    lines = (data.path / "feats.scp").read_text().splitlines()
    lines[0] = f"s0-0 {marker[1]('/dev/null')}{range_}"
    (data.path / "feats.scp").write_text("".join(f"{line}\n" for line in lines))
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "final.pt").write_bytes(b"")
    said = step(words[0], "--no-pipes", *(str(word).format(data=data.path, tmp=tmp_path) for word in words[1:]), code=1)
    assert f'{data.path}/feats.scp:1: "s0-0"{REFUSED}' in said and not marker[0].exists()


def test_no_pipes_refuses_commands_among_noises_and_in_vad(tmp_path, piped, data, marker):
    config = replace(AugmentConfig(), noise_prob=1.0, music_prob=0.0, babble_prob=0.0, reverb_prob=0.0,
                     noise_dirs=(str(piped),))
    for sources in (Augmenter(config, no_pipes=True), pickle.loads(pickle.dumps(Augmenter(config, no_pipes=True)))):
        with pytest.raises(UserError, match=rf'wav\.scp:3: "s0-u2"{REFUSED}'):
            sources.draw(np.random.default_rng(0))
    (data.path / "vad.scp").write_text("s0-0 true |\n")
    with pytest.raises(UserError, match=rf'vad\.scp:1: "s0-0"{REFUSED}'):
        DataDir(data.path, no_pipes=True).table("vad.scp")
    assert not marker[0].exists()


def test_no_pipes_refuses_commands_among_embeddings(step, tmp_path, marker):
    with ArchiveWriter(tmp_path / "e.ark", tmp_path / "good.scp") as writer:
        for name in "ab":
            writer.write(name, np.array([1, len(name), ord(name)], np.float32))
    good = (tmp_path / "good.scp").read_text().splitlines()
    (tmp_path / "bad.scp").write_text(f"{good[0]}\nb {marker[1](tmp_path / 'e.ark')}\n")
    (tmp_path / "trials").write_text("a b target\na a nontarget\n")
    (tmp_path / "utt2spk").write_text("a s\nb s\n")
    out = tmp_path / "out"
    for enroll, test in (("good", "bad"), ("bad", "good"), ("bad", "bad")):
        said = step("score_cosine.py", "--no-pipes", tmp_path / "trials", tmp_path / f"{enroll}.scp",
                    tmp_path / f"{test}.scp", out, code=1)
        assert f'bad.scp:2: "b"{REFUSED}' in said
    step("score_cosine.py", "--no-pipes", tmp_path / "trials", tmp_path / "good.scp", tmp_path / "good.scp", out)
    for scps in (("bad", "good", "good"), ("good", "bad", "good"), ("good", "good", "bad")):
        cohort, enroll, test = (tmp_path / f"{scp}.scp" for scp in scps)
        said = step("score_asnorm.py", "--no-pipes", "--test-scp", test, out, enroll, cohort, tmp_path / "n", code=1)
        assert f'bad.scp:2: "b"{REFUSED}' in said
    for argv in ((["train_plda.py"], tmp_path / "utt2spk", tmp_path / "bad.scp"),
                 (["compute_quality.py", "norm"], tmp_path / "bad.scp"),
                 (["compute_quality.py", "cohort"], tmp_path / "good.scp", tmp_path / "bad.scp")):
        said = step(*argv[0], "--no-pipes", *argv[1:], tmp_path / f"{argv[0][-1]}.out", code=1)
        assert f'bad.scp:2: "b"{REFUSED}' in said
    assert not marker[0].exists()
    with pytest.raises(UserError, match="a command, and --no-pipes runs none"):
        refuse_commands_in(vector=marker[1]("x"))


def test_no_pipes_holds_for_quality_measures_and_reports(step, tmp_path, piped, marker):
    (tmp_path / "bad.scp").write_text(f"a {marker[1]('x')}\n")
    for words in (["norm", tmp_path / "bad.scp"], ["cohort", tmp_path / "bad.scp", tmp_path / "bad.scp"]):
        said = step("compute_quality.py", words[0], "--no-pipes", *words[1:], tmp_path / "out", code=1)
        assert f'bad.scp:1: "a"{REFUSED}' in said
    (piped / "vad.scp").write_text(f"s0-u0 {marker[1]('x')}\n")
    assert f'vad.scp:1: "s0-u0"{REFUSED}' in step("compute_quality.py", "duration", "--no-pipes", piped,
                                                  tmp_path / "out", code=1)
    with pytest.raises(UserError, match=rf'wav\.scp:3: "s0-u2"{REFUSED}'):
        make_clips(piped, ["s0-u0"], 1, no_pipes=True)
    assert not marker[0].exists()


def test_no_pipes_refuses_commands_of_specifiers(step, tmp_path, marker):
    with ArchiveWriter(tmp_path / "a.ark", tmp_path / "a.scp") as writer:
        writer.write("u", np.ones((2, 3), np.float32))
    command = marker[1](tmp_path / "a.ark")
    (tmp_path / "piped.scp").write_text(f"u {command}\n")
    for rspecifier, wspecifier, named in ((f"ark:{command}", "ark:-", f'"ark:{command}": a command'),
                                          (f"scp:{command}", "ark:-", f'"scp:{command}": a command'),
                                          (f"scp:{tmp_path}/piped.scp", "ark:-", 'piped.scp:1: utterance "u": a comm'),
                                          (f"scp:{tmp_path}/a.scp", f"ark:| touch {marker[0]}", '": a command')):
        said = step("copy_feats.py", "--no-pipes", rspecifier, wspecifier, code=1)
        assert named in said and "--no-pipes runs none" in said
    assert not marker[0].exists()
    step("copy_feats.py", "--no-pipes", f"scp:{tmp_path}/a.scp", f"ark,t:{tmp_path}/b.ark")


def test_a_bar_in_a_name_of_a_file_is_no_command(tmp_path):
    with ArchiveWriter(tmp_path / "a|b.ark", tmp_path / "a.scp") as writer:
        writer.write("u", np.ones(2, np.float32))
    refuse_commands_in(tmp_path / "a.scp")
    assert read_scp(tmp_path / "a.scp") == {"u": f"{tmp_path}/a|b.ark:2"}


# ---- names

ODD_NAMES = ["a\0b", "a\x1b[31mb", "a\x0bb", "a\u00a0b", "a\u2028b", "a\x85b", "a\rb", "a\x7f"]


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_a_name_that_is_not_one_printable_word_is_refused(tmp_path, name):
    (tmp_path / "utt2spk").write_bytes(f"{name} s\nb {name}\n".encode())
    with pytest.raises(UserError) as fault:
        DataDir(tmp_path)
    assert str(fault.value).startswith(f"{tmp_path}/utt2spk:1: the name {name!a} holds a control character, or white "
                                       "space that is no blank; rename it (fix_data_dir.py ")
    (tmp_path / "utt2spk").write_bytes(f"b {name}\n".encode())
    with pytest.raises(UserError, match=r'utt2spk:1: the speaker .* of "b" holds a control character'):
        DataDir(tmp_path)


@pytest.mark.parametrize("name", ["Zoë", "李-1", "می\u200cخواهم", "a:b=c[0]"])      # with its zero-width non-joiner
def test_a_name_in_any_script_is_a_name(tmp_path, name):
    (tmp_path / "utt2spk").write_text(f"{name} {name}\n")
    assert DataDir(tmp_path).utt2spk == {name: name}


PATHS = ["-rf", "../../up", "..", "/abs/olute", "a/../../b", "~root"]


def test_names_that_look_like_paths_or_options_never_become_file_names(step, tmp_path, recordings):
    """Through everything that writes something for each utterance or speaker."""
    data, deep = tmp_path / "deep" / "er" / "data", tmp_path / "deep" / "er"
    data.mkdir(parents=True)
    wav = recordings / "s0" / "u0.wav"
    names = sorted(PATHS)
    (data / "wav.scp").write_text("".join(f"{name} {wav}\n" for name in names))
    (data / "utt2spk").write_text("".join(f"{name} {name}\n" for name in names))
    settings = {"net": "xvector", "feat_dim": 80, "emb_dim": 8, "channels": 8}
    save_model(deep / "exp" / "final.pt", settings, build_net(settings))
    step("make_fbank.py", "--nj", 2, data)
    step("extract_xvectors.py", "--nj", 2, "--device", "cpu", deep / "exp", data, deep / "x")
    step("split_data_dir.py", "--per-utt", data, 3)
    step("augment_data_dir.py", "--copies", 0, data, deep / "fast")
    step("combine_data_dir.py", deep / "all", data)
    assert list(read_scp(deep / "x" / "xvector.scp")) == list(read_scp(deep / "x" / "spk_xvector.scp")) == names
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["er"]
    assert {path.name for path in deep.iterdir()} == {"data", "exp", "x", "fast", "all"}
    allowed = re.compile(r"[a-z0-9_]+(\.[12]|\.mean)?(\.(ark|scp|log|pt|vec|toml|lock|json))*|split3utt|[123]|"
                         r"\.made|\.?[a-z0-9_.]+\.(lock|json)")
    assert [path.name for path in deep.rglob("*") if not allowed.fullmatch(path.name)] == []


# ---- weights

class Evil:
    """What pickle takes for a call of os.mkdir."""

    def __init__(self, marker):
        self._marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self._marker,)


@pytest.fixture
def evil(tmp_path):
    """evil(path, **others): leave a file of torch.save there that would make tmp_path/was_run; and ask if it did."""
    def write(path, **others):
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"settings": {"net": "xvector"}, "weights": {}, "loss": {}, "state_dict": {},
                    "progress": Evil(tmp_path / "was_run"), **others}, path)
        return path
    return write


def test_the_file_is_one_that_torch_would_run_code_from(tmp_path, evil):
    torch.load(evil(tmp_path / "x.pt"), weights_only=False)
    assert (tmp_path / "was_run").exists()


COULD_RUN = r"cannot be read; .* or holds more than tensors and plain values, which could run code"


def test_no_checkpoint_runs_code(tmp_path, evil):
    for name in ("final.pt", "last.pt", "epochs/0001.pt"):
        evil(tmp_path / name)
    for load in (lambda: load_model(tmp_path), lambda: load_to_start({"net": "xvector"}, tmp_path),
                 lambda: Checkpoints(tmp_path, 1, World()).load({}, {}), lambda: mean_weights(tmp_path, [1]),
                 lambda: classifier_of(tmp_path, {}), lambda: read_wespeaker(tmp_path / "final.pt")):
        (tmp_path / "spk2id").touch()
        with pytest.raises(UserError, match=COULD_RUN):
            load()
    assert not (tmp_path / "was_run").exists()


def test_steps_refuse_a_checkpoint_that_could_run_code(step, tmp_path, data, evil):
    evil(tmp_path / "other" / "final.pt")
    small = ["--set", "net=xvector", "--set", "channels=8", "--set", "valid_speakers=0"]
    for words in (["import_checkpoint.py", tmp_path / "other" / "final.pt", tmp_path / "model"],
                  ["train.py", *small, "--init-model", tmp_path / "other", data.path, tmp_path / "new"],
                  ["extract_xvectors.py", "--nj", 1, "--job", 1, tmp_path / "other", data.path, tmp_path / "x"]):
        assert "which could run code" in step(*words, code=1)
    assert not (tmp_path / "was_run").exists()


def test_nothing_unpickles_but_through_load_torch():
    sources = [path for folder in ("pyspk", "steps", "local") for path in (ROOT / folder).rglob("*.py")]
    loads = [f"{path.relative_to(ROOT)}: {line.strip()}" for path in sources for line in path.read_text().splitlines()
             if re.search(r"\btorch\.(jit\.|package\.)?load\b|\bpickle\b|\bnp\.load\b|\b(eval|exec)\(|shell=True", line)
             and not re.search(r"\.eval\(\)", line)]
    assert loads == ['pyspk/model.py: value = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)']


def test_no_pipes_holds_in_a_process_that_reads_for_training(tmp_path, recordings, marker):
    """Started afresh it reads the tables for itself, whatever they are by then."""
    folder = write_data_dir(tmp_path / "waves", recordings, ["s0"])
    reader = WaveReader(DataDir(folder, no_pipes=True), {})
    lines = (folder / "wav.scp").read_text().splitlines()
    (folder / "wav.scp").write_text("".join(f"{line}\n" for line in [f"s0-u0 {marker[1]('x')}", *lines[1:]]))
    with pytest.raises(UserError, match=rf'wav\.scp:1: "s0-u0"{REFUSED}'):
        pickle.loads(pickle.dumps(reader))
    assert not marker[0].exists()


def test_the_recipe_hands_no_pipes_on(tmp_path, piped, marker, recordings):
    other = write_data_dir(tmp_path / "eval", recordings, ["s2"])
    (tmp_path / "trials").touch()
    done = subprocess.run([ROOT / "egs" / "voxceleb" / "run.sh", "--stage", "2", "--stop-stage", "2", "--nj", "1",
                           "--train-data", piped, "--eval-data", other, "--trials", tmp_path / "trials", "--work-dir",
                           tmp_path / "work", "--no-pipes", "true"], env=environment(), text=True, capture_output=True)
    assert done.returncode == 1 and f'error: {piped}/wav.scp:3: "s0-u2"{REFUSED}' in done.stderr
    assert not marker[0].exists()


def test_every_step_of_the_recipe_that_knows_them_gets_force_and_no_pipes():
    script = (ROOT / "egs" / "voxceleb" / "run.sh").read_text().replace("\\\n", " ")
    calls = {name: line for line in script.splitlines() for name in re.findall(r"^\s*(\w+\.py) ", line)}
    known = {name: (ROOT / "steps" / name).read_text() for name in calls}
    forced = {name for name, text in known.items() if "job_array_options" in text or "force_option" in text}
    trusting = {name for name, text in known.items() if "no_pipes_option" in text} - forced
    assert {name for name, line in calls.items() if '"${guard[@]}"' in line} == forced
    assert {name for name, line in calls.items() if '"${trust[@]}"' in line} == trusting
    assert len(forced) == 7 and trusting == {"make_report.py", "export_model.py"}
