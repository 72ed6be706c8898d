"""train.py as a user runs it: several processes, fine-tuning, features on the device, signals."""

import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT, environment, wait_until_nothing_mentions, write_data_dir
from test_training import SMALL

from pyspk.errors import UserError
from pyspk.model import load_torch
from pyspk.nets.pooling import StatisticsPooling
from pyspk.tables.archive import ArchiveWriter
from pyspk.training import loop
from pyspk.training.checkpoint import how_far
from pyspk.training.config import to_toml
from pyspk.training.nodes import Nodes
from pyspk.world import World

# Relative: sums in another order are a matter of the last digit, which a network that learns fast makes more of. To all
# digits, in double precision: test_distributed.py.
LIKE_ONE = [1e-4, 1e-2, 1e-2]


@pytest.fixture
def train(step, data, tmp_path):
    """train(name, options..., code=0) -> (its output, reports of the epochs)."""
    (tmp_path / "a.toml").write_text(to_toml(SMALL))

    def call(name, *options, code=0, train_data=data.path):
        said = step("train.py", "--config", tmp_path / "a.toml", "--device", "cpu", *options, train_data,
                    tmp_path / name, code=code)
        log = tmp_path / name / "log" / "train.jsonl"
        return said, [json.loads(line) for line in log.open()] if log.exists() else []

    return call


@pytest.mark.parametrize("loss", ["sphere_speaker", "aam_softmax"])
def test_processes_that_share_a_batch_train_as_one_does(train, tmp_path, loss):
    alone = train("alone", "--set", f"loss={loss}")[1]
    said, together = train("together", "--set", f"loss={loss}", "--num-gpus", 4)
    assert "in 4 processes" in said and said.count("epoch 3/3") == 1
    for one, four, like_one in zip(alone, together, LIKE_ONE, strict=True):
        for name in ("loss", "lr", "margin"):
            assert four[name] == pytest.approx(one[name], rel=like_one), name
    assert "is current" in train("together", "--set", f"loss={loss}", "--num-gpus", 2)[0]


def test_a_run_goes_on_with_another_number_of_processes(train, data, tmp_path):
    command = ["train.py", "--config", tmp_path / "a.toml", "--device", "cpu", "--num-gpus", "2", data.path,
               tmp_path / "cut"]
    run = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    while "epoch 1/" not in run.stderr.readline():
        assert run.poll() is None
    run.send_signal(signal.SIGUSR1)
    said = run.communicate(timeout=120)[1]
    assert run.returncode == 99 and "Traceback" not in said, said
    assert "going on after" in train("cut")[0]
    alone = train("alone")[1]
    goes_on = [json.loads(line) for line in (tmp_path / "cut" / "log" / "train.jsonl").open()]
    for one, other, like_one in zip(alone, goes_on, LIKE_ONE, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=like_one)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_before_the_first_batch_asks_to_be_started_again(data, tmp_path, number):
    os.mkfifo(tmp_path / "a.toml")                             # whose reading takes as long as this test wants
    command = ["train.py", "--config", tmp_path / "a.toml", "--device", "cpu", data.path, tmp_path / "x"]
    run = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    with (tmp_path / "a.toml").open("w"):                      # opens when the other end is
        run.send_signal(number)
        said = run.communicate(timeout=60)[1]
    assert run.returncode == 99 and f"{number.name} came; the same command goes on from here" in said, said


TIME_LIMIT = f"""#!{sys.executable}
# A runner, in the call form of run.pl, that sends its first job SIGUSR1 after the first epoch, as a scheduler may.
import pathlib, signal, subprocess, sys, time
log, second = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[0] + ".second")
log.parent.mkdir(parents=True, exist_ok=True)
with log.open("w") as out:
    job = subprocess.Popen(sys.argv[3:], stdout=out, stderr=out)
    while not second.exists() and ": epoch 1/" not in log.read_text():
        time.sleep(0.05)
    if not second.exists():
        second.touch()
        job.send_signal(signal.SIGUSR1)
    code = job.wait()
    out.write("# Ended (code %d) at last\\n" % code)
sys.exit(code != 0)
"""


