#!/usr/bin/env python3
"""Write log-mel filter banks of a data directory."""

import logging
import sys
from pathlib import Path

import click

from pyspk.audio import utterance_reader
from pyspk.console import audio_options, job_array_options, run
from pyspk.datadir import DataDir
from pyspk.features import Fbank, read_conf
from pyspk.shards import Shards
from pyspk.tables.archive import ArchiveReader
from pyspk.tables.text import write_lines, write_table

log = logging.getLogger("pyspk")


@click.command()
@job_array_options
@audio_options
@click.option("--config", type=Path, help="options in Kaldi's format, one --name=value a line")
@click.option("--compress", type=bool, default=True, show_default=True, help="one byte a value instead of four")
@click.argument("data_dir", type=Path)
@click.argument("log_dir", type=Path, required=False)
@click.argument("ark_dir", type=Path, required=False)
def main(nj, cmd, overwrite, job, config, compress, resample, channel, data_dir, log_dir, ark_dir):
    """Write DATA_DIR/feats.scp, utt2num_frames and frame_shift from wav.scp (and segments).

    Logs go to LOG_DIR (DATA_DIR/log), archives to ARK_DIR (DATA_DIR/data).
    """
    conf = read_conf(config) if config else {}
    fbank, data = Fbank(conf), DataDir(data_dir)
    utts, samples_of = list(data.utt2spk), utterance_reader(data, fbank.rate_hz, resample, channel)
    shards = Shards(f"raw_fbank_{data.name}", ark_dir or data_dir / "data", log_dir or data_dir / "log",
                    utts, min(nj, len(utts)), cmd)
    if job is not None:
        return shards.write(job, lambda utt: fbank(samples_of(utt), utt), compress)

    out = data_dir / "feats.scp"
    settings = {"conf": conf, "compress": compress, "resample": resample, "channel": channel}
    table = shards.make(out, settings, data.inputs("utt2spk", "wav.scp", optional=["segments"]), overwrite, sys.argv)
    if table is None:
        return None
    reader = ArchiveReader()
    write_table(data_dir / "utt2num_frames", {utt: reader.shape(place)[0] for utt, place in table.items()})
    write_lines(data_dir / "frame_shift", [f"{fbank.frame_shift_ms / 1000:g}"])
    write_table(out, table)
    return log.info("wrote features of %d utterances to %s", len(table), out)


if __name__ == "__main__":
    run(main)
