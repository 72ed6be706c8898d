"""How fast this machine is at a little of everything that the stages do."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import torch

from pyspk.augment.copies import augmented_reader
from pyspk.augment.effects import reverberate, speed
from pyspk.datadir import DataDir
from pyspk.embeddings import embed
from pyspk.errors import UserError
from pyspk.features import EnergyVad, Fbank
from pyspk.losses import LOSSES
from pyspk.model import build_net
from pyspk.needs.amounts import spread
from pyspk.needs.machine import pace
from pyspk.scoring.cohort import cohort_statistics
from pyspk.scoring.cosine import score_file
from pyspk.tables.archive import ArchiveWriter
from pyspk.tables.text import write_lines
from pyspk.training.config import TrainConfig
from pyspk.training.cost import classifier_flops, sample_cost, weights_of
from pyspk.training.loop import make_optimizer
from pyspk.training.steps import Step, Stepper
from pyspk.world import World

_N_RECORDINGS, _N_STEPS = 30, 50
_MOST_SPEAKERS = 10_000        # of the loss that is measured; what more of them cost is counted
_CPU_BATCH = 4
_TRIALS, _EMBS, _COHORT = 20_000, 64, 20_000
_NAMES = 100_000               # lines of the tables whose memory is measured
_PLACE_BYTES = 80              # of a line's place in an archive
_ROOM_S = 0.5                  # of the impulse response that stands for augmentation
# In a process of its own, since only the most that a process ever had is told.
_LOAD = """
import sys
from pyspk.datadir import DataDir
from pyspk.needs.machine import memory_taken_bytes
before, data = memory_taken_bytes(), DataDir(sys.argv[1])
tables = [data.table(name) for name in ("feats.scp", "vad.scp")]
print(memory_taken_bytes() - before)
"""


@dataclass(frozen=True)
class Measured:
    """Seconds that a core, or the device, takes; and bytes."""

    feature_s: float           # fbank, for a second of audio
    decision_s: float          # voice activity
    copy_s: float              # fbank of a copy: at another speed, in a room
    samples_per_s: float       # training, on the device
    embedding_s: float         # of an utterance, for a second of audio, on the device
    pair_s: float              # one trial: read, scored and written
    cohort_s: float            # one cosine against the cohort, selected
    name_bytes: float          # memory of an utterance's lines in the tables that a process reads


def measure(data: DataDir | None, mean_s: float, fbank: Fbank, config: TrainConfig, n_spk: int, batch_size: int,
            device: torch.device, budget_s: float, samples_per_s: float | None) -> Measured:
    """All of it, each within about budget_s. data: the recordings to measure with; None: noise of mean_s.

    samples_per_s: taken for the rate of training, and of embeddings by what they compute, where it is given.
    Raises UserError when none of the recordings can be read.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        data = data or _noise(folder / "noise", mean_s, fbank.rate_hz)
        feature_s, decision_s, copy_s = _audio(data, fbank, budget_s)
        pair_s = _pairs(folder, config.emb_dim)
        name_bytes = _names(folder / "names", data)
    frames_per_s = 1000 / fbank.frame_shift_ms
    if samples_per_s:
        third = 1 / 3      # the backward pass costs twice what the forward pass does
        embedding_s = third * frames_per_s / config.chunk_frames / samples_per_s
    else:
        samples_per_s = _training(config, fbank.dim, n_spk, batch_size, device, budget_s)
        n_frames = max(1, int(mean_s * frames_per_s))
        embedding_s = _embedding(config, fbank.dim, n_frames, device, budget_s) / mean_s
    cohort_s = _cohort(config.emb_dim, budget_s)
    return Measured(feature_s, decision_s, copy_s, samples_per_s, embedding_s, pair_s, cohort_s, name_bytes)


