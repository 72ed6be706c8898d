"""Job arrays through a real Slurm and a real Grid Engine of one node, and what happens to jobs there.

make cluster starts both; where none runs, these tests are skipped.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest
from cluster import GridEngine, Slurm, wait_until
from conftest import ROOT, environment, wait_until_nothing_mentions, write_data_dir

from pyspk.jobs import exit_code

ENGINES = [Slurm(), GridEngine()]


@cache
def runs_here(engine) -> bool:
    """Whether it did when it was first asked: one that is installed and down takes seconds to say so."""
    return engine.is_up()


@pytest.fixture(scope="module")
def some_engine():
    """What runs here for comparison does so where there is something to compare it with."""
    if not any(map(runs_here, ENGINES)):
        pytest.skip("neither Slurm nor Grid Engine runs here; as root on Debian: make cluster")


@pytest.fixture(params=ENGINES, ids=lambda engine: engine.runner)
def engine(request):
    """An engine that runs, without jobs."""
    if not runs_here(request.param):
        pytest.skip(f"no {request.param.name} runs here; as root on Debian: make cluster")
    wait_until(lambda: not request.param.jobs(), 60)
    return request.param


@pytest.fixture
def start(engine, tmp_path):
    """start(words...) -> the engine's runner on its way, in a folder with a path.sh that sets MARK."""
    (tmp_path / "path.sh").write_text("export MARK='a mark'\n")
    started = []

    def call(*words: object) -> subprocess.Popen:
        started.append(subprocess.Popen([engine.runner, *map(str, words)], cwd=tmp_path, text=True,
                                        stderr=subprocess.PIPE, env=environment() | {"NOT_OURS": "1"},
                                        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)))
        return started[-1]

    yield call
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def run(start):
    """run(words..., code=1) -> what the engine's runner said, and how many seconds it took."""

    def call(*words: object, code: int = 0) -> tuple[str, float]:
        began = time.monotonic()
        return ended(start(*words), code), time.monotonic() - began

    return call


def ended(process: subprocess.Popen, code: int) -> str:
    """What it said. Asserts its exit code."""
    said = process.communicate(timeout=120)[1]
    assert process.returncode == code, said
    assert not re.search("^Traceback", said, re.MULTILINE)
    return said


def job_of(engine) -> str:
    """The number of the one job, once it is there."""
    return wait_until(engine.jobs)[0]


def body(log: Path) -> list[str]:
    """What the job itself wrote."""
    lines = log.read_text().splitlines()
    return [line for line in lines[lines.index("#") + 1:] if not line.startswith("# ")]


# ---- a row of facts each: how tasks end

TASK = """case JOB in
  1) echo "JOB of $MARK, $NOT_OURS" ;;
  2) echo two; exit 7 ;;
  3) kill -SEGV $$ ;;
  4) kill -KILL $$ ;;
  5) exit 99 ;;
  6) exit 100 ;;
  7) kill -KILL $PPID; sleep 20 ;;
esac"""


def test_every_way_to_end_is_told_in_seconds(engine, run, tmp_path):
    """An error, two signals, the codes that Grid Engine takes as orders, and a task that dies before it can tell."""
    said, seconds = run("JOB=1:7", "new/log/x.JOB.log", "bash", "-c", TASK, code=1)
    assert seconds < 25
    lines = said.splitlines()
    assert f"{engine.runner}: 6 / 7 failed, log is in new/log/x.*.log" in lines
    log, job = "new/log/x.%d.log", re.search(rf"{engine.name} job (\d+)", said)[1]
    start_of = f"{engine.runner}: task %d of {engine.name} job {job}: {log} ended with code %s; its last lines:"
    assert start_of % (2, 2, "7") in lines
    assert lines[lines.index(start_of % (3, 3, "139 (SIGSEGV)")) - 1] == "    two"
    assert start_of % (4, 4, "137 (SIGKILL: out of memory?)") in lines
    assert lines[-1] == f"{engine.runner}: the others that failed: " + ", ".join(log % task for task in (5, 6, 7))
    codes = [re.findall(r"^# Ended \(code (\d+)\)", (tmp_path / (log % task)).read_text(), re.MULTILINE)
             for task in range(1, 8)]
    assert codes == [["0"], ["7"], ["139"], ["137"], ["99"], ["100"], ["137"]]
    assert body(tmp_path / (log % 1)) == ["1 of a mark, "]
    assert re.search(r"# task 7 is (gone|over without a word)", (tmp_path / (log % 7)).read_text())
    assert sorted(path.name for path in (tmp_path / "new/q").glob("*")) == [".made", "x.JOB.sh"]
    wait_until(lambda: not engine.jobs())


