"""A job array on this machine."""

import subprocess
import time

from pyspk.errors import UserError
from pyspk.jobs.call import Call
from pyspk.jobs.guard import Guard
from pyspk.jobs.logs import Failure, date, tail
from pyspk.tables.atomic import not_through_links

POLL_S = 0.02          # how late the end of a job may be noticed


def run_jobs(call: Call) -> list[Failure]:
    """The jobs that failed, in job order, once all have ended.

    A job that fails does not keep the others from running. One that dies of signal n has code 128 + n, as in
    bash. An exception, say from a signal handler, ends all jobs first; so does the death of this process.
    Raises UserError when a log cannot be written.
    """
    waiting, running, failed = list(call.jobs), {}, []
    try:
        with Guard() as guard:
            while waiting or running:
                while waiting and len(running) < call.max_jobs_run:
                    number = waiting.pop(0)
                    running[number] = Job(call, number, guard)
                time.sleep(POLL_S)
                for number in [number for number, job in running.items() if job.process.poll() is not None]:
                    job = running.pop(number)
                    guard.forget(job.process)
                    if code := job.write_end():
                        failed.append((number, code))
    finally:
        for job in running.values():                  # left by an interrupt; the guard has ended them
            job.write_end()
    return [Failure(call.log_of(number), code) for number, code in sorted(failed)]


class Job:
    """One job, begun: its process and its log."""

    def __init__(self, call: Call, number: int, guard: "Guard"):
        self.log, self.threads, self.began = call.log_of(number), call.threads, time.time()
        command = call.command_of(number)
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            header = f"# {command}".replace("\n", "\n# ")
            with open(self.log, "w", encoding="utf-8", errors="surrogateescape",     # a path may hold any bytes
                      opener=not_through_links) as file:
                file.write(f"{header}\n# Started at {date(self.began)}\n#\n")
            with self.log.open("ab") as file:
                self.process = guard.start(["bash", "-o", "pipefail", "-c", command],
                                           stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
        except OSError as fault:
            reason = f"{fault.filename}: {fault.strerror}"
            raise UserError(f"{self.log}: this job cannot begin: {reason}") from None

    def write_end(self) -> int:
        """The exit code; the log gets its last two lines."""
        status = self.process.poll()
        if status is None:                            # interrupted twice: the guard is still at it
            return 1
        code = status if status >= 0 else 128 - status
        now = time.time()
        seconds = round(now - self.began)
        gap = "" if tail(self.log, 1) == "\n" else "\n"
        with self.log.open("a") as file:
            file.write(f"{gap}# Accounting: time={seconds} threads={self.threads}\n"
                       f"# Ended (code {code}) at {date(now)}, elapsed time {seconds} seconds\n")
        return code
