"""Training on several processes equals training on one: what the processes of ranks.py say, and what starts them."""

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ranks
import torch
from conftest import environment
from torch.testing import assert_close

from pyspk.errors import UserError
from pyspk.training.launch import launch
from pyspk.training.nodes import Nodes
from pyspk.world import World, check_gpus, joined

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SIZES = (4, 2)      # in this order, so that what four processes saved is there for two


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """(FOLDER, size of the world -> exit code, and for each process: check -> "" or its traceback)."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.save(ranks.train_loss(World(), 3), ranks.saved_path(folder, 1))
    given = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment().items():
            patch.setenv(name, value)
        for size in SIZES:
            code = launch(size, CPU, [sys.executable, ranks.__file__, str(folder)], grace_s=10)
            given[size] = code, [json.loads((folder / f"{size}.{rank}.json").read_text()) for rank in range(size)]
    return folder, given


@pytest.mark.parametrize("check", ranks.CHECKS)
@pytest.mark.parametrize("size", SIZES)
def test_on_several_processes(size, check, answers):
    _, given = answers
    said = [of_rank.get(check, "not reached") for of_rank in given[size][1]]
    assert said == [""] * size, "\n".join(said)


def test_processes_whose_checks_hold_end_with_0(answers):
    assert [code for code, _ in answers[1].values()] == [0] * len(SIZES)


def test_what_four_processes_saved_goes_on_in_one(answers):
    folder, _ = answers
    got = ranks.train_loss(World(), 2, torch.load(ranks.saved_path(folder, 4)))
    assert_close(got, ranks.train_loss(World(), 5), rtol=1e-10, atol=1e-10)


# ---- a world


PLACE = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


@pytest.fixture
def place(monkeypatch):
    """place(RANK="0", ...): the environment of the second of two processes but for these; None: not set."""

    def set_place(**changes):
        monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
        for name, value in {**PLACE, **changes}.items():
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)

    return set_place


def test_without_torchruns_environment_a_process_is_alone(place):
    place(RANK=None)
    with joined(CPU) as world:
        assert world == World(0, 1, 0, CPU) and world.is_first and not torch.distributed.is_initialized()
        rows = torch.ones(3, 2, requires_grad=True)
        assert world.gather_rows(rows) is rows and world.sum_rows(rows) is rows and world.sum(rows) is rows
        assert world.rows_here(5) == slice(0, 5) and torch.equal(world.whole_rows(rows, 3), rows)
        assert world.any(True) and not world.any(False)


def test_one_process_of_torchrun_is_alone_too(place):
    place(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
    with joined(CPU) as world:
        assert world == World(0, 1, 0, CPU) and not torch.distributed.is_initialized()


@pytest.mark.parametrize(("changes", "said"), [
    ({"WORLD_SIZE": None, "MASTER_PORT": ""}, "RANK is set in the environment and WORLD_SIZE, MASTER_PORT is not"),
    ({"LOCAL_RANK": "first"}, "LOCAL_RANK=first in the environment: it must be a whole number"),
    ({"WORLD_SIZE": "-2"}, "WORLD_SIZE=-2 in the environment: it must be a whole number"),
    ({"RANK": "2"}, "RANK=2, LOCAL_RANK=1, WORLD_SIZE=2 in the environment"),
    ({"RANK": "0"}, "RANK=0, LOCAL_RANK=1, WORLD_SIZE=2 in the environment"),
])
def test_an_environment_that_makes_no_sense_is_an_error(place, changes, said):
    place(**changes)
    with pytest.raises(UserError, match=said), joined(CPU):
        pass


def test_a_first_process_that_cannot_be_reached_is_an_error(place):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))                       # bound, and nobody listens
        port = taken.getsockname()[1]
        place(MASTER_PORT=str(port))
        with pytest.raises(UserError, match=rf"process 1 of 2 .* at 127.0.0.1:{port} .*MASTER_PORT") as fault, \
                joined(CPU, timeout_s=0.5):
            pass
    assert "\n" not in str(fault.value)


def test_processes_and_gpus(place, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for n_processes, device in ((2, CUDA), (1, CUDA), (1, torch.device("cuda:1")), (9, CPU)):
        check_gpus(n_processes, device)
    with pytest.raises(UserError, match="3 processes want a GPU each and this machine has 2"):
        launch(3, CUDA, ["true"])
    with pytest.raises(UserError, match="--device cuda:1: several processes cannot share a GPU"):
        check_gpus(2, torch.device("cuda:1"))
    place(RANK="5", LOCAL_RANK="2", WORLD_SIZE="6")
    with pytest.raises(UserError, match="3 processes want a GPU each"), joined(CUDA):
        pass


# ---- what starts processes


def python(text: str, *args: object) -> list[str]:
    return [sys.executable, "-c", text, *map(str, args)]


def test_launch_says_to_each_who_it_is(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "OMP_NUM_THREADS")
    text = ("import os, pathlib, sys; pathlib.Path(sys.argv[1], os.environ['RANK'])"
            f".write_text(' '.join(map(os.environ.get, {names})))")
    assert launch(3, CPU, python(text, tmp_path)) == 0
    n_threads = max(1, os.cpu_count() // 3)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        str(rank): f"{rank} {rank} 3 127.0.0.1 {n_threads}" for rank in range(3)}


def test_launch_on_the_second_of_two_machines(tmp_path):
    (tmp_path / "meeting").write_text("node17 29500\n")
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    text = ("import os, pathlib, sys; pathlib.Path(sys.argv[1], os.environ['RANK'])"
            f".write_text(' '.join(map(os.environ.get, {names})))")
    assert launch(2, CPU, python(text, tmp_path), nodes=Nodes(2, 2, tmp_path / "meeting")) == 0
    assert [(tmp_path / rank).read_text() for rank in "23"] == ["2 0 4 node17 29500", "3 1 4 node17 29500"]


FIRST_FAILS = """
import os, signal, sys, time
if sys.argv[2] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(f"{sys.argv[1]}/{os.environ['RANK']}", "w").close()
while len(os.listdir(sys.argv[1])) < 3:
    time.sleep(0.01)
