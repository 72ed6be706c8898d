#!/usr/bin/env python3
"""Train the speaker network and write a model folder."""

import logging
import sys
from dataclasses import asdict
from pathlib import Path

import bootstrap
import click

from pyspk.console import audio_options, force_option, no_pipes_option, run
from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.jobs import find_program
from pyspk.tables.records import State, begin
from pyspk.training.interruption import leaving_at_once

log = logging.getLogger("pyspk")


@click.command()
@click.option("--config", type=Path, help="settings, a TOML file; without it the published recipe's")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="one setting over the file's; repeatable")
@click.option("--init-model", type=Path, metavar="MODEL_DIR", help="begin with the network of a model folder: one "
              "trained before, or one that import_checkpoint.py wrote; and with the weights of its speakers")
@click.option("--reset-classifier", is_flag=True, help="with new weights for all speakers, which may be others")
@click.option("--fbank-config", type=Path, help="train from the recordings (wav.scp): features are computed with these "
              "options, in Kaldi's format, as training asks for them")
@click.option("--augment-config", type=Path, help="and each chunk is augmented anew; settings, a TOML file")
@click.option("--augment-root", type=Path, default=Path(),
              help="where relative directories of the --augment-config begin  [default: .]")
@audio_options
@click.option("--frontend", type=click.Choice(["workers", "device"]), default="workers", show_default=True,
              help="where features are computed that --fbank-config asks for: by n_workers processes, or a batch at a "
              "time on the GPU")
@click.option("--cmd", help="job runner; the log is EXP_DIR/log/train.log (default: train right here). A job that is "
              "asked to end, as before a time limit, is submitted again")
@click.option("--begun", is_flag=True, hidden=True, help="the step that started this one has checked what is there")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...")
@click.option("--num-gpus", default=1, show_default=True, type=click.IntRange(1), help="processes on this machine that "
              "share each batch, with a GPU each")
@click.option("--num-nodes", default=1, show_default=True, type=click.IntRange(1), help="machines that share it, with "
              "--num-gpus each; --cmd starts a job for each")
@click.option("--node", default=1, hidden=True, help="which of them this is")
@click.option("--meeting", type=Path, hidden=True, help="the file in which the first says where it is")
@click.option("--overwrite", is_flag=True, help="start anew what was trained on other data or with other settings")
@force_option
@no_pipes_option
@click.argument("train_data", type=Path)
@click.argument("exp_dir", type=Path)
@leaving_at_once()      # until training saves first, and after its last epoch
def main(config, overrides, init_model, reset_classifier, fbank_config, augment_config, augment_root, resample, channel,
         frontend, cmd, begun, device, num_gpus, num_nodes, node, meeting, overwrite, force, no_pipes, train_data,
         exp_dir):
    """Train on TRAIN_DATA (feats.scp, utt2spk, and vad.scp if it is there) and write EXP_DIR/final.pt.

    A run that was stopped goes on where it was. SIGTERM and SIGUSR1, as schedulers send before a time limit, have it
    save and end with exit code 99, which asks to be started again.
    """
    from pyspk.training.config import load_config
    from pyspk.training.cost import check_training
    from pyspk.world import joined, started_as_one_of_several

    if cmd and not begun and started_as_one_of_several():
        raise UserError("--cmd and torchrun: each process would submit a job; have the runner start torchrun instead")
    refuse_idle_options(init_model, reset_classifier, fbank_config, augment_config, resample, channel, frontend)
    settings, data = load_config(config, overrides), DataDir(train_data, no_pipes)
    if num_nodes > 1 and not cmd:
        raise UserError("--num-nodes needs --cmd, a runner that starts train.py on each machine; by hand, start it "
                        "with torchrun on each")
    settings.check_shared_by(num_gpus * num_nodes)
    if fbank_config:
        reader, more_settings, inputs = from_recordings(data, fbank_config, augment_config, augment_root, resample,
                                                        channel)
    else:
        reader, more_settings, inputs = from_features(data)
    settings.check_parts(reader.dim)
    start = None
    if init_model:
        start = start_with(init_model, reset_classifier, settings.net_settings(reader.dim))
        more_settings["reset-classifier"], inputs["init-model"] = reset_classifier, init_model / "final.pt"
    here = begun or not cmd
    if here:
        from pyspk.model import choose_device
        torch_device = choose_device(device)
    else:
        find_program(cmd.split())

    def is_current():      # old files may go: what can be found wrong beforehand has been
        parts = [*exp_dir.glob("last*.pt"), *exp_dir.glob("epochs/*.pt")]
        curves = [*exp_dir.glob("log/train.jsonl"), *exp_dir.glob("log/events.out.tfevents.*")]
        state = begin(exp_dir / "final.pt", settings.that_matter() | more_settings, inputs, overwrite, parts, curves)
        if state is State.CURRENT:
            log.info("%s is current", exp_dir / "final.pt")
        else:
            check_training(exp_dir, settings, reader.dim, len(set(reader.utt2spk.values())), force)
        return state is State.CURRENT

    again = [sys.argv[0], "--begun", *sys.argv[1:]]
    if not here:
        from pyspk.training.submitted import train_through
        return None if is_current() else train_through(cmd.split(), again, exp_dir, num_nodes)
    if num_gpus * num_nodes > 1 and not started_as_one_of_several():
        from pyspk.training.launch import launch
        from pyspk.training.nodes import Nodes
        return None if not begun and is_current() else launch(num_gpus, torch_device, [sys.executable, *again],
                                                              nodes=Nodes(node, num_nodes, meeting))

    from pyspk.frontend import Frontend
    from pyspk.training.loop import train

    with joined(torch_device) as world:
        if not world.any(world.is_first and not begun and is_current()):
            train(settings, data, exp_dir, world, start, reader,
                  Frontend(more_settings["fbank"]) if frontend == "device" else None)
            log.info("wrote the network to %s", exp_dir / "final.pt")
    return None


