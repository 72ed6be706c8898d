#!/usr/bin/env python3
"""Stage 1 for recordings that lie as SPEAKER/**/*.{wav,flac,ogg,opus,mp3}: data directories and trials."""

import logging
import os
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import bootstrap
import click
import soundfile
from speaker_folders.trials import choose, draw_trials, read_groups
from speaker_folders.utterances import Utterance, name_utterances

from pyspk.console import run
from pyspk.errors import UserError, first_few
from pyspk.tables.records import State, begin
from pyspk.tables.text import write_lines, write_table

AUDIO = {".wav", ".flac", ".ogg", ".opus", ".mp3"}
OTHER_AUDIO = {".m4a", ".aac", ".mp4", ".wma", ".sph", ".aif", ".aiff", ".amr", ".webm"}
MIN_S = 0.3

log = logging.getLogger("pyspk")


@click.command()
@click.option("--dev-speakers", type=Path, help="hold these out too, one a line, for trials to choose settings by")
@click.option("--eval-speakers", type=Path, help="evaluate on these speakers, one a line; else on every third group")
@click.option("--groups", type=Path, help='"SPEAKER GROUP" lines: speakers of a group are never split nor compared '
              "as different  [default: CORPUS_DIR/groups, if it is there]")
@click.option("--max-trials", default=100_000, show_default=True, type=click.IntRange(2), help="a fair sample of more")
@click.option("--overwrite", is_flag=True, help="make anew what was made from other recordings or settings")
@click.argument("corpus_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("data_dir", type=Path)
def main(dev_speakers, eval_speakers, groups, max_trials, overwrite, corpus_dir, data_dir):
    """Write DATA_DIR/{train,eval}/{wav.scp,segments,utt2spk,...}, DATA_DIR/trials/eval and DATA_DIR/left_out.

    Groups, or speakers without one, are sorted by name; of each three the first goes to evaluation. With --dev-speakers
    DATA_DIR/eval has their utterances too, and their trials, none with an evaluation speaker, are DATA_DIR/trials/dev.
    """
    corpus_dir = corpus_dir.absolute()
    if groups is None and (corpus_dir / "groups").exists():
        groups = corpus_dir / "groups"
    recordings = list_recordings(corpus_dir)
    listing = write_listing(data_dir / "corpus", corpus_dir, recordings)
    inputs = {"corpus": listing, "groups": groups, "dev-speakers": dev_speakers, "eval-speakers": eval_speakers}
    lists = {side: data_dir / "trials" / side for side in ("dev", "eval")}
    state = begin(lists["eval"], {"corpus_dir": str(corpus_dir), "max_trials": max_trials},
                  {name: path for name, path in inputs.items() if path}, overwrite, parts=[lists["dev"]])
    if state is State.CURRENT and (lists["dev"].exists() or not dev_speakers):
        return log.info("%s is current", lists["eval"])

    utts = name_utterances(corpus_dir, measure(corpus_dir, recordings, data_dir / "left_out"))
    group_of = read_groups(groups, {utt.speaker for utt in utts})
    sides = {side: [utt for utt in utts if utt.speaker in speakers]
             for side, speakers in choose(group_of, eval_speakers, dev_speakers).items()}
    train = sides.pop("train")
    if alone := [speaker for speaker, n in Counter(utt.speaker for utt in train).items() if n == 1]:
        log.warning("%d speakers for training have a single utterance (%s)", len(alone), first_few(alone))
    trials = {side: draw_trials(tried, group_of, max_trials, side) for side, tried in sides.items()}
    for name, part in (("train", train), ("eval", list(chain.from_iterable(sides.values())))):
        # A record of its own, so that features of recordings that changed under the same names are not current.
        begin(data_dir / name / "wav.scp", {}, {"corpus": listing}, overwrite=True)
        write_data_dir(data_dir / name, part)
    for side in trials:                                     # eval comes last: when it is there, all is
        write_trials(lists[side], trials[side])


def write_listing(path: Path, corpus_dir: Path, recordings: list[str]) -> Path:
    """Write name, bytes and time of change of each recording to `path`: so a rerun sees that the corpus changed."""
    stats = [(corpus_dir / recording).stat() for recording in recordings]
    write_lines(path, (f"{recording!a}\t{stat.st_size}\t{stat.st_mtime_ns}"
                       for recording, stat in zip(recordings, stats, strict=True)))
    return path


def list_recordings(corpus_dir: Path) -> list[str]:
    """The recordings in the speakers' folders of `corpus_dir`, as sorted relative paths, without hidden ones.

    Raises UserError when there is none.
    """
    def give_up(fault: OSError) -> None:
        raise fault

    found, direct, bare, others = [], 0, [], []
    for entry in sorted(corpus_dir.iterdir()):
        if not entry.is_dir():
            direct += entry.suffix.lower() in AUDIO
        elif not entry.name.startswith("."):
            files = [Path(folder, name) for folder, _, names in os.walk(entry, onerror=give_up, followlinks=True)
                     for name in names]
            others += [file for file in files if file.suffix.lower() in OTHER_AUDIO]
            files = [file for file in files if file.suffix.lower() in AUDIO and not file.name.startswith(".")]
            found += [file.relative_to(corpus_dir).as_posix() for file in files]
            bare += [] if files else [entry.name]
    if direct:
        raise UserError(f"{corpus_dir}: {direct} recordings lie directly in it; give each speaker a folder of his own: "
                        f"{corpus_dir}/SPEAKER/NAME.wav")
    if not found:
        raise UserError(f"{corpus_dir}: no recordings; it should hold SPEAKER/NAME.wav (or flac, ogg, opus, mp3)")
    if others:
        log.warning("%d recordings are of a kind that is not read (%s); convert them to flac", len(others),
                    first_few(map(ascii, map(str, others))))
    if bare:
        log.warning("%d folders are without recordings (%s)", len(bare), first_few(bare))
    return sorted(found)


def measure(corpus_dir: Path, recordings: list[str], left_out: Path) -> dict[str, float]:
    """Recording -> seconds for the usable ones; the others are written to `left_out`, each with the reason."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda path: seconds_or_reason(corpus_dir / path), recordings)
        by_path = dict(zip(recordings, results, strict=True))
    reasons = {path: result for path, result in by_path.items() if isinstance(result, str)}
    write_lines(left_out, (f"{path!a}\t{reason}" for path, reason in reasons.items()))
    if reasons:
        log.warning("left out %d of %d recordings (%s); %s has the reasons", len(reasons), len(recordings),
                    first_few(map(ascii, reasons)), left_out)
    return {path: result for path, result in by_path.items() if isinstance(result, float)}


def seconds_or_reason(path: Path) -> float | str:
    """How long a recording is, or why it cannot be used."""
    if not str(path).isprintable():
        return "a name with unprintable characters; rename it"
    try:
        with soundfile.SoundFile(path) as file:
            seconds = file.frames / file.samplerate
            if seconds < MIN_S:
                return f"{seconds:.2f} s, shorter than {MIN_S} s"
            if not any(block.any() for block in file.blocks(blocksize=65536, dtype="float32")):
                return "silent"
    except soundfile.LibsndfileError as fault:
        return f"unreadable: {fault.error_string}"
    return seconds


def write_data_dir(folder: Path, utts: list[Utterance]) -> None:
    """Write a Kaldi data directory; segments and reco2dur only when a recording was cut."""
    spk2utt = defaultdict(list)
    for utt in utts:
        spk2utt[utt.speaker].append(utt.id)
    tables = {
        "wav.scp": {utt.recording: utt.path for utt in utts},
        "utt2dur": {utt.id: f"{utt.end_s - utt.start_s:.3f}" for utt in utts},
        "spk2utt": {speaker: " ".join(ids) for speaker, ids in spk2utt.items()},
        "utt2spk": {utt.id: utt.speaker for utt in utts},
    }
    if any(utt.id != utt.recording for utt in utts):
        tables["segments"] = {utt.id: f"{utt.recording} {utt.start_s:.3f} {utt.end_s:.3f}" for utt in utts}
        tables["reco2dur"] = {utt.recording: f"{utt.end_s:.3f}" for utt in utts}       # its last piece ends it
    for name in ("segments", "reco2dur"):
        (folder / name).unlink(missing_ok=True)
    for name, table in tables.items():
        write_table(folder / name, table)
    log.info("wrote %d utterances of %d speakers to %s", len(utts), len(spk2utt), folder)


def write_trials(path: Path, trials: list[str]) -> None:
    """Write a list of trials, and say how many of each kind it has."""
    write_lines(path, trials)
    n_targets = sum(trial.endswith(" target") for trial in trials)
    log.info("wrote %d target and %d nontarget trials to %s", n_targets, len(trials) - n_targets, path)


if __name__ == "__main__":
    run(main)
