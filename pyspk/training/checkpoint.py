"""Everything a run needs to go on as if it had never stopped."""

from pathlib import Path

import torch
from torch import nn

from pyspk.errors import UserError
from pyspk.model import load_torch, save_torch

LAST = "last.pt"


def save_checkpoint(folder: Path, epoch: int, net: nn.Module, loss: nn.Module, optimizer: torch.optim.Optimizer,
                    history: list[dict]) -> None:
    """Write folder/last.pt after `epoch` whole epochs. history: one dict of plain numbers an epoch.

    Chunks need no saved random state: they follow from the seed and the epoch.
    """
    save_torch(folder / LAST, {
        "epoch": epoch, "net": net.state_dict(), "loss": loss.state_dict(), "optimizer": optimizer.state_dict(),
        "torch_random_state": torch.get_rng_state(), "history": history})


def load_checkpoint(folder: Path, net: nn.Module, loss: nn.Module,
                    optimizer: torch.optim.Optimizer) -> tuple[int, list[dict]]:
    """Put folder/last.pt into net, loss and optimizer; (epochs done, history). (0, []) when there is none.

    Raises UserError when the file is damaged or belongs to another network.
    """
    path = folder / LAST
    if not path.exists():
        return 0, []
    saved = load_torch(path)
    try:
        net.load_state_dict(saved["net"])
        loss.load_state_dict(saved["loss"])
        optimizer.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["torch_random_state"])
        return saved["epoch"], saved["history"]
    except (KeyError, ValueError, RuntimeError) as fault:
        raise UserError(f"{path}: not a checkpoint of this run ({fault}); remove it to start again") from None
