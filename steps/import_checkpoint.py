#!/usr/bin/env python3
"""Write a model folder from a published checkpoint."""

import logging
from pathlib import Path

import bootstrap
import click

from pyspk.console import run
from pyspk.errors import UserError
from pyspk.tables.records import State, begin

log = logging.getLogger("pyspk")


@click.command()
@click.option("--feat-dim", type=click.IntRange(1), help="dimension of the features; the weights tell it to within 8, "
              "and the default is the highest that fits: 80 for the published networks")
@click.option("--activation", type=click.Choice(["relu", "prelu"]), default="relu", show_default=True,
              help="prelu: as a ResNet-P with all slopes 0, of equal output, to be fine-tuned as one")
@click.option("--overwrite", is_flag=True, help="make anew what was trained, or imported from another file")
@click.argument("file", type=Path)
@click.argument("model_dir", type=Path)
def main(feat_dim, activation, overwrite, file, model_dir):
    """Write MODEL_DIR/final.pt from FILE, a speaker ResNet (18 to 293) as the wespeaker toolkit publishes them.

    extract_xvectors.py and whatever follows take MODEL_DIR like one that was trained here. Of a file with two embedding
    layers the first is taken.

    The published networks expect 80 log-mel bins of 16 kHz audio with a Hamming window, as with make_fbank.py
    --compress false --config egs/voxceleb/conf/fbank.conf, there with --snip-edges=true, and all frames: a data
    directory without vad.scp. The mean over the utterance is subtracted on reading.
    """
    from pyspk.model import FINAL, save_model
    from pyspk.published import read_wespeaker

    net, settings = read_wespeaker(file, feat_dim, activation)
    out = model_dir / FINAL
    if out.resolve() == file.resolve():
        raise UserError(f"{file}: the import would replace it; choose another MODEL_DIR")
    # What is wrong with FILE has been found by now: old weights may go.
    if begin(out, {"activation": activation, "feat_dim": settings["feat_dim"]}, {"checkpoint": file}, overwrite,
             parts=[model_dir / "last.pt"]) is State.CURRENT:
        return log.info("%s is current", out)
    save_model(out, settings, net)
    return log.info("wrote ResNet %d (%d channels, %d bins, embeddings of %d dimensions, %s) to %s", settings["depth"],
                    settings["channels"], settings["feat_dim"], settings["emb_dim"], activation, out)


if __name__ == "__main__":
    run(main)
