"""Grid Engine, by its own commands: qsub, qstat, qdel."""

import getpass
import re
from pathlib import Path
from xml.etree import ElementTree

from pyspk.jobs.engine import Array, AwayError, FullError, Stand, View, ask, of_task, one_line, refusal

_AWAY = r"unable to contact qmaster|unable to send message|commlib error|can't connect|got (select|send|read) error"
_FULL = r"only \d+ jobs are allowed|job rejected: .*(limit|allowed)|queue is full"
_WARNING_S = 90      # how long before a time limit a task is warned


class GridEngine:
    """See engine.Engine."""

    name = "Grid Engine"
    usual_conf = Path("conf/queue.conf")
    task_variable = "SGE_TASK_ID"
    number_of_job = "qdel {}"
    built_in_conf = """
        command qsub -v PATH -cwd -S /bin/bash
        option mem=* -l mem_free=$0
        option mem=0
        option num_threads=* -pe smp $0
        option num_threads=1
        option time=* -l h_rt=$0
        option gpu=* -l gpu=$0
        option gpu=0
        option queue=* -q $0
        option max_jobs_run=* -tc $0
        """

    def submit(self, array: Array) -> str:
        """See engine.Engine. A job that no machine could ever run is refused at once."""
        check = () if "-w" in array.words else ("-w", "e")
        done = self._ask(*array.words, *check, *_warning(array.words), "-terse", "-N", array.name,
                         "-t", f"{array.tasks[0]}-{array.tasks[-1]}", "-j", "y",
                         "-o", of_task(array.output, "$TASK_ID"), str(array.script))
        number = re.search(r"^(\d+)(\.|$)", done.stdout, re.MULTILINE)
        if done.returncode == 0 and number:
            return number[1]
        if re.search(_FULL, done.stderr):
            raise FullError(one_line(done.stderr))
        raise refusal(self.name, array.words, done)

    def find(self, name: str) -> str | None:
        """See engine.Engine."""
        return next((entry.findtext("JB_job_number") for entry in self._entries()
                     if entry.findtext("JB_name") == name), None)

    def look(self, job: str) -> dict[int, View]:
        """See engine.Engine. Of tasks that have ended it says nothing."""
        views = {}
        for entry in self._entries():
            if entry.findtext("JB_job_number") == job:
                views[int(entry.findtext("tasks") or 1)] = self._view(job, entry.findtext("state") or "")
        return views

    def cancel(self, name: str) -> None:
        """See engine.Engine."""
        self._ask("qdel", name)

    def _entries(self) -> list[ElementTree.Element]:
        done = self._ask("qstat", "-u", getpass.getuser(), "-g", "d", "-xml")
        try:
            return list(ElementTree.fromstring(done.stdout).iter("job_list"))
        except ElementTree.ParseError:
            raise AwayError(f"{self.name} is down: {one_line(done.stderr or done.stdout)}") from None

    def _view(self, job: str, state: str) -> View:
        if "E" in state:      # it could not begin, and would wait for an operator for ever
            reasons = re.findall(r"error reason.*?:\s+(.*)", self._ask("qstat", "-j", job).stdout)
            return View(Stand.OVER, f"{state}: {one_line(reasons[0]) if reasons else 'it could not begin'}")
        return View(Stand.WAITS if "w" in state else Stand.RUNS, state)

    def _ask(self, *argv: str):
        return ask(argv, self.name, _AWAY)


def _warning(words: tuple[str, ...]) -> list[str]:
    """The option that has a task with a time limit told, by SIGUSR1, before SIGKILL comes."""
    limit = re.search(r"\bh_rt=(?:(?:(\d+):)?(\d+):)?(\d+)\b", " ".join(words))
    if not limit or "s_rt=" in " ".join(words):
        return []
    hours, minutes, seconds = (int(number or 0) for number in limit.groups())
    seconds += 60 * minutes + 3600 * hours
    return ["-l", f"s_rt={seconds - _WARNING_S}"] if seconds > 2 * _WARNING_S else []
