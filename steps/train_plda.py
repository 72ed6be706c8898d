#!/usr/bin/env python3
"""Train a PLDA back end."""

import logging
from pathlib import Path

import bootstrap
import click

from pyspk.console import no_pipes_option, run
from pyspk.tables.records import State, begin

log = logging.getLogger("pyspk")


@click.command()
@click.option("--lda-dim", type=click.IntRange(1), help="dimensions that LDA leaves; without it they are whitened")
@click.option("--rank", type=click.IntRange(1),
              help="of the covariance between speakers: simplified PLDA; all dimensions by default: two-covariance")
@click.option("--iterations", "n_iterations", default=10, show_default=True, type=click.IntRange(1), help="of EM")
@click.option("--overwrite", is_flag=True, help="make anew what was made from other inputs or settings")
@no_pipes_option
@click.argument("utt2spk", type=Path)
@click.argument("xvector_scp", type=Path)
@click.argument("out_dir", type=Path)
def main(lda_dim, rank, n_iterations, overwrite, no_pipes, utt2spk, xvector_scp, out_dir):
    """Write OUT_DIR/{mean.vec,transform.mat,plda}, in Kaldi's formats, from the embeddings of known speakers.

    UTT2SPK says which utterances to take and who speaks them; XVECTOR_SCP has their embeddings.
    """
    out = out_dir / "plda"
    settings = {"lda-dim": lda_dim, "rank": rank, "iterations": n_iterations}
    inputs = {"utt2spk": utt2spk, "xvector scp": xvector_scp}
    parts = [out_dir / "mean.vec", out_dir / "transform.mat"]
    if begin(out, settings, inputs, overwrite, parts, along=parts) is State.CURRENT:
        return log.info("%s is current", out)

    from pyspk.scoring.backend import train
    from pyspk.tables.archive import refuse_commands_in
    if no_pipes:
        refuse_commands_in(xvector_scp)
    statistics = train(utt2spk, xvector_scp, out_dir, lda_dim, rank, n_iterations)
    return log.info("wrote a model of %d utterances of %d speakers in %d dimensions to %s", statistics.n_utts.sum(),
                    len(statistics.n_utts), len(statistics.scatter), out_dir)


if __name__ == "__main__":
    run(main)
