#!/usr/bin/env python3
"""Stage 1 for recordings that lie as SPEAKER/**/*.{wav,flac,ogg,opus,mp3}: data directories and trials."""

import logging
import math
import os
import random
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, count, pairwise
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import click
import numpy as np
import soundfile

from pyspk.console import run
from pyspk.errors import UserError, first_few
from pyspk.tables.records import State, begin
from pyspk.tables.text import read_text, write_lines, write_table

AUDIO = {".wav", ".flac", ".ogg", ".opus", ".mp3"}
OTHER_AUDIO = {".m4a", ".aac", ".mp4", ".wma", ".sph", ".aif", ".aiff", ".amr", ".webm"}
MIN_S = 0.3
CUT_ABOVE_S = 20
MAX_PIECE_S = 10                # pieces are equal, so that of more than 20 s none is under 5 s

log = logging.getLogger("pyspk")


class Utterance(NamedTuple):
    """An utterance, or a piece of a long recording."""

    id: str
    speaker: str
    recording: str
    path: Path
    start_s: float
    end_s: float


@click.command()
@click.option("--eval-speakers", type=Path, help="evaluate on these speakers, one a line; else on every third group")
@click.option("--groups", type=Path, help='"SPEAKER GROUP" lines: speakers of a group are never split nor compared '
              "as different  [default: CORPUS_DIR/groups, if it is there]")
