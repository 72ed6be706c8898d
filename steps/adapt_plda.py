#!/usr/bin/env python3
"""Fit a PLDA back end to another domain."""

import logging
from pathlib import Path

import bootstrap
import click

from pyspk.console import Finite, no_pipes_option, run
from pyspk.scoring.folder import files_of
from pyspk.tables.records import State, begin

log = logging.getLogger("pyspk")


@click.command()
@click.option("--method", type=click.Choice(["kaldi", "coral"]), default="kaldi", show_default=True,
              help="add the domain's excess of variance, or align the model's covariances to it")
@click.option("--within-scale", default=0.3, show_default=True, type=Finite(0),
              help="of kaldi: the share of the excess that goes within speakers")
@click.option("--between-scale", default=0.7, show_default=True, type=Finite(0),
              help="of kaldi: the share that goes between speakers")
@click.option("--overwrite", is_flag=True, help="make anew what was made from other inputs or settings")
@no_pipes_option
@click.argument("plda_dir", type=Path)
@click.argument("xvector_scp", type=Path)
@click.argument("out_dir", type=Path)
def main(method, within_scale, between_scale, overwrite, no_pipes, plda_dir, xvector_scp, out_dir):
    """Write PLDA_DIR, fitted to the embeddings of XVECTOR_SCP, whose speakers need not be known, to OUT_DIR."""
    out = out_dir / "plda"
    settings = {"method": method}
    if method == "kaldi":
        settings |= {"within-scale": within_scale, "between-scale": between_scale}
    inputs = {**files_of(plda_dir), "xvector scp": xvector_scp}
    parts = [out_dir / "mean.vec", out_dir / "transform.mat"]
    if begin(out, settings, inputs, overwrite, parts, along=parts) is State.CURRENT:
        return log.info("%s is current", out)

    from pyspk.scoring.adaptation import adapt
    from pyspk.tables.archive import refuse_commands_in
    if no_pipes:
        refuse_commands_in(xvector_scp)
    n_emb = adapt(plda_dir, xvector_scp, out_dir, method, within_scale, between_scale)
    return log.info("wrote a model fitted to %d embeddings to %s", n_emb, out_dir)


if __name__ == "__main__":
    run(main)
