"""What is done to one utterance, as a value and as a line of utt2aug:

    AUG_UTT SOURCE_UTT clean
    AUG_UTT SOURCE_UTT noise id=RECORDING at=SECONDS snr=DB
    AUG_UTT SOURCE_UTT music id=RECORDING at=SECONDS snr=DB
    AUG_UTT SOURCE_UTT babble id=RECORDING at=SECONDS [id=RECORDING at=SECONDS]... snr=DB
    AUG_UTT SOURCE_UTT reverb id=RECORDING
    AUG_UTT SOURCE_UTT speed factor=FACTOR

Several follow each other in the order in which they are done: "speed factor=0.9 reverb id=r1 noise id=n1 at=0 snr=5".
"""

import math
from dataclasses import dataclass

from pyspk.errors import UserError

ADDED = ("noise", "music", "babble")
_KEYS = {"speed": ("factor",), "reverb": ("id",), "noise": ("id", "at", "snr"), "music": ("id", "at", "snr")}
MIN_SPEED, MAX_SPEED = 0.5, 2.0


@dataclass(frozen=True)
class Speed:
    """Played `factor` times as fast. Raises UserError for a factor out of reason."""

    factor: float

    def __post_init__(self):
        exact = math.isclose(1000 * self.factor, round(1000 * self.factor))     # effects.speed counts in thousandths
        if not (MIN_SPEED <= self.factor <= MAX_SPEED and exact):
            raise UserError(f"factor={self.factor}: it must be from {MIN_SPEED:g} to {MAX_SPEED:g} and have at most "
                            "three decimals")

    def __str__(self) -> str:
        return f"speed factor={self.factor}"


@dataclass(frozen=True)
class Reverb:
    """Heard in the room of the impulse response `id`."""

    id: str

    def __str__(self) -> str:
        return f"reverb id={self.id}"


@dataclass(frozen=True)
class Added:
    """The recordings `parts`, (id, seconds into it), summed and added at `snr_db`. kind: one of ADDED."""

    kind: str
    parts: tuple[tuple[str, float], ...]
    snr_db: float

    def __str__(self) -> str:
        return " ".join([self.kind, *(f"id={id} at={at_s}" for id, at_s in self.parts), f"snr={self.snr_db}"])


Augmentation = tuple[Speed | Reverb | Added, ...]      # in the order in which they are done; () leaves the samples


def to_text(augmentation: Augmentation) -> str:
    """The text that `parse` reads back to the same value."""
    return " ".join(map(str, augmentation)) or "clean"


def parse(text: str) -> Augmentation:
    """The augmentation a text stands for. Raises UserError, naming the word, for any other text."""
    if text == "clean":
        return ()
    steps: list[tuple[str, list[tuple[str, str]]]] = []
    for word in text.split():
        key, equals, value = word.partition("=")
        if not equals:
            steps.append((word, []))
        elif steps:
            steps[-1][1].append((key, value))
        else:
            raise UserError(f'"{word}" stands before the kind of augmentation')
    if not steps:
        raise UserError('says nothing of what is done; the word for nothing is "clean"')
    return tuple(_step(kind, pairs) for kind, pairs in steps)


def _step(kind: str, pairs: list[tuple[str, str]]) -> Speed | Reverb | Added:
    """One step, of its kind and the "key=value" words behind it."""
    keys = tuple(key for key, _ in pairs)
    if kind == "babble":
        wanted = ("id", "at") * max(1, len(pairs) // 2) + ("snr",)
    elif kind in _KEYS:
        wanted = _KEYS[kind]
    else:
        raise UserError(f'"{kind}" is no kind of augmentation; the kinds are {", ".join([*_KEYS, "babble"])}, '
                        'and "clean" alone')
    if keys != wanted:
        form = "id= at= ... snr=" if kind == "babble" else " ".join(f"{key}=" for key in wanted)
        raise UserError(f'"{kind}" has {" ".join(f"{key}=" for key in keys) or "nothing"} behind it, not {form}')
    values = [value for _, value in pairs]
    if kind == "speed":
        return Speed(_number("factor", values[0]))
    if kind == "reverb":
        return Reverb(values[0])
    starts = [_number("at", value, 0) for value in values[1:-1:2]]
    return Added(kind, tuple(zip(values[:-1:2], starts, strict=True)), _number("snr", values[-1]))


def _number(key: str, text: str, low: float = -math.inf) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= low):
        raise UserError(f"{key}={text}: it must be a number{f' of {low:g} or more' if math.isfinite(low) else ''}")
    return number
