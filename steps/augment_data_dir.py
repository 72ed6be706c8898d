#!/usr/bin/env python3
"""Write a data directory of augmented copies."""

import logging
from dataclasses import asdict
from pathlib import Path

import bootstrap
import click

from pyspk.console import force_option, no_pipes_option, run
from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.tables.records import State, begin

log = logging.getLogger("pyspk")


@click.command()
@click.option("--config", type=Path, help="settings, a TOML file (conf/augment.toml)")
@click.option("--root", type=Path, default=Path(),
              help="where relative directories of the settings begin  [default: .]")
@click.option("--copies", default=1, show_default=True, type=click.IntRange(0),
              help="of each utterance at each speed, so many with noise, music or babble, or in a room")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="of what the copies are")
@click.option("--include-source", type=bool, default=True, show_default=True, help="the untouched utterances as well")
@click.option("--overwrite", is_flag=True, help="make anew what was made from other inputs or settings")
@force_option
@no_pipes_option
@click.argument("src_data", type=Path)
@click.argument("out_data", type=Path)
def main(config, root, copies, seed, include_source, overwrite, force, no_pipes, src_data, out_data):
    """Write OUT_DATA: SRC_DATA's utterances and augmented copies of them, each said in full in OUT_DATA/utt2aug.

    Copies are called UTT-augN; at another speed utterances and speakers are new ones, sp0.9-UTT of sp0.9-SPK.
    make_fbank.py and compute_vad.py on OUT_DATA read the recordings of SRC_DATA and make each copy as they go.
    """
    from pyspk.augment.augmenter import Augmenter
    from pyspk.augment.config import load_config
    from pyspk.augment.copies import FILES, LIST, draw_copies, noise_inputs, write_copies
    from pyspk.needs.checks import check_copies

    settings, data = load_config(config).below(root), DataDir(src_data, no_pipes)
    if out_data.resolve() == src_data.resolve():
        raise UserError(f"{out_data}: the copies need a directory of their own")
    inputs = data.inputs("utt2spk", "wav.scp", optional=["segments"])
    if copies:
        inputs |= noise_inputs(settings)
    out = out_data / LIST
    decided = {**asdict(settings), "copies": copies, "seed": seed, "include-source": include_source}
    if begin(out, decided, inputs, overwrite, parts=[out_data / name for name in FILES[:-1]]) is State.CURRENT:
        return log.info("%s is current", out)

    check_copies(out_data, data, (1 + len(settings.speeds)) * (1 + copies), force)
    augmenter = Augmenter(settings, no_pipes=no_pipes)
    made = draw_copies(data, augmenter, copies, seed, include_source)
    write_copies(data, augmenter, made, out_data)
    return log.info("wrote %d utterances made of %d to %s", len(made), len(data.utt2spk), out)


if __name__ == "__main__":
    run(main)
