"""ECAPA-TDNN: a time-delay network with Res2 layers, squeeze and excitation, and attention in the pooling."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pyspk.errors import UserError
from pyspk.nets.activation import activation_named
from pyspk.nets.padding import frame_mask, mean_over_frames
from pyspk.nets.pooling import pooling_named
from pyspk.nets.xvector import tdnn_layer

_DILATIONS = (2, 3, 4)      # one SE-Res2 block each
_SCALE = 8                  # parts of a Res2 layer
_SE_BOTTLENECK = 128
_AGGREGATED = 1536          # channels before the pooling, with 512 as with 1024 within; fewer within keep the factor 3


class EcapaTdnn(nn.Module):
    """Emphasised channel attention, propagation and aggregation (Desplanques et al. 2020, arXiv 2005.07143, fig. 2).

    The input of each block is the sum of the outputs of the first layer and of all blocks before it (sec. 3.3). The
    three blocks' outputs, side by side, go through a 1x1 convolution with an activation and no normalisation to the
    pooling. The embedding is what the last linear layer gives, without the normalisation that follows it in fig. 2.

    Arguments: feat_dim F, any from 1; emb_dim D; activation "relu" or "prelu", which then stands for every ReLU, those
    within the squeeze and excitation included; channels, 512 or 1024 in the paper, any multiple of 8; pooling
    "attentive", "statistics" or "multi_head". Raises UserError for another number of channels and an unknown activation
    or pooling.
    """

    def __init__(self, feat_dim: int, emb_dim: int = 192, activation: str = "relu", channels: int = 512,
                 pooling: str = "attentive"):
        super().__init__()
        if channels % _SCALE:
            raise UserError(f"channels {channels}: an ECAPA-TDNN takes a multiple of {_SCALE}")
        act = activation_named(activation)
        self.stem = tdnn_layer(feat_dim, channels, 5, 1, act)
        self.blocks = nn.ModuleList(SeRes2Block(channels, dilation, act) for dilation in _DILATIONS)
        side_by_side = len(_DILATIONS) * channels
        aggregated = min(_AGGREGATED, side_by_side)
        self.aggregate = nn.Sequential(nn.Conv1d(side_by_side, aggregated, 1), act(aggregated))
        self.pool = pooling_named(pooling, aggregated)
        self.norm = nn.BatchNorm1d(self.pool.out_dim)
        self.embedding = nn.Linear(self.pool.out_dim, emb_dim)

    def forward(self, feats: Tensor, n_frames: Tensor | None = None) -> Tensor:
        """Embeddings (B, D) of features (B, T, F), of which the first n_frames (B,) int64 of each count; None: all."""
        mask = frame_mask(feats, n_frames)
        total = self.stem(feats.transpose(1, 2), mask)                       # (B, C, T)
        outputs = []
        for block in self.blocks:
            outputs.append(block(total, mask))                               # (B, C, T)
            total = total + outputs[-1]
        maps = self.aggregate(torch.cat(outputs, dim=1))                     # (B, 3 C, T), at most 1536
        return self.embedding(self.norm(self.pool(maps, mask)))


class SeRes2Block(nn.Module):
    """A Res2 layer between two 1x1 layers, then squeeze and excitation, all around a shortcut (fig. 1)."""

    def __init__(self, channels: int, dilation: int, act: Callable[[int], nn.Module]):
        super().__init__()
        self.before = tdnn_layer(channels, channels, 1, 1, act)
        self.res2 = Res2Layer(channels, dilation, act)
        self.after = tdnn_layer(channels, channels, 1, 1, act)
        self.excite = SqueezeExcitation(channels, act)

    def forward(self, maps: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        return maps + self.excite(self.after(self.res2(self.before(maps), mask)), mask)


class Res2Layer(nn.Module):
    """The channels in eight parts, each but the first through a layer of its own that also sees the part before.

    y_1 = x_1, y_2 = K_2(x_2), y_i = K_i(x_i + y_(i-1)) (Gao et al. 2019, eq. 1): later parts see ever more context.
    """

    def __init__(self, channels: int, dilation: int, act: Callable[[int], nn.Module]):
        super().__init__()
        width = channels // _SCALE
        self.layers = nn.ModuleList(tdnn_layer(width, width, 3, dilation, act) for _ in range(_SCALE - 1))

    def forward(self, maps: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        first, second, *others = maps.chunk(_SCALE, dim=1)                   # eight times (B, C / 8, T)
        outputs = [first, self.layers[0](second, mask)]
        for part, layer in zip(others, self.layers[1:], strict=True):
            outputs.append(layer(part + outputs[-1], mask))
        return torch.cat(outputs, dim=1)


class SqueezeExcitation(nn.Module):
    """Each channel times a gate from 0 to 1 that sees the means over time of all channels (Hu et al. 2018, sec. 3)."""

    def __init__(self, channels: int, act: Callable[[int], nn.Module]):
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(channels, _SE_BOTTLENECK), act(_SE_BOTTLENECK),
                                  nn.Linear(_SE_BOTTLENECK, channels), nn.Sigmoid())

    def forward(self, maps: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        gate = self.gate(mean_over_frames(maps, mask).squeeze(2))            # (B, C)
        return maps * gate.unsqueeze(2)
