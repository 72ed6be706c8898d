#!/usr/bin/env python3
"""Time feature extraction beside a bare loop: soundfile, kaldi-native-fbank and kaldiio, over the same files.

Ours is what one job of steps/make_fbank.py does. Both write the same storage; each round takes the two in turn, in one
process, and the ratio is of the same round, so that what else the machine does meets both.
"""

import statistics
import tempfile
import time
from pathlib import Path

import click
import kaldi_native_fbank as knf
import kaldiio.matio
import numpy as np
import soundfile

from pyspk.audio import utterance_reader
from pyspk.datadir import DataDir
from pyspk.features import Fbank
from pyspk.shards import Shards

RATE_HZ = 16000
CM = 1      # kaldiio's name for Kaldi's own choice of compression


def make_data_dir(folder: Path, n_utts: int, seconds: float, suffix: str) -> DataDir:
    """Recordings of noise, and the data directory of them."""
    rng, utts = np.random.default_rng(0), [f"u{i:04d}" for i in range(n_utts)]
    for utt in utts:
        samples = (0.1 * rng.standard_normal(int(seconds * RATE_HZ))).astype(np.float32)
        soundfile.write(folder / f"{utt}.{suffix}", samples, RATE_HZ)
    (folder / "wav.scp").write_text("".join(f"{utt} {folder}/{utt}.{suffix}\n" for utt in utts))
    (folder / "utt2spk").write_text("".join(f"{utt} {utt}\n" for utt in utts))
    return DataDir(folder)


def ours(data: DataDir, folder: Path, compress: bool) -> None:
    """One job's work: the shard of all utterances."""
    fbank, shards = Fbank({}), Shards("ours", folder, folder, list(data.utt2spk), 1, "run.py")
    (folder / "ours.1.scp").unlink(missing_ok=True)
    samples_of = utterance_reader(data, fbank.rate_hz)
    shards.write(1, lambda utt: fbank(samples_of(utt), utt), compress)


def bare(data: DataDir, folder: Path, compress: bool) -> None:
    """The loop that a user would write, without a check of anything."""
    options = knf.FbankOptions()
    options.mel_opts.num_bins, options.frame_opts.dither = 80, 0.0
    with (folder / "bare.ark").open("wb") as ark:
        for utt, path in data.table("wav.scp").items():
            samples, _ = soundfile.read(path, dtype="float32")
            online = knf.OnlineFbank(options)
            online.accept_waveform(RATE_HZ, samples * 32768)
            online.input_finished()
            feats = np.stack([online.get_frame(i) for i in range(online.num_frames_ready)])
            ark.write(f"{utt} ".encode())
            kaldiio.matio.write_array(ark, feats, compression_method=CM if compress else None)


@click.command()
@click.option("--n-utts", default=60, show_default=True)
@click.option("--seconds", default=8.0, show_default=True, help="length of each; VoxCeleb's mean is 8")
@click.option("--suffix", default="wav", show_default=True, type=click.Choice(["wav", "flac", "ogg", "mp3"]))
@click.option("--repeats", default=7, show_default=True, help="rounds, after one to warm up")
def main(n_utts, seconds, suffix, repeats):
    """Print utterances a second of both loops and the median ratio, for either storage."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = make_data_dir(folder, n_utts, seconds, suffix)
        for compress in (False, True):
            rounds = []
            for i in range(repeats + 1):
                times = {}
                for loop in ((ours, bare), (bare, ours))[i % 2]:
                    begin = time.perf_counter(), time.process_time()
                    loop(data, folder, compress)
                    times[loop] = time.perf_counter() - begin[0], time.process_time() - begin[1]
                rounds.append(times)
            rates = {loop: n_utts / statistics.median(times[loop][0] for times in rounds[1:]) for loop in (ours, bare)}
            wall, cpu = (statistics.median(times[bare][kind] / times[ours][kind] for times in rounds[1:])
                         for kind in (0, 1))
            storage = "CM" if compress else "float"
            print(f"{suffix}, {storage}: ours {rates[ours]:.1f}, bare {rates[bare]:.1f} utterances of {seconds:g} s a "
                  f"second; ratio {wall:.2f} by the clock, {cpu:.2f} by CPU time")


if __name__ == "__main__":
    main()
