#!/usr/bin/env python3
"""Write a model folder that stands by itself."""

import logging
from dataclasses import asdict
from pathlib import Path

import bootstrap
import click

from pyspk.console import no_pipes_option, run
from pyspk.errors import UserError
from pyspk.tables.records import State, begin

log = logging.getLogger("pyspk")


@click.command()
@click.option("--fbank-config", type=Path, help="how the features of DATA_DIR were made, where no step here made them")
@click.option("--mfcc-config", type=Path, help="in place of --fbank-config, where they are MFCCs")
@click.option("--vad-config", type=Path, help="how its vad.scp was made, likewise")
@click.option("--subtract-mean", "mean", type=Path, metavar="MEAN", help="the vector that is taken off each embedding "
              "before scoring, mean.vec of the training set")
@click.option("--calibration", type=Path, help="of the scores that score_cosine.py writes with the same mean, by "
              "calibrate.py")
@click.option("--overwrite", is_flag=True, help="make anew what was made from other inputs or settings")
@no_pipes_option
@click.argument("exp_dir", type=Path)
@click.argument("data_dir", type=Path)
@click.argument("out_dir", type=Path, required=False)
def main(fbank_config, mfcc_config, vad_config, mean, calibration, overwrite, no_pipes, exp_dir, data_dir, out_dir):
    """Make the model in EXP_DIR one that the command pyspk takes, here or copied to another machine.

    Written to OUT_DIR (EXP_DIR itself): model.json, which says how features are made, mean.vec and calibration.json;
    to another OUT_DIR final.pt and config.toml as well, all that a recording's embedding and score need.

    DATA_DIR is a data directory with features like those that the network was trained on; how they were made is read
    from its records. Where it has wav.scp, the first recording must give its features.
    """
    from pyspk.calibration import Calibration
    from pyspk.datadir import DataDir
    from pyspk.features import EnergyVad, Fbank, Mfcc, configured
    from pyspk.model import FINAL
    from pyspk.verifier.folder import CALIBRATION, CONFIG, MEAN, MODEL, check, speaks_against, write_folder
    from pyspk.verifier.origin import feature_settings, prove

    if fbank_config and mfcc_config:
        raise UserError("--fbank-config and --mfcc-config: the features are one or the other; give one of them")
    if calibration and speaks_against(Calibration.load(calibration)):
        log.warning("%s: with it a higher score speaks against one speaker, so the scores it was trained on tell "
                    "nothing; it is left out, and there will be no probabilities", calibration)
        calibration = None
    data, out = DataDir(data_dir, no_pipes), out_dir or exp_dir
    kind, config = ("mfcc", mfcc_config) if mfcc_config else ("fbank", fbank_config)
    features = feature_settings(
        data, kind if config else None, configured(Mfcc if mfcc_config else Fbank, config)[1] if config else None,
        configured(EnergyVad, vad_config)[1] if vad_config else None)
    inputs = {FINAL: exp_dir / FINAL, **data.inputs("feats.scp", optional=["vad.scp", "wav.scp"])}
    inputs |= {name: path for name, path in ((MEAN, mean), (CALIBRATION, calibration)) if path}
    check(exp_dir, features, mean, calibration)
    proven = prove(features, data) if data.has("wav.scp") else None
    sources = {path.resolve() for path in (exp_dir / FINAL, exp_dir / CONFIG, *inputs.values())}
    parts = [path for name in (FINAL, CONFIG, MEAN, CALIBRATION) if (path := out / name).resolve() not in sources]
    along = [out / name for name in (FINAL, MEAN, CALIBRATION) if name in inputs]
    if begin(out / MODEL, {"features": asdict(features)}, inputs, overwrite, parts, along=along) is State.CURRENT:
        return log.info("%s is current", out / MODEL)
    write_folder(out, exp_dir, features, mean, calibration)
    log.info("the recording of utterance %s gives its features" if proven else
             "%s has no wav.scp, so no recording proves that these are the features' options", proven or data.path)
    return log.info("wrote the model folder %s", out)


if __name__ == "__main__":
    run(main)