def test_tasks_cancelled_from_outside_are_told_in_seconds(engine, start, tmp_path):
    """One that runs, and saves at SIGTERM as training does, and one that waits."""
    saves = f"trap 'echo saved; exit 99' TERM; echo here; while [ -d {tmp_path} ]; do sleep 0.2; done"
    runner = start("--max-jobs-run", 1, "JOB=1:2", "log/x.JOB.log", "bash", "-c", saves)
    log = tmp_path / "log/x.1.log"
    wait_until(lambda: log.exists() and "\nhere\n" in log.read_text())
    job, began = job_of(engine), time.monotonic()
    for task in (2, 1):
        engine.cancel(job, task)
    lines = ended(runner, 1).splitlines()
    assert time.monotonic() - began < 15
    failed = lines.index(f"{engine.runner}: 2 / 2 failed, log is in log/x.*.log")
    told = rf"was cancelled from outside|is gone: {engine.name} knows it no more .* killed or cancelled.*"
    assert re.match(rf"{engine.runner}: task 1 of {engine.name} job {job} ({told}); its log is log/x.1.log",
                    lines[failed + 1])
    assert "    here" in lines and any(f"task 2 of {engine.name} job {job} " in line for line in lines)
    assert exit_code(log) in (143, 137)      # not 99: it is not to be started again
    wait_until_nothing_mentions(tmp_path)


def test_a_job_is_warned_of_its_time_limit_by_the_engine_itself(engine, start, tmp_path):
    heeds = "trap 'echo warned; exit 99' USR1; echo here; while :; do sleep 0.2; done"
    runner, log = start(*engine.time_limit, "log/x.log", "bash", "-c", heeds, "|", "cat"), tmp_path / "log/x.log"
    wait_until(lambda: log.exists() and "\nhere\n" in log.read_text())
    engine.let_the_limit_come(job_of(engine))
    began = time.monotonic()
    assert "log/x.log ended with code 99 (it asks to be started again)" in ended(runner, 99)
    assert time.monotonic() - began < 45 and body(log) == ["here", "warned"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 2), (signal.SIGINT, 130)])
def test_what_was_submitted_is_cancelled_with_its_runner(engine, start, tmp_path, number, code):
    runner = start("JOB=1:3", "log/x.JOB.log", "sleep", f"6{int(number)}.5")
    wait_until((tmp_path / "log/x.1.log").exists)
    runner.send_signal(number)
    assert ended(runner, code).splitlines()[-1] == (
        f"{engine.runner}: stopped by {number.name}; its jobs were cancelled, log is in log/x.*.log")
    wait_until(lambda: not engine.jobs() and not processes(f"sleep 6{int(number)}.5"))


def test_what_a_killed_runner_left_is_cancelled_before_the_same_begins_again(engine, start, run, tmp_path):
    runner = start("JOB=1:2", "log/x.JOB.log", "bash", "-c", "[ -e second ] || sleep 67.5")
    wait_until((tmp_path / "log/x.1.log").exists)
    job = job_of(engine)
    runner.kill()
    runner.wait()
    assert engine.jobs() == [job]
    (tmp_path / "second").touch()
    said, _ = run("JOB=1:2", "log/x.JOB.log", "bash", "-c", "[ -e second ] || sleep 67.5")
    assert f"cancelling job {job} (pyspk-x-" in said and "which an earlier run of this left" in said
    wait_until(lambda: not processes("sleep 67.5"))


