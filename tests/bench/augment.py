#!/usr/bin/env python3
"""What a training chunk costs when it is read from feats.scp, computed from the recording, and augmented besides.

Milliseconds of processor time a chunk, mean over chunks at random places of utterances of 8 s, all in one process and
run, and as a ratio to reading features. A worker process brings at most 1000 / that many chunks a second.

    OMP_NUM_THREADS=1 PYTHONPATH=.:tests tests/bench/augment.py
"""

import tempfile
import time
from pathlib import Path

import click
import numpy as np
import soundfile
from augmentation import write_sources
from conftest import RATE_HZ, voice

from pyspk.audio import utterance_reader
from pyspk.augment.augmenter import Augmenter
from pyspk.augment.config import KINDS, AugmentConfig
from pyspk.chunks import FeatureReader
from pyspk.datadir import DataDir
from pyspk.features import Fbank
from pyspk.tables.archive import ArchiveWriter
from pyspk.tables.matrix import AUTOMATIC
from pyspk.waves import WaveReader


def make_corpus(folder: Path, n_utts: int) -> DataDir:
    """A data directory of utterances of 8 s with compressed features."""
    utts = [f"s{i}-u" for i in range(n_utts)]
    for i, utt in enumerate(utts):
        soundfile.write(folder / f"{utt}.wav", voice(i, 0, 8.0), RATE_HZ)
    for table, value in (("wav.scp", "{folder}/{utt}.wav"), ("utt2spk", "{utt}")):
        lines = sorted(f"{utt} {value.format(folder=folder, utt=utt)}\n" for utt in utts)
        (folder / table).write_text("".join(lines))
    data, fbank = DataDir(folder), Fbank({})
    read = utterance_reader(data, RATE_HZ)
    with ArchiveWriter(folder / "f.ark", folder / "feats.scp", AUTOMATIC) as writer:
        for utt in data.utt2spk:
            writer.write(utt, fbank(read(utt)))
    return data


def only(kind: str | None, sources: Path, speeds: tuple[float, ...] = ()) -> Augmenter:
    """Always this kind of augmentation; None: never any."""
    probs = {f"{name}_prob": float(name == kind) for name in KINDS}
    return Augmenter(AugmentConfig(**probs, reverb_dirs=("data/rirs",), speeds=speeds).below(sources))


def ms_a_chunk(reader: FeatureReader | WaveReader, utts: list[str], chunk_frames: int, n_chunks: int) -> float:
    """Mean over n_chunks, after one that warms up."""
    places = np.random.default_rng(0).random(n_chunks)
    reader.chunk(utts[0], chunk_frames, 0.5)
    started = time.process_time()
    for i, place in enumerate(places):
        reader.chunk(utts[i % len(utts)], chunk_frames, place)
    return 1000 * (time.process_time() - started) / n_chunks


@click.command()
@click.option("--chunk-frames", default=200, show_default=True)
@click.option("--n-chunks", default=200, show_default=True)
def main(chunk_frames: int, n_chunks: int):
    """Print the cost of a chunk, by where it comes from."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "train").mkdir()
        data, sources = make_corpus(Path(name) / "train", 8), write_sources(Path(name))
        utts = list(data.utt2spk)
        base = ms_a_chunk(FeatureReader.from_data_dir(data), utts, chunk_frames, n_chunks)
        plain = ms_a_chunk(WaveReader(data, {}), utts, chunk_frames, n_chunks)
        rows = [("read from feats.scp", base), ("from the recording", plain)]
        for kind in KINDS:
            reader = WaveReader(data, {}, only(kind, sources))
            rows.append((f"... with {kind}", ms_a_chunk(reader, utts, chunk_frames, n_chunks)))
        reader, slow = WaveReader(data, {}, only(None, sources, speeds=(0.9,))), [f"sp0.9-{utt}" for utt in utts]
        rows.append(("... at speed 0.9", ms_a_chunk(reader, slow, chunk_frames, n_chunks)))
    for what, ms in rows:
        print(f"{what:<22}{ms:8.2f} ms of CPU a chunk of {chunk_frames} frames  {ms / base:6.1f} x")


if __name__ == "__main__":
    main()
