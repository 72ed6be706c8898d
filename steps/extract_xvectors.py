#!/usr/bin/env python3
"""Write the embeddings of a data directory."""

import contextlib
import logging
import os
import sys
from pathlib import Path

import bootstrap
import click

from pyspk.console import job_array_options, run
from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.needs.checks import MANY
from pyspk.shards import Shards
from pyspk.tables.text import write_table

log = logging.getLogger("pyspk")


@click.command()
@job_array_options
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...")
@click.argument("exp_dir", type=Path)
@click.argument("data_dir", type=Path)
@click.argument("out_dir", type=Path)
def main(nj, cmd, overwrite, force, no_pipes, job, device, exp_dir, data_dir, out_dir):
    """Write OUT_DIR/xvector.scp, one embedding for each utterance of DATA_DIR, from the model in EXP_DIR.

    Beside it: spk_xvector.scp and num_utts.ark (mean and count of each speaker), and mean.vec (the mean of all).
    """
    data = DataDir(data_dir, no_pipes, share=job and (job, nj))
    utts = list(data.utt2spk)
    shards = Shards("xvector", out_dir, out_dir / "log", utts, nj, cmd)
    if job is not None:
        return shards.write(job, _embedder(exp_dir, data, device, nj))

    if no_pipes:
        data.table("feats.scp")      # refused here, before any job begins
    out = out_dir / "xvector.scp"
    inputs = {"final.pt": exp_dir / "final.pt", **data.inputs("utt2spk", "feats.scp", optional=["vad.scp"])}
    if shards.is_current(out, {}, inputs, overwrite):
        return None
    if len(utts) >= MANY:
        _announce(exp_dir, data, shards, device, force)
    table = shards.run(sys.argv)
    _write_means(table, data, out_dir)
    write_table(out, table)
    return log.info("wrote %d embeddings to %s", len(table), out)


def _announce(exp_dir, data, shards, device, force):
    """Say and check what the jobs will need."""
    import numpy as np

    from pyspk.embeddings import embed
    from pyspk.model import load_model
    from pyspk.needs.checks import check_embeddings, say_pace

    net, settings = load_model(exp_dir)
    emb_dim = embed(net, [np.zeros((100, settings["feat_dim"]), np.float32)]).shape[1]
    check_embeddings(shards.folder, data, emb_dim, shards.size_bytes(), force)
    with contextlib.suppress(UserError):      # the device may be where the jobs run, and not here
        say_pace(_embedder(exp_dir, data, device, shards.n_jobs), shards.keys, shards.n_jobs)


def _embedder(exp_dir, data, device_name, n_jobs):
    """utterance -> its embedding."""
    import torch

    from pyspk.chunks import FeatureReader
    from pyspk.embeddings import embed
    from pyspk.model import choose_device, load_model

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // n_jobs))      # the jobs share the cores
    net, settings = load_model(exp_dir, choose_device(device_name))
    reader = FeatureReader.from_data_dir(data)
    if reader.dim != settings["feat_dim"]:
        raise UserError(f"the network was trained on features of {settings['feat_dim']} dimensions, {data.path} has "
                        f"{reader.dim}; make features with the options of the training set")
    return lambda utt: embed(net, [reader.whole(utt)])[0]


def _write_means(table, data, out_dir):
    from pyspk.embeddings import mean_vector, speaker_means
    from pyspk.tables.archive import ArchiveReader, ArchiveWriter, write_vector

    reader = ArchiveReader()
    write_vector(out_dir / "mean.vec", mean_vector(map(reader.vector, table.values())))
    with ArchiveWriter(out_dir / "spk_xvector.ark", out_dir / "spk_xvector.scp") as writer:
        for spk, mean in speaker_means(lambda utt: reader.vector(table[utt]), data.spk2utt):
            writer.write(spk, mean)
    write_table(out_dir / "num_utts.ark", {spk: len(utts) for spk, utts in data.spk2utt.items()})


if __name__ == "__main__":
    run(main)
