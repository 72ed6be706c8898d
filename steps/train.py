#!/usr/bin/env python3
"""Train the speaker network and write a model folder."""

import logging
import sys
from dataclasses import asdict
from pathlib import Path

import click

from pyspk.console import follow, run
from pyspk.datadir import DataDir
from pyspk.jobs import JOB, find_program, run_array
from pyspk.tables.records import State, begin

log = logging.getLogger("pyspk")


@click.command()
@click.option("--config", type=Path, help="settings, a TOML file; without it the published recipe's")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="one setting over the file's; repeatable")
@click.option("--init-model", type=Path, metavar="MODEL_DIR", help="begin with the network of a model folder: one "
              "trained before, or one that import_checkpoint.py wrote")
@click.option("--cmd", help="job runner; the log is EXP_DIR/log/train.log (default: train right here)")
@click.option("--begun", is_flag=True, hidden=True, help="the step that started this one has checked what is there")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...")
@click.option("--overwrite", is_flag=True, help="start anew what was trained on other data or with other settings")
@click.argument("train_data", type=Path)
@click.argument("exp_dir", type=Path)
def main(config, overrides, init_model, cmd, begun, device, overwrite, train_data, exp_dir):
    """Train on TRAIN_DATA (feats.scp, utt2spk, and vad.scp if it is there) and write EXP_DIR/final.pt.

    A run that was stopped goes on after its last whole epoch.
    """
    from pyspk.training.config import load_config

    settings, data = load_config(config, overrides), DataDir(train_data)
    out = exp_dir / "final.pt"
    data.table("feats.scp")
    inputs = data.inputs("utt2spk", "feats.scp", optional=["vad.scp"])
    if init_model:
        from pyspk.chunks import FeatureReader
        from pyspk.model import load_to_start
        load_to_start(settings.net_settings(FeatureReader.from_data_dir(data).dim), init_model)
        inputs["init-model"] = init_model / "final.pt"
    if cmd:
        find_program(cmd.split())
    else:
        from pyspk.model import choose_device
        torch_device = choose_device(device)
    # From here on old files may go: what can be found wrong beforehand has been.
    if not begun and begin(out, asdict(settings), inputs, overwrite,
                           parts=[exp_dir / "last.pt"]) is State.CURRENT:
        return log.info("%s is current", out)
    if cmd:
        argv = [sys.argv[0], *(["--config", str(config)] if config else []), *(f"--set={one}" for one in overrides),
                *(["--init-model", str(init_model)] if init_model else []), "--device", device, "--begun",
                str(train_data), str(exp_dir)]
        with follow(exp_dir / "log" / "train.log", ": epoch "):
            return run_array(cmd.split(), 1, exp_dir / "log" / "train.log", argv, JOB)

    from pyspk.training.loop import train

    train(settings, data, exp_dir, torch_device, init_model)
    return log.info("wrote the network to %s", out)


if __name__ == "__main__":
    run(main)
