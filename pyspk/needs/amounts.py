"""How much audio, and how many frames, a data directory holds, told by its tables or by some headers."""

from typing import NamedTuple

from pyspk.audio import Recording
from pyspk.datadir import DataDir
from pyspk.datadir.layout import FEATS
from pyspk.errors import UserError
from pyspk.tables.archive import ArchiveReader
from pyspk.tables.stream import is_command
from pyspk.tables.text import read_table

N_HEADERS = 100            # recordings whose headers stand for all, where no table tells the lengths


class AudioAmount(NamedTuple):
    """How much audio a data directory holds, and how that is known."""

    seconds: float
    n_utts: int            # that these seconds belong to
    n_unknown: int         # utterances besides, whose length cannot be told without their samples
    source: str            # "by utt2dur"


class FrameAmount(NamedTuple):
    """How many frames the features of a data directory have, and how that is known."""

    n_utts: int
    n_frames: float
    dim: int
    source: str            # "by utt2num_frames"


def audio_amount(data: DataDir) -> AudioAmount:
    """How much audio there is: by utt2dur, segments or reco2dur, else by the headers of N_HEADERS recordings.

    Raises UserError for a duration that is no number, and what reading the tables raises.
    """
    n_utts = len(data.utt2spk)
    if data.has("utt2dur"):
        return AudioAmount(_sum_of(data, "utt2dur"), n_utts, 0, "by utt2dur")
    spans = data.utterances()
    if data.has("segments"):
        return AudioAmount(sum(end_s - start_s for _, start_s, end_s in spans.values()), n_utts, 0, "by segments")
    if data.has("reco2dur"):
        return AudioAmount(_sum_of(data, "reco2dur"), n_utts, 0, "by reco2dur")
    files = [rxfilename for rxfilename, _, _ in spans.values() if not is_command(rxfilename)]
    lengths = [length for path in spread(files) if (length := _length_s(path)) is not None]
    if not lengths:
        return AudioAmount(0.0, 0, n_utts, "")
    mean_s = sum(lengths) / len(lengths)
    source = f"by the headers of {len(lengths)} of {len(files)} recordings"
    return AudioAmount(mean_s * len(files), len(files), n_utts - len(files), source)


def frame_amount(data: DataDir) -> FrameAmount | None:
    """How many frames there are: by utt2num_frames, else by N_HEADERS headers; None when no features can be read.

    Raises what reading the tables raises.
    """
    feats, reader = data.table(FEATS), ArchiveReader()
    shapes = [shape for place in spread(list(feats.values())) if (shape := _shape(reader, place))]
    if not shapes:
        return None
    if data.has("utt2num_frames"):
        n_frames, source = sum(map(int, data.table("utt2num_frames").values())), "by utt2num_frames"
    else:
        n_frames = len(feats) * sum(rows for rows, _ in shapes) / len(shapes)
        source = f"by the headers of {len(shapes)} of {len(feats)} features"
    return FrameAmount(len(feats), n_frames, shapes[0][1], source)


def spread(things: list, most: int | None = None) -> list:
    """At most `most` of them (N_HEADERS by default), spread evenly."""
    return things[::max(1, -(-len(things) // (most or N_HEADERS)))]


def _shape(reader: ArchiveReader, place: str) -> tuple[int, int] | None:
    """(T, F) by the header; None when there is no matrix that can be read: the job that reads it will say why."""
    try:
        return reader.shape(place)
    except UserError:
        return None


def _sum_of(data: DataDir, name: str) -> float:
    """The seconds of all lines of a table."""
    path, total_s = data.path / name, 0.0
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
