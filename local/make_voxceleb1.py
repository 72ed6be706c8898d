#!/usr/bin/env python3
"""Stage 1 for VoxCeleb1: a data directory of its dev part, its test part, or both."""

from pathlib import Path

import bootstrap
import click
from corpora.voxceleb import PARTS, VOXCELEB1, prepare

from pyspk.console import run


@click.command()
@click.option("--meta", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="the table of speakers  [default: VOXCELEB1/vox1_meta.csv]")
@click.option("--overwrite", is_flag=True, help="make anew what was made from other files or settings")
@click.argument("voxceleb1", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("part", type=click.Choice([*PARTS, "all"]))
@click.argument("data_dir", type=Path)
def main(meta, overwrite, voxceleb1, part, data_dir):
    """Write DATA_DIR/{wav.scp,utt2spk,spk2utt,spk2gender,left_out}.

    VOXCELEB1 holds idNNNNN/VIDEO/NNNNN.wav in {dev,test}/wav, vox1_{dev,test}_wav/wav, or all together in wav. The
    trials O take test; E and H take all.
    """
    prepare(VOXCELEB1, voxceleb1, part, data_dir, meta, False, overwrite)


if __name__ == "__main__":
    run(main)
