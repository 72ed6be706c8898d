"""Pooling over time: a sequence to one vector."""

import torch
from torch import Tensor, nn

_VARIANCE_FLOOR = 1e-7      # keeps the slope of the square root finite where a channel is constant


class StatisticsPooling(nn.Module):
    """Mean and standard deviation over time (Snyder et al. 2018, sec. 2.1), channel and frequency kept apart."""

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, F, T) -> (B, 2 * C * F): all means, then all standard deviations, each with F running fastest."""
        mean = maps.mean(dim=3)                                                   # (B, C, F)
        n_frames = maps.shape[3]
        # Unbiased variance; a single frame has none.
        variance = (maps - mean[..., None]).square().sum(dim=3) / max(1, n_frames - 1)
        std = (variance + _VARIANCE_FLOOR).sqrt()
        return torch.cat([mean.flatten(1), std.flatten(1)], dim=1)
