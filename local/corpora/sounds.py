"""Noises and impulse responses: recordings without a speaker, measured by their headers, each its own in utt2spk."""

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import soundfile
from tqdm import tqdm

from corpora.data_dirs import is_current, write_data_dir, write_left_out
from corpora.scan import THREADS
from pyspk.errors import UserError, first_few

log = logging.getLogger("pyspk")


def make_sound_dir(folder: Path, root: Path, files: Mapping[str, str], odd: list[str], layout: str,
                   rooms: Mapping[str, str], overwrite: bool) -> None:
    """Write a data directory of recordings with utt2dur, reco2dur, reco2num_channels and, where `rooms` are known,
    utt2room.

    files: utterance -> file relative to `root`; odd: files that are not of the `layout`; rooms: utterance -> room.
    Raises UserError, with a count and the first reason, when there is no file, or one is unreadable or empty.
    """
    if not files:
        raise UserError(f"{root}: no file that is {layout}; unpack the corpus again")
    if is_current(folder, files, {"root": str(root)}, {}, overwrite):
        return
    seconds, channels = measure(root, files)
    write_left_out(folder, odd, layout)
    durations = {utt: f"{length:.3f}" for utt, length in seconds.items()}
    tables = {"utt2dur": durations, "reco2dur": durations, "reco2num_channels": channels}
    if rooms:
        tables["utt2room"] = {utt: rooms[utt] for utt in files}
    write_data_dir(folder, files, lambda file: f"{root}/{file}", lambda utt: utt, tables)
    if n_many := sum(n > 1 for n in channels.values()):
        log.info("%d of them have several channels, as reco2num_channels says: choose one with --channel", n_many)


def measure(root: Path, files: Mapping[str, str]) -> tuple[dict[str, float], dict[str, int]]:
    """Utterance -> seconds, and utterance -> number of channels. Raises UserError as make_sound_dir()."""
    with ThreadPoolExecutor(THREADS) as pool:
        results = pool.map(lambda file: _measured_or_reason(root / file), files.values())
        by_utt = dict(zip(files, tqdm(results, "recordings", len(files), disable=None), strict=True))
    if bad := {utt: result for utt, result in by_utt.items() if isinstance(result, str)}:
        utt, reason = next(iter(bad.items()))
        raise UserError(f"{root}: {len(bad)} of {len(files)} recordings cannot be used ({first_few(bad)}); the first, "
                        f"{files[utt]}: {reason}; unpack the corpus again")
    return {utt: result[0] for utt, result in by_utt.items()}, {utt: result[1] for utt, result in by_utt.items()}


def _measured_or_reason(path: Path) -> tuple[float, int] | str:
    try:
        info = soundfile.info(path)
    except soundfile.LibsndfileError as fault:
        return f"unreadable, {fault.error_string}"
    return (info.frames / info.samplerate, info.channels) if info.frames else "no samples"
