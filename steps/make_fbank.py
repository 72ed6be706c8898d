#!/usr/bin/env python3
"""Write log-mel filter banks of a data directory."""

import sys
from pathlib import Path

import bootstrap
import click

from pyspk.console import audio_options, config_option, feature_options, job_array_options, run


@click.command()
@job_array_options
@audio_options
@feature_options
@config_option
@click.argument("data_dir", type=Path)
@click.argument("log_dir", type=Path, required=False)
@click.argument("ark_dir", type=Path, required=False)
def main(nj, cmd, overwrite, force, no_pipes, job, config, compress, allow_failures, resample, channel, data_dir,
         log_dir, ark_dir):
    """Write DATA_DIR/feats.scp, utt2num_frames and frame_shift from wav.scp (and segments, and utt2aug).

    Logs go to LOG_DIR (DATA_DIR/log), archives to ARK_DIR (DATA_DIR/data).
    """
    from pyspk.augment.copies import augmented_reader
    from pyspk.datadir import DataDir
    from pyspk.features import Fbank, configured
    from pyspk.features.make import make_feats
    from pyspk.shards import Shards

    (fbank, conf), data = configured(Fbank, config), DataDir(data_dir, no_pipes, share=job and (job, nj))
    utts = list(data.utt2spk)
    shards = Shards(f"raw_fbank_{data.name}", ark_dir or data_dir / "data", log_dir or data_dir / "log",
                    utts, nj, cmd)
    settings = {"conf": conf, "compress": compress, "resample": resample, "channel": channel}
    samples_of = augmented_reader(data, fbank.rate_hz, resample, channel)
    make_feats(fbank, samples_of, settings, data, shards, job, overwrite, force, allow_failures, sys.argv)


if __name__ == "__main__":
    run(main)
