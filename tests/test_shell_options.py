"""parse_options.sh, stages.sh and the Makefile: what a person types, and what they are told."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STEPS = ROOT / "steps"
RECIPE = f"""
set -euo pipefail
stage=0; stop_stage=7; nj=4; train_opts=""; overwrite=false
options="stage stop_stage
  nj train_opts overwrite"
help_message="usage: run.sh [options]"
stray=untouched
. {STEPS}/parse_options.sh
echo "stage=$stage stop_stage=$stop_stage nj=$nj train_opts=$train_opts overwrite=$overwrite stray=$stray"
printf '<%s>' "$@"
"""
DEFAULTS = {"stage": "0", "stop_stage": "7", "nj": "4", "train_opts": "", "overwrite": "false", "stray": "untouched"}
VALID = "valid options: --stage --stop-stage --nj --train-opts --overwrite --config --help"


def shell(script, *words, cwd=None):
    return subprocess.run(["bash", "-c", script, "egs/run.sh", *words], cwd=cwd, capture_output=True, text=True,
                          timeout=20)


def expect(words, rest="<>", cwd=None, **changed):
    done = shell(RECIPE, *words, cwd=cwd)
    assert done.stderr == ""
    values = " ".join(f"{name}={value}" for name, value in (DEFAULTS | changed).items())
    assert done.stdout == f"{values}\n{rest}"


def expect_error(message, script, *words, cwd=None):
    done = shell(script, *words, cwd=cwd)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"run.sh: {message}\n")


# ---- parse_options.sh

@pytest.mark.parametrize(("words", "changed"), [
    ([], {}),
    (["--stage", "3", "--stop-stage", "5"], {"stage": "3", "stop_stage": "5"}),
    (["--stop_stage", "5", "--nj=8"], {"stop_stage": "5", "nj": "8"}),
    (["--train-opts", "--set lr=0.1 --set name='a b'"], {"train_opts": "--set lr=0.1 --set name='a b'"}),
    (["--train-opts=--set lr=0.1"], {"train_opts": "--set lr=0.1"}),
    (["--train-opts", "$(touch x); *"], {"train_opts": "$(touch x); *"}),
    (["--overwrite", "true"], {"overwrite": "true"}),
    (["--nj", "1", "--nj", "2"], {"nj": "2"}),
    (["--stage", "-1"], {"stage": "-1"}),
])
def test_options_set_variables(words, changed):
    expect(words, **changed)


@pytest.mark.parametrize(("words", "rest"), [
    (["--nj", "8", "a b", "--stage", "3"], "<a b><--stage><3>"),
    (["--nj", "8", "--", "--stage"], "<--stage>"),
    (["--nj", "8", "-", "-5"], "<-><-5>"),
])
def test_other_words_are_left(words, rest):
    expect(words, rest, nj="8")


@pytest.mark.parametrize(("words", "message"), [
    (["--stagee", "3"], f"unknown option --stagee; {VALID}"),
    (["-stage", "3"], f"unknown option -stage; {VALID}"),
    (["--stray", "x"], f"unknown option --stray; {VALID}"),
    (["--PATH=/"], f"unknown option --PATH; {VALID}"),
    (["--nj train_opts", "3"], f"unknown option --nj train_opts; {VALID}"),
    (["--nj"], "--nj needs a value"),
    (["--nj", "--stop-stage", "5"], "--nj needs a value"),
    (["--overwrite", "yes"], '--overwrite takes true or false, not "yes"'),
    (["--config", "none.conf"], "--config none.conf: no such file"),
])
def test_wrong_options_are_one_line(words, message, tmp_path):
    expect_error(message, RECIPE, *words, cwd=tmp_path)


def test_help():
    done = shell(RECIPE, "--nj", "3", "--help")
    assert (done.returncode, done.stdout) == (0, "usage: run.sh [options]\n")


def test_a_script_that_lists_no_options_hears_of_it():
    done = shell(f"set -euo pipefail; . {STEPS}/parse_options.sh; echo went on", "--nj", "3")
    assert done.returncode != 0 and done.stdout == "" and "must list what may be set from outside" in done.stderr


def test_a_config_is_read_first_and_not_run(tmp_path):
    (tmp_path / "a.conf").write_text(
        "# of this experiment\n\n  stop-stage=5   # scores\nnj='8'\ntrain_opts=\"a # b\"  # quoted\nstage=2\n"
        "overwrite=true")
    expect(["--stage", "3", "--config", "a.conf"], cwd=tmp_path,
           stage="3", stop_stage="5", nj="8", train_opts="a # b", overwrite="true")
    (tmp_path / "b.conf").write_text("train_opts=$(touch made)\n")
    expect(["--config=b.conf"], cwd=tmp_path, train_opts="$(touch made)")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(("line", "message"), [
    ("njj=3", f"unknown option --njj; {VALID}"),
    ("nj 3", "not NAME=VALUE: nj 3"),
    ("rm -rf x", "not NAME=VALUE: rm -rf x"),
    ("overwrite=1", '--overwrite takes true or false, not "1"'),
    ("config=b.conf", "a config cannot name another one"),
])
def test_wrong_lines_of_a_config_are_named(line, message, tmp_path):
    (tmp_path / "a.conf").write_text(f"nj=3\n{line}\n")
    expect_error(f"a.conf:2: {message}", RECIPE, "--config", "a.conf", cwd=tmp_path)


# ---- stages.sh

STAGES = f"""
set -euo pipefail
stage=$1; stop_stage=$2
. {STEPS}/stages.sh
if stage_on 3 "train"; then echo trained; fi
if stage_on 4 "extract"; then
  need 3 here.pt exp/x/final.pt
  echo extracted
