"""The parts of the queues' runners that need no queue: their configuration, and what their commands say."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, environment

from pyspk.errors import UserError
from pyspk.jobs import gridengine, slurm
from pyspk.jobs.call import Call, parse_call
from pyspk.jobs.conf import load_conf, parse_conf
from pyspk.jobs.engine import Array, AwayError, FullError, Stand, View, ask, of_task
from pyspk.jobs.submission import Patience, Submission
from pyspk.jobs.task import read_status, write_status

CONF = """
# a comment
command qsub -v PATH -cwd  -l arch='*64*'   # and another
option mem=* -l mem_free=$0,ram_free=$0
option mem=0
default gpu=0
option gpu=0 -q all.q
option gpu=* -l gpu=$0 -q g.q
option allow_k20=true
option allow_k20=false -l 'hostname=!g01*&!g02*'
default allow_k20=true
"""


@pytest.mark.parametrize(("options", "added"), [
    ({}, "-q all.q"),
    ({"mem": "4G"}, "-q all.q -l mem_free=4G,ram_free=4G"),
    ({"mem": "0"}, "-q all.q"),
    ({"gpu": "2"}, "-l gpu=2 -q g.q"),
    ({"allow_k20": "false"}, "-q all.q -l hostname=!g01*&!g02*"),
])
def test_what_options_add_to_the_command(options, added):
    words = parse_conf(CONF, "queue.conf").words(options)
    assert words == ["qsub", "-v", "PATH", "-cwd", "-l", "arch=*64*", *added.split()]


@pytest.mark.parametrize(("options", "said"), [
    ({"num_threads": "2"}, "unknown option --num-threads; queue.conf knows --allow-k20, --gpu, --mem, and every runner "
                           "--config and --patience"),
    ({"allow_k20": "maybe"}, "--allow-k20 maybe: queue.conf knows true, false"),
])
def test_options_and_values_that_the_configuration_does_not_know(options, said):
    with pytest.raises(UserError) as mistake:
        parse_conf(CONF, "queue.conf").words(options)
    assert str(mistake.value) == said


@pytest.mark.parametrize(("text", "said"), [
    ("command qsub\noptions mem=* -l m=$0", 'queue.conf:2: "options mem=* -l m=$0" is none of: command WORDS, default'),
    ("command qsub\noption mem 4G", 'queue.conf:2: "option mem 4G" is none of: '),
    ("command qsub\ndefault gpu", 'queue.conf:2: "default gpu" is none of: '),
    ("command", 'queue.conf:1: "command" is none of: '),
    ("command qsub -l 'x", "queue.conf:1: no closing quotation"),
    ("option mem=0", "queue.conf: no line says how to submit a job, e.g. command qsub -cwd"),
])
def test_lines_that_are_none_of_the_grammar(text, said):
    with pytest.raises(UserError) as mistake:
        parse_conf(text, "queue.conf")
    assert str(mistake.value).startswith(said)


def test_where_the_configuration_comes_from(tmp_path):
    usual = tmp_path / "queue.conf"
    assert load_conf(None, usual, "command built-in").command == ("built-in",)
    usual.write_text("command usual\n")
    (tmp_path / "given").write_text("command given\n")
    assert load_conf(None, usual, "command built-in").command == ("usual",)
    assert load_conf(str(tmp_path / "given"), usual, "command built-in").command == ("given",)
    with pytest.raises(UserError, match="--config nowhere: no such file"):
        load_conf("nowhere", usual, "command built-in")


@pytest.mark.parametrize(("engine", "options", "words"), [
    (slurm.Slurm, {"mem": "4G", "num_threads": "2", "gpu": "1", "time": "1:00:00"},
     "--mem-per-cpu 4G --cpus-per-task 2 --gres=gpu:1 --time 1:00:00 --signal=B:USR1@90"),
    (slurm.Slurm, {"mem": "0", "gpu": "0", "max_jobs_run": "3"}, ""),
    (gridengine.GridEngine, {"mem": "4G", "num_threads": "2", "gpu": "1", "max_jobs_run": "3"},
     "-l mem_free=4G -pe smp 2 -l gpu=1 -tc 3"),
    (gridengine.GridEngine, {"num_threads": "1", "gpu": "0"}, ""),
])
def test_the_built_in_configurations(engine, options, words):
    conf = parse_conf(engine.built_in_conf, engine.name)
    assert conf.words(options) == [*conf.command, *words.split()]


def test_the_configuration_that_the_documentation_shows():
    blocks = (ROOT / "docs" / "cluster.md").read_text().split("\n\n")
    (shown,) = [block for block in blocks if "command sbatch" in block]
    words = parse_conf(shown, "docs/cluster.md").words({"mem": "4G", "gpu": "2", "time": "10:00"})
    assert " ".join(words) == ("sbatch --export=PATH --account=speech --partition gpu --gres=gpu:2 --mem-per-cpu 4G "
                               "--time 10:00 --signal=B:USR1@90")


@pytest.mark.parametrize(("limit", "warned"), [
    ("h_rt=3600", ["-l", "s_rt=3510"]), ("h_rt=24:00:00", ["-l", "s_rt=86310"]), ("mem_free=4G,h_rt=10:00",
                                                                               ["-l", "s_rt=510"]),
    ("h_rt=180", []), ("h_rt=3600,s_rt=1800", []), ("mem_free=4G", []),
])
def test_grid_engine_warns_of_a_time_limit(limit, warned):
    assert gridengine._warning(("qsub", "-l", limit)) == warned


@pytest.mark.parametrize(("state", "reason", "stand"), [
    ("PENDING", "Resources", Stand.WAITS), ("PENDING", "Priority", Stand.WAITS), ("RUNNING", "None", Stand.RUNS),
    ("COMPLETING", "None", Stand.RUNS), ("COMPLETED", "None", Stand.OVER), ("TIMEOUT", "TimeLimit", Stand.OVER),
    ("PENDING", "launch_failed_requeued_held", Stand.OVER), ("PENDING", "DependencyNeverSatisfied", Stand.OVER),
])
def test_how_slurms_states_are_read(state, reason, stand):
    words = state if reason == "None" else f"{state} ({reason})"
    assert slurm._view(state, reason) == View(stand, words) and not View(stand, words).is_cancelled
    assert slurm._view("CANCELLED", "None").is_cancelled


# ---- what an engine's commands say: the sentences are those that they were seen to say

def command(tmp_path, name: str, said: str, code: int) -> str:
    path = tmp_path / name
    path.write_text(f"#!/bin/bash\ncat >&2 <<'END'\n{said}\nEND\nexit {code}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(("engine", "said", "fault", "words"), [
    (slurm.Slurm, "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
     AwayError, "Slurm is down: sbatch: error: Batch job submission failed: Unable to contact slurm controller"),
    (slurm.Slurm, "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, "
     "user's size and/or time limits)", FullError, "sbatch: error: Batch job submission failed: Job violates"),
    (slurm.Slurm, "sbatch: error: Memory specification can not be satisfied\nsbatch: error: Batch job submission",
     UserError, "Slurm does not take the job (no machine has what it asks for): sbatch: error: Memory"),
    (gridengine.GridEngine, "error: commlib error: got select error (Connection refused)\nUnable to run job: unable to "
     "send message to qmaster using port 6444 on host \"vm\": got send error.", AwayError,
     "Grid Engine is down: error: commlib error: got select error (Connection refused) Unable to run job"),
    (gridengine.GridEngine, "Unable to run job: job rejected: Only 100 jobs are allowed per user (current job count: "
     "100).\nExiting.", FullError, "Unable to run job: job rejected: Only 100 jobs"),
    (gridengine.GridEngine, "Unable to run job: error: no suitable queues\nExiting.", UserError,
     "Grid Engine does not take the job (no machine has what it asks for): Unable to run job"),
    (gridengine.GridEngine, "Unable to run job: unknown resource \"men_free\".\nExiting.", UserError,
     "Grid Engine does not take the job: Unable to run job: unknown resource"),
])
def test_why_a_job_is_not_taken(tmp_path, engine, said, fault, words):
    program = command(tmp_path, "submit", said, 1)
    with pytest.raises(fault) as raised:
        engine().submit(Array("name", (program, "-x"), Path("q/x.sh"), "q/x.TASK.out", range(1, 3), None))
    assert str(raised.value).startswith(words)


@pytest.mark.parametrize(("engine", "answer", "output"), [
    (slurm.Slurm, "7", "--output=/MULTITASK/50%%/q/TASKS.%a.out"),
    (gridengine.GridEngine, "7.1-2:1", "/MULTITASK/50%/q/TASKS.$TASK_ID.out")])
def test_folders_and_logs_may_be_called_task(tmp_path, engine, answer, output):
    program = tmp_path / "submit"
    program.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" > {tmp_path}/given\necho {answer}\n')
    program.chmod(0o755)
    array = Array("name", (str(program),), Path("q/x.sh"), "/MULTITASK/50%/q/TASKS.TASK.out", range(1, 3), None)
    assert engine().submit(array) == "7"
    assert output in (tmp_path / "given").read_text().splitlines()
    assert of_task("MULTITASK/q/TASKS.TASK.status", "3") == "MULTITASK/q/TASKS.3.status"


@pytest.mark.parametrize(("said", "views"), [("slurm_load_jobs error: Invalid job id specified", {}),
                                             ("slurm_load_jobs error: Access/permission denied", None)])
def test_only_a_job_that_slurm_does_not_know_is_gone(tmp_path, monkeypatch, said, views):
    command(tmp_path, "squeue", said, 1)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    if views is None:
        with pytest.raises(AwayError, match="Slurm does not say how its jobs stand: slurm_load_jobs error: Access"):
            slurm.Slurm().look("7")
    else:
        assert slurm.Slurm().look("7") == views and slurm.Slurm().find("x") is None


def test_a_machine_without_the_engines_commands():
    with pytest.raises(UserError, match=r"no-such-qstat: no such program on PATH; jobs of Slurm are submitted from a"):
        ask(["no-such-qstat"], "Slurm", "x")


def test_patience_with_an_engine_that_is_away(monkeypatch):
    now, said = [100.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    engine_is = Patience(60, said.append)
    engine_is.away("Slurm is down", "")
    now[0] += 30
    engine_is.away("Slurm is down", "")
    engine_is.back()
    assert said == ["Slurm is down; trying again for 60 s (--patience)", "it answers again, after 30 s"]
    engine_is.away("Slurm is down", "")
    now[0] += 61
    with pytest.raises(UserError) as mistake:
        engine_is.away("Slurm is down", "2 tasks may run")
    assert str(mistake.value) == ("Slurm is down; it has been away for 61 s: 2 tasks may run; the same command goes on "
                                  "from what is there")


# ---- a task and its status

@pytest.mark.parametrize(("log", "folder", "name"), [
    ("exp/log/x.JOB.log", "exp/q", "x.3.out"), ("exp/x.JOB.log", "exp/q", "x.3.out"), ("x.JOB.log", "q", "x.3.out"),
    ("log/JOB/x.log", "log/JOB/q", "x.3.out"), ("exp/log/JOB.log", "exp/q", ".3.out"),
])
def test_where_scripts_and_what_tasks_say_lie(log, folder, name):
    submission = Submission(slurm.Slurm(), parse_call(["JOB=1:4", log, "true"]), print)
    assert submission.out_of(3) == Path(folder, name)
    assert submission.name.startswith("pyspk-")


def test_a_status_is_for_one_submission_only(tmp_path):
    write_status(tmp_path / "x.1.status", "pyspk-x-1", 137, 15)
    assert read_status(tmp_path / "x.1.status", "pyspk-x-1") == (137, 15)
    assert read_status(tmp_path / "x.1.status", "pyspk-x-2") is None
    assert read_status(tmp_path / "x.2.status", "pyspk-x-1") is None
    (tmp_path / "x.1.status").write_text("half")
    assert read_status(tmp_path / "x.1.status", "pyspk-x-1") is None


def test_a_call_survives_its_way_to_the_task():
    call = parse_call(["--mem", "4G", "-pe", "smp", "2", "J=2:5", "log/x.J.log", "echo", "two  words", "\udcff"])
    again = Call.from_json(call.to_json())
    assert again.command_of(3) == call.command_of(3) and again.log_of(4) == call.log_of(4) and again.jobs == range(2, 6)


@pytest.fixture
def task(tmp_path):
    """task(command) -> the process that runs it as a queue's task number 2 does."""
    import json

    def call(*words: str) -> subprocess.Popen:
        about = {"name": "n", "status": str(tmp_path / "TASK.status"),
                 "call": parse_call(["JOB=1:2", str(tmp_path / "JOB.log"), *words]).to_json()}
        process = subprocess.Popen([sys.executable, "-c", "from pyspk.jobs.task import main; main()", "2"],
                                   env=environment(), stdin=subprocess.PIPE, text=True)
        process.stdin.write(json.dumps(about))
        process.stdin.close()
        return process

    return call


