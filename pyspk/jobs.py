"""A job array on this machine, and the call form that run.pl, queue.pl and slurm.pl share:

    CMD [options] [JOB=1:N] LOG COMMAND ARGS...

COMMAND runs once for each number of JOB (any identifier), whose name is replaced by the number in LOG and in
each word. Words that hold blanks, or that bash could not read, are quoted; all others go to bash as they are,
so that | < > && ; and $VAR mean what they mean there. A pipe fails when any part of it fails.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from pyspk.errors import UserError, first_few
from pyspk.tables.atomic import not_through_links

JOB = "SHARD_NO"       # the job name our own steps use: JOB itself is too common in paths
CALL_FORM = "[options] [JOB=1:N] LOG COMMAND ARGS..."
RUNNERS = Path(__file__).resolve().parents[1] / "steps" / "cluster"
POLL_S = 0.02          # how late the end of a job may be noticed
SETTLE_S = 10.0        # how long a network file system may take to show the last lines of a log


class Call(NamedTuple):
    """One call of a job runner, read and checked."""

    options: dict[str, str]      # as Kaldi names them in a queue's configuration: no dashes in front, _ for -
    job_name: str                # "" when the call is no array
    jobs: range
    log: str
    words: tuple[str, ...]
    threads: int
    max_jobs_run: int

    def log_of(self, job: int) -> Path:
        """The log of `job`."""
        return Path(self._numbered(self.log, job))

    def command_of(self, job: int) -> str:
        """What bash is given for `job`."""
        return " ".join(_for_bash(self._numbered(word, job)) for word in self.words)

    def _numbered(self, text: str, job: int) -> str:
        return text.replace(self.job_name, str(job)) if self.job_name else text


def parse_call(argv: list[str]) -> Call:
    """The call in `argv`. Options may stand before or after JOB=1:N.

    The default of --max-jobs-run is as many as this process has CPUs for, at --num-threads each.
    Raises UserError for an option without a value, a malformed range, a missing LOG or COMMAND, and for an
    array whose jobs would write one log.
    """
    rest, options, array = list(argv), {}, None
    while rest:
        if rest[0].startswith("-"):
            rest = _take_option(rest, options)
        elif found := _parse_range(rest[0]):
            if array:
                raise UserError(f"a second job range, {rest[0]}; the call is: {CALL_FORM}")
            array, rest = found, rest[1:]
        else:
            break
    if len(rest) < 2:
        raise UserError(f"no {'COMMAND after ' + rest[0] if rest else 'LOG'}; the call is: {CALL_FORM}")
    job_name, jobs = array or ("", range(1, 2))
    if len(jobs) > 1 and job_name not in rest[0]:
        raise UserError(f"{len(jobs)} jobs would write the one log {rest[0]}: "
                        f"put {job_name} in its name, e.g. {Path(rest[0]).with_suffix('')}.{job_name}.log")
    threads = _positive(options, "num_threads", 1)
    limit = _positive(options, "max_jobs_run", max(1, len(os.sched_getaffinity(0)) // threads))
    return Call(options, job_name, jobs, rest[0], tuple(rest[1:]), threads, limit)


def run_jobs(call: Call) -> list[tuple[Path, int]]:
    """The log and the exit code of each job that failed, in job order, once all jobs have ended.

    A job that fails does not keep the others from running. One that dies of signal n has code 128 + n, as in
    bash. An exception, say from a signal handler, ends all jobs first; so does the death of this process.
    Raises UserError when a log cannot be written.
    """
    waiting, running, failed = list(call.jobs), {}, []
    try:
        with _Guard() as guard:
            while waiting or running:
                while waiting and len(running) < call.max_jobs_run:
                    number = waiting.pop(0)
                    running[number] = _Job(call, number, guard)
                time.sleep(POLL_S)
                for number in [number for number, job in running.items() if job.process.poll() is not None]:
                    job = running.pop(number)
                    guard.forget(job.process)
                    if code := job.write_end():
                        failed.append((number, code))
    finally:
        for job in running.values():                  # left by an interrupt; the guard has ended them
            job.write_end()
    return [(call.log_of(number), code) for number, code in sorted(failed)]


def run_array(command: list[str], n_jobs: int, log_pattern: str | Path, argv: list[str],
              job_name: str = "JOB") -> None:
    """Run `COMMAND JOB=1:n_jobs log_pattern argv...`; return when each log says that its job ended well.

    command: the words of a step's --cmd, e.g. ["queue.pl", "--mem", "4G"]. argv: job_name in a word becomes the
    number; otherwise each word reaches the job as it is here, blanks, quotes and | included, by any runner.
    The exit code alone is not believed: slurm.pl exits 0 when a job could not begin for want of path.sh.
    Raises UserError naming the logs of the jobs that failed, or the program that is not there.
    """
    if n_jobs < 1:
        raise UserError(f"the number of jobs (--nj) must be 1 or more, not {n_jobs}")
    logs = [Path(str(log_pattern).replace(job_name, str(job))) for job in range(1, n_jobs + 1)]
    words = map(_through_any_runner, argv)
    call = [*find_program(command), f"{job_name}=1:{n_jobs}", str(log_pattern), *words]
    for log in logs:
        log.unlink(missing_ok=True)                   # so that what a log says is said by this run
    with _Guard() as guard:
        code = guard.start(call, stdin=subprocess.DEVNULL).wait()
    patience = time.monotonic() + (SETTLE_S if code == 0 else 0)
    while bad := [log for log in logs if not _ended_well(log)]:
        if time.monotonic() >= patience:
            hint = "see" if any(log.exists() for log in bad) else "and wrote no log:"
            raise UserError(f"{len(bad)} of {n_jobs} jobs failed, {hint} {first_few(bad)} "
                            f"({shlex.join(command)} exited with code {code})")
        time.sleep(POLL_S)
    if code:
        raise UserError(f"{shlex.join(command)} exited with code {code}, although each job ended well; "
                        f"see {log_pattern}")


def last_lines(log: Path, limit: int = 10) -> list[str]:
    """The last `limit` lines that a job wrote to `log`, and its command where that is near."""
    runners_own = re.compile(r"# (Started at|Accounting:|Ended) .*|#")
    return [line for line in _tail(log, 8192).splitlines() if not runners_own.fullmatch(line)][-limit:]


def exit_code(log: Path) -> int | None:
    """With which code a job ended, as its runner wrote below `log`; None when it did not."""
    ends = re.findall(r"^# (?:Ended \(code (\d+)\)|Finished at .* with status (\d+)$)",
                      _tail(log, 1024) if log.exists() else "", re.MULTILINE)
    return int("".join(ends[-1])) if ends else None


def signal_name(code: int) -> str:
    """The signal that an exit code above 128 stands for, e.g. SIGKILL for 137; "" for other codes."""
    try:
        return signal.Signals(code - 128).name if code > 128 else ""
    except ValueError:
        return ""


class _Job:
    """One job, begun: its process and its log."""

    def __init__(self, call: Call, number: int, guard: "_Guard"):
        self.log, self.threads, self.began = call.log_of(number), call.threads, time.time()
        command = call.command_of(number)
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            header = f"# {command}".replace("\n", "\n# ")
            with open(self.log, "w", encoding="utf-8", errors="surrogateescape",     # a path may hold any bytes
                      opener=not_through_links) as file:
                file.write(f"{header}\n# Started at {_date(self.began)}\n#\n")
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
        gap = "" if _tail(self.log, 1) == "\n" else "\n"
        with self.log.open("a") as file:
            file.write(f"{gap}# Accounting: time={seconds} threads={self.threads}\n"
                       f"# Ended (code {code}) at {_date(now)}, elapsed time {seconds} seconds\n")
        return code


class _Guard:
    """Starts commands, each in a process group of its own, none of which outlives this process.

    A small bash process, in a session of its own where no Ctrl-C reaches it, reads a pipe whose other end is
    here: "PID" for a group that began, "-PID" for one that ended. The pipe ends when this process leaves the
    `with` block or dies, kill -9 included; then what is left gets SIGTERM and, GRACE_S later, SIGKILL.
    PR_SET_PDEATHSIG would reach a job's first process only, not the parts of its pipe.
    """

    GRACE_S = 10
    SCRIPT = r"""
        trap '' HUP INT TERM
        while read -r line; do
          case $line in -*) unset "alive[${line#-}]" ;; *) alive[line]=1 ;; esac
        done
        send() {
          for group in "${!alive[@]}"; do kill -s "$1" -- "-$group" || unset "alive[$group]"; done
          [ "${#alive[@]}" -gt 0 ]
        }
        send TERM
        for ((tick = 0; tick < 10 * $1; tick++)); do send 0 || exit 0; sleep 0.1; done
        send KILL
    """
    # The command itself tells its number before it begins, so that no kill can fall between the two.
    BEGIN = 'fd=$0; echo "$$" >&"$fd"; exec "$@" {fd}>&-'

    def __enter__(self) -> "_Guard":
        self._bash = subprocess.Popen(["bash", "-c", self.SCRIPT, "guard", str(self.GRACE_S)],
                                      stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL, start_new_session=True)
        self._pipe = self._bash.stdin.fileno()
        self._started: dict[int, subprocess.Popen] = {}
        return self

    def start(self, argv: list[str], **streams) -> subprocess.Popen:
        """Begin `argv`; streams: Popen's stdin, stdout and stderr."""
        process = subprocess.Popen(["bash", "-c", self.BEGIN, str(self._pipe), *argv], pass_fds=[self._pipe],
                                   start_new_session=True, **streams)
        self._started[process.pid] = process
        return process

    def forget(self, process: subprocess.Popen) -> None:
        """`process` has been waited for: its number may soon be another's."""
        del self._started[process.pid]
        os.write(self._pipe, b"-%d\n" % process.pid)

    def __exit__(self, *_) -> None:
        for process in list(self._started.values()):
            if process.poll() is not None:
                self.forget(process)
        self._bash.stdin.close()
        while True:
            try:
                self._bash.wait(timeout=POLL_S)
                return
            except subprocess.TimeoutExpired:
                for process in self._started.values():
                    process.poll()            # a dead child that nobody waits for keeps its group alive


