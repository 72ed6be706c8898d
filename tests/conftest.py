"""What the tests share: a small corpus of synthetic speakers, and a way to run a step as a user does."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from pyspk.audio import utterance_reader
from pyspk.calibration import Calibration
from pyspk.datadir import DataDir
from pyspk.features import Fbank
from pyspk.model import build_net, save_model
from pyspk.tables.archive import ArchiveWriter

ROOT = Path(__file__).resolve().parents[1]
RATE_HZ = 16000


def environment() -> dict[str, str]:
    """What path.sh sets, with this interpreter first on PATH."""
    path = [Path(sys.executable).parent, ROOT / "steps", ROOT / "steps" / "cluster", ROOT / "local"]
    return {**os.environ, "PATH": ":".join([*map(str, path), os.environ["PATH"]]), "PYTHONPATH": str(ROOT),
            "LC_ALL": "C", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def step():
    """Run a step: step("make_fbank.py", args..., code=0) -> its stdout and stderr together."""

    def call(name: str, *args: object, code: int = 0) -> str:
        done = subprocess.run([name, *map(str, args)], env=environment(), text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        assert done.returncode == code, done.stdout
        assert "Traceback" not in done.stdout
        return done.stdout

    return call


def wait_until_nothing_mentions(folder: Path, patience_s: float = 10) -> None:
    """Until no process has `folder` in its command line."""
    def lines() -> Iterator[bytes]:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                yield path.read_bytes()

    began = time.monotonic()
    while any(str(folder).encode() in line for line in lines()):
        assert time.monotonic() - began < patience_s, "processes live on"
        time.sleep(0.05)


def voice(speaker: int, utt: int, seconds: float) -> np.ndarray:
    """A buzz with the speaker's pitch and formant and the utterance's noise, (S,) int16."""
    rng = np.random.default_rng([speaker, utt])
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    pitch_hz = 90 + 25 * speaker + rng.normal(0, 2)
    formant_hz = 400 + 170 * speaker
    partials = np.arange(1, 40)[:, None] * pitch_hz
    gains = np.exp(-((partials - formant_hz) / 300) ** 2) + 0.02
    buzz = (gains * np.sin(2 * np.pi * partials * time_s)).sum(0) * (1 + 0.5 * np.sin(2 * np.pi * 4 * time_s))
    samples = 4000 * buzz / np.abs(buzz).max() + rng.normal(0, 60, len(time_s))
    return samples.astype(np.int16)


@pytest.fixture(scope="session")
def recordings(tmp_path_factory) -> Path:
    """DIR/SPEAKER/UTT.wav: 8 speakers with 6 utterances of 1.2 to 2.2 s."""
    folder = tmp_path_factory.mktemp("recordings")
    for speaker in range(8):
        (folder / f"s{speaker}").mkdir()
        for utt in range(6):
            soundfile.write(folder / f"s{speaker}" / f"u{utt}.wav", voice(speaker, utt, 1.2 + 0.2 * utt), RATE_HZ)
    return folder


@pytest.fixture
def data(tmp_path) -> DataDir:
    """Features of 8 speakers, 6 utterances of 30 frames and 6 dimensions each, around her own spectrum over time."""
    folder = tmp_path / "train"
    folder.mkdir()
    rng = np.random.default_rng(0)
    with ArchiveWriter(folder / "f.ark", folder / "feats.scp") as writer, (folder / "utt2spk").open("w") as utt2spk:
        for spk in range(8):
            wave = np.sin(np.arange(30)[:, None] * (0.2 + 0.25 * spk) + np.arange(6))
            for utt in range(6):
                writer.write(f"s{spk}-{utt}", 3 * wave + rng.normal(0, 0.5, (30, 6)))
                utt2spk.write(f"s{spk}-{utt} s{spk}\n")
    return DataDir(folder)


def write_data_dir(folder: Path, recordings: Path, speakers: list[str]) -> Path:
    """A data directory of wav.scp and utt2spk over `speakers`."""
    folder.mkdir(parents=True)
    utts = [(f"{spk}-{wav.stem}", spk, wav) for spk in speakers for wav in sorted((recordings / spk).glob("*.wav"))]
    (folder / "wav.scp").write_text("".join(f"{utt} {wav}\n" for utt, _, wav in utts))
    (folder / "utt2spk").write_text("".join(f"{utt} {spk}\n" for utt, spk, _ in utts))
    return folder


@pytest.fixture
def make_data(tmp_path, recordings):
    """make_data(conf, voiced) -> a data directory with segments, feats.scp and, with voiced(t) -> bool, vad.scp."""

    def make(conf, voiced=None):
        folder = write_data_dir(tmp_path / "train", recordings, ["s0", "s1"])
        utts = [line.split()[0] for line in (folder / "wav.scp").read_text().splitlines()]
        (folder / "segments").write_text("".join(f"{utt} {utt} {0.1 + 0.01 * i:.2f} 1.20\n"
                                                 for i, utt in enumerate(utts)))
        data, fbank = DataDir(folder), Fbank(conf)
        read = utterance_reader(data, RATE_HZ)
        feats = {utt: fbank(read(utt)) for utt in utts}
        with ArchiveWriter(folder / "f.ark", folder / "feats.scp") as writer:
            for utt in utts:
                writer.write(utt, feats[utt])
        if voiced:
            with ArchiveWriter(folder / "v.ark", folder / "vad.scp") as writer:
                for utt in utts:
                    writer.write(utt, voiced(np.arange(len(feats[utt]))).astype(np.float32))
        return data

    return make


def run_step(*command: object) -> None:
    """Run a step, or another command, that must succeed."""
    done = subprocess.run([*map(str, command)], env=environment(), text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def scored(tmp_path_factory, recordings) -> Path:
    """DIR/{data/mine,exp/tiny,trials,trials.cosine}: an untrained network, and all that the steps make with it."""
    folder = tmp_path_factory.mktemp("scored")
    write_data_dir(folder / "data" / "mine", recordings, [f"s{number}" for number in range(4)])
    write_files(folder / "conf", {
        "fbank.conf": "--sample-frequency=16000\n--num-mel-bins=24\n--snip-edges=false\n",
        "vad.conf": "--vad-energy-threshold=-0.5\n--vad-energy-mean-scale=1\n--vad-frames-context=2\n"
                    "--vad-proportion-threshold=0.3\n"})
    mine, exp, fbank = folder / "data" / "mine", folder / "exp" / "tiny", folder / "conf" / "fbank.conf"
    torch.manual_seed(0)
    settings = {"net": "resnet", "depth": 18, "feat_dim": 24, "emb_dim": 16, "channels": 4}
    save_model(exp / "final.pt", settings, build_net(settings))
    run_step("make_fbank.py", "--nj", 1, "--config", fbank, mine)
    run_step("compute_vad.py", "--nj", 1, "--vad-config", folder / "conf" / "vad.conf", "--fbank-config", fbank, mine)
    run_step("extract_xvectors.py", "--nj", 1, "--device", "cpu", exp, mine, exp / "xvectors_mine")
    utts = [line.split()[0] for line in (mine / "utt2spk").read_text().splitlines()]
    (folder / "trials").write_text("".join(
        f"{one} {other} {'target' if one[:2] == other[:2] else 'nontarget'}\n" for one in utts[:8] for other in utts[8:]
    ))
    xvectors = exp / "xvectors_mine"
    run_step("score_cosine.py", "--subtract-mean", xvectors / "mean.vec", folder / "trials", xvectors / "xvector.scp",
             xvectors / "xvector.scp", folder / "trials.cosine")
    return folder


@pytest.fixture(scope="session")
def model(scored, tmp_path_factory) -> Path:
    """A model folder with a mean and a calibration, far from where it was made."""
    folder = tmp_path_factory.mktemp("elsewhere")
    Calibration({"cosine": 8.0}, offset=-3.0).save(folder / "made" / "calibration.json")
    run_step("export_model.py", "--subtract-mean", scored / "exp/tiny/xvectors_mine/mean.vec", "--calibration",
                      folder / "made" / "calibration.json", scored / "exp/tiny", scored / "data/mine", folder / "made")
    return Path(shutil.copytree(folder / "made", folder / "moved"))


def write_files(folder: Path, files: dict[str, str | bytes]) -> Path:
    """`folder` with these files in it, name -> content."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


_KILLED = """
import os, runpy, signal, sys
from pathlib import Path
rename, left = Path.replace, int(sys.argv[1])
def replace(self, target):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
Path.replace = replace
sys.argv = sys.argv[2:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))      # as Python does for a script
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def kill_before_write(n_writes: int, command: list) -> None:
    """Run a step that is killed as it is about to give a file its name, after so many that it gave."""
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(n_writes), *map(str, command)], env=environment())
    assert killed.returncode == -signal.SIGKILL
