"""Training stopped at any moment, in any way, and started again ends with the weights of a run never stopped."""

import fcntl
import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import environment
from test_training import SMALL

from pyspk.errors import StartAgainError, UserError
from pyspk.frontend import Frontend
from pyspk.model import FINAL, load_torch
from pyspk.training import checkpoint, loop
from pyspk.training.checkpoint import Checkpoints
from pyspk.training.config import to_toml
from pyspk.training.steps import Stepper
from pyspk.waves import WaveReader
from pyspk.world import World

CONFIG = replace(SMALL, average_epochs=2)      # 3 epochs of 5 batches (36 of 48 utterances, by 8)
N_BATCHES = 15


@pytest.fixture(autouse=True)
def no_nohup():
    """SIGHUP is not ignored, as it is where nohup runs the tests."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def train(data, folder, config=CONFIG):
    loop.train(config, data, folder, World())
    return (folder / FINAL).read_bytes()


@pytest.fixture
def whole(data, tmp_path):
    """final.pt of a run that nothing stopped."""
    return train(data, tmp_path / "whole")


def before_step(monkeypatch, act):
    """Have act(n) called before the n-th step of this process."""
    step, n = Stepper.step, iter(range(10**6))

    def patched(self, *arguments):
        act(next(n))
        return step(self, *arguments)

    monkeypatch.setattr(Stepper, "step", patched)


def reports(folder):
    """log/train.jsonl without what a clock says."""
    timed = ("samples_per_s", "waited_share")
    lines = [json.loads(line) for line in (folder / "log" / "train.jsonl").open()]
    return [{key: value for key, value in line.items() if key not in timed} for line in lines]


def test_the_same_run_twice_gives_the_same_bytes(data, tmp_path, whole):
    assert train(data, tmp_path / "again") == whole


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("n_done", [0, 4, 7, N_BATCHES - 1])      # first, last of an epoch, in the middle, very last
def test_a_signal_is_heeded_after_the_batch_and_nothing_is_lost(data, tmp_path, whole, monkeypatch, number, n_done):
    with monkeypatch.context() as patch:
        before_step(patch, lambda n: os.kill(os.getpid(), number) if n == n_done else None)
        with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else StartAgainError):
            train(data, tmp_path / "cut")
    with monkeypatch.context() as patch:
        steps = []
        before_step(patch, steps.append)
        assert train(data, tmp_path / "cut") == whole
    assert len(steps) == N_BATCHES - (n_done + 1)                 # no batch twice
    assert reports(tmp_path / "cut") == reports(tmp_path / "whole")
    assert signal.getsignal(number) is not None and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


class Killed(BaseException):
    """Nothing in the program catches this: as if the process were gone."""


@pytest.mark.parametrize("every_batch", [True, False])
def test_killed_within_an_epoch_it_goes_on_from_the_last_checkpoint(data, tmp_path, whole, monkeypatch, every_batch):
    config = replace(CONFIG, checkpoint_minutes=1e-9 if every_batch else 60.0)

    def kill(n):
        if n == 8:
            raise Killed

    with monkeypatch.context() as patch:
        before_step(patch, kill)
        with pytest.raises(Killed):
            train(data, tmp_path / "cut", config)
    with monkeypatch.context() as patch:
        steps = []
        before_step(patch, steps.append)
        assert train(data, tmp_path / "cut", config) == whole
    assert len(steps) == N_BATCHES - (8 if every_batch else 5)


@pytest.mark.parametrize("moment", [(Checkpoints, "_write"), (loop, "validation_eer"), (loop, "keep_epoch"),
                                    (loop, "save_model"), (loop, "write_lines")], ids=lambda moment: moment[1])
def test_killed_between_the_batches_it_goes_on_too(data, tmp_path, whole, monkeypatch, moment):
    """Once before what happens there, and, having gone on, once after it."""
    place, name = moment
    act, kills = getattr(place, name), iter([True, False, True])

    def dying(*arguments):
        if next(kills, False):
            raise Killed
        answer = act(*arguments)
        if next(kills, False):
            raise Killed
        return answer

    monkeypatch.setattr(place, name, dying)
    for _ in range(2):
        with pytest.raises(Killed):
            train(data, tmp_path / "cut")
    assert train(data, tmp_path / "cut") == whole
    assert reports(tmp_path / "cut") == reports(tmp_path / "whole")


def test_killed_as_a_checkpoint_gets_its_name_the_one_before_is_taken(data, tmp_path, whole, monkeypatch, caplog):
    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        before_step(patch, lambda n: patch.setattr(checkpoint, "commit", killed) if n == N_BATCHES - 1 else None)
        with pytest.raises(Killed):
            train(data, tmp_path / "cut")
    assert not (tmp_path / "cut" / "last.pt").exists()
    with caplog.at_level(logging.INFO):
        assert train(data, tmp_path / "cut") == whole
    assert "last.pt: not there; going on from the checkpoint before it, last.1.pt" in caplog.text


def test_dither_that_the_device_adds_is_the_same_after_going_on(make_data, tmp_path, monkeypatch):
    conf = {"dither": "1", "num-mel-bins": "20"}
    data = make_data(conf)
    config = replace(CONFIG, n_epochs=1, samples_per_epoch=40, valid_speakers=0, average_epochs=1)

    def run(name):
        loop.train(config, data, tmp_path / name, World(), None, WaveReader(data, conf), Frontend(conf))
        return (tmp_path / name / FINAL).read_bytes()

    with monkeypatch.context() as patch:
        before_step(patch, lambda n: os.kill(os.getpid(), signal.SIGTERM) if n == 1 else None)
        with pytest.raises(StartAgainError):
            run("cut")
    assert run("cut") == run("whole")


def test_nohup_means_what_it_says(data, tmp_path, monkeypatch, whole):
    was = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        before_step(monkeypatch, lambda n: os.kill(os.getpid(), signal.SIGHUP) if n == 2 else None)
        assert train(data, tmp_path / "cut") == whole
    finally:
        signal.signal(signal.SIGHUP, was)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_to_the_whole_group_reaches_the_readers_of_data_too(data, tmp_path, number):
    config = replace(CONFIG, n_epochs=200, n_workers=2)
    (tmp_path / "a.toml").write_text(to_toml(config))
    command = ["train.py", "--config", tmp_path / "a.toml", "--device", "cpu", data.path, tmp_path / "cut"]
    run = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True)
    while "epoch 3/" not in run.stderr.readline():
        assert run.poll() is None
    os.killpg(run.pid, number)
    said = run.communicate(timeout=60)[1]
    assert run.returncode == (130 if number == signal.SIGINT else 99), said
    assert "the same command goes on from here" in said and "Traceback" not in said
    assert (tmp_path / "cut" / "last.pt").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's part in it is Linux's")
def test_readers_of_data_end_with_a_training_that_is_killed(data, tmp_path):
    (tmp_path / "a.toml").write_text(to_toml(replace(CONFIG, samples_per_epoch=10**6, n_workers=2,
                                                     checkpoint_minutes=1e-9)))
    command = ["train.py", "--config", tmp_path / "a.toml", "--device", "cpu", data.path, tmp_path / "cut"]
    run = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
    while not (tmp_path / "cut" / "last.pt").exists():      # in the middle of an epoch
        assert run.poll() is None
        time.sleep(0.01)
    run.kill()
    run.wait()
    with (tmp_path / "cut" / ".made" / ".final.pt.lock").open() as lock:      # the next run waits 3 s for it
        give_up = time.monotonic() + 2
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                assert time.monotonic() < give_up
                time.sleep(0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the readers in /proc")
def test_a_reader_of_data_that_dies_is_said(data, tmp_path):
    (tmp_path / "a.toml").write_text(to_toml(replace(CONFIG, samples_per_epoch=10**6, n_workers=1,
                                                     checkpoint_minutes=1e-9)))
    command = ["train.py", "--config", tmp_path / "a.toml", "--device", "cpu", data.path, tmp_path / "cut"]
    run = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "cut" / "last.pt").exists():      # in the middle of an epoch
        assert run.poll() is None
        time.sleep(0.01)
    children = " ".join(path.read_text() for path in Path(f"/proc/{run.pid}/task").glob("*/children")).split()
    readers = [int(pid) for pid in children if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert readers
    for pid in readers:
        os.kill(pid, signal.SIGKILL)
    said = run.communicate(timeout=60)[1]
    assert run.returncode == 1 and "Traceback" not in said, said
    assert re.search(r"error: a process that reads data died .*lower n_workers", said.splitlines()[-1])


def test_a_second_ctrl_c_does_not_wait(data, tmp_path, monkeypatch):
    def twice(_n):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    before_step(monkeypatch, twice)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "cut")
    assert not (tmp_path / "cut" / "last.pt").exists()


def test_a_checkpoint_that_cannot_be_read_is_said_and_the_one_before_it_taken(data, tmp_path, whole, caplog):
    folder = tmp_path / "cut"
    train(data, folder)
    (folder / FINAL).unlink()
    assert sorted(path.name for path in folder.glob("last*")) == ["last.1.pt", "last.pt"]
    (folder / "last.pt").write_bytes((folder / "last.pt").read_bytes()[:-900])
    with caplog.at_level(logging.INFO):
        assert train(data, folder) == whole
    assert re.search(r"cut/last\.pt: cannot be read.*; going on from the checkpoint before it", caplog.text)
    assert "going on after 1 epochs and 5 batches" in caplog.text


def test_all_checkpoints_damaged_is_an_error(data, tmp_path):
    for name in ("last.pt", "last.1.pt"):
        (tmp_path / name).write_bytes(b"PK nonsense")
    with pytest.raises(UserError, match=r"last\.1\.pt: cannot be read"):
        train(data, tmp_path)


def test_data_that_shrank_is_refused(data, tmp_path):
    train(data, tmp_path / "a")
    for table in (data.path / "utt2spk", data.path / "feats.scp"):
        table.write_text("".join(table.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(UserError, match=r"last\.pt: the training data had 36 utterances then, and 35 now; restore"):
        loop.train(CONFIG, type(data)(data.path), tmp_path / "a", World())


def test_the_best_epoch_is_there_when_going_on_an_eer_comes_out_otherwise(data, tmp_path, monkeypatch):
    eers = iter([0.3, 0.2, 0.31, 0.4])                            # epochs 1, 2 and, as a GPU may have it, 2 anew, 3
    monkeypatch.setattr(loop, "validation_eer", lambda *_: next(eers))

    def kill(n):
        if n == 10:
            raise Killed

    config = replace(CONFIG, average_epochs=1, average_of="best")
    with monkeypatch.context() as patch:
        before_step(patch, kill)
        with pytest.raises(Killed):
            train(data, tmp_path / "cut", config)
    train(data, tmp_path / "cut", config)
    best = load_torch(tmp_path / "cut" / "epochs" / "0001.pt")["weights"]
    final = load_torch(tmp_path / "cut" / FINAL)["weights"]
    assert all(torch.equal(final[name], value) for name, value in best.items())


def test_a_mean_whose_part_is_gone_is_an_error(data, tmp_path):
    train(data, tmp_path / "a")
    (tmp_path / "a" / "epochs" / "0002.pt").unlink()
    with pytest.raises(UserError, match=r"0002\.pt: no such file, but final\.pt is the mean of .* the epochs 2, 3"):
        train(data, tmp_path / "a")


@pytest.mark.parametrize(("n_processes", "n_workers", "n_kills"), [(1, 0, 10), (1, 1, 2), (2, 0, 2)])
def test_killed_at_random_moments(data, tmp_path, n_processes, n_workers, n_kills):
    """kill -9 of the real program; what it ends with equals an undisturbed run, and nothing else is left."""
    config = replace(CONFIG, n_epochs=10 * n_kills, margin_full_epoch=5, checkpoint_minutes=1e-9, n_workers=n_workers)
    (tmp_path / "a.toml").write_text(to_toml(config))

    def start(name):
        command = ["train.py", "--config", tmp_path / "a.toml", "--device", "cpu", "--num-gpus", str(n_processes),
                   data.path, tmp_path / name]
        return subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)

    draw, n_killed = random.Random(0), 0
    while not (tmp_path / "cut" / FINAL).exists():
        run = start("cut")
        if n_killed < n_kills:
            while "epoch" not in (said := run.stderr.readline()):      # it has begun, or goes on
                assert said, "it ended by itself"
            time.sleep(draw.uniform(0.0, 0.2))
            run.kill()
            n_killed += 1
        assert run.wait() in (0, -signal.SIGKILL)
        run.stderr.close()
    assert n_killed == n_kills and start("whole").wait() == 0
    assert (tmp_path / "cut" / FINAL).read_bytes() == (tmp_path / "whole" / FINAL).read_bytes()
    assert reports(tmp_path / "cut") == reports(tmp_path / "whole")
    assert not [path for path in (tmp_path / "cut").rglob("*") if "tmp" in path.name]