if os.environ["RANK"] == "0":
    sys.exit(7) if sys.argv[3] == "exits" else os.kill(os.getpid(), signal.SIGKILL)
time.sleep(100)
"""


@pytest.mark.parametrize(("others", "end", "code", "said"), [
    ("obedient", "exits", 7, "process 1 of 3 ended with code 7"),
    ("obedient", "dies", 128 + 9, "process 1 of 3 was ended by SIGKILL"),
    ("stubborn", "exits", 7, "process 1 of 3 ended with code 7"),
])
def test_when_one_process_ends_none_lives_on(tmp_path, caplog, others, end, code, said):
    started = time.monotonic()
    with caplog.at_level(logging.ERROR):
        assert launch(3, CPU, python(FIRST_FAILS, tmp_path, others, end), grace_s=0.3) == code
    assert time.monotonic() - started < 30 and caplog.messages == [said]


ALL_GET_THE_SIGNAL = """
import os, pathlib, signal, sys, time
folder, number, rank = pathlib.Path(sys.argv[1]), int(sys.argv[2]), os.environ["RANK"]
def note(number, frame):
    (folder / f"{rank} got it").touch()
    sys.exit(75)
signal.signal(number, note)
(folder / rank).touch()
while len(list(folder.glob("?"))) < 2:
    time.sleep(0.01)
if rank == "0":
    os.kill(os.getppid(), number)
time.sleep(100)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1], ids=lambda number: number.name)
def test_a_signal_reaches_every_process_and_the_exit_code_comes_back(tmp_path, number):
    before = signal.getsignal(number)
    assert launch(2, CPU, python(ALL_GET_THE_SIGNAL, tmp_path, int(number)), grace_s=20) == 75
    assert sorted(path.name for path in tmp_path.glob("* got it")) == ["0 got it", "1 got it"]
    assert signal.getsignal(number) is before


NONE_HEEDS_IT = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_DFL)
if os.environ["RANK"] == "0":
    os.kill(os.getppid(), int(sys.argv[1]))
time.sleep(100)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 99), (signal.SIGUSR1, 99)])
def test_a_signal_to_processes_that_have_just_begun_is_no_failure(number, code, caplog):
    assert launch(2, CPU, python(NONE_HEEDS_IT, int(number)), grace_s=20) == code and not caplog.messages


LAUNCHER = """
import sys, torch
from pyspk.training.launch import launch
from pyspk.training.nodes import Nodes
launch(2, torch.device("cpu"), [sys.executable, "-c", sys.argv[1], sys.argv[2]])
"""
A_STEP = """
import os, pathlib, sys, time
from pyspk.console import end_with_recipe
end_with_recipe()
pathlib.Path(sys.argv[1], os.environ["RANK"]).write_text(str(os.getpid()))
time.sleep(100)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's part in it is Linux's")
def test_processes_of_a_launcher_that_is_killed_end_too(tmp_path):
    launcher = subprocess.Popen(python(LAUNCHER, A_STEP, tmp_path), env=environment())
    wait_for(lambda: len(pids(tmp_path)) == 2)
    launcher.kill()
    launcher.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids(tmp_path)))


def pids(folder: Path) -> list[str]:
    return [text for path in folder.iterdir() if (text := path.read_text())]


def wait_for(condition, seconds: float = 30) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


ONE_FAILS = """
import os, torch, click
from pyspk.console import run
from pyspk.errors import UserError
from pyspk.world import joined

@click.command()
def main():
    with joined(torch.device("cpu")) as world:
        if world.is_first:
            raise UserError("this is wrong")
        world.any(False)

run(main)
"""


def test_a_process_that_others_leave_says_so_in_one_line(capfd):
    assert launch(2, CPU, python(ONE_FAILS), grace_s=20) == 1
    said = capfd.readouterr().err
    assert "error: this is wrong" in said and "Traceback" not in said
    assert re.search(r"error: process 2 of 2 lost another one \(.*\); what ended that one stands above", said), said


A_FAULT_HOLDS_A_NETWORK = """
import gc, torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from pyspk.errors import UserError
from pyspk.world import joined

def block():
    net = DistributedDataParallel(torch.nn.Linear(2, 2))
    cycle = [net]
    cycle.append(cycle)
    net(torch.ones(1, 2)).sum().backward()
    try:
        raise RuntimeError("inside")
    except RuntimeError:
        raise UserError("outside")

def look_and_end(end=dist.destroy_process_group):
    print(sum(isinstance(one, DistributedDataParallel) for one in gc.get_objects()), "networks are left", flush=True)
    end()

dist.destroy_process_group = look_and_end
try:
    with joined(torch.device("cpu")):
        block()
except UserError as fault:
    print(fault, flush=True)
"""


def test_no_network_outlives_the_group_whose_threads_it_would_wait_for(capfd):
    assert launch(2, CPU, python(A_FAULT_HOLDS_A_NETWORK), grace_s=20) == 0
    assert sorted(capfd.readouterr().out.splitlines()) == ["0 networks are left"] * 2 + ["outside"] * 2


def test_a_command_that_is_none_is_an_error():
    with pytest.raises(FileNotFoundError, match="no-such-command"):
        launch(2, CPU, ["no-such-command"])