def test_a_task_tells_its_end_and_leaves_with_0(task, tmp_path):
    assert task("bash", "-c", "exit 100").wait(timeout=30) == 0
    assert (tmp_path / "2.status").read_text() == "n 100 0\n"
    assert "# Ended (code 100)" in (tmp_path / "2.log").read_text()


def test_a_task_that_cannot_write_its_log_says_so_and_fails(task, tmp_path, capfd):
    (tmp_path / "2.log").mkdir()
    assert task("true").wait(timeout=30) == 0
    assert (tmp_path / "2.status").read_text() == "n 1 0\n"
    assert "2.log: this job cannot begin: " in capfd.readouterr().err


HEEDS = "trap 'echo heard; exit 99' USR1; echo ready; while :; do sleep 0.05; done"
HEEDS_LATE = f"echo ready; sleep 2; {HEEDS}"      # as a program does that is still loading


@pytest.mark.parametrize(("number", "words", "status"), [
    (signal.SIGUSR1, ["sleep", "2", "&&", "bash", "-c", "echo ready"], f"n 0 {int(signal.SIGUSR1)}\n"),
    (signal.SIGUSR1, ["bash", "-c", HEEDS, "|", "cat"], f"n 99 {int(signal.SIGUSR1)}\n"),
    (signal.SIGUSR1, ["bash", "-c", HEEDS_LATE], f"n 99 {int(signal.SIGUSR1)}\n"),
    (signal.SIGTERM, ["bash", "-c", "echo ready; sleep 60"], f"n 143 {int(signal.SIGTERM)}\n"),
])
def test_a_warning_reaches_who_heeds_it_and_an_order_all(task, tmp_path, number, words, status):
    """A warning would end the others: sleep, bash and cat here."""
    process = task(*words)
    log = tmp_path / "2.log"
    give_up = time.monotonic() + 20
    while not log.exists() or ("ready" not in log.read_text().splitlines() and words[0] != "sleep"):
        assert time.monotonic() < give_up
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(timeout=30) == 0
    assert (tmp_path / "2.status").read_text() == status