fi
"""


def test_only_the_stages_asked_for_run_and_say_so(tmp_path):
    done = shell(STAGES, "0", "3", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "trained\n", "run.sh: stage 3: train\n")
    done = shell(STAGES, "5", "7", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_missing_input_names_the_stage_that_makes_it(tmp_path):
    (tmp_path / "here.pt").touch()
    done = shell(STAGES, "4", "7", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("run.sh: stage 4: extract\n"
                           "run.sh: stage 4 needs exp/x/final.pt, which stage 3 makes: run it with --stage 3\n")
    (tmp_path / "exp" / "x").mkdir(parents=True)
    (tmp_path / "exp" / "x" / "final.pt").touch()
    assert shell(STAGES, "4", "7", cwd=tmp_path).stdout == "extracted\n"


@pytest.mark.parametrize(("stage", "stop_stage", "message"), [
    ("three", "7", '--stage must be a whole number, not "three"'),
    ("3", "", '--stop-stage must be a whole number, not ""'),
    ("5", "3", "--stage 5 comes after --stop-stage 3: there is no stage to run"),
])
def test_wrong_stages_are_one_line(stage, stop_stage, message):
    expect_error(message, STAGES, stage, stop_stage)


# ---- the Makefile: .venv made by a stand-in for python3 that writes down how it was called

FAKE_PYTHON = """#!/bin/bash
case $* in
  *version_info*) exit ${OLD:-0} ;;
  *ensurepip*) exit ${BARE:-0} ;;
esac
echo "python $*" >> "$CALLS"
mkdir -p .venv/bin
printf '#!/bin/bash\\necho "pip $*" >> "$CALLS"; exit ${CUT:-0}\\n' > .venv/bin/pip
printf '#!/bin/bash\\necho "venv python $*" >> "$CALLS"\\n' > .venv/bin/python3
chmod +x .venv/bin/*
"""
FAKE_APT = """#!/bin/bash
[ -z "${OFFLINE:-}" ] || exit 100
[ "$1" = update ] || touch python3-pip-whl_23_all.deb
"""
FAKE_DPKG = """#!/bin/bash
[ -f "$2" ] || exit 2
mkdir -p usr/share/python-wheels
touch usr/share/python-wheels/pip-23-any.whl
"""


@pytest.fixture
def make(tmp_path):
    """A function that runs make in a tree of its own: (exit code, stderr, how python and pip were called)."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    python = tmp_path / "fake-python"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    calls = tmp_path / "calls"

    def run(*words, **environment):
        calls.write_text("")
        done = subprocess.run(["make", "-s", f"PYTHON={python}", *words], cwd=tmp_path, capture_output=True, text=True,
                              timeout=20, env={**os.environ, "CALLS": str(calls), **environment})
        return done.returncode, done.stderr, calls.read_text().replace(str(python), "python3").splitlines()
    return run


PIP = "pip install -c constraints.txt -e .[dev]"


def test_make_venv_installs_once_and_again_when_its_inputs_change(make, tmp_path):
    assert make(".venv/.installed")[::2] == (0, ["python -m venv --clear .venv", PIP])
    assert make(".venv/.installed")[::2] == (0, [])
    os.utime(tmp_path / "constraints.txt", (2**32, 2**32))
    assert make(".venv/.installed")[::2] == (0, ["python -m venv .venv", PIP])


def test_a_half_made_venv_is_made_anew_by_the_same_command(make, tmp_path):
    assert make(".venv/.installed", CUT="1")[0] != 0
    assert make(".venv/.installed")[::2] == (0, ["python -m venv --clear .venv", PIP])
    os.utime(tmp_path / "constraints.txt", (2**32, 2**32))
    assert make(".venv/.installed", CUT="1")[0] != 0                       # cut short while it was brought up to date
    assert make(".venv/.installed")[::2] == (0, ["python -m venv --clear .venv", PIP])


def test_make_says_what_python_lacks(make, tmp_path):
    code, said, calls = make("mini", OLD="1")
    assert (code, calls) == (2, []) and said.splitlines()[0].endswith(
        "fake-python is older than Python 3.11; give a newer one: make PYTHON=python3.11 ...")
    code, said, calls = make("mini", f"PYTHON={tmp_path}/none")
    assert (code, calls) == (2, []) and said.splitlines()[0].endswith(
        "none: not found; Python 3.11 or newer is needed: make PYTHON=/path/to/python3 ...")


def test_where_ensurepip_is_missing_pip_comes_from_the_debian_archive(make, tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("apt-get", FAKE_APT), ("dpkg-deb", FAKE_DPKG)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    code, said, _ = make(".venv/.installed", BARE="1", PATH=path, OFFLINE="1")
    assert code == 2 and "cannot fetch pip; as root: apt-get update, or apt-get install python3-venv" in said
    code, _, calls = make(".venv/.installed", BARE="1", PATH=path)
    assert (code, calls) == (0, [
        "python -m venv --without-pip --clear .venv",
        "venv python .venv/debs/usr/share/python-wheels/pip-23-any.whl/pip install -q pip", PIP])
    assert not (tmp_path / ".venv" / "debs").exists()


def test_make_alone_prints_help():
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("  make ")] == [
        "mini", "test", "chaos", "cluster", "lint", "clean"]
