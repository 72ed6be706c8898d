"""An array in a queue, from its submission until each task has ended, whichever way it ends.

A task tells its end by a file. The engine is asked now and then for what no file can tell: that a task waits, that it
was taken out, that it is gone without a word.
"""

import signal
import time
from collections.abc import Callable

from pyspk.errors import UserError
from pyspk.jobs.call import Call
from pyspk.jobs.conf import load_conf
from pyspk.jobs.engine import AwayError, Engine, Stand, View
from pyspk.jobs.logs import Failure, write_end
from pyspk.jobs.submission import Patience, Submission

_GRACE_S = 5.0            # how late a network file system may show the file of a task that the engine has seen end
_COMPLETED_GRACE_S = 60.0      # where the engine says that there is such a file
_LAST_WORD_S = 20.0       # how long an engine may take to say why it ended a task
_PATIENCE_S = 600         # how long an engine may be away
_OWN = {"config", "patience"}
_TERMINATED, _KILLED = 128 + signal.SIGTERM, 128 + signal.SIGKILL


def run_in_queue(engine: Engine, call: Call, say: Callable[[str], object]) -> list[Failure]:
    """The jobs that failed, in job order, once all have ended. say: tells the user what cannot wait for the end.

    An exception, say from a signal handler, takes out of the queue what was submitted.
    Raises UserError for a call that the configuration does not know, for a job that the engine refuses, and when the
    engine is away for too long.
    """
    conf = load_conf(call.options.get("config"), engine.usual_conf, engine.built_in_conf)
    options = {name: value for name, value in call.options.items() if name not in _OWN}
    at_once = call.max_jobs_run if "max_jobs_run" in options else None
    if len(call.jobs) == 1:
        options.pop("max_jobs_run", None)
    words = [*conf.words(options), *call.native]
    patience_s = _seconds(call.options.get("patience", str(_PATIENCE_S)))
    submission = Submission(engine, call, say)
    submission.prepare()
    try:
        job = submission.submit(words, at_once, patience_s)
        failures = _Watch(engine, job, call, submission, Patience(patience_s, say), say).until_all_ended()
    except BaseException:
        submission.cancel()
        raise
    submission.forget(set(failures))
    return [failures[task] for task in sorted(failures)]


class _Watch:
    """The tasks of one job that have not ended, and what is known of those that have."""

    def __init__(self, engine: Engine, job: str, call: Call, submission: Submission, engine_is: Patience,
                 say: Callable[[str], object]):
        self._engine, self._job, self._call, self._submission = engine, job, call, submission
        self._engine_is, self._say = engine_is, say
        self._open = set(call.jobs)
        self._over: dict[int, tuple[float, View | None]] = {}      # since when, and how, a task is over for the engine
        self._failures: dict[int, Failure] = {}
        self._waits_for = ""

    def until_all_ended(self) -> dict[int, Failure]:
        """Task -> how it failed."""
        began = asked = time.monotonic()
        while True:
            elapsed = time.monotonic() - began
            self._read_ends()
            if not self._open:
                break
            if time.monotonic() - asked > min(15.0, 2.0 + elapsed / 20):
                self._ask_engine()
                asked = time.monotonic()
            self._give_up_the_lost()
            time.sleep(min(2.0, 0.2 + elapsed / 100))
        if any(failure.why for failure in self._failures.values()):
            self._submission.cancel()      # a task that never began would stay there
        return self._failures

    def _read_ends(self) -> None:
        """Close the tasks that have said that they ended."""
        for task, (code, told) in self._submission.ended(self._open).items():
            if code and told == signal.SIGTERM:
                self._end_for_engine(task, code)
            elif code:
                self._fail(task, code)
            self._open.discard(task)

    def _end_for_engine(self, task: int, code: int) -> None:
        """The engine had the task end: whether it may go on later, as after a time limit, only the engine knows."""
        give_up = time.monotonic() + _LAST_WORD_S
        view: View | None = View(Stand.RUNS, "")
        while time.monotonic() < give_up and view and view.stand is not Stand.OVER:
            time.sleep(0.5)
            try:
                view = self._engine.look(self._job).get(task)
            except AwayError:
                break
        if view and view.stand is Stand.OVER and not view.is_cancelled:
            self._fail(task, code, f"was told to end: {view.words}")
        else:
            self._fail(task, _TERMINATED, "was cancelled from outside")

    def _ask_engine(self) -> None:
        """Note which of the open tasks are over for the engine, and say what the others wait for, when that is new."""
        try:
            views = self._engine.look(self._job)
        except AwayError as fault:
            cancel = self._engine.number_of_job.format(self._job)
            self._engine_is.away(str(fault), f"tasks may be running still ({cancel} ends them)")
            return
        self._engine_is.back()
        now = time.monotonic()
        for task in self._open:
            view = views.get(task)
            if view is None or view.stand is Stand.OVER:
                since, _ = self._over.get(task, (now, None))
                self._over[task] = since, view
            else:
                self._over.pop(task, None)
        waiting = [view.words for task, view in views.items() if task in self._open and view.stand is Stand.WAITS]
        if waiting and len(waiting) == len(self._open) and waiting[0] != self._waits_for:
            self._waits_for = waiting[0]
            self._say(f"{len(waiting)} of {len(self._call.jobs)} tasks wait in {self._engine.name}, job {self._job}: "
                      f"{self._waits_for}")

    def _give_up_the_lost(self) -> None:
        """Close the tasks that have been over for the engine for some time, and of which no file tells why."""
        for task, (since, view) in list(self._over.items()):
            grace_s = _COMPLETED_GRACE_S if view and view.words == "COMPLETED" else _GRACE_S
            if task not in self._open or time.monotonic() - since < grace_s:
                continue
            if view and view.is_cancelled:
                self._fail(task, _TERMINATED, "was cancelled from outside")
            elif view:
                self._fail(task, _KILLED, f"is over without a word of its own: {view.words}")
            else:
                self._fail(task, _KILLED, f"is gone: {self._engine.name} knows it no more and it left no word; it was "
                           "killed or cancelled, over a limit, or its machine is lost")
            self._open.discard(task)

    def _fail(self, task: int, code: int, why: str = "") -> None:
        log = self._call.log_of(task)
        if why:
            write_end(log, code, f"task {task} {why}")
        self._failures[task] = Failure(log, code, f"task {task} of {self._engine.name} job {self._job}", why,
                                       self._submission.out_of(task))


def _seconds(text: str) -> float:
    if not text.isdecimal():
        raise UserError(f'--patience must be a whole number of seconds, not "{text}"')
    return float(text)
