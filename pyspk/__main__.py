"""The command pyspk: a trained model put to use on recordings."""

import json
import logging
from pathlib import Path

import click

from pyspk.console import Finite, run
from pyspk.errors import UserError

log = logging.getLogger("pyspk")
_DIFFERENT = 3      # exit code of --exit-code, where 1 is an error
_PRIORS = (0.5, 0.1, 0.05, 0.01, 0.001)

model_option = click.option("--model", "model_dir", metavar="EXP", envvar="PYSPK_MODEL", show_envvar=True, type=Path,
                            required=True, help="the model folder, as export_model.py makes it whole")
device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...")
channel_option = click.option("--channel", help="of recordings with several channels: 0, 1, ... or mix  [default: mix]")
folder_option = click.option("--folder", metavar="DIR", type=Path, default="voices", show_default=True,
                             help="where enrolled speakers are kept, a file each")
json_option = click.option("--json", "as_json", is_flag=True, help="answer in JSON, for programs")


def decision_options(command):
    """The options of what decides: --p-target and --threshold."""
    for option in (
        click.option("--threshold", type=Finite(), help="of the score: above it, it is the same speaker  "
                     "[default: the calibration's for --p-target]"),
        click.option("--p-target", type=float, default=0.5, show_default=True, help="how often the answer is "
                     "yes, before anything was heard: of a hundred such questions 1 is 0.01"),
    ):
        command = option(command)
    return command


@click.group()
def main():
    """Put a trained model to use on recordings: wav, flac, ogg, mp3, m4a, ..., at any sampling rate.

    Answers go to stdout, remarks to stderr. Exit codes: 0 an answer was given, whatever it is; 1 an error; 130
    interrupted. With --exit-code verify and identify end with 3 in place of 0 unless they found the same speaker.
    """


@main.command()
@model_option
@device_option
@channel_option
@click.option("--output", metavar="OUT.scp", type=Path, help="write OUT.scp and OUT.ark, in Kaldi's format")
@click.argument("files", nargs=-1, required=True)
def embed(model_dir, device, channel, output, files):
    """Print the embedding of each FILE, or write them with --output, under the file's name.

    As text a line is "FILE  [ x1 x2 ... ]", Kaldi's, as copy-vector ark,t:- prints it.
    """
    from pyspk.tables.archive import ArchiveWriter

    if bad := [name for name in files if len(name.split()) != 1]:
        raise UserError(f'"{bad[0]}": a name with blanks cannot be a key in Kaldi\'s formats; rename it')
    if output is not None and output.suffix != ".scp":
        raise UserError(f"--output {output}: it must end in .scp; the embeddings go to an .ark beside it")
    verifier = _verifier(model_dir, device, channel)
    if output is None:
        for name in files:
            click.echo(f"{name}  [ {' '.join(f'{value:.7g}' for value in verifier.embed(name))} ]")
        return
    names = sorted(set(files))      # as every table of Kaldi's
    with ArchiveWriter(output.with_suffix(".ark"), output) as writer:
        for name in names:
            writer.write(name, verifier.embed(name))
    log.info("wrote %d embeddings to %s", len(names), output)


@main.command()
@model_option
@device_option
@channel_option
@decision_options
@json_option
@click.option("--exit-code", is_flag=True, help="end with 3 unless it is the same speaker")
@click.argument("a")
@click.argument("b")
def verify(model_dir, device, channel, p_target, threshold, as_json, exit_code, a, b):
    """Tell whether the recordings A and B are of one speaker."""
    answer = _verifier(model_dir, device, channel).verify(a, b, p_target, threshold)
    click.echo(json.dumps(answer._asdict()) if as_json else "\n".join(_in_words(answer)))
    return _DIFFERENT if exit_code and not answer.same else 0


@main.command()
@model_option
@device_option
@channel_option
@folder_option
@click.option("--overwrite", is_flag=True, help="enroll anew who is enrolled")
@click.argument("name")
@click.argument("files", nargs=-1, required=True)
def enroll(model_dir, device, channel, folder, overwrite, name, files):
    """Enroll the speaker NAME with recordings of her or him: write DIR/NAME.json."""
    from pyspk.verifier.voices import check_name, write_voice

    path = check_name(folder, name, overwrite)
    verifier = _verifier(model_dir, device, channel)
    voice = verifier.enroll(files)
    write_voice(path, voice, verifier.model.network_id, files)
    log.info("wrote %s, with %.1f s of voice in %d recordings, to %s", name, voice.voice_s, len(files), path)


