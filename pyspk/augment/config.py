"""The settings of augmentation: one TOML file for offline copies and for training, every key checked."""

import math
import tomllib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from pyspk.augment.description import Speed
from pyspk.errors import UserError
from pyspk.tables.text import read_text

KINDS = ("noise", "music", "babble", "reverb")


@dataclass(frozen=True)
class AugmentConfig:
    """All settings, each with its meaning.

    Signal-to-noise ratios and numbers of voices are those of Snyder et al. 2018 ("X-vectors: robust DNN embeddings for
    speaker recognition", section 3.3). There a ratio is one of a few levels and noises come every second; here it is
    drawn evenly from the range, and one noise fills the utterance. How often each kind comes is our choice.
    Raises UserError for an impossible value, naming it and what is valid.
    """

    # how often an utterance gets each kind; what is left of 1 stays clean. Offline copies are never clean: theirs is
    # the same in proportion
    noise_prob: float = 0.15
    music_prob: float = 0.15
    babble_prob: float = 0.15
    reverb_prob: float = 0.15
    # Kaldi data directories; of several, each is as likely as the others, whatever it holds. Of recordings with
    # several channels the first is taken
    noise_dirs: tuple[str, ...] = ("data/musan_noise",)
    music_dirs: tuple[str, ...] = ("data/musan_music",)
    babble_dirs: tuple[str, ...] = ("data/musan_speech",)
    reverb_dirs: tuple[str, ...] = ("data/rirs_smallroom", "data/rirs_mediumroom")     # impulse responses
    # from, to; drawn evenly between them
    noise_snr_db: tuple[float, ...] = (0.0, 15.0)
    music_snr_db: tuple[float, ...] = (5.0, 15.0)
    babble_snr_db: tuple[float, ...] = (13.0, 20.0)
    babble_voices: tuple[int, ...] = (3, 7)
    # each makes of every speaker a new one who speaks so many times as fast; none: ()
    speeds: tuple[float, ...] = (0.9, 1.1)

    def __post_init__(self):
        for kind in KINDS:
            prob, dirs = getattr(self, f"{kind}_prob"), getattr(self, f"{kind}_dirs")
            _require(0 <= prob <= 1, f"{kind}_prob", prob, "from 0 to 1")
            _require(bool(dirs) or prob == 0, f"{kind}_dirs", dirs, f"one directory or more, or {kind}_prob 0")
            _require(len(set(dirs)) == len(dirs), f"{kind}_dirs", dirs, "each directory once")
        total = sum(self.probs().values())
        _require(total <= 1 + 1e-9, " + ".join(f"{kind}_prob" for kind in KINDS), f"{total:g}", "at most 1")
        for key in ("noise_snr_db", "music_snr_db", "babble_snr_db", "babble_voices"):
            span = getattr(self, key)
            _require(len(span) == 2 and span[0] <= span[1], key, span, "two numbers, from and to")
        _require(self.babble_voices[0] >= 1, "babble_voices", self.babble_voices, "1 or more")
        _require(1 not in self.speeds and len(set(self.speeds)) == len(self.speeds), "speeds", self.speeds,
                 "different factors other than 1")
        for factor in self.speeds:
            Speed(factor)

    def below(self, root: str | Path) -> "AugmentConfig":
        """The same settings with the directories' relative paths counted from `root`."""
        return replace(self, **{f"{kind}_dirs": tuple(str(Path(root) / folder) for folder in self.dirs(kind))
                                for kind in KINDS})

    def probs(self) -> dict[str, float]:
        """How often each of KINDS comes."""
        return {kind: getattr(self, f"{kind}_prob") for kind in KINDS}

    def dirs(self, kind: str) -> tuple[str, ...]:
        """The data directories of one of KINDS."""
        return getattr(self, f"{kind}_dirs")

    def snr_db(self, kind: str) -> tuple[float, float]:
        """The range of signal-to-noise ratios of noise, music or babble."""
        return getattr(self, f"{kind}_snr_db")


def load_config(path: str | Path | None) -> AugmentConfig:
    """Settings of a TOML file; None: the defaults.

    Raises UserError naming file, key, value and what is valid for an unknown key, a wrong type, an impossible value.
    """
    if path is None:
        return AugmentConfig()
    try:
        settings = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as fault:
        raise UserError(f"{path}: not TOML: {fault}") from None
    try:
        return AugmentConfig(**{key: _typed(key, value) for key, value in settings.items()})
    except UserError as fault:
        raise UserError(f"{path}: {fault}") from None


def to_toml(config: AugmentConfig) -> list[str]:
    """The lines of a TOML file that load_config reads back to the same settings."""
    return [f"{key} = {_toml(value)}" for key, value in asdict(config).items()]


_NAMES = {float: "a number", tuple[float, ...]: "a list of numbers", tuple[int, ...]: "a list of whole numbers",
          tuple[str, ...]: "a list of texts"}
_TYPES = {field.name: field.type for field in fields(AugmentConfig)}


def _typed(key: str, value: object) -> object:
    """`value` as the type of setting `key`, lists as tuples. Raises UserError for another type or an unknown key."""
    if key not in _TYPES:
        raise UserError(f'no setting is called "{key}"; the settings are {", ".join(_TYPES)}')
    wanted = _TYPES[key]
    one = float if wanted is float else wanted.__args__[0]
    if (wanted is float) == isinstance(value, list):
        raise UserError(f"{key} = {value!r} must be {_NAMES[wanted]}")
    values = [float(v) if one is float and type(v) is int else v for v in ([value] if wanted is float else value)]
    if any(type(v) is not one or (one is float and not math.isfinite(v)) for v in values):
        raise UserError(f"{key} = {value!r} must be {_NAMES[wanted]}")
    return values[0] if wanted is float else tuple(values)


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)


def _require(good: bool, key: str, value: object, valid: str) -> None:
    if not good:
        raise UserError(f"{key} = {value}: it must be {valid}")
