"""The command pyspk, as a person and as a program use it."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module

import numpy as np
import pytest
from click import BadParameter
from click.testing import CliRunner
from conftest import ROOT, environment

from pyspk import Verifier
from pyspk.__main__ import main
from pyspk.errors import UserError
from pyspk.tables.archive import ArchiveReader, read_scp
from pyspk.tables.text import read_table


@pytest.fixture(scope="module")
def a(scored):
    return read_table(scored / "data/mine/wav.scp")["s0-u4"]


@pytest.fixture(scope="module")
def b(scored):
    return read_table(scored / "data/mine/wav.scp")["s0-u3"]


@pytest.fixture
def ask(model):
    """ask(arguments..., code=0) -> what `pyspk` prints, asked within this process with --device cpu --model."""

    def call(name, *arguments, code=0):
        options = [] if name == "info" else ["--device", "cpu", "--model", model]
        done = CliRunner().invoke(main, [*map(str, [name, *options, *arguments])], standalone_mode=False)
        if done.exception is not None:
            raise done.exception
        assert (done.return_value or 0) == code
        return done.stdout

    return call


def pyspk(*arguments, **variables):
    return subprocess.run([sys.executable, "-m", "pyspk", *map(str, arguments)], capture_output=True, text=True,
                          env={**environment(), **variables})


def test_python_m_pyspk_answers_on_stdout_alone(model, a, b):
    done = pyspk("verify", "--threshold", "-1", a, b, PYSPK_MODEL=str(model))
    assert done.returncode == 0 and done.stderr == ""
    assert re.fullmatch(r"score        0?-?\d\.\d{4}\nprobability  0\.\d{4}   that it is one speaker, if that is so in "
                        r"0\.5 of such pairs\ndecision     same speaker\nthreshold    -1\.0000   of the score\n",
                        done.stdout)


def test_a_mistake_is_one_line_and_exit_code_1(model, a):
    done = pyspk("verify", "--model", model, a, "nowhere.wav")
    assert (done.returncode, done.stdout) == (1, "") and done.stderr == "pyspk: error: nowhere.wav: no such file\n"
    done = pyspk("verify", a, a)
    assert done.returncode == 1 and "Missing option '--model'" in done.stderr and done.stderr.count("\n") == 1
    assert pyspk("verifi", a).stderr.startswith("pyspk: error: No such command 'verifi'")


def test_the_installed_command_is_this_one():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts["pyspk"].partition(":")
    assert callable(getattr(import_module(module), function))


def test_verify_says_what_the_api_says(ask, model, a, b):
    answer = Verifier(model, "cpu").verify(a, b, p_target=0.05)
    assert json.loads(ask("verify", "--json", "--p-target", 0.05, a, b)) == pytest.approx(answer._asdict())
    said = ask("verify", "--p-target", 0.05, a, b)
    assert f"score        {answer.score:.4f}" in said and f"probability  {answer.probability:.4f}" in said
    assert f"threshold    {answer.threshold:.4f}" in said
    assert ("same speaker" if answer.same else "different speakers") in said


def test_the_exit_code_tells_only_where_it_is_asked_to(ask, a, b):
    assert "different speakers" in ask("verify", "--threshold", 2, a, b)
    ask("verify", "--threshold", 2, "--exit-code", a, b, code=3)
    ask("verify", "--threshold", -2, "--exit-code", a, b)


def test_embeddings_are_printed_or_written_in_kaldis_formats(ask, model, tmp_path, a, b):
    emb = Verifier(model, "cpu").embed(b)
    lines = ask("embed", a, b).splitlines()
    assert [line.split("  [ ")[0] for line in lines] == [a, b]
    np.testing.assert_allclose(np.array(lines[1].split("[")[1].rstrip(" ]").split(), np.float32), emb, rtol=1e-6)
    ask("embed", "--output", tmp_path / "e.scp", a, b)
    np.testing.assert_array_equal(ArchiveReader().vector(read_scp(tmp_path / "e.scp")[b]), emb)


@pytest.mark.parametrize("threshold", ["nan", "inf", "-inf"])
def test_a_threshold_is_a_number(ask, a, b, threshold):
    with pytest.raises(BadParameter, match="is no finite number"):      # JSON has none of these
        ask("verify", "--json", f"--threshold={threshold}", a, b)


@pytest.mark.parametrize(("arguments", "said"), [
    (["a b.wav"], "a name with blanks cannot be a key in Kaldi's formats"),
    (["--output", "e.ark", "a.wav"], "--output e.ark: it must end in .scp"),
])
def test_what_kaldis_formats_cannot_hold_is_refused(ask, arguments, said):
    with pytest.raises(UserError, match=said):
        ask("embed", *arguments)


def test_enrolled_speakers_are_told_apart(ask, scored, tmp_path):
    wavs, folder = read_table(scored / "data/mine/wav.scp"), ["--folder", tmp_path / "voices"]
    for name in ("s0", "s1"):
        ask("enroll", *folder, name, *[path for utt, path in wavs.items() if utt.startswith(name)][:3])
    saved = json.loads((tmp_path / "voices/s0.json").read_text())
    assert saved["files"] == [wavs[f"s0-u{i}"] for i in range(3)] and len(saved["embedding"]) == 16
    answer = json.loads(ask("identify", "--json", *folder, "--threshold", -2, wavs["s1-u5"]))
    scores = {one["name"]: one["score"] for one in answer["ranked"]}
    assert answer["decision"] == answer["ranked"][0]["name"] == max(scores, key=scores.get) and len(scores) == 2
    said = ask("identify", *folder, "--threshold", 2, "--top", 1, wavs["s1-u5"]).splitlines()
    assert len(said) == 3 and said[0].endswith(answer["decision"]) and said[1] == "decision     none of them"
    assert said[2] == "threshold    2.0000"
    assert json.loads(ask("identify", "--json", *folder, "--threshold", 2, "--exit-code", wavs["s1-u5"],
                          code=3))["decision"] is None
    with pytest.raises(UserError, match="s0 is enrolled"):
        ask("enroll", *folder, "s0", wavs["s0-u0"])
    ask("enroll", *folder, "--overwrite", "s0", wavs["s0-u0"])
    assert json.loads((tmp_path / "voices/s0.json").read_text())["files"] == [wavs["s0-u0"]]


def test_without_calibration_it_says_why_there_is_no_decision(ask, model, tmp_path, scored, a, b):
    folder = shutil.copytree(model, tmp_path / "copy")
    saved = json.loads((folder / "model.json").read_text())
    del saved["files"]["calibration.json"]
    (folder / "model.json").write_text(json.dumps(saved))
    said = ask("verify", "--model", folder, a, b)
    assert "probability  unknown: this model has no calibration" in said and "\nthreshold " not in said
    assert "decision     none: this model has no calibration, so give a --threshold of the score" in said
    assert "calibration  none: verify gives a score" in ask("info", folder)
    ask("enroll", "--model", folder, "--folder", tmp_path / "v", "s0", a)
    said = ask("identify", "--model", folder, "--folder", tmp_path / "v", b)
    assert "probability" not in said and "decision     none: this model has no calibration" in said


def test_info_tells_what_the_folder_holds(ask, model):
    said = ask("info", model)
    n_parameters = sum(one.numel() for one in Verifier(model, "cpu").model.net.parameters())
    assert "net resnet, depth 18, feat_dim 24" in said and f"{n_parameters:,} parameters" in said
    assert "16000 Hz" in said and "24 fbank --num-mel-bins=24 --sample-frequency=16000" in said
    assert "energy VAD --vad-energy-mean-scale=1 --vad-energy-threshold=-0.5" in said
    assert "taken off each embedding" in said
    # log 99, and (log 99 + 3) / 8
    assert "p-target 0.01   same speaker above a log-likelihood ratio of 4.595, a score of 0.9494\n" in said
