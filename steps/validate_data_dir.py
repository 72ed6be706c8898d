#!/usr/bin/env python3
"""List the faults of a data directory."""

import logging
from pathlib import Path

import bootstrap
import click

from pyspk.console import run

log = logging.getLogger("pyspk")
SHOWN = 10      # faults of a file


@click.command()
@click.option("--no-feats", is_flag=True, help="feats.scp may be absent")
@click.option("--no-text", is_flag=True, help="text may be absent")
@click.option("--no-wav", is_flag=True, help="wav.scp may be absent")
@click.option("--no-spk-sort", is_flag=True, help="utt2spk need not be sorted by speaker")
@click.argument("data_dir", type=Path)
def main(no_feats, no_text, no_wav, no_spk_sort, data_dir):
    """Print the faults of DATA_DIR, a line each, the first 10 of each file and a count of the rest; exit 1 on any.

    A line says file and line, what is wrong, and what mends it. A table that is there is checked, whatever the options.
    """
    from pyspk.datadir.validate import check
    from pyspk.errors import UserError

    absent = {"--no-feats": no_feats, "--no-text": no_text, "--no-wav": no_wav}
    found = {}
    for faults in check(data_dir, [option for option, given in absent.items() if given], not no_spk_sort):
        for line in faults.lines(SHOWN):
            click.echo(line)
        if len(faults) > SHOWN:
            click.echo(f"{faults.path}: {len(faults) - SHOWN} more faults like these")
        found[faults.path.name] = len(faults)
    if found:
        raise UserError(f"{data_dir} is not valid: faults in {', '.join(f'{name} ({n})' for name, n in found.items())}")
    log.info("%s is valid", data_dir)


if __name__ == "__main__":
    run(main)
