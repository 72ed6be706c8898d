#!/usr/bin/env python3
"""Print what a whole run will need: disk, memory and hours of each stage."""

import logging
from pathlib import Path

import bootstrap
import click

from pyspk.console import Finite, no_pipes_option, run
from pyspk.errors import UserError

log = logging.getLogger("pyspk")


class Numbers(click.ParamType):
    """Whole numbers above 0 with commas between them."""

    name = "N,N,..."

    def convert(self, value, param, ctx):
        """A list of them."""
        words = value.split(",") if isinstance(value, str) else list(map(str, value))
        if not all(word.isdecimal() and int(word) > 0 for word in words):
            self.fail(f"{value}: not whole numbers above 0 with commas between them, as 1,8,64", param, ctx)
        return [int(word) for word in words]


@click.command()
@click.option("--hours", type=Finite(0, min_open=True), help="plan for a corpus of so many hours ...")
@click.option("--utts", type=click.IntRange(1), help="... so many utterances ...")
@click.option("--speakers", type=click.IntRange(2), help="... of so many speakers; DATA_DIR is then only measured with")
@click.option("--train-config", type=Path, help="settings of training, a TOML file; without it the published recipe's")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="one setting over the file's; repeatable")
@click.option("--fbank-config", type=Path, help="options of the features, in Kaldi's format")
@click.option("--compress", type=bool, default=True, show_default=True, help="features of one byte a value")
@click.option("--augment-config", type=Path, help="train on augmented copies too; settings, a TOML file")
@click.option("--copies", default=1, show_default=True, type=click.IntRange(0), help="of each utterance at each speed")
@click.option("--online", type=click.Choice(["workers", "device"]), help="no copies: augmented while training")
@click.option("--eval-utts", default=4708, show_default=True, type=click.IntRange(1), help="utterances to evaluate on; "
              "the default is VoxCeleb1's list O")
@click.option("--trials", default=37611, show_default=True, type=click.IntRange(1), help="trials of them")
@click.option("--machines", type=Numbers(), default="1,8,64", show_default=True, help="for so many machines")
@click.option("--nj", type=click.IntRange(1), help="jobs at a time on a machine  [default: the cores of this one]")
@click.option("--num-gpus", default=1, show_default=True, type=click.IntRange(1), help="devices to train on, a machine")
@click.option("--samples-per-second", type=Finite(0, min_open=True), help="training's rate on one GPU, "
              "measured elsewhere (log/train.jsonl says it), in place of measuring here")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda: what is measured here")
@click.option("--budget", default=3.0, show_default=True, type=Finite(0), help="seconds for each measurement")
@click.option("--work-dir", type=Path, default=Path(), help="where it will be written  [default: .]")
@no_pipes_option
@click.argument("data_dir", type=Path, required=False)
def main(hours, utts, speakers, train_config, overrides, fbank_config, compress, augment_config, copies, online,
         eval_utts, trials, machines, nj, num_gpus, samples_per_second, device, budget, work_dir, no_pipes, data_dir):
    """Print what stages 2 to 5 of egs/voxceleb/run.sh need to train on DATA_DIR, or on a corpus that is not there.

    \b
    plan.py data/train
    plan.py --hours 100000 --utts 20000000 --speakers 200000 --num-gpus 8 --samples-per-second 2000

    Sizes follow from the data's own lengths; rates are measured here for a few seconds, and scaled. Beneath the table
    stands what was measured and what is assumed.
    """
    if online and not augment_config:
        raise UserError("--online needs --augment-config: without it nothing is augmented")
    from pyspk.augment.config import load_config as load_augmentation
    from pyspk.datadir import DataDir
    from pyspk.features import Fbank, configured
    from pyspk.model import choose_device
    from pyspk.needs.machine import memory_taken_bytes, n_cores
    from pyspk.plan.corpus import copies_of, corpus_of
    from pyspk.plan.measure import measure
    from pyspk.plan.stages import Evaluation, Machine, Plan
    from pyspk.plan.table import plan_lines
    from pyspk.training.config import load_config
    from pyspk.training.cost import sample_cost, weights_of

    data = DataDir(data_dir, no_pipes) if data_dir else None
    corpus = corpus_of(data, hours, utts, speakers)
    config, (fbank, _) = load_config(train_config, overrides), configured(Fbank, fbank_config)
    made = copies_of(load_augmentation(augment_config) if augment_config else None, copies, online or "")
    config.check_parts(fbank.dim)
    torch_device = choose_device(device)
    on_cpu = torch_device.type == "cpu" and not samples_per_second
    machine = Machine(nj or n_cores(), num_gpus, memory_taken_bytes(), on_cpu)
    n_spk = corpus.n_spk * (1 + len(made.speeds) * config.speed_copies)
    log.info("measuring; some %.0f s", 6 * budget)
    measured = measure(data, corpus.mean_s, fbank, config, n_spk, max(2, config.batch_size // num_gpus), torch_device,
                       budget, samples_per_second)
    plan = Plan(corpus, made, Evaluation(eval_utts, trials), config, weights_of(config, fbank.dim, n_spk),
                sample_cost(config, fbank.dim), measured, machine, machines, fbank.dim, fbank.frame_shift_ms, compress)
    click.echo("\n".join(plan_lines(plan, work_dir, bool(samples_per_second))))


if __name__ == "__main__":
    run(main)
