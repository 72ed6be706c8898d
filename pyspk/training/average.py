"""The network after each epoch, kept while it may be part of the mean that final.pt is."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from pyspk.errors import UserError
from pyspk.model import load_torch, save_model

_FOLDER = "epochs"


def wanted_epochs(history: Sequence[dict], n_average: int, average_of: str) -> list[int]:
    """The epochs (from 1) that final.pt would be the mean of now: the last ones, or those of lowest validation EER.

    history: a report of each epoch, with "epoch" and "valid_eer". Of equal EERs the later one counts.
    """
    epochs = [done["epoch"] for done in history]
    if average_of == "best":
        epochs = [done["epoch"] for done in sorted(history, key=lambda done: (-done["valid_eer"], done["epoch"]))]
    return sorted(epochs[-n_average:])


def epochs_to_keep(history: Sequence[dict], n_average: int, average_of: str, n_back: int) -> list[int]:
    """The epochs that final.pt may be the mean of when the run goes on from up to n_back epochs ago.

    From there the validation EERs, and so the best epochs, come out to the last digit the same on a CPU, but not on a
    GPU or with another number of processes.
    """
    histories = (history[:max(1, len(history) - back)] for back in range(n_back + 1))
    return sorted({epoch for one in histories for epoch in wanted_epochs(one, n_average, average_of)})


def keep_epoch(folder: Path, epoch: int, wanted: Sequence[int], settings: dict, net: nn.Module) -> None:
    """Write folder/epochs/EPOCH.pt if `epoch` is wanted, and remove those that are no more."""
    if epoch in wanted:
        save_model(_path(folder, epoch), settings, net)
    keep = {_path(folder, one).name for one in wanted}
    for path in (folder / _FOLDER).glob("*.pt"):
        if path.name not in keep:
            path.unlink()


def mean_weights(folder: Path, epochs: Sequence[int]) -> dict[str, Tensor]:
    """The mean of the networks after `epochs`, summed in double precision; counters are those of the last.

    Raises UserError for a file that is missing or damaged.
    """
    total: dict[str, Tensor] = {}
    for epoch in epochs:
        path = _path(folder, epoch)
        if not path.exists():
            raise UserError(f"{path}: no such file, but final.pt is the mean of the networks after the epochs "
                            f"{', '.join(map(str, epochs))}; train again (--overwrite)")
        weights = load_torch(path)["weights"]
        total = {name: weight if not weight.is_floating_point() else weight.double() + total.get(name, 0.0)
                 for name, weight in weights.items()}
    return {name: (value / len(epochs)).to(weights[name].dtype) if value.is_floating_point() else value
            for name, value in total.items()}


def _path(folder: Path, epoch: int) -> Path:
    return folder / _FOLDER / f"{epoch:04}.pt"
