"""The published speaker ResNets of the wespeaker toolkit, as networks of ours.

Their file is a state dict: conv1 and bn1 (the stem), layer1 to layer4 of blocks with conv1, bn1, conv2, bn2 (and, in
bottlenecks, conv3, bn3) and shortcut, then seg_1, the linear layer to the embedding. The computation is that of
`pyspk.nets.ResNet` with ReLU, so only names differ.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mode

import torch
from torch import Tensor, nn

from pyspk.errors import UserError, first_few
from pyspk.model import build_net, fill, load_torch
from pyspk.nets.resnet import DEPTHS

log = logging.getLogger("pyspk")
_AROUND_STAGES = {"stem.0": "conv1", "stem.1": "bn1", "embedding": "seg_1"}
_IN_BLOCK = {"body.0": "conv1", "body.1": "bn1", "body.3": "conv2", "body.4": "bn2", "body.6": "conv3", "body.7": "bn3",
             "shortcut.0": "shortcut.0", "shortcut.1": "shortcut.1"}
_CLASSIFIER, _SECOND_LAYER = "projection.", ("seg_bn_1.", "seg_2.")
_WRAPPERS = ("state_dict", "model")      # keys under which training scripts keep the state dict
_PARALLEL = "module."                    # what DistributedDataParallel puts before each name
_BLOCK = re.compile(r"layer([1-4])\.(\d+)\.")
_N_LISTED = 10
# Of the published networks: stands in for a size that a file does not tell, so that all its faults can be listed.
_CHANNELS, _EMB_DIM, _FEAT_DIM = 32, 256, 80
_FREQUENCY_STRIDE = 8                    # of the whole network


def read_wespeaker(path: Path, feat_dim: int | None = None, activation: str = "relu") -> tuple[nn.Module, dict]:
    """(network, its settings) of a published checkpoint; nothing in the file is executed.

    feat_dim: see `resnet_from_wespeaker`. activation: "relu", as published, or "prelu", a ResNet-P with slopes 0, which
    gives the same embeddings and can learn its slopes. Raises UserError for a file that is damaged, is no state dict or
    does not follow the layout.
    """
    settings, weights = resnet_from_wespeaker(read_state(path), feat_dim, str(path))
    settings["activation"] = activation
    net = build_net(settings)
    fill(net, weights)
    return net, settings


def read_state(path: Path) -> dict[str, Tensor]:
    """name -> tensor, from a file that holds just that, or that under "state_dict" or "model".

    A prefix "module." that all names have is taken off. Raises UserError for anything else, saying what it is.
    """
    state = load_torch(path)
    for key in _WRAPPERS:
        state = state[key] if isinstance(state.get(key), dict) else state
    others = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if others:
        raise UserError(f"{path}: not a state dict (a tensor for each name): {first_few(others, _N_LISTED)} hold none")
    state = {str(name): tensor for name, tensor in state.items()}
    parallel = all(name.startswith(_PARALLEL) for name in state)
    return {name.removeprefix(_PARALLEL): tensor for name, tensor in state.items()} if parallel else state


def resnet_from_wespeaker(state: Mapping[str, Tensor], feat_dim: int | None = None,
                          where: str = "the state dict") -> tuple[dict, dict[str, Tensor]]:
    """(settings for model.build_net, weights under our names) of a ReLU ResNet in the layout of wespeaker.

    feat_dim: dimension of the features. The weights tell it to within 8 (seg_1 sees the last maps, ceil(F / 8) high);
    None takes the highest, which is the 80 of the published networks.
    Left out, with a line in the log: the classifier, and the second embedding layer of older files. What follows a ReLU
    cannot be part of one linear layer, so the embedding is then the first layer's.
    Raises UserError, its text beginning with `where`, listing every name that is unknown or missing and every shape
    that is wrong.
    """
    kept = _without_what_follows(state, where)
    settings = _recognise(kept, feat_dim, where)
    with torch.device("meta"):
        wanted = build_net(settings).state_dict()
    shapes = {_name_there(name): tensor.shape for name, tensor in wanted.items()}
    unknown = [name for name in kept if name not in shapes]
    # Files of early PyTorch lack these counters, which nothing in the network reads: they begin at 0.
    missing = [name for name in shapes if name not in kept and not name.endswith(".num_batches_tracked")]
    wrong = [f"{name} is {_in_words(kept[name].shape)} instead of {_in_words(shape)}"
             for name, shape in shapes.items() if name in kept and kept[name].shape != shape]
    faults = [f"{len(names)} {what}: {first_few(names, _N_LISTED)}"
              for names, what in ((unknown, "unknown"), (missing, "missing"), (wrong, "of a wrong shape")) if names]
    if faults:
        raise UserError(f"{where}: not a ResNet {settings['depth']} as wespeaker lays it out; {'; '.join(faults)}")
    return settings, {name: kept.get(_name_there(name), torch.tensor(0)) for name in wanted}


def _without_what_follows(state: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """`state` without what comes after the first embedding layer, of which the log tells."""
    classifier = [name for name in state if name.startswith(_CLASSIFIER)]
    second = [name for name in state if name.startswith(_SECOND_LAYER)]
    if classifier:
        log.info("left out the classifier, %d tensors: %s", len(classifier), first_few(classifier))
    if second:
        log.warning("%s has two embedding layers; the embedding is the first one's, seg_1, and the second is left out "
                    "(%s), so scores published for the second do not hold for it", where, first_few(second, _N_LISTED))
    return {name: tensor for name, tensor in state.items() if name not in {*classifier, *second}}


def _recognise(state: Mapping[str, Tensor], feat_dim: int | None, where: str) -> dict:
    """The settings of the network whose weights these are. Raises UserError where no depth has its blocks."""
    n_blocks = [0, 0, 0, 0]
    for match in filter(None, map(_BLOCK.match, state)):
        stage, block = int(match[1]) - 1, int(match[2])
        n_blocks[stage] = max(n_blocks[stage], block + 1)
    # Most blocks decide, so that one name too many or too few does not make it another network.
    bottleneck = 2 * sum(name.endswith(".conv3.weight") for name in state) > sum(n_blocks)
    depth = next((depth for depth, blocks in DEPTHS.items() if blocks == (tuple(n_blocks), bottleneck)), None)
    if depth is None:
        known = ", ".join(f"{depth} has {_blocks_in_words(*blocks)}" for depth, blocks in DEPTHS.items())
        raise UserError(f"{where}: no ResNet known here: layer1 to layer4 have "
                        f"{_blocks_in_words(n_blocks, bottleneck)} blocks; {known}; "
                        f"the first names there are {first_few(state, _N_LISTED) or 'none'}")
    channels = _first_axis(state, {"conv1.weight": 4, "bn1.weight": 1, "bn1.bias": 1, "bn1.running_mean": 1,
                                   "bn1.running_var": 1}, _CHANNELS)
    emb_dim = _first_axis(state, {"seg_1.bias": 1, "seg_1.weight": 2}, _EMB_DIM)
    widest = channels * 2**3 * (4 if bottleneck else 1)
    return {"net": "resnet", "depth": depth, "feat_dim": _feat_dim(state, 2 * widest, feat_dim, where),
            "emb_dim": emb_dim, "activation": "relu", "channels": channels}


def _feat_dim(state: Mapping[str, Tensor], values_per_row: int, asked: int | None, where: str) -> int:
    """The dimension of the features: what is asked for if seg_1 fits it, else the highest that fits."""
    shape = state["seg_1.weight"].shape if "seg_1.weight" in state else ()
    rows, rest = divmod(shape[-1], values_per_row) if shape else (0, 0)
    if not rows or rest:
        return asked or _FEAT_DIM      # a fault, to be listed with the others
    highest = rows * _FREQUENCY_STRIDE
    lowest = highest - _FREQUENCY_STRIDE + 1
    if asked is not None and not lowest <= asked <= highest:
        raise UserError(f"{where}: its seg_1 fits features of {lowest} to {highest} dimensions, not --feat-dim {asked}")
    return asked or highest


def _first_axis(state: Mapping[str, Tensor], n_axes: Mapping[str, int], otherwise: int) -> int:
    """The length of the first axis on which most of some tensors agree. n_axes: name -> number of axes it must have."""
    lengths = [state[name].shape[0] for name, n in n_axes.items() if name in state and state[name].ndim == n]
    return mode(lengths) if lengths else otherwise


def _name_there(name: str) -> str:
    """What wespeaker calls the tensor that is `name` in our ResNet."""
    module, _, tensor = name.rpartition(".")
    if module in _AROUND_STAGES:
        return f"{_AROUND_STAGES[module]}.{tensor}"
    _, stage, block, within = module.split(".", maxsplit=3)
    return f"layer{int(stage) + 1}.{block}.{_IN_BLOCK[within]}.{tensor}"


def _in_words(shape: torch.Size) -> str:
    return f"({', '.join(map(str, shape))})"


def _blocks_in_words(n_blocks: Iterable[int], bottleneck: bool) -> str:
    return f"{'-'.join(map(str, n_blocks))} {'bottleneck' if bottleneck else 'basic'}"
