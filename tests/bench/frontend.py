#!/usr/bin/env python3
"""Training samples made by the batched frontend, beside those made one by one by the workers (WaveReader).

Samples a second of: workers that do all, workers that only read, the device's share and its parts, and, as fbank alone,
kaldi-native-fbank. All in one run, a batch at a time in turn, mean over the batches; utterances of 8 s, augmented by
the default settings without speeds. On the CPU one thread, by processor time; on a GPU the frontend by the clock, from
pinned memory, the rest as before.

    OMP_NUM_THREADS=1 PYTHONPATH=.:tests tests/bench/frontend.py
"""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from augment import make_corpus
from augmentation import write_sources

from pyspk.augment.augmenter import Augmenter
from pyspk.augment.config import AugmentConfig
from pyspk.chunks import ChunkBatches
from pyspk.features import Fbank, read_conf
from pyspk.frontend import Frontend, WaveBatches, augmented
from pyspk.waves import WaveReader


class Stopwatch:
    """Seconds by name, summed over the calls."""

    def __init__(self, device: torch.device):
        self.seconds: dict[str, float] = defaultdict(float)
        self._device = device

    def run(self, what: str, call: Callable, on_device: bool = False):
        """What `call` gives; on_device: until the device is done with it."""
        waits = on_device and self._device.type == "cuda"
        clock = time.perf_counter if waits else time.process_time
        if waits:
            torch.cuda.synchronize()
        began = clock()
        result = call()
        if waits:
            torch.cuda.synchronize()
        self.seconds[what] += clock() - began
        return result


@click.command()
@click.option("--chunk-frames", default=200, show_default=True)
@click.option("--batch-size", default=128, show_default=True)
@click.option("--n-batches", default=8, show_default=True, help="after one that warms up")
@click.option("--fbank-config", type=Path, help="a Kaldi conf file; the defaults otherwise")
@click.option("--device", default="cpu", show_default=True, help="of the frontend")
def main(chunk_frames, batch_size, n_batches, fbank_config, device):
    """Print samples a second, by who makes them of what, and as a ratio to workers that do all."""
    device, conf = torch.device(device), read_conf(fbank_config) if fbank_config else {}
    torch.set_num_threads(1)
    frontend, fbank, watch = Frontend(conf).to(device), Fbank(conf), Stopwatch(device)
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "train").mkdir()
        data, sources = make_corpus(Path(name) / "train", 8), write_sources(Path(name))
        config = AugmentConfig(reverb_dirs=("data/rirs",), speeds=()).below(sources)
        reader = WaveReader(data, conf, Augmenter(config))
        utts = list(reader.utt2spk)
        online, waves = (kind(reader, utts, range(len(utts)), chunk_frames, batch_size, (n_batches + 1) * batch_size,
                              seed=0, epoch=0) for kind in (ChunkBatches, WaveBatches))
        worst = 0.0
        for i in range(n_batches + 1):
            if i == 1:
                watch.seconds.clear()
            feats, _ = watch.run("workers read, augment and compute fbank", lambda i=i: online[i])
            batch, _ = watch.run("workers read", lambda i=i: waves[i])
            if device.type == "cuda":
                batch = type(batch)(*(tensor.pin_memory() for tensor in batch))
                batch = watch.run("copy to the device", lambda b=batch: b.to(device, non_blocking=True), True)
            got = watch.run("frontend", lambda b=batch: frontend(b), True)
            samples = watch.run("... noise and rooms", lambda b=batch: augmented(b), True)
            watch.run("... fbank", lambda s=samples, b=batch: frontend.fbank(s, b.frames, b.n_samples), True)
            rows = [row[:n] for row, n in zip(samples.cpu().numpy(), batch.n_samples.tolist(), strict=True)]
            watch.run("kaldi-native-fbank, one by one", lambda rows=rows: [fbank(row) for row in rows])
            worst = max(worst, float(np.quantile((got.cpu() - feats).abs().numpy(), 0.999)))
    base = watch.seconds["workers read, augment and compute fbank"]
    print(f"samples of {chunk_frames} frames, batches of {batch_size}, frontend on {device}")
    for what, seconds in watch.seconds.items():
        print(f"{what:<42}{n_batches * batch_size / seconds:10.0f} a second{base / seconds:8.2f} x")
    print(f"999 of 1000 features within {worst:.1e} of the workers'")


if __name__ == "__main__":
    main()
