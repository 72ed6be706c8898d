"""What each step calls before it begins: what it needs is said, and refused when the disk cannot hold it."""

import logging
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.needs.amounts import AudioAmount, audio_amount, frame_amount, spread
from pyspk.needs.machine import free_bytes, memory_bytes, memory_taken_bytes, pace
from pyspk.needs.sizes import COPY_BYTES, decision_bytes, embedding_bytes, feature_bytes, in_words, score_bytes

log = logging.getLogger("pyspk")
MANY = 1000                    # utterances; fewer are done before it matters how long they take
_FEW, _BUDGET_S = 10, 2.0      # utterances that are measured, and seconds for them
_LINES = 1000                  # of a trial list that stand for all


def check_disk(folder: Path, what: str, n_bytes: float, there_bytes: float = 0, force: bool = False, hint: str = "",
               more: str = "") -> None:
    """Log that `what` will take n_bytes in `folder`, and how much is free there; UserError when that is less.

    there_bytes: of what an earlier run wrote already. force: a warning instead. hint: what would make it less.
    """
    free = free_bytes(folder)
    log.info("%s: %s in %s, where %s are free%s", what, in_words(n_bytes), folder, in_words(free), more)
    if (missing := n_bytes - there_bytes) > free:
        fault = f"{folder}: about {in_words(missing)} more are needed, but {in_words(free)} are free there"
        if not force:
            raise UserError(f"{fault}; make room{hint}, or go on all the same with --force")
        log.warning("%s; going on with --force", fault)


def check_features(folder: Path, data: DataDir, frame_shift_ms: float, dim: int, compress: bool, there_bytes: int,
                   force: bool) -> None:
    """Check the disk of `folder` for features (T, dim) of the recordings of `data`. Errors: check_disk, audio_amount.
    """
    amount = audio_amount(data)
    if not amount.n_utts:
        log.info("disk space is not checked: the length of %d recordings is not known before they are read",
                 amount.n_unknown)
        return
    n_frames = amount.seconds * 1000 / frame_shift_ms
    check_disk(folder, f"{_in_hours(amount)}, about {n_frames:.0f} frames of {dim} values",
               feature_bytes(amount.n_utts, n_frames, dim, compress), there_bytes, force, _less(compress),
               _unknown(amount))


def check_decisions(folder: Path, data: DataDir, frame_shift_ms: float, there_bytes: int, force: bool) -> None:
    """The same for voice activity decisions of the recordings of `data`."""
    amount = audio_amount(data)
    if amount.n_utts:
        n_frames = amount.seconds * 1000 / frame_shift_ms
        check_disk(folder, f"{_in_hours(amount)}, about {n_frames:.0f} decisions",
                   decision_bytes(amount.n_utts, n_frames), there_bytes, force, ", or name another folder as ARK_DIR",
                   _unknown(amount))


def check_features_like(data: DataDir, folder: Path, compress: bool, there_bytes: int, force: bool) -> None:
    """The same for features of as many frames and values as those of `data`."""
    amount = frame_amount(data)
    if amount is None:
        log.info("disk space is not checked: no features can be read")
        return
    check_disk(folder, f"{amount.n_utts} utterances ({amount.source}), about {amount.n_frames:.0f} frames of "
               f"{amount.dim} values", feature_bytes(amount.n_utts, amount.n_frames, amount.dim, compress), there_bytes,
               force, _less(compress))


def check_embeddings(folder: Path, data: DataDir, emb_dim: int, there_bytes: int, force: bool) -> None:
    """The same for embeddings of emb_dim values, of each utterance and each speaker of `data`."""
    n_utts, n_spk = len(data.utt2spk), len(set(data.utt2spk.values()))
    check_disk(folder, f"embeddings of {n_utts} utterances and {n_spk} speakers, {emb_dim} values each",
               embedding_bytes(n_utts, n_spk, emb_dim), there_bytes, force)


def check_copies(folder: Path, data: DataDir, n_of_each: int, force: bool) -> None:
    """The same for the tables of n_of_each copies of each utterance of `data`."""
    tables = [path for name in ("wav.scp", "segments", "utt2spk") if (path := data.path / name).exists()]
    n_copies = n_of_each * len(data.utt2spk)
    source_bytes = sum(path.stat().st_size for path in tables) / len(data.utt2spk)
    check_disk(folder, f"tables of {n_copies} copies", n_copies * (2 * source_bytes + COPY_BYTES), 0, force)


def check_scores(out: Path, listed: Path, force: bool) -> None:
    """The same for a score file of the pairs of `listed`, trials or scores, by the first lines of it."""
    with listed.open("rb") as file:
        lines = list(islice(file, _LINES))
    if lines:      # who reads it says that it is empty
        line_bytes = sum(map(len, lines)) / len(lines)
        n_pairs = listed.stat().st_size / line_bytes
        check_disk(out.parent, f"scores of about {n_pairs:.0f} pairs", score_bytes(n_pairs, line_bytes), 0, force)


def say_pace(compute: Callable[[str], object], keys: Sequence[str], n_jobs: int) -> None:
    """Log how many hours n_jobs jobs will take for `keys`, and what memory each, by computing a few of them here."""
    if len(keys) < MANY:
        return
    few = spread(list(keys), _FEW)
    took = pace(compute, few, _BUDGET_S)
    if took.n:
        hours = took.seconds / took.n * len(keys) / 3600
        log.info("about %.2f h in %d jobs as fast as this machine (%.0f ms each, by %d of %d), each with less than the "
                 "%s of memory that this has; %s are free here", hours / n_jobs, n_jobs,
                 1000 * took.seconds / took.n, took.n, len(keys), in_words(memory_taken_bytes()),
                 in_words(memory_bytes()))


def _in_hours(amount: AudioAmount) -> str:
    return f"{amount.seconds / 3600:.2f} h of audio ({amount.source})"


def _unknown(amount: AudioAmount) -> str:
    return f", and {amount.n_unknown} utterances of unknown length" if amount.n_unknown else ""


def _less(compress: bool) -> str:
    return f"{'' if compress else ', use --compress true'}, or name another folder as ARK_DIR"
