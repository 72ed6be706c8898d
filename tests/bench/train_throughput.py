#!/usr/bin/env python3
"""Training: samples a second, where the time goes, and beside a plain PyTorch loop over kaldiio arrays.

Both train the same network with the same loss on chunks of the same archives, taking turns; the median ratio of the
turns counts. The plain loop is what a user would write: a Dataset of kaldiio.load_mat and a slice, nn.PReLU, and the
loss as its formulas stand, with whole (B, N) matrices. Parts are timed one by one afterwards, waiting for the device.
With --waves ours reads recordings and the device makes the features; there is no plain loop to that.

    PYTHONPATH=. tests/bench/train_throughput.py
    PYTHONPATH=. tests/bench/train_throughput.py --waves
    PYTHONPATH=. tests/bench/train_throughput.py --precision bfloat16 --compile --batch-size 512 --n-workers 4   # GPU
"""

import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from itertools import chain, islice, repeat
from pathlib import Path

import click
import kaldiio
import numpy as np
import soundfile
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parent))
from losses import WholeMatrix

from pyspk.chunks import ChunkBatches, FeatureReader
from pyspk.datadir import DataDir
from pyspk.frontend import Frontend, WaveBatches
from pyspk.losses import SphereSpeaker
from pyspk.model import choose_device
from pyspk.nets import ResNet
from pyspk.tables.archive import ArchiveWriter, read_scp
from pyspk.training.config import TrainConfig
from pyspk.training.loop import make_optimizer
from pyspk.training.steps import Step, Stepper
from pyspk.waves import WaveReader
from pyspk.world import World

UTT_FRAMES = 800
N_WAVES, RATE_HZ = 100, 16000
MATMUL = 4096        # (n, n) times (n, n), which tells what the device can do at its best


class Slices(Dataset):
    """A chunk of an utterance at a random place, its mean subtracted, and its speaker."""

    def __init__(self, places: list[str], spk_ids: list[int], chunk_frames: int):
        self._places, self._spk_ids, self._chunk_frames = places, spk_ids, chunk_frames

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        """(feats (T, F), speaker)."""
        feats = kaldiio.load_mat(self._places[i])
        start = np.random.randint(len(feats) - self._chunk_frames + 1)
        chunk = feats[start:start + self._chunk_frames]
        return torch.from_numpy(chunk - chunk.mean(axis=0)), self._spk_ids[i]


def features_of(folder: Path, n_utts: int, dim: int, compress: bool) -> FeatureReader:
    """A reader of random features in an archive."""
    rng = np.random.default_rng(0)
    with ArchiveWriter(folder / "f.ark", folder / "f.scp", 2 if compress else None) as writer:
        for i in range(n_utts):
            writer.write(f"u{i:06}", rng.normal(10, 4, (UTT_FRAMES, dim)).astype(np.float32))
    return FeatureReader(read_scp(folder / "f.scp"))


