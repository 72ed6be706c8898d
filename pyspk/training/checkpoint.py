"""Everything a run needs to go on as if it had never stopped."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from pyspk.errors import UserError, first_few
from pyspk.model import load_torch
from pyspk.tables.atomic import commit, nothing_left, open_private, temporary_path
from pyspk.tables.text import read_table
from pyspk.world import World

log = logging.getLogger("pyspk")
LAST = "last.pt"


@dataclass
class Progress:
    """How far a run has come.

    Chunks, what a step draws, rate and margin follow from it and from the seed, so that nothing else has to be
    remembered of them, no random state either.
    """

    epoch: int = 0                                                # whole epochs done
    batch: int = 0                                                # batches of the next epoch done
    sums: dict[str, float] = field(default_factory=dict)          # what its report adds up, see report.py
    history: list[dict] = field(default_factory=list)             # the reports of the whole epochs


def how_far(folder: Path) -> tuple[int, int] | None:
    """(whole epochs done, batches of the next one done) of last.pt in `folder`; None where there is none to read."""
    path = folder / LAST
    if not path.exists():
        return None
    try:
        progress = load_torch(path, mmap=True)["progress"]
    except (UserError, KeyError):      # what is damaged is for the run that goes on to say
        return None
    return progress["epoch"], progress["batch"]


class Checkpoints:
    """last.pt in a folder and, as last.1.pt and so on, the `keep` - 1 before it."""

    def __init__(self, folder: Path, keep: int, world: World):
        self._paths = [folder / LAST, *(folder / f"last.{i}.pt" for i in range(1, keep))]
        self._world = world
        self.newest = "there is no checkpoint yet"      # in words, for who stops at a fault

    def save(self, progress: Progress, parts: dict, about: dict) -> None:
        """Write last.pt, atomically, after the one before has moved on; returns in all processes when it is there.

        parts: name -> what has state_dict(): network, loss, optimizer, scaler. about: plain values that must be the
        same when the run goes on.
        """
        states = {name: part.state_dict() for name, part in parts.items()}      # some are gathered from all processes
        if self._world.is_first:
            self._write({"progress": asdict(progress), "about": about, **states})
        self._world.any(False)
        self._remember(self._paths[0], progress)

    def _write(self, state: dict) -> None:
        last = self._paths[0]
        last.parent.mkdir(parents=True, exist_ok=True)
        with nothing_left(last):
            with open_private(temporary_path(last), "wb") as file:
                torch.save(state, file)
            for newer, older in reversed(list(zip(self._paths, self._paths[1:], strict=False))):
                if newer.exists():
                    newer.replace(older)
            commit(temporary_path(last), last)

    def load(self, parts: dict, about: dict) -> Progress | None:
        """Put the newest checkpoint that can be read into `parts`, as save took them; None when there is none.

        Raises UserError when none can be read, when one belongs to another network, and when `about` differs.
        """
        there = [path for path in self._paths if path.exists()]
        for path in there:
            try:
                saved = load_torch(path)
            except UserError as fault:
                if path == there[-1]:
                    raise
                log.warning("%s; going on from the checkpoint before it", fault)
                continue
            if not self._paths[0].exists():      # the run was killed just when it gave a new one its name
                log.warning("%s: not there; going on from the checkpoint before it, %s", self._paths[0], path.name)
            progress = self._put(path, saved, parts, about)
            self._remember(path, progress)
            return progress
        return None

    def _remember(self, path: Path, progress: Progress) -> None:
        self.newest = f"{path} is good, after {progress.epoch} epochs and {progress.batch} batches"

    @staticmethod
    def _put(path: Path, saved: dict, parts: dict, about: dict) -> Progress:
        try:
            for key, value in about.items():
                if saved["about"][key] != value:
                    raise UserError(f"{path}: the training data had {saved['about'][key]} {key} then, and {value} now; "
                                    "restore them, or train elsewhere")
            for name, part in parts.items():
                part.load_state_dict(saved[name])
            return Progress(**saved["progress"])
        except (KeyError, TypeError, ValueError, RuntimeError) as fault:
            raise UserError(f"{path}: not a checkpoint of this run ({fault}); remove it to start again") from None


def classifier_of(folder: Path, spk2id: Mapping[str, int]) -> dict | None:
    """The state of the loss with which the model in `folder` was trained, its rows those of the speakers in `spk2id`.

    None for a model without a checkpoint, as import_checkpoint.py writes them. Raises UserError for speakers that were
    not trained there.
    """
    path = folder / LAST
    if not path.exists():
        return None
    theirs = {spk: int(number) for spk, number in read_table(folder / "spk2id").items()}
    new = [spk for spk in spk2id if spk not in theirs]
    if new:
        raise UserError(f"{folder}: {len(new)} of {len(spk2id)} speakers were not trained there ({first_few(new)}); "
                        "--reset-classifier begins with new weights for all speakers")
    wanted = torch.tensor([theirs[spk] for spk in spk2id])
    state = load_torch(path)["loss"]
    return {name: value if value.ndim == 0 else value.unflatten(0, (len(theirs), -1))[wanted].flatten(0, 1)
            for name, value in state.items()}
