"""What a run holds, saves and computes, counted without computing it."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from pyspk.losses import LOSSES
from pyspk.model import build_net
from pyspk.needs.checks import check_disk
from pyspk.needs.sizes import Weights, training_bytes
from pyspk.training.config import TrainConfig

_N = 2      # samples that are counted


class SampleCost(NamedTuple):
    """Of one training sample, a chunk of chunk_frames."""

    flops: float           # of the network, forwards and backwards
    kept_bytes: float      # of what the forward pass leaves for the backward pass, in float32


def weights_of(config: TrainConfig, feat_dim: int, n_spk: int) -> Weights:
    """How many weights network and loss have. Raises UserError for values that they refuse; takes no memory."""
    with torch.device("meta"):
        net = build_net(config.net_settings(feat_dim))
        loss = LOSSES[config.loss](config.emb_dim, n_spk, **config.loss_settings())
    return Weights(sum(p.numel() for p in net.parameters()), sum(b.numel() for b in net.buffers()),
                   sum(p.numel() for p in loss.parameters()))


def sample_cost(config: TrainConfig, feat_dim: int) -> SampleCost:
    """Counted by PyTorch on tensors without values; of the loss, which the speakers decide, see classifier_flops."""
    with torch.device("meta"):
        net = build_net(config.net_settings(feat_dim)).train()
        feats = torch.empty(_N, config.chunk_frames, feat_dim)
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()      # of several views of one storage each keeps it
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), FlopCounterMode(display=False) as count:
        net(feats).sum().backward()
    weights = sum(p.numel() * p.element_size() for p in net.parameters())
    return SampleCost(count.get_total_flops() / _N, max(0, sum(kept.values()) - weights) / _N)


def classifier_flops(weights: Weights) -> float:
    """Of one sample: a product with every weight forwards, two backwards, each a multiplication and an addition."""
    return 6.0 * weights.classifier


def check_training(folder: Path, config: TrainConfig, feat_dim: int, n_spk: int, force: bool) -> None:
    """Check the disk of `folder` for the checkpoints and networks of a run. Raises UserError as check_disk does."""
    weights = weights_of(config, feat_dim, n_spk)
    there = [*folder.glob("*.pt"), *folder.glob("epochs/*.pt")]
    n_epochs = min(config.average_epochs, config.n_epochs)
    check_disk(folder, f"{config.keep_checkpoints} checkpoints and the networks of {n_epochs} epochs, "
               f"{(weights.net + weights.classifier) / 1e6:.2f} M weights with those of {n_spk} speakers",
               training_bytes(weights, config.keep_checkpoints, n_epochs),
               sum(path.stat().st_size for path in there), force)
