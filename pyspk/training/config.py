"""The settings of a training run: one TOML file, --set key=value over it, every one checked."""

import math
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from inspect import signature
from pathlib import Path
from typing import get_args

import torch

from pyspk.chunks import BALANCES
from pyspk.errors import UserError
from pyspk.losses import LOSSES
from pyspk.model import build_net
from pyspk.nets import NETS
from pyspk.tables.text import read_text

PRECISIONS = ("float32", "bfloat16", "float16")
LR_SCHEDULES = ("exponential", "cosine")
AVERAGES = ("last", "best")
_FREE = ("n_workers", "checkpoint_minutes", "keep_checkpoints", "tensorboard")      # these change nothing in the result
_ANY_N_SPK = 1000


@dataclass(frozen=True)
class TrainConfig:
    """All settings, each with its meaning.

    The defaults are the published recipe of Han et al. 2023 (arXiv 2307.08205) on VoxCeleb2, for one GPU and a batch of
    128, without its augmentation, checkpoint averaging and fine-tuning. Raises UserError for an impossible value,
    naming it and what is valid.
    """

    # network; None is the network's own default
    net: str = "resnet"                 # resnet, xvector or ecapa
    depth: int = 34                     # of a resnet: 18, 34, 50, 101, 152, 221 or 293
    channels: int | None = None         # of the first stage; a resnet's three others have twice the one before
    activation: str = "prelu"           # prelu (with resnet: ResNet-P) or relu
    pooling: str | None = None          # statistics, attentive or multi_head
    emb_dim: int = 256                  # dimension of the embedding
    # loss: what the symbols do stands at its class; None is its own default
    loss: str = "sphere_speaker"        # or softmax, am_softmax, aam_softmax, subcenter_aam, intertopk_aam
    margin: str = "C"                   # A: on the angle, C: on the score, M: times the angle
    m: float = 0.2                      # margin
    r: float = 32.0                     # radius, or scale of a softmax: focus on hard samples
    t: float = 3.0                      # similarity adjustment: how far the score distributions are pulled apart
    lam: float = 0.7                    # weight of the positive pair against all negative ones
    b: float | None = None              # bias at the start; None: in closed form
    margin_on: str | None = None        # both: margin the negatives of A and M as well
    hard_negatives: int | None = None   # only so many most similar other speakers count; None: all
    n_centers: int | None = None        # weights a speaker (subcenter_aam, intertopk_aam)
    top_k: int | None = None            # other speakers with a margin of their own (intertopk_aam) ...
    m_top: float | None = None          # ... and that margin
    # data
    chunk_frames: int = 200             # length of a training sample
    batch_size: int = 128
    samples_per_epoch: int = 0          # 0: as many as there are training utterances
    valid_speakers: int = -1            # held out for validation; -1: a tenth, 4 to 100, none of fewer than 12
    valid_utts_per_speaker: int = 10    # at most, of each held-out speaker
    min_utts_per_speaker: int = 2       # training refuses speakers with fewer; 1 takes all
    speed_copies: bool = True           # train on speakers at another speed (sp0.9-SPK, sp1.1-SPK) too
    n_workers: int = 0                  # processes that read chunks; 0: the training process itself
    balance: str = "utterance"          # what comes once before any comes again: utterance, or speaker
    seed: int = 0                       # of weights and chunks
    # schedule; all epochs count samples, so the batch size moves nothing
    n_epochs: int = 150
    warmup_epochs: float = 6.0          # the rate rises linearly from 0
    lr: float = 0.2                     # learning rate; 0.1 for every 64 chunks of a batch
    lr_schedule: str = "exponential"    # how it falls, or cosine
    final_lr: float = 1e-4              # reached at the end
    momentum: float = 0.9               # Nesterov's
    weight_decay: float = 1e-4          # of weights; biases, normalisation and PReLU slopes have none
    margin_start_epoch: float = 20.0    # until here the margin is none: 0, or 1 for margin M
    margin_full_epoch: float = 40.0     # from here on it is m
    # what final.pt is
    patience_epochs: int = 0            # end when the validation EER has not fallen for so many epochs; 0: never
    average_epochs: int = 1             # the mean of the networks after so many epochs ...
    average_of: str = "last"            # ... the last ones, or the best: those of the lowest validation EER
    # machine; of these only precision changes the result by more than rounding
    precision: str = "float32"          # of the network: float32, bfloat16 or float16 (both by autocast)
    compile: bool = False               # torch.compile the network: faster, after some minutes
    checkpoint_minutes: float = 15.0    # how often last.pt is written within an epoch; always after one
    keep_checkpoints: int = 2           # last.pt and the ones before it, taken when it cannot be read
    tensorboard: bool = False           # each epoch's report for TensorBoard too, in log/

    def __post_init__(self):
        _require(self.net in NETS, "net", self.net, f"one of {', '.join(NETS)}")
        _require(self.loss in LOSSES, "loss", self.loss, f"one of {', '.join(LOSSES)}")
        _require(self.batch_size >= 2, "batch_size", self.batch_size, "2 or more (batch normalisation)")
        _require(self.balance in BALANCES, "balance", self.balance, f"one of {', '.join(BALANCES)}")
        _require(self.channels is None or self.channels >= 1, "channels", self.channels, "1 or more")
        for name, valid in (("precision", PRECISIONS), ("lr_schedule", LR_SCHEDULES), ("average_of", AVERAGES)):
            _require(getattr(self, name) in valid, name, getattr(self, name), f"one of {', '.join(valid)}")
        for name in ("emb_dim", "chunk_frames", "n_epochs", "valid_utts_per_speaker", "min_utts_per_speaker",
                     "average_epochs", "keep_checkpoints"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("samples_per_epoch", "n_workers", "seed", "warmup_epochs", "weight_decay", "margin_start_epoch",
                     "patience_epochs"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        _require(self.valid_speakers >= -1 and self.valid_speakers != 1, "valid_speakers", self.valid_speakers,
                 "-1 (a tenth), 0 (none) or 2 or more")
        _require(0 <= self.momentum < 1, "momentum", self.momentum, "from 0 to below 1")
        _require(0 < self.final_lr <= self.lr, "final_lr", self.final_lr, f"above 0 and at most lr ({self.lr:g})")
        _require(self.margin_start_epoch <= self.margin_full_epoch, "margin_full_epoch", self.margin_full_epoch,
                 f"at least margin_start_epoch ({self.margin_start_epoch:g})")
        _require(self.checkpoint_minutes > 0, "checkpoint_minutes", self.checkpoint_minutes, "above 0")
        _require(self.valid_speakers != 0 or not self.goes_by_validation, "valid_speakers", 0,
                 "another number with patience_epochs or average_of = best, which go by the validation EER")

    @property
    def goes_by_validation(self) -> bool:
        """Whether the result depends on the validation EER."""
        return self.patience_epochs > 0 or self.average_of == "best"

    def that_matter(self) -> dict:
        """The settings that the result depends on: a run that goes on must have the same."""
        return {key: value for key, value in asdict(self).items() if key not in _FREE}

    def check_shared_by(self, n_processes: int) -> None:
        """Raises UserError when n_processes cannot take equal parts of a batch."""
        _require(self.batch_size % n_processes == 0, "batch_size", self.batch_size,
                 f"a multiple of {n_processes}, the number of processes that share a batch")

    def check_parts(self, feat_dim: int) -> None:
        """Raises UserError for values that network or loss refuse, for features (T, feat_dim); takes no memory."""
        with torch.device("meta"):
            build_net(self.net_settings(feat_dim))
            LOSSES[self.loss](self.emb_dim, _ANY_N_SPK, **self.loss_settings())

    def idle(self) -> list[str]:
        """The settings of networks and losses, other than their defaults, that this network and this loss have not."""
        theirs = {key for kind in (*NETS.values(), *LOSSES.values()) for key in signature(kind).parameters}
        ours = {*signature(NETS[self.net]).parameters, *signature(LOSSES[self.loss]).parameters}
        return [field.name for field in fields(self)
                if field.name in theirs - ours and getattr(self, field.name) != field.default]

    def net_settings(self, feat_dim: int) -> dict:
        """What model.build_net takes: the name, and those of the settings that this network has."""
        return {"net": self.net, "feat_dim": feat_dim, **self._arguments_of(NETS[self.net])}

    def loss_settings(self) -> dict:
        """Those of the settings that this loss has; it takes the numbers of dimensions and speakers besides."""
        settings = self._arguments_of(LOSSES[self.loss])
        return {key: value for key, value in settings.items() if key != "emb_dim"}

    def _arguments_of(self, kind: type) -> dict:
        given = ((key, getattr(self, key, None)) for key in signature(kind).parameters)
        return {key: value for key, value in given if value is not None}


def load_config(path: str | Path | None, overrides: Sequence[str] = ()) -> TrainConfig:
    """Settings of a TOML file (None: the defaults) with `overrides`, each "key=value", on top.

    Raises UserError naming key, value and what is valid for an unknown key, a wrong type or an impossible value.
    """
    settings: dict[str, object] = {}
    if path is not None:
        try:
            settings = tomllib.loads(read_text(path))
        except tomllib.TOMLDecodeError as fault:
            raise UserError(f"{path}: not TOML: {fault}") from None
        settings = {key: _typed(key, value, str(path)) for key, value in settings.items()}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise UserError(f'--set {override}: not "key=value"')
        settings[key.strip()] = _typed(key.strip(), _from_text(key.strip(), text.strip()), f"--set {override}")
    return TrainConfig(**settings)


def to_toml(config: TrainConfig) -> str:
    """The settings as a TOML file that load_config reads back to the same; TOML has no None, so none is written."""
    return "".join(f"{key} = {_toml_value(value)}\n" for key, value in asdict(config).items() if value is not None)


_OPTIONAL = {field.name for field in fields(TrainConfig) if field.default is None}
_TYPES = {field.name: get_args(field.type)[0] if field.name in _OPTIONAL else field.type
          for field in fields(TrainConfig)}      # of "float | None", float
_TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def _typed(key: str, value: object, where: str) -> object:
    if key not in _TYPES:
        raise UserError(f'{where}: no setting is called "{key}"; the settings are {", ".join(_TYPES)}')
    wanted = _TYPES[key]
    if value is None and key in _OPTIONAL:
        return None
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted or (wanted is float and not math.isfinite(value)):
        raise UserError(f"{where}: {key} = {value!r} must be {_TYPE_NAMES[wanted]}")
    return value


def _from_text(key: str, text: str) -> object:
    """The value a text stands for, None where that is allowed; _typed judges a text that fits no number."""
    if key in _OPTIONAL and text == "none":
        return None
    if _TYPES.get(key) is bool and text in ("true", "false"):
        return text == "true"
    for convert in (int, float) if _TYPES.get(key) in (int, float) else ():
        try:
            return convert(text)
        except ValueError:
            continue
    return text.strip("\"'")


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _require(good: bool, key: str, value: object, valid: str) -> None:
    if not good:
        raise UserError(f"{key} = {value}: it must be {valid}")