@main.command()
@model_option
@device_option
@channel_option
@folder_option
@decision_options
@json_option
@click.option("--exit-code", is_flag=True, help="end with 3 unless it is one of the enrolled")
@click.option("--top", default=10, show_default=True, type=click.IntRange(1), help="how many of the enrolled to name")
@click.argument("file")
def identify(model_dir, device, channel, folder, p_target, threshold, as_json, exit_code, top, file):
    """Tell which enrolled speaker is heard in FILE, if any: the enrolled, most similar first, and a decision."""
    from pyspk.verifier.voices import read_voices

    verifier = _verifier(model_dir, device, channel)
    ranked = verifier.identify(file, read_voices(folder, verifier.model.network_id), p_target, threshold)
    name, best = ranked[0]
    if as_json:
        click.echo(json.dumps({"decision": name if best.same else None,
                               "ranked": [{"name": one, **answer._asdict()} for one, answer in ranked[:top]]}))
    else:
        for one, answer in ranked[:top]:
            probability = "" if answer.probability is None else f"  probability {answer.probability:.4f}"
            click.echo(f"{answer.score:8.4f}{probability}  {one}")
        decision = {None: _undecided(), True: name, False: "none of them"}[best.same]
        click.echo(f"decision     {decision}")
        if best.threshold is not None:
            click.echo(f"threshold    {best.threshold:.4f}")
    return _DIFFERENT if exit_code and not best.same else 0


@main.command()
@click.argument("model_dir", metavar="EXP", type=Path)
def info(model_dir):
    """Tell what the model folder EXP holds."""
    from pyspk.verifier.folder import read_folder

    model = read_folder(model_dir)
    features, vad = model.feature_settings, model.feature_settings.vad
    n_parameters = sum(parameter.numel() for parameter in model.net.parameters())
    click.echo(f"network      {', '.join(f'{key} {value}' for key, value in model.settings.items())}")
    click.echo(f"             {n_parameters:,} parameters, id {model.network_id}")
    click.echo(f"recordings   {model.features.rate_hz} Hz; others are converted")
    click.echo(f"features     {model.features.dim} {features.kind}{_options(features.conf)}"
               f"{', one byte a value' if features.compress else ''}")
    click.echo(f"voice        {'every frame' if vad is None else 'energy VAD' + _options(vad)}")
    click.echo(f"mean         {'taken off each embedding' if model.mean is not None else 'none is taken off'}")
    if model.calibration is None:
        click.echo("calibration  none: verify gives a score, and decides by --threshold alone")
        return
    click.echo(f"calibration  {', '.join([*model.calibration.systems, *model.calibration.qualities])}")
    (scale,) = model.calibration.systems.values()
    for prior in _PRIORS:
        threshold = model.calibration.threshold(prior)
        of_score = f", a score of {(threshold - model.calibration.offset) / scale:.4f}"
        click.echo(f"             p-target {prior:<6g} same speaker above a log-likelihood ratio of {threshold:.3f}"
                   f"{'' if model.calibration.qualities else of_score}")


def _verifier(model_dir, device, channel):
    from pyspk.verifier import Verifier

    return Verifier(model_dir, device, channel)


def _in_words(answer):
    """The lines that say an Answer."""
    yield f"score        {answer.score:.4f}"
    if answer.probability is None:
        yield "probability  unknown: this model has no calibration"
    else:
        yield f"probability  {answer.probability:.4f}   that it is one speaker, if that is so in {answer.p_target:g} " \
              "of such pairs"
    decision = {None: _undecided(), True: "same speaker", False: "different speakers"}[answer.same]
    yield f"decision     {decision}"
    if answer.threshold is not None:
        yield f"threshold    {answer.threshold:.4f}   of the score"


def _undecided():
    return "none: this model has no calibration, so give a --threshold of the score"


def _options(conf):
    return "".join(f" --{name}={value}" for name, value in (conf or {}).items())


def command():
    """The entry point of the installed command."""
    run(main, "pyspk")


if __name__ == "__main__":
    command()