@click.option("--max-trials", default=100_000, show_default=True, type=click.IntRange(2), help="a fair sample of more")
@click.option("--overwrite", is_flag=True, help="make anew what was made from other recordings or settings")
@click.argument("corpus_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("data_dir", type=Path)
def main(eval_speakers, groups, max_trials, overwrite, corpus_dir, data_dir):
    """Write DATA_DIR/{train,eval}/{wav.scp,segments,utt2spk,...}, DATA_DIR/trials/eval and DATA_DIR/left_out.

    Groups, or speakers without one, are sorted by name; of each three the first goes to evaluation.
    """
    corpus_dir = corpus_dir.absolute()
    if groups is None and (corpus_dir / "groups").exists():
        groups = corpus_dir / "groups"
    recordings = list_recordings(corpus_dir)
    listing = write_listing(data_dir / "corpus", corpus_dir, recordings)
    inputs = {"corpus": listing, "groups": groups, "eval-speakers": eval_speakers}
    out = data_dir / "trials" / "eval"
    if begin(out, {"corpus_dir": str(corpus_dir), "max_trials": max_trials},
             {name: path for name, path in inputs.items() if path}, overwrite) is State.CURRENT:
        return log.info("%s is current", out)

    seconds, left_out = measure(corpus_dir, recordings)
    write_lines(data_dir / "left_out", (f"{path!a}\t{reason}" for path, reason in left_out.items()))
    if left_out:
        log.warning("left out %d of %d recordings (%s); %s has the reasons", len(left_out), len(recordings),
                    first_few(map(ascii, left_out)), data_dir / "left_out")
    utts = name_utterances(corpus_dir, seconds)
    speakers = {utt.speaker for utt in utts}
    group_of = read_groups(groups, speakers)
    evaluated = choose(speakers, group_of, eval_speakers)
    train = [utt for utt in utts if utt.speaker not in evaluated]
    evaluation = [utt for utt in utts if utt.speaker in evaluated]
    if alone := [speaker for speaker, n in Counter(utt.speaker for utt in train).items() if n == 1]:
        log.warning("%d speakers for training have a single utterance (%s)", len(alone), first_few(alone))
    trials = draw_trials(evaluation, group_of, max_trials)
    for name, side in (("train", train), ("eval", evaluation)):
        # A record of its own, so that features of recordings that changed under the same names are not current.
        begin(data_dir / name / "wav.scp", {}, {"corpus": listing}, overwrite=True)
        write_data_dir(data_dir / name, side)
    write_lines(out, trials)
    n_targets = sum(trial.endswith(" target") for trial in trials)
    log.info("wrote %d target and %d nontarget trials to %s", n_targets, len(trials) - n_targets, out)


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


def measure(corpus_dir: Path, recordings: list[str]) -> tuple[dict[str, float], dict[str, str]]:
    """Recording -> seconds for the usable ones, and recording -> reason for the others."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda path: seconds_or_reason(corpus_dir / path), recordings)
        by_path = dict(zip(recordings, results, strict=True))
    return ({path: result for path, result in by_path.items() if isinstance(result, float)},
            {path: result for path, result in by_path.items() if isinstance(result, str)})


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


def name_utterances(corpus_dir: Path, seconds: dict[str, float]) -> list[Utterance]:
    """All utterances, sorted by id, which sorts them by speaker too. Raises UserError when two speakers get one id."""
    folders: dict[str, str] = {}
    for folder in sorted({path.partition("/")[0] for path in seconds}):
        other = folders.setdefault(safe_id(folder), folder)
        if other != folder:
            raise UserError(f'{corpus_dir}: the speakers "{other}" and "{folder}" would both be called '
                            f'"{safe_id(folder)}"; rename one of the folders')
    # "-" sorts before all that an id can hold, so SPEAKER-NAME keeps speakers together, unless one speaker's id goes on
    # from another's with "-" itself.
    link = "--" if any(after.startswith(f"{before}-") for before, after in pairwise(sorted(folders))) else "-"
    utts: list[Utterance] = []
    taken: set[str] = set()
    for path in sorted(seconds):
        folder, _, name = path.partition("/")
        speaker = safe_id(folder)
        stem = safe_id(PurePosixPath(name).with_suffix("").as_posix().replace("/", "-")).removeprefix(f"{speaker}-")
        names = chain([stem], (f"{stem}-{number}" for number in count(2)))
        recording = next(name for name in (f"{speaker}{link}{name}" for name in names) if name not in taken)
        taken.add(recording)
        utts += cut(recording, speaker, corpus_dir / path, seconds[path])
    return sorted(utts)


def safe_id(name: str) -> str:
    """`name` in letters, digits, "_", "." and single inner "-": a space as "_", others by their code (ü as u00fc)."""
    name = unicodedata.normalize("NFC", name).replace(" ", "_")
    name = re.sub(r"[^A-Za-z0-9_.-]", lambda found: f"u{ord(found[0]):04x}", name)
    return re.sub("-+", "-", name).strip("-") or "_"


def cut(recording: str, speaker: str, path: Path, seconds: float) -> Iterator[Utterance]:
    """The recording as one utterance, or, when it is longer than CUT_ABOVE_S, as equal pieces."""
    if seconds <= CUT_ABOVE_S:
        yield Utterance(recording, speaker, recording, path, 0.0, seconds)
        return
    n_pieces = math.ceil(seconds / MAX_PIECE_S)
    borders = [seconds * piece / n_pieces for piece in range(n_pieces + 1)]
    for start_s, end_s in pairwise(borders):
        name = f"{recording}-{round(start_s * 100):07d}-{round(end_s * 100):07d}"
        yield Utterance(name, speaker, recording, path, start_s, end_s)


def read_groups(path: Path | None, speakers: set[str]) -> dict[str, str]:
    """Speaker -> group; a speaker that the file does not name is a group by himself."""
    lines = [line.strip().rpartition(" ") for line in read_text(path).splitlines() if line.strip()] if path else []
    named = {safe_id(speaker.strip()): group for speaker, _, group in lines}
    if unknown := sorted(named.keys() - speakers):
        log.warning("%s: %d speakers are without usable recordings (%s)", path, len(unknown), first_few(unknown))
    return {speaker: named.get(speaker, speaker) for speaker in speakers}


def choose(speakers: set[str], group_of: dict[str, str], eval_speakers: Path | None) -> set[str]:
    """The speakers to evaluate on. Raises UserError when fewer than two are left on either side."""
    if eval_speakers:
        wanted = {safe_id(line.strip()): line.strip() for line in read_text(eval_speakers).splitlines() if line.strip()}
        if unknown := [name for speaker, name in wanted.items() if speaker not in speakers]:
            raise UserError(f"{eval_speakers}: {len(unknown)} speakers have no usable recordings in the corpus "
                            f"({first_few(unknown)}); it has {first_few(sorted(speakers))}")
        chosen = set(wanted)
        if torn := {group_of[speaker] for speaker in chosen} & {group_of[speaker] for speaker in speakers - chosen}:
            raise UserError(f"{eval_speakers}: it divides the groups {first_few(sorted(torn))}; name all speakers of a "
                            "group, or none")
    else:
        evaluated = set(sorted(set(group_of.values()))[::3])
        chosen = {speaker for speaker in speakers if group_of[speaker] in evaluated}
    for name, n_speakers in (("evaluation", len(chosen)), ("training", len(speakers - chosen))):
        if n_speakers < 2:
            raise UserError(f"{n_speakers} of {len(speakers)} speakers for {name}, but it takes 2 at least; add "
                            "speakers, or choose those to evaluate on with --eval-speakers FILE")
    return chosen


def draw_trials(utts: list[Utterance], group_of: dict[str, str], max_trials: int) -> list[str]:
    """Sorted "ENROLL TEST target|nontarget" lines: pairs of utterances from different recordings, at most max_trials.

    Targets may fill half of them, or what the nontargets leave. Pieces of one recording are targets only for a speaker
    who has no other; speakers of one group are no nontargets. Raises UserError when either kind is missing.
    """
    speaker, recording, group = (np.unique(column, return_inverse=True)[1] for column in (
        [utt.speaker for utt in utts], [utt.recording for utt in utts], [group_of[utt.speaker] for utt in utts]))
    recordings_of = defaultdict(set)
    for utt in utts:
        recordings_of[utt.speaker].add(utt.recording)
    single = np.array([len(recordings_of[utt.speaker]) == 1 for utt in utts])

    def targets(row: int) -> np.ndarray:
        return (speaker == speaker[row]) & ((recording != recording[row]) | single[row])

    def nontargets(row: int) -> np.ndarray:
        return group != group[row]

    n_targets, n_nontargets = (sum(pairs_per_row(kind, len(utts))) for kind in (targets, nontargets))
    if not n_targets:
        raise UserError("no target trial: no speaker for evaluation has two utterances; record more, or choose others "
                        "with --eval-speakers FILE")
    if not n_nontargets:
        raise UserError("no nontarget trial: all speakers for evaluation are of one group; choose others with "
                        "--eval-speakers FILE")
    cut_up = sorted({utt.speaker for utt, alone in zip(utts, single, strict=True) if alone and utt.id != utt.recording})
    if cut_up:
        log.warning("%d speakers for evaluation have a single recording (%s); pieces of it are their target trials",
                    len(cut_up), first_few(cut_up))
    keep = min(n_targets, max(max_trials // 2, max_trials - n_nontargets))
    trials = [f"{utts[row].id} {utts[column].id} {name}"
              for kind, name, n_kept in ((targets, "target", keep), (nontargets, "nontarget", max_trials - keep))
              for row, column in sample_pairs(kind, len(utts), n_kept)]
    return sorted(trials)


def pairs_per_row(kind: Callable[[int], np.ndarray], n_utts: int) -> list[int]:
    """How many columns > row are pairs of this kind, for each row."""
    return [int(kind(row)[row + 1:].sum()) for row in range(n_utts)]


def sample_pairs(kind: Callable[[int], np.ndarray], n_utts: int, n_wanted: int) -> Iterator[tuple[int, int]]:
    """Pairs row < column of this kind: all, or a sample of n_wanted that is the same each time."""
    counts = pairs_per_row(kind, n_utts)
    total = sum(counts)
    ranks = np.array(sorted(random.Random(0).sample(range(total), min(n_wanted, total))))
    before = 0
    for row, n_pairs in enumerate(counts):
        here = ranks[np.searchsorted(ranks, before):np.searchsorted(ranks, before + n_pairs)] - before
        columns = row + 1 + np.flatnonzero(kind(row)[row + 1:])
        yield from ((row, int(column)) for column in columns[here])
        before += n_pairs


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


if __name__ == "__main__":
    run(main)