def _take_option(words: list[str], options: dict[str, str]) -> list[str]:
    """What follows the option at the head of `words`, which goes into `options`."""
    name, equals, value = words[0].partition("=")
    count = {"-V": 0, "-pe": 2}.get(name, 0 if equals else 1)      # Grid Engine: -V alone, -pe NAME SLOTS
    values = words[1:1 + count]
    if len(values) < count or any(re.match(r"-\D|[A-Za-z_]\w*=\d+:\d+$", value) for value in values):
        raise UserError(f"{name} needs a value; the call is: {CALL_FORM}")
    options[name.lstrip("-").replace("-", "_")] = value if equals else " ".join(values)
    return words[1 + count:]


def _parse_range(word: str) -> tuple[str, range] | None:
    """("JOB", range(1, N + 1)) for JOB=1:N, or None for a word that is no range but a LOG."""
    match = re.fullmatch(r"([A-Za-z_]\w*)=([^/]*)", word, re.ASCII)
    if not match:
        return None
    name, text = match.groups()
    numbers = re.fullmatch(r"(\d+)(?::(\d+))?", text, re.ASCII)
    if not numbers:
        raise UserError(f"{word}: not a job range such as {name}=1:4 (for a log of that name say ./{word})")
    first, last = int(numbers[1]), int(numbers[2] or numbers[1])
    if not 1 <= first <= last:
        raise UserError(f"{word}: jobs count upwards from 1 or more, as in {name}=1:4")
    return name, range(first, last + 1)


