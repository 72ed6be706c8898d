#!/usr/bin/env python3
"""Write voice activity decisions of a data directory."""

import logging
import sys
from pathlib import Path

import bootstrap
import click

from pyspk.augment.copies import augmented_reader
from pyspk.console import audio_options, job_array_options, run
from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.features import EnergyVad, Fbank, Mfcc, configured
from pyspk.features.make import AUDIO_TABLES
from pyspk.needs.checks import check_decisions, say_pace
from pyspk.shards import Shards
from pyspk.tables.text import write_table

log = logging.getLogger("pyspk")


@click.command()
@job_array_options
@audio_options
@click.option("--vad-config", type=Path, help="VAD options in Kaldi's format, one --name=value a line")
@click.option("--fbank-config", type=Path, help="the options of the features, whose frames the decisions match")
@click.option("--mfcc-config", type=Path, help="in place of --fbank-config, where the features are MFCCs")
@click.argument("data_dir", type=Path)
@click.argument("log_dir", type=Path, required=False)
@click.argument("ark_dir", type=Path, required=False)
def main(nj, cmd, overwrite, force, no_pipes, job, vad_config, fbank_config, mfcc_config, resample, channel, data_dir,
         log_dir, ark_dir):
    """Write DATA_DIR/vad.scp: Kaldi's energy VAD, on the log energy of each frame of the recordings.

    Augmented copies (utt2aug) have the decisions of the clean recording, at the copy's speed.

    Logs go to LOG_DIR (DATA_DIR/log), archives to ARK_DIR (DATA_DIR/data).
    """
    if fbank_config and mfcc_config:
        raise UserError("--fbank-config and --mfcc-config: the features are one or the other; give one of them")
    kind, config = ("mfcc", mfcc_config) if mfcc_config else ("fbank", fbank_config)
    vad, vad_conf = configured(EnergyVad, vad_config)
    feats, conf = configured(Mfcc if mfcc_config else Fbank, config)
    data = DataDir(data_dir, no_pipes, share=job and (job, nj))
    utts, samples_of = list(data.utt2spk), augmented_reader(data, feats.rate_hz, resample, channel, clean=True)
    shards = Shards(f"vad_{data.name}", ark_dir or data_dir / "data", log_dir or data_dir / "log",
                    utts, nj, cmd)

    def compute(utt):
        decisions = vad(feats.log_energy(samples_of(utt)))
        if not decisions.any() and job is not None:
            log.warning('utterance "%s" has no voiced frame; all its frames will be used', utt)
        return decisions

    if job is not None:
        return shards.write(job, compute)

    out = data_dir / "vad.scp"
    settings = {"vad": vad_conf, kind: conf, "resample": resample, "channel": channel}
    inputs = data.inputs("utt2spk", "wav.scp", optional=AUDIO_TABLES)
    if shards.is_current(out, settings, inputs, overwrite):
        return None
    check_decisions(shards.folder, data, feats.frame_shift_ms, shards.size_bytes(), force)
    say_pace(compute, utts, shards.n_jobs)
    table = shards.run(sys.argv)
    write_table(out, table)
    return log.info("wrote decisions for %d utterances to %s", len(table), out)


if __name__ == "__main__":
    run(main)
