#!/usr/bin/env python3
"""Write PLDA's log likelihood ratio of each trial."""

import logging
from pathlib import Path

import bootstrap
import click

from pyspk.console import force_option, no_pipes_option, run
from pyspk.scoring.folder import files_of
from pyspk.tables.records import State, begin

log = logging.getLogger("pyspk")


@click.command()
@click.option("--enroll-map", type=Path, metavar="FILE",
              help='the enroll names are models; FILE has lines "MODEL UTT UTT ...", as spk2utt')
@click.option("--normalize-length", is_flag=True,
              help="scale each vector in the model's space too, as Kaldi's ivector-plda-scoring does by default")
@click.option("--device", default="cpu", show_default=True, help="auto, cpu, cuda, cuda:1, ...: files take longer to "
              "read and to write than scores to compute, so that a GPU gains little")
@click.option("--overwrite", is_flag=True, help="make anew what was made from other inputs or settings")
@force_option
@no_pipes_option
@click.argument("plda_dir", type=Path)
@click.argument("trials", type=Path)
@click.argument("enroll_scp", type=Path)
@click.argument("test_scp", type=Path)
@click.argument("out", type=Path)
def main(enroll_map, normalize_length, device, overwrite, force, no_pipes, plda_dir, trials, enroll_scp, test_scp, out):
    """Write "ENROLL TEST SCORE" to OUT for each line of TRIALS; above 0 one speaker is likelier than two.

    PLDA_DIR is of train_plda.py, or of Kaldi: mean.vec, plda and, if there is one, transform.mat. ENROLL_SCP and
    TEST_SCP hold the embeddings; they may be the same file.
    """
    settings = {"normalize-length": normalize_length}
    inputs = {**files_of(plda_dir), "trials": trials, "enroll scp": enroll_scp, "test scp": test_scp}
    if enroll_map:
        inputs["enroll map"] = enroll_map
    if begin(out, settings, inputs, overwrite) is State.CURRENT:
        return log.info("%s is current", out)

    from pyspk.needs.checks import check_scores
    from pyspk.scoring.backend import score_file
    from pyspk.tables.archive import refuse_commands_in
    if no_pipes:
        refuse_commands_in(enroll_scp, test_scp)
    if device != "cpu":
        from pyspk.model import choose_device
        device = str(choose_device(device))
    check_scores(out, trials, force)
    n_scores = score_file(plda_dir, trials, enroll_scp, test_scp, out, enroll_map, normalize_length, device)
    return log.info("wrote %d scores to %s", n_scores, out)


if __name__ == "__main__":
    run(main)
