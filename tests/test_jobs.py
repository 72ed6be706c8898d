"""The job runner: its call form, its logs, and that nothing outlives it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyspk.errors import UserError
from pyspk.jobs import array, run_array
from pyspk.jobs.call import Call, parse_call
from pyspk.jobs.guard import Guard
from pyspk.jobs.logs import last_lines, signal_name

ROOT = Path(__file__).resolve().parents[1]
RUN_PY = ROOT / "steps" / "cluster" / "run.py"


def run_py(cwd, *words, **environment):
    return subprocess.run([sys.executable, RUN_PY, *words], cwd=cwd, capture_output=True, text=True, timeout=60,
                          env={**os.environ, **environment})


def output_of(log: Path) -> list[str]:
    """What the job wrote: the lines between the runner's head and foot."""
    lines = log.read_text().splitlines()
    return lines[lines.index("#") + 1:-2]


# ---- the call form

def parse(words: str) -> Call:
    return parse_call(words.split())


def test_options_before_and_after_the_range():
    call = parse("--mem 4G --num-threads 2 J=2:5 --max-jobs-run 3 -pe smp 2 -V --gpu=0 log/x.J.log echo J")
    assert call.options == {"mem": "4G", "num_threads": "2", "max_jobs_run": "3", "gpu": "0"}
    assert call.native == ("-pe", "smp", "2", "-V")
    assert (call.job_name, list(call.jobs), call.threads, call.max_jobs_run) == ("J", [2, 3, 4, 5], 2, 3)
    assert (call.log_of(4), call.command_of(4)) == (Path("log/x.4.log"), "echo 4")


def test_options_after_the_log_belong_to_the_command():
    call = parse("x.log train --config a.conf")
    assert call.options == {} and call.command_of(1) == "train --config a.conf"


def test_a_single_job_needs_no_name_in_its_log():
    assert parse("JOB=1:1 x.log echo JOB").command_of(1) == "echo 1"
    assert list(parse("JOB=7 x.JOB.log echo").jobs) == [7]


