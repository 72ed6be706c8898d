"""A data directory of augmented copies: written as a list, and read straight from the source's recordings.

utt2aug says of each utterance what is done to it (description.py), augment.toml where the recordings are that this
takes. wav.scp and segments lead to the source's own recordings; the samples of a copy are made when they are read.
"""

import re
from collections.abc import Callable, Container
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pyspk import audio
from pyspk.augment.augmenter import Augmenter
from pyspk.augment.config import AugmentConfig, load_config, to_toml
from pyspk.augment.description import Speed, parse, to_text
from pyspk.datadir import DataDir
from pyspk.errors import UserError, first_few
from pyspk.tables.text import read_table, write_lines, write_table

LIST, CONFIG = "utt2aug", "augment.toml"
_COPY = re.compile(r"(?:sp[0-9.]+-)?(?P<original>.+?)(?:-aug\d+)?", re.DOTALL)
FILES = ("wav.scp", "segments", "utt2spk", "spk2utt", CONFIG, LIST)      # all that write_copies may write


class Copy(NamedTuple):
    """A copy of an utterance of the source, its speaker, and what is done to it: a text of description.py."""

    source_utt: str
    spk: str
    text: str      # millions of these are held at a time, and texts are the smallest


def speed_name(name: str, factor: float) -> str:
    """The utterance, or the speaker, that `name` becomes at another speed, as in Kaldi: sp0.9-NAME."""
    return f"sp{factor:g}-{name}"


def original_name(name: str, known: Container[str]) -> str:
    """The utterance, or the speaker, of which `name` is a copy by its name; `name` itself when that is not `known`."""
    original = _COPY.fullmatch(name)["original"]
    return original if original in known else name


def draw_copies(data: DataDir, augmenter: Augmenter, n_copies: int, seed: int,
                include_source: bool = True) -> dict[str, Copy]:
    """Utterance -> what it is: those of `data` and of each speed, and n_copies of all of these with noise or in a room.

    include_source: the untouched utterances of `data` too. The copies of one utterance depend on its name and `seed`
    alone, not on what else is in `data`. Raises UserError when two utterances would have one name, when `data` is
    itself made of copies, when there is nothing to make, and what Augmenter.draw refuses.
    """
    speeds = augmenter.config.speeds
    if data.has(LIST):
        raise UserError(f"{data.path} has a {LIST}, so it is made of copies; augment what it was made from")
    if not (n_copies or speeds):
        raise UserError("no copies and no speeds: there is nothing to make")
    copies: dict[str, Copy] = {}
    clashes: set[str] = set()
    for utt, spk in data.utt2spk.items():
        for factor in (1.0, *speeds):
            name, steps = (utt, ()) if factor == 1 else (speed_name(utt, factor), (Speed(factor),))
            spk_now = spk if factor == 1 else speed_name(spk, factor)
            new = {name: Copy(utt, spk_now, to_text(steps))} if steps or include_source else {}
            for i in range(1, n_copies + 1):
                rng = np.random.default_rng([seed, *f"{name}-aug{i}".encode()])
                drawn = to_text((*steps, *augmenter.draw(rng, clean=False)))
                new[f"{name}-aug{i}"] = Copy(utt, spk_now, drawn)
            clashes |= {name for name in new if name in copies or (name != utt and name in data.utt2spk)}
            copies |= new
    if clashes:
        raise UserError(f"{data.path}/utt2spk: two utterances each would be called {first_few(sorted(clashes))}; "
                        "some are named as copies of others are, so give them other names")
    return copies


def noise_inputs(config: AugmentConfig) -> dict[str, Path]:
    """The tables of the noises and rooms that `config` draws from, for a record of what an output was made from."""
    inputs: dict[str, Path] = {}
    for kind, prob in config.probs().items():
        for folder in config.dirs(kind) if prob else ():
            tables = DataDir(folder).inputs("utt2spk", "wav.scp", optional=["segments"])
            inputs |= {f"{kind} {folder}/{path.name}": path for path in tables.values()}
    return inputs


def write_copies(data: DataDir, augmenter: Augmenter, copies: dict[str, Copy], folder: Path) -> None:
    """Write FILES for `copies` of `data` into `folder`, utt2aug last; segments only where `data` has them."""
    by_segments = data.has("segments")
    where = read_table(data.path / "segments") if by_segments else data.table("wav.scp")
    ordered = sorted(copies.items())      # lines are made one at a time: of millions of copies none is held twice
    write_lines(folder / ("segments" if by_segments else "wav.scp"),
                (f"{utt} {where[copy.source_utt]}" for utt, copy in ordered))
    if by_segments:
        write_table(folder / "wav.scp", read_table(data.path / "wav.scp"))
    write_lines(folder / "utt2spk", (f"{utt} {copy.spk}" for utt, copy in ordered))
    spk2utt: dict[str, list[str]] = {}
    for utt, copy in ordered:
        spk2utt.setdefault(copy.spk, []).append(utt)
    write_lines(folder / "spk2utt", (f"{spk} {' '.join(utts)}" for spk, utts in sorted(spk2utt.items())))
    write_lines(folder / CONFIG, to_toml(augmenter.config))
    write_lines(folder / LIST, (f"{utt} {copy.source_utt} {copy.text}" for utt, copy in ordered))


def augmented_reader(data: DataDir, rate_hz: int, resample: bool = False, channel: str | int | None = None,
                     clean: bool = False) -> Callable[[str], np.ndarray]:
    """utterance -> its samples, (S,) float32, as audio.utterance_reader gives them, with what utt2aug says done to it.

    clean: nothing added and no room, only the speed: as long as the copy, and what its voice activity is decided on. A
    directory without utt2aug is read as it is. Errors are those of utterance_reader and of Augmenter.apply, and
    UserError naming file and line for a line of utt2aug that says something else than description.py has.
    """
    read = audio.utterance_reader(data, rate_hz, resample, channel)
    if not data.has(LIST):
        return read
    lines, augmenter = data.table(LIST), Augmenter(load_config(data.path / CONFIG), resample, data.no_pipes)

    def read_augmented(utt: str) -> np.ndarray:
        try:
            steps = parse(lines[utt].partition(" ")[2])
        except UserError as fault:
            number = list(lines).index(utt) + 1
            raise UserError(f"{data.path / LIST}:{number}: {fault}") from None
        if clean:
            steps = tuple(step for step in steps if isinstance(step, Speed))
        return augmenter.apply(read(utt), rate_hz, steps)

    return read_augmented
