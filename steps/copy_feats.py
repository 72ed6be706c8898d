#!/usr/bin/env python3
"""Copy a table of features or vectors, to look into it, to convert or to compress it."""

import logging

import bootstrap
import click

from pyspk.console import no_pipes_option, run
from pyspk.errors import UserError
from pyspk.tables.matrix import AUTOMATIC, COMPRESSION_METHODS
from pyspk.tables.specifiers import open_writer, read_values

log = logging.getLogger("pyspk")


@click.command()
@click.option("--compress", type=bool, default=False, show_default=True, help="compress matrices, one byte a value")
@click.option("--compression-method", type=click.IntRange(min(COMPRESSION_METHODS), max(COMPRESSION_METHODS)),
              help="Kaldi's number: 1 automatic, 2 by column, 3 two bytes, 4 two bytes for int16, 5 one byte, "
                   f"6 one byte for 0 to 255, 7 one byte for 0 to 1   [default: {AUTOMATIC}]")
@no_pipes_option
@click.argument("rspecifier")
@click.argument("wspecifier")
def main(compress, compression_method, no_pipes, rspecifier, wspecifier):
    """Copy RSPECIFIER to WSPECIFIER, as Kaldi's copy-feats and copy-vector.

    \b
    to read    ark:FILE, scp:FILE; FILE may be - or "COMMAND |"
    to write   ark:FILE, ark,t:FILE (text), ark,scp:ARK,SCP; FILE may be - or "| COMMAND"

    Float unless --compress true. Look at the beginning of an archive with: copy_feats.py ark:a.ark ark,t:- | head
    """
    if compression_method and not compress:
        raise UserError("--compression-method needs --compress true")
    n = 0
    with open_writer(wspecifier, (compression_method or AUTOMATIC) if compress else None, no_pipes) as write:
        for key, value in read_values(rspecifier, no_pipes):
            try:
                write(key, value)
            except UserError as fault:
                raise UserError(f'utterance "{key}": {fault}') from None
            n += 1
    log.info("wrote %d values to %s", n, wspecifier)


if __name__ == "__main__":
    run(main)
