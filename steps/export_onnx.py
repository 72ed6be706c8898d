#!/usr/bin/env python3
"""Write the network of a model folder as an ONNX file."""

import logging
from pathlib import Path

import bootstrap
import click

from pyspk.console import run
from pyspk.tables.records import State, begin

log = logging.getLogger("pyspk")


@click.command()
@click.option("--overwrite", is_flag=True, help="make anew what was made from another network")
@click.argument("exp_dir", type=Path)
@click.argument("out", type=Path)
def main(overwrite, exp_dir, out):
    """Write OUT, an ONNX file, from the network in EXP_DIR: feats (B, T, F) float32 to embedding (B, D).

    Its metadata says in JSON what the network is, how the features are made, and which mean to take off the embeddings,
    as far as EXP_DIR/model.json (export_model.py) says it. The mean of the features over time is taken off within.

    onnxruntime must give PyTorch's embeddings, to 1e-4 of the largest value, for 0.3 to 20 s; else nothing is written.
    """
    from dataclasses import asdict

    from pyspk.model import FINAL, load_model
    from pyspk.verifier.folder import MEAN, MODEL, read_folder
    from pyspk.verifier.onnx import export_onnx

    is_whole = (exp_dir / MODEL).exists()
    inputs = {name: exp_dir / name for name in (FINAL, MODEL, MEAN) if name == FINAL or (exp_dir / name).exists()}
    if is_whole:
        model = read_folder(exp_dir)
        net, settings = model.net, model.settings
        metadata = {"features": asdict(model.feature_settings), "sample_rate_hz": model.features.rate_hz,
                    "mean": None if model.mean is None else model.mean.tolist()}
    else:
        (net, settings), metadata = load_model(exp_dir), {}
        log.warning("%s: no such file; the metadata will not say how the features are made (export_model.py does)",
                    exp_dir / MODEL)
    if begin(out, {}, inputs, overwrite) is State.CURRENT:
        return log.info("%s is current", out)
    parity = export_onnx(net, settings["feat_dim"], out, {"network": settings, **metadata})
    log.info("onnxruntime differs from PyTorch by %.1g of the largest value", parity)
    return log.info("wrote the network to %s", out)


if __name__ == "__main__":
    run(main)
