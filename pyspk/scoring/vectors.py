"""The vectors that trials name, each read once: of utterances, and of models that several utterances enroll."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pyspk.errors import UserError, first_few
from pyspk.scoring.trials import Scores, Trials, look_up
from pyspk.tables.alike import read_alike
from pyspk.tables.archive import ArchiveReader, read_scp
from pyspk.tables.text import Faults, read_table

Read = Callable[[str | Path, list[str] | None], tuple[list[str], np.ndarray]]

_BLOCK_VECTORS = 1 << 14


class TrialVectors(NamedTuple):
    """The m vectors that n trials name, and where each trial finds its two."""

    names: list[str]                     # m
    emb: np.ndarray                      # (m, D) float32; of a model: the mean of its utterances'
    n_utts: np.ndarray                   # (m,) int32: how many utterances each is the mean of
    enroll: np.ndarray                   # (n,) rows of emb
    test: np.ndarray                     # (n,) rows of emb


def trial_vectors(pairs: Trials | Scores, enroll_scp: str | Path, test_scp: str | Path, read: Read,
                  enroll_map: str | Path | None = None) -> TrialVectors:
    """The vectors that occur in `pairs`, each read once when both scp files are the same file and there is no map.

    read(scp, names) gives names and vectors, as read_vectors does. enroll_map: a file as read_enroll_map takes it; the
    enroll names are then models. Raises UserError as `read` and read_enroll_map do, for models that the map lacks, and
    when the two sides differ in dimension.
    """
    n = len(pairs.enroll)
    if enroll_map is None and Path(enroll_scp) == Path(test_scp):
        used, row = _used(pairs.names, np.concatenate([pairs.enroll, pairs.test]))
        names, emb = read(enroll_scp, used)
        return TrialVectors(names, emb, np.ones(len(names), np.int32), row[:n], row[n:])
    enroll_used, enroll_row = _used(pairs.names, pairs.enroll)
    test_used, test_row = _used(pairs.names, pairs.test)
    if enroll_map is None:
        enroll_names, enroll_emb = read(enroll_scp, enroll_used)
        n_utts = np.ones(len(enroll_names), np.int32)
    else:
        enroll_names, enroll_emb, n_utts = _models(enroll_scp, enroll_used, read, enroll_map)
    test_names, test_emb = read(test_scp, test_used)
    check_dim(test_emb, enroll_emb.shape[1], test_scp, enroll_scp)
    return TrialVectors(enroll_names + test_names, np.concatenate([enroll_emb, test_emb]),
                        np.concatenate([n_utts, np.ones(len(test_names), np.int32)]), enroll_row,
                        test_row + len(enroll_emb))


def read_enroll_map(path: str | Path) -> dict[str, list[str]]:
    """model -> its utterances, of lines "MODEL UTT UTT ...", as Kaldi's spk2utt; in any order.

    Raises UserError as read_table does, and, naming file and line, for a model that names an utterance twice.
    """
    utts_of = {model: utts.split() for model, utts in read_table(path, sorted_keys=False).items()}
    faults = Faults(Path(path))
    for line, (model, utts) in enumerate(utts_of.items(), start=1):
        if len(set(utts)) < len(utts):
            again = next(utt for utt in utts if utts.count(utt) > 1)
            faults.add(line, f'"{model}" names "{again}" twice', "name it once")
    faults.refuse()
    return utts_of


def read_vectors(scp: str | Path, names: list[str] | None = None) -> tuple[list[str], np.ndarray]:
    """names and their vectors, (n, D) float32; all that the scp has by default.

    Raises UserError as read_scp does, for names that the scp lacks, and for vectors of another dimension.
    """
    table = read_scp(scp)
    names = list(table) if names is None else names
    _, emb = next(_blocks(scp, table, names, len(names)))
    return names, emb


def vector_blocks(scp: str | Path, names: list[str]) -> Iterator[tuple[slice, np.ndarray]]:
    """(which of the n names, their vectors (rows, D) float32), some thousand at a time. Raises as read_vectors does."""
    return _blocks(scp, read_scp(scp), names, _BLOCK_VECTORS)


def _blocks(scp: str | Path, table: dict[str, str], names: list[str],
            n_rows: int) -> Iterator[tuple[slice, np.ndarray]]:
    if not names:
        raise UserError(f"{scp}: empty")
    reader, rxfilenames = ArchiveReader(), look_up(table, names, scp)
    dim = len(reader.vector(rxfilenames[0]))
    for start in range(0, len(names), n_rows):
        block = slice(start, min(start + n_rows, len(names)))
        emb = read_alike(rxfilenames[block], dim)
        if emb is None:
            emb = np.empty((block.stop - start, dim), dtype=np.float32)
            for row in range(start, block.stop):
                vector = reader.vector(rxfilenames[row])
                check_dim(vector, dim, f'{scp}: "{names[row]}"', f'"{names[0]}"')
                emb[row - start] = vector
        yield block, emb


def check_dim(emb: np.ndarray, dim: int, what: object, like: object) -> None:
    """Raise UserError when the last dimension of `emb` is not `dim`."""
    if emb.shape[-1] != dim:
        raise UserError(f"{what} has dimension {emb.shape[-1]}, {like} has {dim}; they must come from one model")


def to_norm_1(emb: np.ndarray, names: list[str], where: object, what: str = "embeddings") -> None:
    """Divide each row of emb (n, D) by its length, in place.

    Raises UserError, with a count and the first three of `names` (n), for rows that are zero or not finite, which have
    no direction.
    """
    norm = np.sqrt(np.einsum("nd,nd->n", emb, emb))
    if (bad := np.flatnonzero(~(np.isfinite(norm) & (norm > 0)))).size:
        raise UserError(f"{where}: {len(bad)} of {len(names)} {what} are zero or not finite "
                        f"({first_few([names[i] for i in bad[:4]])}); extract them again, or take their trials out")
    emb /= norm[:, None]


def _models(scp: str | Path, models: list[str], read: Read,
            enroll_map: str | Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """models, the mean of the vectors of each one's utterances (n, D), and how many they are (n,)."""
    utts_of = look_up(read_enroll_map(enroll_map), models, enroll_map)
    place: dict[str, int] = {}
    rows = [place.setdefault(utt, len(place)) for utts in utts_of for utt in utts]
    n_utts = np.array([len(utts) for utts in utts_of], dtype=np.int32)
    _, emb = read(scp, list(place))
    sums = np.add.reduceat(emb[rows], np.cumsum(n_utts) - n_utts, axis=0)
    return models, sums / n_utts[:, None].astype(np.float32), n_utts


def _used(names: list[str], places: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The names that occur at `places` (n,), and where each place finds its own among them, (n,)."""
    is_used = np.zeros(len(names), dtype=bool)
    is_used[places] = True
    row = np.cumsum(is_used, dtype=np.int32) - 1
    return [names[i] for i in np.flatnonzero(is_used)], row[places]