def runner(path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_a_job_that_is_asked_to_end_is_submitted_again_and_goes_on(train, data, tmp_path):
    alone = train("alone", "--set", "n_epochs=12")[1]
    said, reports = train("x", "--set", "n_epochs=12", "--cmd", runner(tmp_path / "limit.py", TIME_LIMIT))
    assert re.search(r"the job was asked to end after epoch \d+, batch \d+; submitting it again", said)
    assert "epoch 1/12" in said and "epoch 12/12" in said
    assert "going on after" in (tmp_path / "x" / "log" / "train.log").read_text()
    for one, other in zip(alone, reports, strict=True):
        assert one["loss"] == other["loss"]


def test_a_job_that_is_asked_to_end_without_progress_is_given_up(train, tmp_path):
    never = runner(tmp_path / "never.py", """#!/bin/bash
        echo "$2" >> "$0.calls"
        echo "# Ended (code 99) at once" > "$2"
        exit 99
        """)
    (tmp_path / "x" / "log").mkdir(parents=True)
    said, _ = train("x", "--cmd", never, code=99)
    log = tmp_path / "x" / "log" / "train.log"
    assert (f"the job was asked to end 3 times in a row before its first batch, without any progress ({log}), as by a "
            "time limit that is too short; the same command goes on from here") in said
    assert (tmp_path / "never.py.calls").read_text() == f"{log}\n" * 3


def test_a_job_that_someone_cancels_is_not_submitted_again(train, tmp_path):
    cancelled = runner(tmp_path / "cancelled.py", """#!/bin/bash
        echo "$2" >> "$0.calls"
        printf '# Ended (code 99) at noon\\n# task 1 was cancelled from outside\\n# Ended (code 143) at noon\\n' > "$2"
        exit 1
        """)
    (tmp_path / "x" / "log").mkdir(parents=True)
    said, _ = train("x", "--cmd", cancelled, code=1)
    assert "1 of 1 jobs failed, see " in said and len((tmp_path / "cancelled.py.calls").read_text().splitlines()) == 1


def test_two_machines_that_a_runner_starts_train_as_one_does(train, tmp_path):
    alone = train("alone")[1]
    said, together = train("together", "--cmd", "run.py --max-jobs-run 2", "--num-nodes", 2)
    assert said.count("epoch 3/3") == 1
    assert "in 2 processes" in (tmp_path / "together" / "log" / "train.1.log").read_text()
    for one, two, like_one in zip(alone, together, LIKE_ONE, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=like_one)
    assert not list((tmp_path / "together").glob(".meeting*"))


def test_how_far_a_run_has_come(tmp_path):
    assert how_far(tmp_path) is None
    torch.save({"progress": {"epoch": 3, "batch": 17}, "net": torch.ones(5)}, tmp_path / "last.pt")
    assert how_far(tmp_path) == (3, 17)
    (tmp_path / "last.pt").write_bytes(b"damaged")
    assert how_far(tmp_path) is None


def test_several_machines_need_a_runner(train):
    said, _ = train("x", "--num-nodes", 2, code=1)
    assert "--num-nodes needs --cmd, a runner that starts train.py on each machine" in said.splitlines()[-1]


def test_a_first_machine_that_does_not_come_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"machine 2 of 3 has waited 0 s for the first, which has not begun \(it"):
        Nodes(2, 3, tmp_path / "meeting").meet(1, patience_s=0.1)


def test_the_first_machine_says_where_it_is(tmp_path):
    host, port, held = Nodes(1, 2, tmp_path / "meeting").meet(1)
    assert held and (host, port, None) == Nodes(2, 2, tmp_path / "meeting").meet(1)
    assert host == socket.gethostname()


def test_a_batch_that_cannot_be_shared_is_refused_before_anything_begins(train, tmp_path):
    said, _ = train("x", "--num-gpus", 3, code=1)
    assert said.splitlines()[-1].startswith("train.py: error: batch_size = 8: it must be a multiple of 3")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("setting", "said"), [("t=-1", "SphereSpeaker t = -1"), ("depth=19", "depth 19: the depths"),
                                               ("margin=X", 'margin "X": the margins are')])
