"""Pooling over time, by the name that a configuration gives: (B, C, T) to (B, out_dim).

Each class takes the number of channels C and says in out_dim what it makes of them: all means, then all standard
deviations. Its forward takes maps (B, C, T) and a mask (B, 1, T), True at the frames that count; None: all of them.
"""

import math

import torch
from torch import Tensor, nn

from pyspk.errors import UserError
from pyspk.nets.padding import mean_over_frames, set_padding

_VARIANCE_FLOOR = 1e-7      # keeps the slope of the square root finite where a channel is constant
_BOTTLENECK = 128           # Desplanques et al. 2020, sec. 4
_MOST_HEADS = 8


class StatisticsPooling(nn.Module):
    """Mean and standard deviation over time (Snyder et al. 2018, sec. 2.1)."""

    def __init__(self, n_channels: int):
        super().__init__()
        self.out_dim = 2 * n_channels

    def forward(self, maps: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, C, T) -> (B, 2 C). The variance is the unbiased one; a single frame has none."""
        mean = mean_over_frames(maps, mask)                                                  # (B, C, 1)
        # A tensor also where it is one number, which an exported model would keep from its example.
        n_frames = torch.full((), maps.shape[2], device=maps.device) if mask is None else mask.sum(dim=2)
        squares = set_padding(maps - mean, mask).square().sum(dim=2)                         # (B, C)
        variance = squares / (n_frames - 1).clamp(min=1)                                     # by (), or (B, 1)
        return torch.cat([mean.squeeze(2), (variance + _VARIANCE_FLOOR).sqrt()], dim=1)


class AttentivePooling(nn.Module):
    """Attentive statistics (Okabe et al. 2018), where each channel has weights of its own that see the whole utterance.

    The scores of frame t are V tanh(W h_t + U g + b) + k (Desplanques et al. 2020, eq. 1 and sec. 3.1), with g the mean
    and standard deviation of all frames. There [h_t, g] meets one matrix; here its two parts stand apart, so that what
    g adds is computed once an utterance and not once a frame.
    """

    def __init__(self, n_channels: int):
        super().__init__()
        self.out_dim = 2 * n_channels
        self.global_statistics = StatisticsPooling(n_channels)
        self.from_frame = nn.Conv1d(n_channels, _BOTTLENECK, 1)                              # W, b
        self.from_context = nn.Linear(2 * n_channels, _BOTTLENECK, bias=False)               # U
        self.score = nn.Conv1d(_BOTTLENECK, n_channels, 1)                                   # V, k

    def forward(self, maps: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, C, T) -> (B, 2 C)."""
        context = self.from_context(self.global_statistics(maps, mask))                      # (B, 128)
        hidden = torch.tanh(self.from_frame(maps) + context.unsqueeze(2))                    # (B, 128, T)
        return _weighted_statistics(maps, self.score(hidden), mask)


class MultiHeadPooling(nn.Module):
    """Attentive statistics of heads: the channels in equal parts, each part with one weight a frame.

    Head j of H scores its part h_tj of frame t by h_tj . u_j / sqrt(C / H) (India et al. 2019, arXiv 1906.09890); the
    deviations beside the means are added as by Zhao et al. 2022 (arXiv 2110.05042), whose pooling this is with a single
    query. H is 8, or 4, 2 or 1 where C has fewer factors of two (the 1500 channels of the x-vector network: 4).
    """

    def __init__(self, n_channels: int):
        super().__init__()
        self.out_dim = 2 * n_channels
        n_heads = math.gcd(_MOST_HEADS, n_channels)
        self.scale = math.sqrt(n_channels / n_heads)
        self.score = nn.Conv1d(n_channels, n_heads, 1, groups=n_heads, bias=False)           # u_j, head by head

    def forward(self, maps: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, C, T) -> (B, 2 C)."""
        return _weighted_statistics(maps, self.score(maps) / self.scale, mask)


POOLINGS = {"statistics": StatisticsPooling, "attentive": AttentivePooling, "multi_head": MultiHeadPooling}


def pooling_named(name: str, n_channels: int) -> nn.Module:
    """The pooling called `name` for maps of n_channels.

    Raises UserError for an unknown name, listing the known ones.
    """
    if name not in POOLINGS:
        raise UserError(f'pooling "{name}": the poolings are {", ".join(POOLINGS)}')
    return POOLINGS[name](n_channels)


def _weighted_statistics(maps: Tensor, scores: Tensor, mask: Tensor | None) -> Tensor:
    """Means and standard deviations (B, 2 C) of maps (B, C, T) under the softmax over time of scores (B, H, T).

    Each score serves C / H neighbouring channels. Okabe et al. 2018, sec. 3, but the variance about the mean and not
    as a difference of squares, of which float32 would lose digits.
    """
    weights = set_padding(scores, mask, -math.inf).softmax(dim=2).unsqueeze(2)               # (B, H, 1, T)
    maps = set_padding(maps, mask).unflatten(1, (scores.shape[1], -1))                       # (B, H, C / H, T)
    mean = (weights * maps).sum(dim=3, keepdim=True)                                         # (B, H, C / H, 1)
    variance = (weights * (maps - mean).square()).sum(dim=3)                                 # (B, H, C / H)
    return torch.cat([mean.flatten(1), (variance + _VARIANCE_FLOOR).sqrt().flatten(1)], dim=1)