def waves_of(folder: Path, n_utts: int, conf: dict[str, str]) -> WaveReader:
    """A reader of recordings of noise, of which several utterances share one."""
    rng = np.random.default_rng(0)
    for i in range(N_WAVES):
        samples = rng.normal(0, 3000, UTT_FRAMES * RATE_HZ // 100).astype(np.int16)
        soundfile.write(folder / f"{i}.wav", samples, RATE_HZ)
    utts = range(n_utts)
    (folder / "wav.scp").write_text("".join(f"u{i:06} {folder}/{i % N_WAVES}.wav\n" for i in utts))
    (folder / "utt2spk").write_text("".join(f"u{i:06} u{i:06}\n" for i in utts))
    return WaveReader(DataDir(folder), conf)


def plain_rate(net: nn.Module, loss: nn.Module, loader: DataLoader, n_steps: int, device: torch.device,
               dtype: torch.dtype | None) -> float:
    """Samples a second of a plain loop, after two steps that do not count."""
    optimizer = torch.optim.SGD([*net.parameters(), *loss.parameters()], lr=1e-4, momentum=0.9, nesterov=True,
                                weight_decay=1e-4)
    for i, (feats, spk) in enumerate(islice(chain.from_iterable(repeat(loader)), n_steps + 2)):
        if i == 2:
            started = moment(device)
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            emb = net(feats.to(device))
        value = loss(emb.float(), spk.to(device))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return n_steps * len(feats) / (moment(device) - started)


def our_rate(stepper: Stepper, batches: ChunkBatches, n_steps: int, n_workers: int,
             device: torch.device) -> tuple[float, float]:
    """(samples a second of the training loop's steps, share of the time that it waited for data)."""
    loader = DataLoader(batches, batch_size=None, num_workers=n_workers, pin_memory=device.type == "cuda")
    waited, chunks = 0.0, iter(loader)
    for i in range(n_steps + 2):
        if i == 2:
            started, waited = moment(device), 0.0
        asked = time.perf_counter()
        batch, spk = next(chunks)
        waited += time.perf_counter() - asked
        stepper.step(Step(0, i, batches.names(i), ""), batch, spk)
    seconds = moment(device) - started
    return n_steps * len(spk) / seconds, waited / seconds


def moment(device: torch.device) -> float:
    """The time when all that the device was given is done, in seconds."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Parts:
    """Median seconds of each part of a step."""

    def __init__(self, device: torch.device):
        self._device, self.seconds = device, {}

    @contextmanager
    def timed(self, name: str):
        """Time a block."""
        started = moment(self._device)
        yield
        self.seconds.setdefault(name, []).append(moment(self._device) - started)


def parts_of(net, loss, optimizer, batches, frontend, n_steps, device, dtype) -> dict[str, float]:
    """Seconds of reading, copying, features (of recordings), forward, loss, backward and update."""
    parts = Parts(device)
    for i in range(n_steps):
        with parts.timed("read"):
            feats, spk = batches[i]
        with parts.timed("copy"):
            feats, spk = feats.to(device), spk.to(device)
        if frontend:
            with parts.timed("features"):
                feats = frontend(feats)
        with parts.timed("forward"), torch.autocast(device.type, dtype, enabled=dtype is not None):
            emb = net(feats)
        with parts.timed("loss"):
            value = loss(emb.float(), spk)
        optimizer.zero_grad()
        with parts.timed("backward"):
            value.backward()
        with parts.timed("update"):
            optimizer.step()
    return {name: statistics.median(seconds) for name, seconds in parts.seconds.items()}


def best_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large matrix product."""
    left, right = (torch.randn(MATMUL, MATMUL, device=device, dtype=dtype) for _ in range(2))
    rates = []
    for _ in range(4):
        started = moment(device)
        left @ right
        rates.append(2 * MATMUL**3 / (moment(device) - started))
    return max(rates)


def step_flops(net: nn.Module, loss: nn.Module, feats: torch.Tensor, spk: torch.Tensor) -> int:
    """Floating-point operations of forward and backward."""
    with FlopCounterMode(display=False) as counter:
        loss(net(feats).float(), spk).backward()
    return counter.get_total_flops()


@click.command()
@click.option("--depth", default=34, show_default=True)
@click.option("--channels", default=32, show_default=True)
@click.option("--n-spk", default=18000, show_default=True)
@click.option("--dim", default=80, show_default=True)
@click.option("--chunk-frames", default=200, show_default=True)
@click.option("--batch-size", default=16, show_default=True)
@click.option("--n-utts", default=2000, show_default=True, help="in the archive that is read")
@click.option("--compress/--float", default=True, show_default=True, help="one byte a value in the archive")
@click.option("--waves", is_flag=True, help="recordings instead, whose features the device makes")
@click.option("--n-workers", default=0, show_default=True)
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
@click.option("--compile", "compiled", is_flag=True, help="torch.compile ours")
@click.option("--device", default="auto", show_default=True)
@click.option("--n-steps", default=6, show_default=True, help="a turn")
@click.option("--turns", default=3, show_default=True)
@click.option("--plain/--no-plain", default=True, show_default=True, help="the plain loop too")
def main(depth, channels, n_spk, dim, chunk_frames, batch_size, n_utts, compress, waves, n_workers, precision,
         compiled, device, n_steps, turns, plain):
    """Print samples a second of both, their ratio, the parts of a step, and the share of the device's best."""
    device = choose_device(device)
    dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision)
    config = TrainConfig(depth=depth, channels=channels, lr=1e-4, final_lr=1e-4)
    plain = plain and not waves
    spk_ids = np.random.default_rng(0).integers(n_spk, size=n_utts).tolist()
    with tempfile.TemporaryDirectory() as folder:
        n_samples = (n_steps + 2) * batch_size
        if waves:
            conf = {"num-mel-bins": str(dim)}
            reader, frontend, kind = waves_of(Path(folder), n_utts, conf), Frontend(conf).to(device), WaveBatches
        else:
            reader, frontend, kind = features_of(Path(folder), n_utts, dim, compress), None, ChunkBatches
        utts = [f"u{i:06}" for i in range(n_utts)]
        batches = kind(reader, utts, spk_ids, chunk_frames, batch_size, n_samples, 0, 0)

        torch.manual_seed(0)
        net = ResNet(depth, dim, 256, "prelu", channels).to(device, memory_format=torch.channels_last).train()
        loss = SphereSpeaker(256, n_spk).to(device)
        optimizer = make_optimizer(net, loss, config)
        stepper = Stepper(net, loss, optimizer, World(device=device), frontend, precision, compiled)
        plain_net = plain_copy(ResNet(depth, dim, 256, "prelu", channels)).to(device).train()
        plain_loss = WholeMatrix(256, n_spk).to(device)
        places = list(read_scp(Path(folder) / "f.scp").values()) if plain else []
        loader = plain and DataLoader(Slices(places, spk_ids, chunk_frames), batch_size, shuffle=True,
                                      num_workers=n_workers, drop_last=True)
        rates = []
        for _ in range(turns):
            other = plain_rate(plain_net, plain_loss, loader, n_steps, device, dtype) if plain else float("nan")
            rates.append((*our_rate(stepper, batches, n_steps, n_workers, device), other))
        ours, waited, other = (statistics.median(values) for values in zip(*rates, strict=True))
        print(f"ResNet{depth}-P, {channels} channels, {chunk_frames} frames, {dim} bins, {n_spk} speakers, batch "
              f"{batch_size}, {precision}{', compiled' if compiled else ''}, {n_workers} workers, on "
              f"{device_name(device)}")
        print(f"samples a second: {ours:.1f}, waiting for data {100 * waited:.1f}% of the time")
        if plain:
            ratio = statistics.median(mine / theirs for mine, _, theirs in rates)
            print(f"plain loop over kaldiio arrays: {other:.1f}; ratio {ratio:.2f}")
        seconds = parts_of(net, loss, optimizer, batches, frontend, n_steps, device, dtype)
        feats = torch.randn(batch_size, chunk_frames, dim, device=device)
        flops = step_flops(net, loss, feats, batches[0][1].to(device))
        best = best_flops(device, dtype or torch.float32)
    for name, value in seconds.items():
        print(f"  {name:9}{1000 * value:9.2f} ms{batch_size / value:12.0f} samples a second")
    done = flops * ours / batch_size
    print(f"{flops / batch_size / 1e9:.1f} GFLOP a sample: {done / 1e12:.3f} TFLOP/s, {100 * done / best:.0f}% of what "
          f"a matrix product of {MATMUL} reaches in this precision ({best / 1e12:.3f})")


def plain_copy(net: nn.Module) -> nn.Module:
    """The network with torch's own PReLU in place of ours."""
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.PReLU):
                setattr(module, name, nn.PReLU(child.num_parameters))
    return net


def device_name(device: torch.device) -> str:
    """ "cpu, 2 threads", or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    main()
