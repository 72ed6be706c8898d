"""An array that is submitted to a queue: its files, and its way in and out.

Kaldi's layout: what belongs to D/log/x.JOB.log lies in D/q/, of any other D/x.log in D/q/ beneath its own folder.

    q/x.JOB.sh          what a task runs
    q/x.JOB.submitted   the job's name in the queue, for as long as something of it may be there
    q/x.3.status        how task 3 ended, by itself
    q/x.3.out           what task 3 said before its log began; only of a task that failed
"""

import json
import os
import re
import secrets
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pyspk.errors import UserError
from pyspk.jobs.call import Call
from pyspk.jobs.engine import Array, AwayError, Engine, FullError
from pyspk.jobs.task import read_status
from pyspk.tables.atomic import not_through_links
from pyspk.tables.records import hold

# What a job has of the environment here, beside what path.sh sets there.
CROSSING = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LC_ALL", "OMP_NUM_THREADS", "KALDI_ROOT", "PYSPK_ROOT")
_ROOT = Path(__file__).resolve().parents[2]
_START = "import sys; sys.path.insert(0, sys.argv.pop()); from pyspk.jobs.task import main; main()"
_CANCEL_S = 60.0      # how long the end of what an earlier run left is waited for


class Submission:
    """The array of `call` on its way through `engine`."""

    def __init__(self, engine: Engine, call: Call, say: Callable[[str], object]):
        log = Path(call.log)
        self.folder = (log.parent.parent if log.parent.name == "log" else log.parent) / "q"
        self._engine, self._call, self._say = engine, call, say
        self._stem = log.name.removesuffix(".log")
        self._plain_stem = re.sub(r"\.\.+", ".", self._stem.replace(call.job_name or "\0", "")).strip(".")
        label = re.sub(r"[^A-Za-z0-9_.-]", "_", self._plain_stem)
        self.name = f"pyspk-{label}-{secrets.token_hex(4)}"
        self._script, self._record = (self.folder / f"{self._stem}.{suffix}" for suffix in ("sh", "submitted"))

    def prepare(self) -> None:
        """Write the script and clear away what earlier runs left, their tasks in the queue included.

        Raises UserError when there is no path.sh, and when a living process runs the same array.
        """
        path_sh = _path_sh()
        self.folder.mkdir(parents=True, exist_ok=True)
        hold(self._script)
        self._end_what_is_left()
        for job in self._call.jobs:
            for path in (self._call.log_of(job), self._of(job, "status"), self.out_of(job)):
                path.unlink(missing_ok=True)
        with open(self._script, "w", encoding="utf-8", errors="surrogateescape", opener=not_through_links) as file:
            file.write(self._script_text(path_sh))

    def submit(self, words: list[str], at_once: int | None, patience_s: float) -> str:
        """The number of the job in the queue. Waits while the queue is full, and patience_s while it is away.

        Raises UserError when the queue refuses the job, and when it stays away.
        """
        self._record.write_text(f"{self.name}\n")
        output = self.folder.resolve() / self._named("TASK.out")
        array = Array(self.name, tuple(words), self._script.resolve(), str(output), self._call.jobs, at_once)
        engine_is = Patience(patience_s, self._say)
        pause_s, tried = 1.0, False
        while True:
            try:
                # An answer that got lost does not mean that the job did.
                if tried and (job := self._engine.find(self.name)):
                    return job
                tried = True
                return self._engine.submit(array)
            except AwayError as fault:
                engine_is.away(str(fault), "it has confirmed no job")
            except FullError as fault:
                engine_is.back()
                self._say(f"{self._engine.name} takes no more jobs now ({fault}); waiting until it does")
            except UserError:
                self._record.unlink()
                raise
            time.sleep(pause_s)
            pause_s = min(1.5 * pause_s, 20.0)

    def ended(self, open_tasks: set[int]) -> dict[int, tuple[int, int]]:
        """Task -> (exit code, last signal that came to it) of those that have said that they ended."""
        names = {path.name for path in self.folder.iterdir()}      # has a network file system ask anew what there is
        tasks = [task for task in open_tasks if self._of(task, "status").name in names]
        return {task: status for task in tasks if (status := read_status(self._of(task, "status"), self.name))}

    def out_of(self, job: int) -> Path:
        """Where a task says what comes before its log."""
        return self._of(job, "out")

    def cancel(self) -> None:
        """Take it out of the queue; if that does not answer, the next run of the same call will."""
        try:
            self._engine.cancel(self.name)
        except AwayError as fault:
            self._say(f"{fault}: what was submitted may be there still; the same command will cancel it first")

    def forget(self, failed: set[int]) -> None:
        """All tasks have ended: nothing but what is of use stays of it."""
        self._record.unlink(missing_ok=True)
        for job in self._call.jobs:
            self._of(job, "status").unlink(missing_ok=True)
            out = self.out_of(job)
            if out.exists() and (job not in failed or not out.stat().st_size):
                out.unlink()

    def _end_what_is_left(self) -> None:
        """Cancel what a run that was killed left in the queue: it would write the same files."""
        name = self._record.read_text().strip() if self._record.exists() else ""
        if not name:
            return
        try:
            give_up = time.monotonic() + _CANCEL_S
            while job := self._engine.find(name):
                self._say(f"cancelling job {job} ({name}), which an earlier run of this left in {self._engine.name}")
                self._engine.cancel(name)
                while self._engine.find(name) == job and time.monotonic() < give_up:
                    time.sleep(1)
                if time.monotonic() > give_up:
                    raise UserError(f"job {job} of an earlier run does not end; end it: "
                                    f"{self._engine.number_of_job.format(job)}")
        except AwayError as fault:
            raise UserError(f"{fault}; an earlier run left job {name} there, which must end first; if it has, remove "
                            f"{self._record}") from None

    def _script_text(self, path_sh: Path) -> str:
        about = {"name": self.name, "call": self._call.to_json(),
                 "status": str(self.folder / self._named("TASK.status"))}
        exports = [f"export {name}={shlex.quote(os.environ[name])}" for name in CROSSING if name in os.environ]
        start = shlex.join([sys.executable, "-I", "-c", _START])
        return "\n".join([
            "#!/bin/bash", f"# {self.name}: a task of {self._call.log}, written by {Path(sys.argv[0]).name}.",
            *exports, f"cd {shlex.quote(str(Path.cwd()))} || exit 1", f". {shlex.quote(str(path_sh))} || exit 1",
            f'exec {start} "${self._engine.task_variable}" {shlex.quote(str(_ROOT))} <<\'END_OF_CALL\'',
            json.dumps(about), "END_OF_CALL", ""])

    def _of(self, job: int, suffix: str) -> Path:
        return self.folder / self._named(f"{job}.{suffix}")

    def _named(self, ending: str) -> str:
        """x.3.status for the ending 3.status and the log x.JOB.log."""
        return f"{self._plain_stem}.{ending}"