def refuse_idle_options(init_model, reset_classifier, fbank_config, augment_config, resample, channel, frontend):
    """Raise UserError for options that do nothing without another one."""
    if reset_classifier and not init_model:
        raise UserError("--reset-classifier needs --init-model: without it all weights are new")
    if (resample or channel) and not fbank_config:
        raise UserError("--resample and --channel need --fbank-config: features that are made already are not made of "
                        "the recordings again")
    if augment_config and not fbank_config:
        raise UserError("--augment-config needs --fbank-config: features that are made already are not augmented; "
                        "augment_data_dir.py makes copies to train on")
    if frontend == "device" and not fbank_config:
        raise UserError("--frontend device needs --fbank-config: features that are made already come from feats.scp")


def start_with(init_model, reset_classifier, net_settings):
    """What training begins with, checked as far as it can be before."""
    from pyspk.model import load_to_start
    from pyspk.training.loop import Start

    load_to_start(net_settings, init_model)
    return Start(init_model, reset_classifier)


def from_features(data):
    """(reader of feats.scp, settings that it adds to the record, its input files)."""
    from pyspk.chunks import FeatureReader

    return FeatureReader.from_data_dir(data), {}, data.inputs("utt2spk", "feats.scp", optional=["vad.scp"])


def from_recordings(data, fbank_config, augment_config, augment_root, resample, channel):
    """(reader of the recordings, settings that it adds to the record, its input files)."""
    from pyspk.augment.augmenter import Augmenter
    from pyspk.augment.config import load_config
    from pyspk.augment.copies import noise_inputs
    from pyspk.features import read_conf
    from pyspk.waves import WaveReader

    conf = read_conf(fbank_config)
    settings = {"fbank": conf, "resample": resample, "channel": channel}
    inputs = data.inputs("utt2spk", "wav.scp", optional=["segments", "vad.scp"])
    augmenter = None
    if augment_config:
        augment = load_config(augment_config).below(augment_root)
        augmenter, settings["augment"] = Augmenter(augment, resample, data.no_pipes), asdict(augment)
        inputs |= noise_inputs(augment)
    return WaveReader(data, conf, augmenter, resample, channel), settings, inputs


if __name__ == "__main__":
    run(main)