def _positive(options: dict[str, str], name: str, default: int) -> int:
    text = options.get(name, str(default))
    if not re.fullmatch("0*[1-9][0-9]*", text):
        raise UserError(f'--{name.replace("_", "-")} must be a whole number of 1 or more, not "{text}"')
    return int(text)


def _for_bash(word: str) -> str:
    """`word` as it is where bash can read it, quoted where not: blanks, an open quote, a comment, nothing."""
    try:
        bare = bool(shlex.split(word)) and not re.search(r"\s|^#", word, re.ASCII)
    except ValueError:
        bare = False
    return word if bare else shlex.quote(word)


def _through_any_runner(word: str) -> str:
    """What bash reads as `word`, so written that it holds no blank: then no runner quotes it again."""
    if not word:
        return "''"
    escaped = re.sub(r"[^\w@%+=:,./\-\u0080-\U0010ffff]", lambda match: f"\\x{ord(match[0]):02x}", word)
    return word if escaped == word else f"$'{escaped}'"


def find_program(command: list[str]) -> list[str]:
    """`command` with its program's path. This tree's own runners are found without path.sh, too.

    Raises UserError when there is no such program.
    """
    if not command:
        raise UserError("--cmd is empty; give it a job runner, e.g. --cmd run.py")
    program, *options = command
    if path := shutil.which(program):
        return [path, *options]
    if (RUNNERS / program).is_file():
        return [sys.executable, str(RUNNERS / program), *options]
    raise UserError(f"{program}: no such program on PATH; choose another job runner with --cmd, "
                    "e.g. --cmd run.py, or set KALDI_ROOT and source path.sh for Kaldi's own")


def _ended_well(log: Path) -> bool:
    """Whether the runner wrote below `log` that the job ended with code 0."""
    return exit_code(log) == 0


def _tail(log: Path, n_bytes: int) -> str:
    """The end of `log`, at most n_bytes of it."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - n_bytes))
        return file.read().decode("utf-8", "replace")


def _date(seconds: float) -> str:
    return time.strftime("%a %b %e %H:%M:%S %Z %Y", time.localtime(seconds))
