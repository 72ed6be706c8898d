"""What the suite under fire shares: a recipe in miniature, stage by stage, and the table of what was done to it.

    make chaos                            # or: python3 -m pytest tests/chaos/*.py
    make chaos ARGS="--kills 3 --seed 1"

Each test does something that a cluster does to a run, then gives the same command again, and wants the outputs of a run
that nothing disturbed, to the byte, and no file that is left over.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import ROOT, environment

STAGES = range(1, 8)      # stage 0 fetches nothing where there is a corpus
OPTIONS = ["--device", "cpu", "--nj", "2", "--train-opts",
           "--set depth=18 --set channels=2 --set emb_dim=8 --set chunk_frames=40 --set batch_size=8 --set n_epochs=8 "
           "--set samples_per_epoch=0 --set warmup_epochs=1 --set margin_start_epoch=0 --set margin_full_epoch=1 "
           "--set valid_speakers=2 --set precision=float32 --set n_workers=1 --set checkpoint_minutes=0.001"]


def pytest_addoption(parser):
    """How hard to try."""
    parser.addoption("--kills", type=int, default=20, help="kills of each stage")
    parser.addoption("--seed", type=int, default=0, help="of the moments at which they come")


class Outcome(NamedTuple):
    """What was done to a stage, and what came of it."""

    stage: str
    fault: str
    result: str


OUTCOMES: Counter[Outcome] = Counter()


@pytest.fixture
def happened() -> Callable[[object, str, str], None]:
    """happened(stage, fault, result) adds a line to the table, or counts it once more."""
    return lambda stage, fault, result: OUTCOMES.update([Outcome(str(stage), fault, result)])


def pytest_terminal_summary(terminalreporter):
    """The table."""
    if OUTCOMES:
        terminalreporter.section("what was done, how often, what happened")
    for (stage, fault, result), times in sorted(OUTCOMES.items()):
        terminalreporter.write_line(f"stage {stage}  {times:3d} x  {fault}: {result}")


class Recipe:
    """egs/mini/run.sh in one folder that can be put back to how it was before a stage."""

    def __init__(self, corpus: Path, work: Path, snapshots: Path):
        self._corpus, self.work, self._snapshots = corpus, work, snapshots
        self.seconds: dict[int, float] = {}      # of each stage when nothing disturbs it

    def command(self, stage: int, *options: object) -> list[str]:
        """The words that run one stage."""
        return [str(word) for word in (ROOT / "egs/mini/run.sh", "--corpus-dir", self._corpus, "--work-dir", self.work,
                                       *OPTIONS, "--stage", stage, "--stop-stage", stage, *options)]

    def start(self, stage: int, *options: object) -> subprocess.Popen:
        """One stage, begun in a session of its own, which says nothing."""
        return subprocess.Popen(self.command(stage, *options), env=environment(), start_new_session=True,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def run(self, stage: int, *options: object, code: int = 0) -> str:
        """One stage to its end: what it said. Asserts its exit code, and that nobody sees a traceback."""
        done = subprocess.run(self.command(stage, *options), env=environment(), text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=300)
        assert done.returncode == code, done.stdout
        assert "Traceback" not in done.stdout
        return done.stdout

    def before(self, stage: int) -> Path:
        """A copy of the folder as it was before `stage` in the run that nothing disturbed."""
        return self._snapshots / str(stage)

    def back_to(self, stage: int) -> None:
        """Put the folder back to that, times of the files included: records go by them."""
        copy(self.before(stage), self.work)

    def assert_as_undisturbed(self, stage: int) -> None:
        """All files are, to the byte, those after `stage` of the run that nothing disturbed; and no other is there."""
        got, wanted = outputs(self.work), outputs(self.before(stage + 1))
        assert got.keys() == wanted.keys()
        assert [name for name in got if got[name] != wanted[name]] == []


def outputs(work: Path) -> dict[str, bytes]:
    """Relative path -> content of every file, without logs and locks, and without checkpoints, which hold times."""
    files = {path.relative_to(work): path for path in sorted(work.rglob("*")) if path.is_file()}
    return {str(name): path.read_bytes() for name, path in files.items()
            if "log" not in name.parts and path.suffix != ".lock" and not path.match("last*.pt")}


def copy(source: Path, target: Path) -> None:
    """Make the folder `target` what `source` is; it may be where a disk is mounted, and so stays itself."""
    target.mkdir(exist_ok=True)
    for path in target.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)


@pytest.fixture(scope="session")
def recipe(recordings, tmp_path_factory) -> Recipe:
    """The recipe, run once without disturbance, each step on the way remembered."""
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "work").mkdir()
    one = Recipe(recordings, folder / "work", folder)
    for stage in STAGES:
        copy(one.work, one.before(stage))
        began = time.monotonic()
        one.run(stage)
        one.seconds[stage] = time.monotonic() - began
    copy(one.work, one.before(STAGES.stop))
    return one


def family(pid: int) -> list[int]:
    """`pid` and all processes that it and its children started and that still live, the oldest first."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def kill(pids: list[int]) -> None:
    """kill -9, of those that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
