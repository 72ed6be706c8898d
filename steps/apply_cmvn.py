#!/usr/bin/env python3
"""Write a data directory with normalised features."""

import logging
import sys
from functools import partial
from pathlib import Path

import bootstrap
import click

from pyspk.console import feature_options, job_array_options, run

log = logging.getLogger("pyspk")


@click.command()
@job_array_options
@click.option("--sliding", type=bool, default=True, show_default=True,
              help="the mean of a window that moves along; false: of the whole utterance")
@click.option("--cmn-window", default=300, show_default=True, type=click.IntRange(1), help="frames in the window")
@click.option("--min-cmn-window", default=100, show_default=True, type=click.IntRange(1),
              help="frames in the window at the beginning; only matters with --center false")
@click.option("--center", type=bool, default=True, show_default=True,
              help="the window lies around the frame; false: it ends with the frame")
@click.option("--norm-vars", type=bool, default=False, show_default=True, help="divide by the standard deviation too")
@click.option("--select-voiced", type=bool, default=False, show_default=True,
              help="keep the frames that vad.scp calls voiced, and no vad.scp")
@feature_options
@click.argument("data_dir", type=Path)
@click.argument("out_dir", type=Path)
@click.argument("log_dir", type=Path, required=False)
@click.argument("ark_dir", type=Path, required=False)
def main(nj, cmd, overwrite, force, no_pipes, job, sliding, cmn_window, min_cmn_window, center, norm_vars,
         select_voiced, compress, allow_failures, data_dir, out_dir, log_dir, ark_dir):
    """Write OUT_DIR, a copy of DATA_DIR whose features have cepstral mean (and variance) normalisation.

    Logs go to LOG_DIR (OUT_DIR/log), archives to ARK_DIR (OUT_DIR/data). The options are those of Kaldi's
    apply-cmvn-sliding, with the values that x-vector recipes give it.
    """
    from pyspk.datadir import DataDir
    from pyspk.errors import UserError
    from pyspk.features import sliding_cmvn, utterance_cmvn
    from pyspk.features.make import feats_are_current, run_shards
    from pyspk.features.normalised import kept_tables, normalised_reader, write_normalised
    from pyspk.needs.checks import check_features_like, say_pace
    from pyspk.shards import Shards

    data = DataDir(data_dir, no_pipes, share=job and (job, nj))
    if out_dir.resolve() == data_dir.resolve():
        raise UserError(f"{out_dir} is DATA_DIR itself, whose features would be lost; name another OUT_DIR")
    utts, name = list(data.utt2spk), out_dir.resolve().name
    shards = Shards(f"cmvn_{name}", ark_dir or out_dir / "data", log_dir or out_dir / "log", utts, nj, cmd)
    window = {"cmn_window": cmn_window, "min_cmn_window": min_cmn_window, "center": center} if sliding else {}
    normalise = partial(sliding_cmvn if sliding else utterance_cmvn, norm_vars=norm_vars, **window)
    feats_of = normalised_reader(data, normalise, select_voiced)
    if job is not None:
        return shards.write(job, feats_of, compress, allow_failures)

    kept = kept_tables(data, select_voiced)
    inputs = data.inputs(*dict.fromkeys([*kept, "feats.scp", *(["vad.scp"] if select_voiced else [])]))
    settings = {"sliding": sliding, **window, "norm_vars": norm_vars, "select_voiced": select_voiced,
                "compress": compress}
    if feats_are_current(out_dir, shards, settings, inputs, overwrite, allow_failures):
        return None
    check_features_like(data, shards.folder, compress, shards.size_bytes(), force)
    say_pace(feats_of, utts, shards.n_jobs)
    table = run_shards(out_dir, shards, sys.argv, allow_failures)
    write_normalised(data, kept, table, out_dir)
    return log.info("wrote normalised features of %d utterances to %s", len(table), out_dir / "feats.scp")


if __name__ == "__main__":
    run(main)
