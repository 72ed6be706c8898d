"""The disk space that the features of a data directory will need, known before the work begins."""

import logging
import shutil
from pathlib import Path
from typing import NamedTuple

from pyspk.audio import Recording
from pyspk.datadir import DataDir
from pyspk.datadir.layout import FEATS
from pyspk.errors import UserError
from pyspk.tables.archive import ArchiveReader
from pyspk.tables.stream import is_command
from pyspk.tables.text import read_table

log = logging.getLogger("pyspk")
N_HEADERS = 100            # recordings whose headers stand for all, where no table tells the lengths
_VALUE_BYTES = 60          # key, token and sizes of one matrix, in its archive and its scp


class AudioAmount(NamedTuple):
    """How much audio a data directory holds, and how that is known."""

    seconds: float
    n_utts: int            # that these seconds belong to
    n_unknown: int         # utterances besides, whose length cannot be told without their samples
    source: str            # "by utt2dur"


def audio_amount(data: DataDir) -> AudioAmount:
    """How much audio there is: by utt2dur, segments or reco2dur, else by the headers of N_HEADERS recordings.

    Raises UserError for a duration that is no number, and what reading the tables raises.
    """
    n_utts = len(data.utt2spk)
    if data.has("utt2dur"):
        return AudioAmount(_sum_of(data.path / "utt2dur"), n_utts, 0, "by utt2dur")
    spans = data.utterances()
    if data.has("segments"):
        return AudioAmount(sum(end_s - start_s for _, start_s, end_s in spans.values()), n_utts, 0, "by segments")
    if data.has("reco2dur"):
        return AudioAmount(_sum_of(data.path / "reco2dur"), n_utts, 0, "by reco2dur")
    files = [rxfilename for rxfilename, _, _ in spans.values() if not is_command(rxfilename)]
    lengths = [length for path in _sample(files) if (length := _length_s(path)) is not None]
    if not lengths:
        return AudioAmount(0.0, 0, n_utts, "")
    mean_s = sum(lengths) / len(lengths)
    source = f"by the headers of {len(lengths)} of {len(files)} recordings"
    return AudioAmount(mean_s * len(files), len(files), n_utts - len(files), source)


def check_space(folder: Path, amount: AudioAmount, frame_shift_ms: float, dim: int, compress: bool,
                there_bytes: int = 0) -> None:
    """Log the audio, frames and gigabytes to come; raise UserError when the disk of `folder` has not that much left.

    folder: where archives will be written; it need not exist yet. there_bytes: what an earlier run wrote already.
    """
    if not amount.n_utts:
        log.info("disk space is not checked: the length of %d recordings is not known before they are read",
                 amount.n_unknown)
        return
    more = f", and {amount.n_unknown} utterances of unknown length" if amount.n_unknown else ""
    _check(folder, f"{amount.seconds / 3600:.2f} h of audio ({amount.source})", amount.n_utts,
           amount.seconds * 1000 / frame_shift_ms, dim, compress, there_bytes, more)


def check_space_as(data: DataDir, folder: Path, compress: bool, there_bytes: int = 0) -> None:
    """The same for features of as many frames and values as those of `data`, by utt2num_frames or N_HEADERS headers.

    Raises UserError as check_space does, and what reading the tables raises.
    """
    feats, reader = data.table(FEATS), ArchiveReader()
    shapes = [shape for place in _sample(list(feats.values())) if (shape := _shape(reader, place))]
    if not shapes:
        log.info("disk space is not checked: no features can be read")
        return
    if data.has("utt2num_frames"):
        n_frames, source = sum(map(int, data.table("utt2num_frames").values())), "by utt2num_frames"
    else:
        n_frames = len(feats) * sum(rows for rows, _ in shapes) / len(shapes)
        source = f"by the headers of {len(shapes)} of {len(feats)} features"
    _check(folder, f"{len(feats)} utterances ({source})", len(feats), n_frames, shapes[0][1], compress, there_bytes)


def _check(folder: Path, what: str, n_utts: int, n_frames: float, dim: int, compress: bool, there_bytes: int,
           more: str = "") -> None:
    n_bytes = n_frames * dim * (1 if compress else 4) + n_utts * (_VALUE_BYTES + (8 * dim if compress else 0))
    free = shutil.disk_usage(next(path for path in (folder, *folder.absolute().parents) if path.exists())).free
    log.info("%s, about %.0f frames of %d values: %s in %s, where %s are free%s", what, n_frames, dim, _said(n_bytes),
             folder, _said(free), more)
    if n_bytes - there_bytes > free:
        hint = "" if compress else ", use --compress true"
        raise UserError(f"{folder}: the features need about {_said(n_bytes - there_bytes)} more, but {_said(free)} are "
                        f"free there; make room{hint}, or name another folder as ARK_DIR")


def _sample(places: list[str]) -> list[str]:
    """At most N_HEADERS of them, spread evenly."""
    return places[::max(1, -(-len(places) // N_HEADERS))]


def _shape(reader: ArchiveReader, place: str) -> tuple[int, int] | None:
    """(T, F) by the header; None when there is no matrix that can be read: the job that reads it will say why."""
    try:
        return reader.shape(place)
    except UserError:
        return None


def _said(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


def _sum_of(path: Path) -> float:
    """The seconds of all lines of a table."""
    total_s = 0.0
    for number, (key, text) in enumerate(read_table(path).items(), start=1):
        try:
            total_s += float(text)
        except ValueError:
            raise UserError(f'{path}:{number}: "{key} {text}" does not end with a number of seconds') from None
    return total_s


def _length_s(path: str) -> float | None:
    """Seconds by the header; None when it does not tell, or cannot be read: the job that reads it will say why."""
    try:
        recording = Recording(path)
    except UserError:
        return None
    return None if recording.n_samples is None else recording.n_samples / recording.rate_hz
