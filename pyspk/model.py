"""A model folder: the network's weights with the settings that build it, saved and loaded."""

import inspect
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

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
        reason = " ".join(str(fault).split())
        raise UserError(f"{path}: not a model of this version ({reason:.300})") from None
    return net.to(device).eval(), saved["settings"]


def start_from(net: nn.Module, settings: dict, folder: str | Path) -> None:
    """Fill `net`, which `settings` build, with the weights of the model in `folder`, for training to go on from them.

    A PReLU network can start from the same one with ReLU: its slopes become 0, so that the output is equal.
    Raises UserError as load_to_start does.
    """
    fill(net, load_to_start(settings, folder).state_dict())


def load_to_start(settings: dict, folder: str | Path) -> nn.Module:
    """The network of the model in `folder`, from which one that `settings` build can start.

    Raises UserError as load_model does, and when settings other than the activation differ, naming each with both
    values.
    """
    start, saved = load_model(folder)
    theirs, ours = _in_full(saved), _in_full(settings)
    keys = dict.fromkeys([*theirs, *ours]) if theirs["net"] == ours["net"] else ["net"]
    different = [key for key in keys if theirs.get(key) != ours.get(key)]
    if "activation" in different and (theirs["activation"], ours["activation"]) == ("relu", "prelu"):
        different.remove("activation")
    if different:
        facts = "; ".join(f"{key} is {theirs.get(key)} there, {ours.get(key)} here" for key in different)
        raise UserError(f"{Path(folder) / FINAL}: training cannot start from another network: {facts}")
    return start


def fill(net: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give `net` the `weights`, strictly but for PReLU slopes: those that are not among them become 0.

    With slope 0 a PReLU is a ReLU (He et al. 2015, "Delving deep into rectifiers", eq. 1), so weights of a ReLU network
    give the output they gave there.
    """
    slopes = {f"{name}.weight": torch.zeros_like(module.weight) for name, module in net.named_modules()
              if isinstance(module, nn.PReLU)}
    net.load_state_dict({**slopes, **weights})


def _in_full(settings: dict) -> dict:
    """`settings` with the defaults of the network's class for what they leave out, as those of older versions do."""
    arguments = inspect.signature(NETS[settings["net"]]).parameters.values()
    return {**{one.name: one.default for one in arguments if one.default is not one.empty}, **settings}


def save_torch(path: Path, value: dict) -> None:
    """torch.save, atomically, and the same bytes for the same value whatever the file's name."""
    with atomic_write(path, "wb") as file:      # given the name instead, torch would write it into the file
        torch.save(value, file)


def load_torch(path: Path, mmap: bool = False) -> dict:
    """The dict that torch.save wrote to `path`, on the CPU, without executing anything.

    mmap: read a tensor only when it is looked at.
    Raises UserError for a damaged file and for one that holds anything else.
    """
    try:
        value = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except OSError as fault:
        raise UserError(f"{path}: cannot be read ({fault.strerror or fault})") from None
    except Exception:      # what torch raises on damaged bytes is no closed list; its texts advise to drop the guard
        raise UserError(f"{path}: cannot be read; it is damaged, no file of PyTorch's, or holds more than tensors and "
                        "plain values, which could run code") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds one {type(value).__name__}, not a dict of tensors")
    return value


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