def test_what_network_and_loss_refuse_is_refused_before_anything_begins(train, tmp_path, setting, said):
    assert said in train("x", "--set", setting, code=1)[0].splitlines()[-1]
    assert not (tmp_path / "x").exists()


def test_processes_of_torchrun_submit_no_jobs(data, tmp_path):
    several = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    done = subprocess.run(["train.py", "--cmd", "run.py", data.path, tmp_path / "x"], env=environment() | several,
                          capture_output=True, text=True)
    assert done.returncode == 1 and "each process would submit a job; have the runner start torchrun" in done.stderr


def test_two_machines_with_folders_of_their_own_are_refused(train, data, tmp_path):
    """Two torchruns find each other, as on two machines; EXP_DIR, which they must share, is another one for each."""
    train("node1", "--set", "n_epochs=1")                           # so that there is a checkpoint on one only
    (tmp_path / "node1" / "final.pt").unlink()
    (tmp_path / "a.toml").write_text(to_toml(replace(SMALL, n_epochs=1)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = [subprocess.Popen(["python3", "-m", "torch.distributed.run", "--nnodes", "2", "--node-rank", str(node),
                               "--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port", str(port),
                               ROOT / "steps" / "train.py", "--begun", "--device", "cpu", "--config",
                               tmp_path / "a.toml", data.path, tmp_path / f"node{node}"], env=environment(),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for node in range(2)]
    said = "".join(node.communicate(timeout=120)[0] for node in nodes)
    assert all(node.returncode for node in nodes)
    assert "process 2 of 2 found the checkpoint or the data other than the first did" in said


def test_only_the_process_with_bad_features_complains_of_them(train, data):
    with ArchiveWriter(data.path / "f.ark", data.path / "feats.scp") as writer:
        for utt in data.utt2spk:
            writer.write(utt, np.full((30, 6), np.nan if utt == "s3-4" else 1.0) * np.arange(30)[:, None] ** 2)
    said, _ = train("x", "--num-gpus", 2, code=1)
    assert "the features of 1 utterances are not finite (s3-4); make them again" in said
    assert "the features of another process are not finite" in said and "diverged" not in said


def test_fine_tuning_begins_with_network_and_speakers_of_the_first_run(train, data, tmp_path):
    train("first")
    said, reports = train("tuned", "--init-model", tmp_path / "first", "--set", "n_epochs=1", "--set", "lr=1e-5",
                          "--set", "final_lr=1e-6", "--set", "margin_start_epoch=0", "--set", "margin_full_epoch=0",
                          "--set", "chunk_frames=28")
    assert "starting from the network of" in said and "with its weights of the speakers" in said
    first, tuned = (load_torch(tmp_path / name / "last.pt")["loss"]["weight"] for name in ("first", "tuned"))
    torch.testing.assert_close(tuned, first, rtol=0, atol=1e-3)
    assert reports[0]["margin"] == SMALL.m


@pytest.mark.parametrize("idle", [["--reset-classifier"], ["--resample", "true"], ["--channel", "0"]])
def test_an_option_that_would_do_nothing_is_refused(train, idle):
    needed = "init-model" if idle == ["--reset-classifier"] else "fbank-config"
    assert re.search(f"{idle[0]} .*needs? --{needed}", train("x", *idle, code=1)[0])


def test_a_run_made_anew_leaves_no_curves_of_the_old_one(train, data, tmp_path):
    train("x", "--set", "n_epochs=1")
    (tmp_path / "x" / "log" / "events.out.tfevents.1.host.2.0").touch()
    assert "n_epochs was 1, is 2" in train("x", "--set", "n_epochs=2", code=1)[0]
    (data.path / "f.ark").write_bytes((data.path / "f.ark").read_bytes()[:9000])
    said, reports = train("x", "--set", "n_epochs=2", "--overwrite", code=1)      # begins and fails
    assert "cut short" in said and not reports
    assert [path.name for path in (tmp_path / "x" / "log").iterdir()] == []


def test_speakers_that_are_new_need_new_weights(train, data, tmp_path):
    train("first", "--set", "valid_speakers=3")
    told = ("--init-model", tmp_path / "first", "--set", "valid_speakers=0", "--set", "n_epochs=1")
    said, _ = train("x", *told, code=1)
    assert "3 of 8 speakers were not trained there (s1, s4, s6); --reset-classifier begins with new" in said
    said, _ = train("y", *told, "--reset-classifier")
    assert "with new weights of the speakers" in said


def test_features_on_the_device_train_as_those_of_the_workers(train, recordings, tmp_path):
    data = write_data_dir(tmp_path / "waves", recordings, ["s0", "s1", "s2"])
    (tmp_path / "fbank.conf").write_text("--num-mel-bins=20\n")
    options = ("--fbank-config", tmp_path / "fbank.conf", "--set", "valid_speakers=0", "--set", "n_epochs=1")
    workers, device = (train(name, *options, "--frontend", name, train_data=data)[1] for name in ("workers", "device"))
    assert device[0]["loss"] == pytest.approx(workers[0]["loss"], rel=1e-3)
    assert "--frontend device needs --fbank-config" in train("x", "--frontend", "device", code=1)[0]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_trains_to_about_the_same_loss(train, precision):
    longer = ("--set", "n_epochs=12", "--set", "lr=0.03")      # float16's scaler leaves the first steps out
    full, half = (train(one, *longer, "--set", f"precision={one}")[1][-1]["loss"] for one in ("float32", precision))
    assert half == pytest.approx(full, rel=0.15) and half != full


def test_steps_that_float16_leaves_out_are_counted_and_not_in_the_mean(train):
    said, reports = train("x", "--set", "n_epochs=4", "--set", "lr=0.03", "--set", "precision=float16")
    n_out = reports[0]["left_out"]
    assert n_out > 0 and f"{n_out} steps left out by float16's scaler" in said
    assert all(done["grad_norm"] is None or math.isfinite(done["grad_norm"]) for done in reports)
    assert reports[-1]["left_out"] == 0 and reports[-1]["grad_norm"] > 0


def test_a_gradient_that_no_scale_makes_finite_stops_float16(data, tmp_path, monkeypatch):
    net = StatisticsPooling.forward
    monkeypatch.setattr(StatisticsPooling, "forward", lambda self, *maps: NoSlope.apply(net(self, *maps)))
    with pytest.raises(UserError, match=r"batch \d+: the gradient is not finite with the utterances s\d-\d"):
        loop.train(replace(SMALL, precision="float16", n_epochs=30), data, tmp_path / "x", World())


class NoSlope(torch.autograd.Function):
    """The identity, whose slope is no number."""

    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, slope):
        return slope * math.nan


TORCHRUN = ["python3", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
            ROOT / "steps" / "train.py", "--device", "cpu", "--config"]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's part in it is Linux's")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGUSR1])
def test_processes_of_a_torchrun_that_is_gone_save_and_end(data, tmp_path, number):
    (tmp_path / "a.toml").write_text(to_toml(replace(SMALL, n_epochs=2000)))
    with (tmp_path / "said").open("w") as said:
        run = subprocess.Popen([*TORCHRUN, tmp_path / "a.toml", data.path, tmp_path / "t"], env=environment(),
                               stderr=said)
    while "epoch 1/" not in (tmp_path / "said").read_text():
        assert run.poll() is None
        time.sleep(0.05)
    run.send_signal(number)
    assert run.wait() == -number
    give_up = time.monotonic() + 60
    while "SIGTERM came; the same command goes on from here" not in (tmp_path / "said").read_text():
        assert time.monotonic() < give_up
        time.sleep(0.05)
    wait_until_nothing_mentions(tmp_path)


def test_torchrun_starts_it_too(data, tmp_path):
    (tmp_path / "a.toml").write_text(to_toml(SMALL))
    done = subprocess.run([*TORCHRUN, tmp_path / "a.toml", data.path, tmp_path / "t"], env=environment(),
                          capture_output=True, text=True)
    assert done.returncode == 0 and (tmp_path / "t" / "final.pt").exists(), done.stderr