def processes(words: str) -> list[int]:
    """The processes whose command line is `words`."""
    found = subprocess.run(["pgrep", "-fx", words], capture_output=True, text=True).stdout
    return [int(pid) for pid in found.split()]


def test_two_runners_of_one_log(engine, start, run, tmp_path):
    start("log/x.log", "sleep", 8)
    wait_until((tmp_path / "log/x.log").exists)
    said, _ = run("log/x.log", "true", code=1)
    assert re.match(rf"{engine.runner}: error: process \d+ on \S+ is making q/x.sh at this moment; wait for it", said)


# ---- calls that an engine, or its runner, refuses

@pytest.mark.parametrize(("words", "said"), [
    (["--mem", "900G"], "does not take the job (no machine has what it asks for): "),
    (["--colour", "red"], "unknown option --colour; this runner without conf/"),
    (["--config", "no.conf"], "--config no.conf: no such file"),
    (["--patience", "long"], '--patience must be a whole number of seconds, not "long"'),
])
def test_what_is_refused_at_once(engine, run, tmp_path, words, said):
    complaint, seconds = run(*words, "log/x.log", "true", code=1)
    assert said in complaint and complaint.startswith(f"{engine.runner}: error: ") and complaint.count("\n") == 1
    assert seconds < 5 and not (tmp_path / "log").exists() and not engine.jobs()