def test_jobs_at_a_time_follow_the_cpus_and_the_threads(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert parse("JOB=1:99 JOB.log x").max_jobs_run == 8
    assert parse("--num-threads 3 JOB=1:99 JOB.log x").max_jobs_run == 2
    assert parse("--num-threads 9 JOB=1:99 JOB.log x").max_jobs_run == 1


@pytest.mark.parametrize(("words", "message"), [
    ("", "no LOG; the call is: [options] [JOB=1:N] LOG COMMAND ARGS..."),
    ("JOB=1:4", "no LOG; the call is"),
    ("x.log", "no COMMAND after x.log; the call is"),
    ("--mem", "--mem needs a value"),
    ("--mem --gpu 1 x.log echo", "--mem needs a value"),
    ("--mem JOB=1:4 x.JOB.log echo", "--mem needs a value"),
    ("-pe smp", "-pe needs a value"),
    ("JOB=1:4 x.log echo", "4 jobs would write the one log x.log: put JOB in its name, e.g. x.JOB.log"),
    ("JOB=1-4 x.JOB.log echo", "JOB=1-4: not a job range such as JOB=1:4 (for a log of that name say ./JOB=1-4)"),
    ("JOB=0:4 x.JOB.log echo", "JOB=0:4: jobs count upwards from 1 or more, as in JOB=1:4"),
    ("JOB=4:1 x.JOB.log echo", "JOB=4:1: jobs count upwards"),
    ("J=1:2 K=1:2 x.J.log echo", "a second job range, K=1:2"),
    ("--max-jobs-run 0 x.log echo", '--max-jobs-run must be a whole number of 1 or more, not "0"'),
    ("--num-threads two x.log echo", '--num-threads must be a whole number of 1 or more, not "two"'),
])
def test_malformed_calls(words, message):
    with pytest.raises(UserError) as mistake:
        parse(words)
    assert str(mistake.value).startswith(message)


@pytest.mark.parametrize(("word", "for_bash"), [
    ("a b", "'a b'"), ("", "''"), ("it's", "'it'\"'\"'s'"), ("#x", "'#x'"), ("back\\", "'back\\'"), ("a\nb", "'a\nb'"),
    ("$HOME and 'x'", "'$HOME and '\"'\"'x'\"'\"''"),
    ("|", "|"), ("&&", "&&"), ("2>&1", "2>&1"), ("$[JOB+1]", "$[JOB+1]"), ("'x'", "'x'"), ("ark:-", "ark:-"),
])
def test_which_words_are_quoted(word, for_bash):
    assert parse_call(["x.log", word]).command_of(1) == for_bash


# ---- run.py

def test_an_array_writes_one_log_a_job(tmp_path):
    done = run_py(tmp_path, "JOB=1:3", "new/dir/x.JOB.log", "echo", "JOB of  3", "|", "sed", "s/of/out of/", "&&",
                  "echo", "it's", "$WHO", "&&", "printf", "unfinished", WHO="me")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    head, started, _, *_, accounting, ended = (tmp_path / "new/dir/x.2.log").read_text().splitlines()
    assert head == "# echo '2 of  3' | sed 's/of/out of/' && echo 'it'\"'\"'s' $WHO && printf unfinished"
    assert started.startswith("# Started at ")
    assert accounting == "# Accounting: time=0 threads=1"
    assert ended.startswith("# Ended (code 0) at ")
    for job in "123":
        assert output_of(tmp_path / f"new/dir/x.{job}.log") == [f"{job} out of  3", "it's me", "unfinished"]


def test_failing_jobs_are_counted_and_shown_and_the_others_run(tmp_path):
    done = run_py(tmp_path, "JOB=1:4", "x.JOB.log", "bash", "-c", 'echo job JOB >&2; [ JOB != 2 ] && [ JOB != 4 ]')
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert lines[0] == "run.py: 2 / 4 failed, log is in x.*.log"
    assert lines[1] == "run.py: x.2.log ended with code 1; its last lines:" and lines[3] == "    job 2"
    assert lines[4] == "run.py: x.4.log ended with code 1; its last lines:" and lines[6] == "    job 4"
    assert (tmp_path / "x.3.log").read_text().splitlines()[-1].startswith("# Ended (code 0) at ")
    assert (tmp_path / "x.4.log").read_text().splitlines()[-1].startswith("# Ended (code 1) at ")


def test_many_failures_are_named_but_not_all_shown(tmp_path):
    lines = run_py(tmp_path, "JOB=1:5", "x.JOB.log", "false").stderr.splitlines()
    assert lines[0] == "run.py: 5 / 5 failed, log is in x.*.log"
    assert lines[-1] == "run.py: the others that failed: x.4.log, x.5.log"


def test_a_job_killed_by_a_signal_says_which(tmp_path):
    done = run_py(tmp_path, "x.log", "bash", "-c", "kill -9 $$")
    assert done.returncode == 1
    assert done.stderr.splitlines()[:2] == [
        "run.py: 1 / 1 failed, log is in x.log",
        "run.py: x.log ended with code 137 (SIGKILL: out of memory?); its last lines:"]
    assert "# Ended (code 137) at " in (tmp_path / "x.log").read_text()


def test_signal_names():
    assert [signal_name(code) for code in (0, 1, 128, 139, 255)] == ["", "", "", "SIGSEGV", ""]


def test_a_pipe_fails_with_any_of_its_parts(tmp_path):
    assert run_py(tmp_path, "x.log", "false", "|", "true").returncode == 1


def test_max_jobs_run_bounds_the_jobs_at_a_time(tmp_path):
    """Each job leaves how many were running when it began; three at once would leave a 3."""
    count = 'echo >> running.JOB; ls running.* 2> /dev/null | wc -l; sleep 0.2; rm running.JOB'
    assert run_py(tmp_path, "--max-jobs-run", "2", "JOB=1:5", "x.JOB.log", "bash", "-c", count).returncode == 0
    at_once = [int(output_of(tmp_path / f"x.{job}.log")[0]) for job in range(1, 6)]
    assert max(at_once) == 2


def test_a_wrong_call_is_one_line(tmp_path):
    done = run_py(tmp_path, "JOB=1:2", "x.log", "echo")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "run.py: error: 2 jobs would write the one log x.log: put JOB in its name, e.g. x.JOB.log\n"


def test_a_log_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    done = run_py(tmp_path, "file/x.log", "echo")
    assert done.returncode == 1
    assert done.stderr == "run.py: error: file/x.log: this job cannot begin: file: File exists\n"


@pytest.mark.parametrize("runner", ["run.py", "slurm.py", "queue.py"])
def test_help_whose_reader_goes_away_early(runner):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, RUN_PY.with_name(runner), "--help"], stdout=writing, stderr=subprocess.PIPE,
                          text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_help(tmp_path):
    done = run_py(tmp_path, "--help")
    assert done.returncode == 0 and "run.py [options] [JOB=1:N] LOG COMMAND ARGS..." in done.stdout


