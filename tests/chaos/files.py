"""Files that are cut, gone or late between two stages."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from chaos.conftest import STAGES


def archive_of(scp: Path) -> Path:
    """The archive of an scp's first line."""
    return Path(scp.read_text().split("\n", 1)[0].split(maxsplit=1)[1].rpartition(":")[0])


def cut(path: Path, n_bytes: int) -> Path:
    path.write_bytes(path.read_bytes()[:-n_bytes])
    return path


def change_first_line(table: Path, old: str, new: str) -> Path:
    first, _, rest = table.read_text().partition("\n")
    table.write_text(re.sub(old, new, first) + "\n" + rest)
    return table


def remove(path: Path) -> Path:
    path.unlink()
    return path


# what is done -> (before which stage, how it is done and to which file, what the run says of it)
FAULTS = {
    "a recording that vanishes": (
        2, lambda work: change_first_line(work / "data/train/wav.scp", " .*", " /nowhere/gone.wav"),
        r"gone\.wav: no such file"),
    "features that vanish": (
        3, lambda work: remove(archive_of(work / "data/train/feats.scp")), r"\.ark: no such archive"),
    "features cut short": (3, lambda work: cut(archive_of(work / "data/train/feats.scp"), 20000), "cut short"),
    "an scp that points past the end": (
        3, lambda work: change_first_line(work / "data/train/feats.scp", r":\d+$", ":99999999"), "cut short"),
    "features of the evaluation cut short": (
        4, lambda work: cut(archive_of(work / "data/eval/feats.scp"), 1000), "cut short"),
    "a network cut short": (4, lambda work: cut(work / "exp/resnet18p/final.pt", 1000), r"final\.pt: cannot be read"),
    "embeddings cut short": (
        5, lambda work: cut(archive_of(work / "exp/resnet18p/xvectors_eval/xvector.scp"), 10), "cut short"),
    "embeddings that vanish": (
        5, lambda work: remove(archive_of(work / "exp/resnet18p/xvectors_eval/xvector.scp")),
        r"\.ark: no such archive"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_damage_between_stages_is_named_and_after_its_mend_the_run_goes_on(recipe, happened, fault):
    stage, damage, wanted = FAULTS[fault]
    recipe.back_to(stage)
    damaged = damage(recipe.work)
    said = recipe.run(stage, code=1)
    lines = [line.strip() for line in said.splitlines() if re.search(wanted, line)]
    assert lines, said
    shutil.copy2(recipe.before(stage) / damaged.relative_to(recipe.work), damaged)
    recipe.run(stage)
    recipe.assert_as_undisturbed(stage)
    happened(stage, fault, f"exit 1: {lines[-1].replace(str(recipe.work), '')[:100]}; mended, the same bytes")


# A runner whose jobs' files others see two seconds late, as on a network file system.
LATE = """#!/usr/bin/env python3
import os, subprocess, sys, time
from pathlib import Path
work = Path(sys.argv[1])
files = lambda: {path for path in work.rglob("*") if path.is_file() and "log" not in path.parts
                 and path.name[0] != "." and ".made" not in path.parts}
before = files()
code = subprocess.run(["run.py", *sys.argv[2:]]).returncode
for path in files() - before:
    hidden = path.with_name(f".late.{path.name}")
    path.rename(hidden)
    subprocess.Popen(["bash", "-c", 'sleep 2; mv "$0" "$1"', hidden, path], start_new_session=True)
sys.exit(code)
"""


@pytest.mark.parametrize("stage", [2, 3, 4])
def test_files_that_others_see_late_are_waited_for(recipe, happened, tmp_path, stage):
    runner = tmp_path / "late.py"
    runner.write_text(LATE)
    runner.chmod(0o755)
    recipe.back_to(stage)
    command = f"{sys.executable} {runner} {recipe.work}"
    recipe.run(stage, "--train-cmd", command, "--cuda-cmd", command)
    recipe.assert_as_undisturbed(stage)
    happened(stage, "files seen 2 s late", "waited for; the same bytes")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_is_done_is_not_done_again(recipe, happened, stage):
    recipe.back_to(stage + 1)
    times = {path: path.stat().st_mtime_ns for path in recipe.work.rglob("*.ark")}
    assert "wrote" not in recipe.run(stage)
    assert times == {path: path.stat().st_mtime_ns for path in recipe.work.rglob("*.ark")}
    recipe.assert_as_undisturbed(stage)
    happened(stage, "the same command twice", "current; nothing is made again")
