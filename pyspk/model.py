"""A model folder: the network's weights with the settings that build it, saved and loaded."""

import io
import pickle
from pathlib import Path

import torch
from torch import nn

from pyspk.errors import UserError
from pyspk.nets import NETS
from pyspk.tables.atomic import atomic_write

FINAL = "final.pt"


def build_net(settings: dict) -> nn.Module:
    """The network that `settings` describe: {"net": its name, and the arguments of its class}.

    Raises UserError for an unknown name, listing the known ones.
    """
    arguments = dict(settings)
    name = arguments.pop("net")
    if name not in NETS:
        raise UserError(f'net "{name}": the networks are {", ".join(NETS)}')
    return NETS[name](**arguments)


def save_model(path: Path, settings: dict, net: nn.Module) -> None:
    """Write settings and weights to `path`, atomically."""
    save_torch(path, {"settings": settings, "weights": net.state_dict()})


def load_model(folder: str | Path, device: torch.device | str = "cpu") -> tuple[nn.Module, dict]:
    """(network in evaluation mode on `device`, its settings) of a model folder.

    Nothing in the file is executed. Raises UserError when final.pt is missing, damaged or not a model.
    """
    path = Path(folder) / FINAL
    if not path.exists():
        raise UserError(f"{path}: no such model; training (stage 3) makes it")
    saved = load_torch(path)
    try:
        net = build_net(saved["settings"])
        net.load_state_dict(saved["weights"])
    except (KeyError, TypeError, RuntimeError, AttributeError) as fault:
        raise UserError(f"{path}: not a model of this version ({fault})") from None
    return net.to(device).eval(), saved["settings"]


def save_torch(path: Path, value: dict) -> None:
    """torch.save, atomically, and the same bytes for the same value whatever the file's name."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    with atomic_write(path, "wb") as file:
        file.write(buffer.getbuffer())


def load_torch(path: Path) -> dict:
    """torch.load to the CPU without executing anything. Raises UserError for a damaged file."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError,
            OSError) as fault:
        raise UserError(f"{path}: cannot be read ({' '.join(str(fault).split())[:200]})") from None


def choose_device(name: str) -> torch.device:
    """ "auto" is the GPU when there is one, the CPU otherwise; else a torch device such as "cpu" or "cuda:1".

    Raises UserError for a device that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as fault:
        raise UserError(f'--device {name}: not on this machine ({str(fault).splitlines()[0]}); try "cpu"') from None
    return torch.device(name)