def _noise(folder: Path, seconds: float, rate_hz: int) -> DataDir:
    """A few recordings that sound like nothing, for want of others."""
    folder.mkdir()
    rng, names = np.random.default_rng(0), [f"noise{i}" for i in range(4)]
    for name in names:
        samples = rng.normal(0, 1000, max(rate_hz // 10, int(seconds * rate_hz))).astype(np.int16)
        soundfile.write(folder / f"{name}.wav", samples, rate_hz)
    write_lines(folder / "wav.scp", [f"{name} {folder}/{name}.wav" for name in names])
    write_lines(folder / "utt2spk", [f"{name} {name}" for name in names])
    return DataDir(folder)


def _audio(data: DataDir, fbank: Fbank, budget_s: float) -> tuple[float, float, float]:
    """Seconds for a second of audio, reading it included: features, decisions, and features of an augmented copy."""
    read, vad = augmented_reader(data, fbank.rate_hz, resample=True, channel="mix"), EnergyVad({})
    rir = np.random.default_rng(0).normal(0, 1, int(_ROOM_S * fbank.rate_hz)).astype(np.float32)
    utts = spread(list(data.utt2spk), _N_RECORDINGS)

    def seconds_of(act: Callable[[np.ndarray], object]) -> float:
        lengths_s: list[float] = []

        def one(utt: str) -> None:
            samples = read(utt)
            act(samples)
            lengths_s.append(len(samples) / fbank.rate_hz)

        done = pace(one, utts, budget_s)
        if not done.n:
            one(utts[0])      # says why none could be read
        return done.seconds / sum(lengths_s[-done.n:])

    return (seconds_of(fbank), seconds_of(lambda samples: vad(fbank.log_energy(samples))),
            seconds_of(lambda samples: fbank(reverberate(speed(samples, 1.1), rir))))


def _training(config: TrainConfig, feat_dim: int, n_spk: int, batch_size: int, device: torch.device,
              budget_s: float) -> float:
    """Samples a second of training steps on the device, with n_spk speakers."""
    n_measured = min(n_spk, _MOST_SPEAKERS)
    on_cpu = device.type == "cpu"
    config = replace(config, lr=1e-4, final_lr=1e-4, precision="float32" if on_cpu else config.precision)
    n_rows = min(batch_size, _CPU_BATCH) if on_cpu else batch_size
    torch.manual_seed(0)
    net = build_net(config.net_settings(feat_dim)).to(device, memory_format=torch.channels_last).train()
    loss = LOSSES[config.loss](config.emb_dim, n_measured, **config.loss_settings()).to(device)
    stepper = Stepper(net, loss, make_optimizer(net, loss, config), World(device=device), None, config.precision)
    feats, spk = torch.randn(n_rows, config.chunk_frames, feat_dim), torch.randint(n_measured, (n_rows,))
    done = pace(lambda i: stepper.step(Step(0, i, [""] * n_rows, ""), feats, spk), range(_N_STEPS), budget_s)
    if not done.n:
        raise UserError("no training step came to a finite loss; is it these settings? Give a rate measured elsewhere "
                        "with --samples-per-second")
    of_net = sample_cost(config, feat_dim).flops
    here, there = (of_net + classifier_flops(weights_of(config, feat_dim, n)) for n in (n_measured, n_spk))
    return done.n * n_rows / done.seconds * here / there


def _embedding(config: TrainConfig, feat_dim: int, n_frames: int, device: torch.device, budget_s: float) -> float:
    """Seconds for one utterance of n_frames."""
    net = build_net(config.net_settings(feat_dim)).to(device, memory_format=torch.channels_last).eval()
    feats = np.random.default_rng(0).normal(0, 1, (n_frames, feat_dim)).astype(np.float32)
    done = pace(lambda _: embed(net, [feats]), range(_N_STEPS), budget_s)
    return done.seconds / done.n


def _pairs(folder: Path, emb_dim: int) -> float:
    """Seconds for one trial, from the list to the score file."""
    rng = np.random.default_rng(0)
    with ArchiveWriter(folder / "e.ark", folder / "e.scp") as writer:
        for i in range(_EMBS):
            writer.write(f"u{i:02}", rng.normal(0, 1, emb_dim).astype(np.float32))
    trials = rng.integers(_EMBS, size=(_TRIALS, 2)).tolist()
    write_lines(folder / "trials", (f"u{a:02} u{b:02} {'target' if a == b else 'nontarget'}" for a, b in trials))
    done = pace(lambda _: score_file(folder / "trials", folder / "e.scp", folder / "e.scp", folder / "s"), range(2), 0)
    return done.seconds / done.n / _TRIALS


def _cohort(emb_dim: int, budget_s: float) -> float:
    """Seconds for one cosine against a cohort, as adaptive s-norm takes them and selects the highest."""
    rng = np.random.default_rng(0)
    emb, cohort = (rng.normal(0, 1, (n, emb_dim)).astype(np.float32) for n in (_EMBS, _COHORT))
    done = pace(lambda _: cohort_statistics(emb, cohort, 300), range(_N_STEPS), budget_s)
    return done.seconds / done.n / (_EMBS * _COHORT)


def _names(folder: Path, like: DataDir) -> float:
    """Bytes of memory for one utterance in utt2spk, feats.scp and vad.scp, with names as long as those."""
    length = max(8, len(max(like.utt2spk, key=len)))
    folder.mkdir()
    names = [f"{i:0{length}}" for i in range(_NAMES)]
    write_lines(folder / "utt2spk", (f"{name} {name[:-2]}" for name in names))
    for table in ("feats.scp", "vad.scp"):
        write_lines(folder / table, (f"{name} {'p' * _PLACE_BYTES}" for name in names))
    done = subprocess.run([sys.executable, "-c", _LOAD, folder], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    return int(done.stdout) / _NAMES
