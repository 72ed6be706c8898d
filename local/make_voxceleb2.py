#!/usr/bin/env python3
"""Stage 1 for VoxCeleb2: a data directory of its dev part, its test part, or both."""

from pathlib import Path

import bootstrap
import click
from corpora.voxceleb import PARTS, VOXCELEB2, prepare

from pyspk.console import run


@click.command()
@click.option("--meta", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="the table of speakers  [default: VOXCELEB2/vox2_meta.csv]")
@click.option("--m4a-pipe", is_flag=True, help="m4a through ffmpeg, 16 kHz mono, instead of as a plain path")
@click.option("--overwrite", is_flag=True, help="make anew what was made from other files or settings")
@click.argument("voxceleb2", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("part", type=click.Choice([*PARTS, "all"]))
@click.argument("data_dir", type=Path)
def main(meta, m4a_pipe, overwrite, voxceleb2, part, data_dir):
    """Write DATA_DIR/{wav.scp,utt2spk,spk2utt,spk2gender,left_out}.

    VOXCELEB2 holds idNNNNN/VIDEO/NNNNN.m4a in {dev,test}/aac, or what was converted of it, NNNNN.wav, beside them or in
    {dev,test}/wav; all may lie together in aac and wav. Of an utterance in both forms the wav is taken.
    """
    prepare(VOXCELEB2, voxceleb2, part, data_dir, meta, m4a_pipe, overwrite)


if __name__ == "__main__":
    run(main)
