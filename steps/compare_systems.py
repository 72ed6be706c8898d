#!/usr/bin/env python3
"""Print a table of systems beside each other on the same trials, over several seeds, and draw it."""

import logging
from pathlib import Path

import bootstrap
import click

from pyspk.console import run
from pyspk.errors import UserError
from pyspk.pictures import picture_kind
from pyspk.tables.records import State, begin
from pyspk.tables.text import read_text, write_lines

log = logging.getLogger("pyspk")


@click.command()
@click.option("--reference", metavar="SYSTEM", help="give each EER as a ratio to this system's as well")
@click.option("--p-target", default=0.01, show_default=True, help="prior of a target trial in minDCF",
              type=click.FloatRange(0, 1, min_open=True, max_open=True))
@click.option("--utt2spk", type=Path, metavar="FILE", help="the speakers; without it, as the target trials tell")
@click.option("--output", type=Path, metavar="FILE", help="write the table here as well")
@click.option("--plot", type=Path, metavar="FILE", help="draw it: a .png, .svg or .pdf")
@click.option("--overwrite", is_flag=True, help="make anew what was made from other inputs or settings")
@click.argument("trials", type=Path)
@click.argument("scores", nargs=-1, required=True, metavar="SYSTEM=SCORES...")
def main(reference, p_target, utt2spk, output, plot, overwrite, trials, scores):
    """Print EER and minDCF of each SYSTEM on TRIALS: mean and standard deviation over its score files, one a seed.

    Intervals of the means resample the speakers; those of ratios draw the same speakers for both systems. A ratio to no
    error is -.
    """
    from pyspk.scoring import comparison
    systems = group(scores)
    comparison.check_reference(reference, systems)
    if plot:
        picture_kind(plot)
    if output and output == plot:
        raise UserError(f"--output and --plot are both {output}; give the picture a name of its own")
    inputs = {"trials": trials} | {f"{name} {number}": path for name, paths in systems.items()
                                   for number, path in enumerate(paths, start=1)}
    if utt2spk:
        inputs["utt2spk"] = utt2spk
    settings = {"reference": reference, "p-target": p_target, "systems": list(systems), "trials": trials.name}
    wanted = [path for path in (output, plot) if path]
    stale = [path for path in wanted if begin(path, settings, inputs, overwrite) is not State.CURRENT]
    if output and not stale:
        click.echo(read_text(output), nl=False)
        return log.info("%s is current", " and ".join(map(str, wanted)))

    measured = comparison.measure_systems(trials, systems, utt2spk, p_target)
    table = comparison.comparison_table(measured, reference, p_target)
    click.echo("\n".join(table))
    if plot in stale:
        logging.getLogger("matplotlib").setLevel(logging.ERROR)      # it would tell where it keeps its fonts
        comparison.plot_comparison(measured, trials.name, plot)
    if output in stale:
        write_lines(output, table)
    return log.info("wrote %d systems to %s", len(systems), " and ".join(map(str, stale)) or "standard output")


def group(words: tuple[str, ...]) -> dict[str, list[Path]]:
    """system -> its score files, in the order given, of words SYSTEM=SCORES."""
    systems: dict[str, list[Path]] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not (name and equals and path):
            raise UserError(f'"{word}": not SYSTEM=SCORES, say aam=exp/aam-0/scores/eval.cosine')
        paths = systems.setdefault(name, [])
        if Path(path) in paths:
            raise UserError(f'"{word}" comes twice; each score file is a seed of its own')
        paths.append(Path(path))
    return systems


if __name__ == "__main__":
    run(main)