def test_a_job_gets_neither_our_input_nor_the_guards_pipe(tmp_path):
    assert run_py(tmp_path, "x.log", "cat", "&&", "ls", "/proc/self/fd", "|", "xargs").returncode == 0
    assert output_of(tmp_path / "x.log") == ["0 1 2 3"]                    # 3 is the folder that ls reads


# ---- nothing outlives it

def asleep(seconds: str) -> int:
    """How many processes run `sleep seconds`; each test has seconds of its own."""
    found = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):                                 # it ended while we looked
            found += (process / "cmdline").read_text() == f"sleep\0{seconds}\0"
    return found


def wait_until(condition, seconds=8.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def heed_interrupts():
    """Before a command begins: it is ended by Ctrl-C as in a terminal, even where the tests run in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_job_outlives_the_runner(tmp_path, number):
    """Each job is a pipe, so that its processes are children of children."""
    seconds = f"60.{os.getpid()}{int(number)}"
    runner = subprocess.Popen([sys.executable, RUN_PY, "--max-jobs-run", "2", "JOB=1:3", "x.JOB.log",
                               "sleep", seconds, "|", "sleep", seconds, "|", "cat"],
                              cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts)
    assert wait_until(lambda: asleep(seconds) == 4)
    runner.send_signal(number)
    said = runner.communicate(timeout=20)[1]
    if number == signal.SIGKILL:
        assert wait_until(lambda: asleep(seconds) == 0)
        return
    assert asleep(seconds) == 0                                            # gone before the runner is
    assert runner.returncode == 128 + number
    assert said == f"run.py: stopped by {number.name}; its jobs were ended, log is in x.*.log\n"
    assert "# Ended (code 143) at " in (tmp_path / "x.1.log").read_text()
    assert not (tmp_path / "x.3.log").exists()


def test_a_job_that_ignores_sigterm_is_killed_after_the_grace(tmp_path, monkeypatch):
    monkeypatch.setattr(Guard, "GRACE_S", 1)
    seconds = f"61.{os.getpid()}"
    with Guard() as guard:
        guard.start(["bash", "-c", f"trap '' TERM; sleep {seconds}; true"])
        assert wait_until(lambda: asleep(seconds) == 1)
    assert wait_until(lambda: asleep(seconds) == 0)


def test_no_job_outlives_a_step_that_is_killed(tmp_path):
    seconds = f"62.{os.getpid()}"
    step = ("from pyspk.jobs import run_array\n"
            f"run_array(['run.py'], 2, 'x.JOB.log', ['sleep', '{seconds}'])")
    process = subprocess.Popen([sys.executable, "-c", step], cwd=tmp_path,
                               env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert wait_until(lambda: asleep(seconds) == 2)
    process.kill()
    process.wait()
    assert wait_until(lambda: asleep(seconds) == 0)


# ---- run_array, as a step uses it

ODD_WORDS = ["two  words", "it's", 'say "x"', "$HOME", "a|b", "*", "", "(x)", "ü ✓", "back\\slash", "tab\there", "~"]
SHOW = [sys.executable, "-c", "import sys; print(*map(ascii, sys.argv[1:]), sep='\\n')"]


@pytest.fixture
def other_runner(tmp_path, monkeypatch):
    """A function that puts a runner on PATH which does `body` (bash) and returns its name."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)

    def make(body: str) -> str:
        (tmp_path / "bin").mkdir()
        program = tmp_path / "bin" / "other.pl"
        program.write_text(f"#!/bin/bash\n{body}\n")
        program.chmod(0o755)
        return "other.pl"
    return make


def test_every_word_reaches_the_job_as_it_is(tmp_path):
    run_array(["run.py", "--mem", "4G"], 2, tmp_path / "log" / "x.JOB.log", [*SHOW, "job JOB", *ODD_WORDS])
    assert output_of(tmp_path / "log" / "x.2.log") == [ascii(word) for word in ["job 2", *ODD_WORDS]]


def test_every_word_reaches_the_job_by_a_runner_that_quotes_as_kaldi_does(tmp_path, other_runner):
    """Kaldi: words with blanks in double quotes, all others bare."""
    program = other_runner(r"""
        log=${2//JOB/1}; shift 2
        for word; do
          case $word in *[[:space:]]* | "") command+=" \"$word\"" ;; *) command+=" $word" ;; esac
        done
        bash -c "$command" > "$log"
        echo "# Ended (code $?) at noon" >> "$log"
        """)
    run_array([program], 1, tmp_path / "x.JOB.log", [*SHOW, *ODD_WORDS])
    assert (tmp_path / "x.1.log").read_text().splitlines()[:-1] == [ascii(word) for word in ODD_WORDS]


def test_another_name_for_the_job_leaves_the_usual_one_alone(tmp_path):
    run_array(["run.py"], 2, tmp_path / "JOB" / "x.NR.log", [*SHOW, "JOB", "NR"], job_name="NR")
    assert output_of(tmp_path / "JOB" / "x.2.log") == ["'JOB'", "'2'"]


def test_run_array_names_the_logs_that_failed(tmp_path, capfd):
    pattern = tmp_path / "x.JOB.log"
    with pytest.raises(UserError) as mistake:
        run_array(["run.py", "--mem", "4G"], 3, pattern, ["test", "JOB", "=", "2"])
    assert str(mistake.value) == (f"2 of 3 jobs failed, see {tmp_path}/x.1.log, {tmp_path}/x.3.log "
                                  "(run.py --mem 4G exited with code 1)")
    assert f"run.py: 2 / 3 failed, log is in {tmp_path}/x.*.log" in capfd.readouterr().err


def test_logs_of_an_earlier_run_prove_nothing(tmp_path, other_runner, monkeypatch):
    """A runner that does nothing and says that all is well, as slurm.pl does without a path.sh."""
    monkeypatch.setattr(array, "SETTLE_S", 0.1)
    (tmp_path / "x.1.log").write_text("# Ended (code 0) at noon\n")
    with pytest.raises(UserError) as mistake:
        run_array([other_runner("exit 0")], 1, tmp_path / "x.JOB.log", ["echo"])
    assert str(mistake.value) == (f"1 of 1 jobs failed, and wrote no log: {tmp_path}/x.1.log "
                                  "(other.pl exited with code 0)")


def test_a_log_may_be_late(tmp_path, other_runner):
    program = other_runner('(sleep 0.3; echo "# Finished at noon with status 0" > "$2") > /dev/null 2>&1 &')
    run_array([program], 1, tmp_path / "x.log", ["echo"])


def test_a_runner_that_fails_although_its_jobs_did_not(tmp_path, other_runner):
    program = other_runner('echo "# Ended (code 0) at noon" > "$2"; exit 3')
    with pytest.raises(UserError) as mistake:
        run_array([program], 1, tmp_path / "x.log", ["echo"])
    assert str(mistake.value) == f"other.pl exited with code 3, although each job ended well; see {tmp_path}/x.log"


@pytest.mark.parametrize(("command", "n_jobs", "message"), [
    (["quueue.pl"], 1, "quueue.pl: no such program on PATH; choose another job runner with --cmd, e.g. --cmd run.py"),
    ([], 1, "--cmd is empty; give it a job runner, e.g. --cmd run.py"),
    (["run.py"], 0, "the number of jobs (--nj) must be 1 or more, not 0"),
])
def test_calls_that_cannot_begin(tmp_path, command, n_jobs, message):
    with pytest.raises(UserError) as mistake:
        run_array(command, n_jobs, tmp_path / "x.JOB.log", ["echo"])
    assert str(mistake.value).startswith(message)


def test_last_lines_are_the_jobs_own(tmp_path):
    log = tmp_path / "x.log"
    body = "".join(f"line {number}\n" for number in range(20))
    log.write_text(f"# run\n# Started at noon\n#\n{body}# Accounting: time=0 threads=1\n# Ended (code 1) at noon\n")
    assert last_lines(log, 2) == ["line 18", "line 19"]