class Patience:
    """How long an engine may be away before we give it up."""

    def __init__(self, patience_s: float, say: Callable[[str], object]):
        self._patience_s, self._say = patience_s, say
        self._since: float | None = None

    def away(self, words: str, stands: str) -> None:
        """It is away, and says `words`. Raises UserError, adding how things stand, when it has been for too long."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
            self._say(f"{words}; trying again for {self._patience_s:g} s (--patience)")
        elif now - self._since > self._patience_s:
            raise UserError(f"{words}; it has been away for {now - self._since:.0f} s: {stands}; the same command goes "
                            "on from what is there")

    def back(self) -> None:
        """It has answered."""
        if self._since is not None:
            self._say(f"it answers again, after {time.monotonic() - self._since:.0f} s")
        self._since = None


def _path_sh() -> Path:
    """The file that sets the environment of a job: ./path.sh as for Kaldi's runners, else our own.

    Raises UserError when there is neither.
    """
    here = Path("path.sh")
    if here.exists():
        return here.absolute()
    if "PYSPK_ROOT" in os.environ:      # path.sh has been read, by run.sh or by hand
        return Path(os.environ["PYSPK_ROOT"], "path.sh")
    raise UserError(f"no path.sh in {Path.cwd()}: jobs in a queue have no other environment than what it sets; write "
                    f"one, or . {_ROOT}/path.sh first")