def test_without_path_sh_nothing_is_submitted(engine, tmp_path):
    variables = {name: value for name, value in environment().items() if name != "PYSPK_ROOT"}
    done = subprocess.run([engine.runner, "x.log", "true"], cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert (done.returncode, list(tmp_path.iterdir())) == (1, [])
    assert done.stderr.startswith(f"{engine.runner}: error: no path.sh in {tmp_path}: jobs in a queue have no other")


def test_a_path_sh_that_fails_is_shown(engine, run, tmp_path):
    (tmp_path / "path.sh").write_text("echo this is wrong >&2; return 3\n")
    said, seconds = run("log/x.log", "true", code=1)
    assert "1 / 1 failed, log is in log/x.log" in said and "    this is wrong" in said and seconds < 15
    assert (tmp_path / "q" / "x.1.out").read_text() == "this is wrong\n"


def test_a_task_that_grid_engine_holds_in_error_is_told_and_taken_out(tmp_path):
    engine = ENGINES[1]
    if not runs_here(engine):
        pytest.skip("no Grid Engine runs here; as root on Debian: make cluster")
    (tmp_path / "path.sh").touch()
    done = subprocess.run([engine.runner, "-wd", tmp_path / "nowhere", "log/x.log", "true"], cwd=tmp_path,
                          env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and re.search(r"is over without a word of its own: Eqw: .*can't chdir to", done.stderr)
    wait_until(lambda: not engine.jobs())


# ---- machines

def test_a_job_over_its_memory(engine, run, tmp_path):
    (tmp_path / "some.conf").write_text(engine.conf_with_memory_limit())
    code = "import time; block = bytearray(2_000_000_000); print(sum(block[::4096])); time.sleep(30)"
    said, seconds = run("--config", "some.conf", "--mem", "500M", "log/x.log", sys.executable, "-S", "-c", code, code=1)
    assert "1 / 1 failed, log is in log/x.log" in said and seconds < 30
    assert "MemoryError" in said or re.search(r"OUT_OF_MEMORY|oom|[Ee]xceeded .*memory|SIGKILL|cancelled", said), said


def test_a_full_queue_is_waited_for(engine, run):
    engine.occupy(6)
    wait_until(engine.jobs)
    said, seconds = run("JOB=1:2", "log/x.JOB.log", "true")
    assert re.search(rf"{engine.runner}: 2 of 2 tasks wait in {engine.name}, job \d+: \w+", said) and seconds > 3


def test_a_node_that_is_drained_in_the_middle_and_comes_back(engine, start, tmp_path):
    runner = start("--max-jobs-run", 1, "JOB=1:2", "log/x.JOB.log", "sleep", 2)
    wait_until((tmp_path / "log/x.1.log").exists)
    try:
        engine.drain()
        wait_until(lambda: "Ended" in (tmp_path / "log/x.1.log").read_text())
        assert "tasks wait in" in runner.stderr.readline()
        assert not (tmp_path / "log/x.2.log").exists()
    finally:
        engine.resume()
    ended(runner, 0)
    assert "Ended (code 0)" in (tmp_path / "log/x.2.log").read_text()


@pytest.fixture
def controller(engine):
    """What the engine's script does to the daemon that is asked; it is there again afterwards."""

    def order(what: str) -> None:
        subprocess.run([engine.script, f"{what}-controller"], check=True, capture_output=True, timeout=60)

    yield order
    if not engine.is_up():
        order("start")


def test_an_engine_that_is_down_for_a_while(engine, start, controller, tmp_path):
    """Its tasks go on meanwhile, and what they did counts."""
    runner = start("--patience", 60, "JOB=1:2", "log/x.JOB.log", "sleep", 5)
    wait_until((tmp_path / "log/x.2.log").exists)
    controller("stop")
    said = runner.stderr.readline()
    assert re.match(rf"{engine.runner}: {engine.name} is down: .*; trying again for 60 s \(--patience\)", said), said
    controller("start")
    ended(runner, 0)


def test_an_engine_that_stays_down_is_given_up(engine, run, controller):
    controller("stop")
    said, seconds = run("--patience", 2, "log/x.log", "true", code=1)
    assert f"{engine.name} is down: " in said and "trying again for 2 s (--patience)" in said and seconds < 40
    assert "it has confirmed no job; the same command goes on from what is there" in said.splitlines()[-1]


def test_an_engine_that_is_slow_is_told_from_one_that_is_down(engine, controller, tmp_path):
    (tmp_path / "path.sh").touch()
    impatient = ("import sys; sys.argv[1:] = ['log/x.log', 'sleep', '4']; from pyspk.jobs import engine, runner;"
                 "from pyspk.jobs.supervision import run_in_queue;"
                 f"from pyspk.jobs.{type(engine).__name__.lower()} import {type(engine).__name__} as Engine;"
                 "engine._ANSWER_S = 1; runner.main('', lambda c: run_in_queue(Engine(), c, runner.complain), '', {})")
    process = subprocess.Popen([sys.executable, "-c", impatient], cwd=tmp_path, env=environment(), text=True,
                               stderr=subprocess.PIPE)
    wait_until((tmp_path / "log/x.log").exists)
    controller("pause")
    try:
        slow = rf"{engine.name} is slow: (squeue|qstat) has not answered"
        wait_until(lambda: re.search(slow, process.stderr.readline()))
    finally:
        controller("resume")
    assert process.wait(timeout=60) == 0


# ---- Kaldi's own

@pytest.mark.skipif("KALDI_ROOT" not in os.environ, reason="KALDI_ROOT is not set: Kaldi's own runners are not here")
def test_kaldis_own_runners_do_a_step(engine, tmp_path, recordings):
    data = write_data_dir(tmp_path / "data", recordings, ["s0", "s1"])
    (tmp_path / "path.sh").write_text(f". {ROOT}/path.sh\nexport PATH={environment()['PATH']}:$PATH\n")
    (tmp_path / "conf").mkdir()
    for command in ("run.pl", engine.kaldis, f"retry.pl {engine.kaldis}"):
        done = subprocess.run(["bash", "-c", '. ./path.sh && rm -f "$1/feats.scp" && make_fbank.py --cmd "$0" "$1"',
                               command, data], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and "wrote features of 12 utterances" in done.stderr, done.stderr


# ---- the recipe

SMALL = ["--device", "cpu", "--nj", "2", "--train-opts",
         "--set depth=18 --set channels=2 --set emb_dim=8 --set chunk_frames=40 --set batch_size=8 --set n_epochs=2 "
         "--set samples_per_epoch=0 --set warmup_epochs=1 --set margin_start_epoch=0 --set margin_full_epoch=1 "
         "--set valid_speakers=2 --set precision=float32 --set n_workers=1"]


@pytest.fixture(scope="module")
def recipe(recordings, tmp_path_factory):
    """recipe(options...) -> content of every file that egs/mini/run.sh writes, always in one place; its exit code is 0.
    """
    work = tmp_path_factory.mktemp("recipe") / "work"

    def call(*options: str) -> dict[str, bytes]:
        shutil.rmtree(work, ignore_errors=True)
        command = [ROOT / "egs/mini/run.sh", "--corpus-dir", recordings, "--work-dir", work, *SMALL, *options]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return {str(path.relative_to(work)): path.read_bytes() for path in sorted(work.rglob("*")) if path.is_file()
                and not {"log", "q", ".made"} & set(path.parts) and not path.match("last*.pt")
                and path.name != "report.html"}      # of the same numbers, and of when they were made

    return call


@pytest.fixture(scope="module")
def done_here(some_engine, recipe):
    return recipe()


def test_every_stage_gives_the_bytes_of_a_run_here(engine, done_here, recipe):
    done_there = recipe("--train-cmd", f"{engine.runner} --mem 1G", "--cuda-cmd", f"{engine.runner} --gpu 1 --mem 1G")
    assert done_there.keys() == done_here.keys() and len(done_here) > 40
    assert [name for name in done_here if done_there[name] != done_here[name]] == []


def test_after_a_failure_the_same_command_does_what_failed_and_no_more(engine, tmp_path, recordings):
    data = write_data_dir(tmp_path / "data", recordings, ["s0", "s1"])
    whole = (data / "wav.scp").read_text()
    (data / "wav.scp").write_text(whole.replace(f"{recordings}/s1/u3.wav", f"{tmp_path}/late.wav"))
    command = ["make_fbank.py", "--nj", "3", "--cmd", f"{engine.runner} --mem 1G", data]
    variables = {**environment(), "PYSPK_ROOT": str(ROOT)}
    first = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert first.returncode == 1 and "1 of 3 jobs failed" in first.stderr, first.stderr
    assert f"{engine.runner}: 1 / 3 failed" in first.stderr and "late.wav" in first.stderr
    shutil.copy(recordings / "s1/u3.wav", tmp_path / "late.wav")
    again = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    logs = [(data / f"log/raw_fbank_data.{job}.log").read_text() for job in (1, 2, 3)]
    assert ["is current" in log for log in logs] == [True, True, False]


# ---- training

@pytest.fixture(scope="module")
def train_here(some_engine, tmp_path_factory, recordings):
    """(words of a training by two processes, the reports of its epochs when they run here)."""
    folder = tmp_path_factory.mktemp("train_here")
    data = write_data_dir(folder / "data", recordings, ["s0", "s1", "s2", "s3"])
    subprocess.run(["make_fbank.py", "--nj", "1", data], env=environment(), check=True, capture_output=True)
    options = [option.replace("n_epochs=2", "n_epochs=15") for option in SMALL[SMALL.index("--train-opts") + 1].split()]
    words = ["train.py", *options, "--device", "cpu"]
    done = subprocess.run([*words, "--num-gpus", "2", data, folder / "exp"], env=environment(), capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    return [*words, "--num-nodes", "2", str(data)], losses(folder / "exp")


def losses(exp: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (exp / "log/train.jsonl").open()]


def test_training_by_two_tasks_that_are_warned_of_a_time_limit_goes_on_by_itself(engine, tmp_path, train_here):
    """With gloo: each task is one of the two machines. The losses are to the bit those of a run here never stopped."""
    words, wanted = train_here
    command = [*words, "exp", "--cmd", f"{engine.runner} --mem 1G"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment() | {"PYSPK_ROOT": str(ROOT)}, text=True,
                               stderr=subprocess.PIPE)
    log = tmp_path / "exp/log/train.1.log"
    wait_until(lambda: log.exists() and ": epoch 1/" in log.read_text(), 120)
    engine.warn(job_of(engine))
    said = ended(process, 0)
    assert re.search(r"the job was asked to end after epoch \d+, batch \d+; submitting it again", said), said
    assert "ended with code 99 (it asks to be started again)" in said
    assert "in 2 processes" in log.read_text() and "going on after" in log.read_text()
    assert losses(tmp_path / "exp") == wanted
