"""Utterances of unequal length in one batch: what stands after the end of each has no part in its embedding.

A network makes one mask, (B, 1, T) bool and True where an utterance has a frame, and gives it to whatever looks along
time: a convolution then sees zeros after the end, as it does for the utterance alone; means, deviations and attention
leave the padding out. The mask None says that there is no padding, and then nothing is done.

This holds in evaluation mode. In training mode batch normalisation counts the padded frames like any others, which
does no harm to training on chunks of one length.
"""

import torch
from torch import Tensor, nn


def frame_mask(feats: Tensor, n_frames: Tensor | None) -> Tensor | None:
    """(B, 1, T) bool, True at the first n_frames (B,) int64, each from 1 to T, of feats (B, T, F); None for None."""
    if n_frames is None:
        return None
    n_utts, longest = feats.shape[:2]
    assert n_frames.shape == (n_utts,), f"{tuple(n_frames.shape)} lengths for {n_utts} utterances"
    assert n_frames.min() >= 1 and n_frames.max() <= longest, f"lengths must be from 1 to {longest} frames"
    place = torch.arange(longest, device=feats.device)
    return (place < n_frames.to(feats.device)[:, None]).unsqueeze(1)


def mask_at_stride(mask: Tensor | None, stride: int) -> Tensor | None:
    """The mask (B, 1, (T - 1) // stride + 1) of what a convolution with `stride` and "same" padding leaves of T frames.

    It is centred on frames 0, stride, 2 stride, ..., and so an utterance keeps those of them that are its own.
    """
    return mask if mask is None else mask[..., ::stride]


def set_padding(maps: Tensor, mask: Tensor | None, value: float = 0.0) -> Tensor:
    """maps (B, C, T) or (B, C, F, T), `value` where the mask (B, 1, T) is False."""
    if mask is None:
        return maps
    # Filled, not multiplied: zero times what a padded frame may hold, infinity or NaN, is not zero.
    return maps.masked_fill(~(mask if maps.ndim == 3 else mask.unsqueeze(2)), value)


def mean_over_frames(maps: Tensor, mask: Tensor | None) -> Tensor:
    """(B, C, T), mask (B, 1, T) -> (B, C, 1)."""
    if mask is None:
        return maps.mean(dim=2, keepdim=True)
    return set_padding(maps, mask).sum(dim=2, keepdim=True) / mask.sum(dim=2, keepdim=True)


class MaskedSequential(nn.Sequential):
    """Layers in turn, where a convolution along time finds zeros in the padding. All convolutions pad to "same"."""

    def forward(self, maps: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, C, T) or (B, C, F, T), with the mask (B, 1, T) that fits it -> what the last layer makes of it."""
        if mask is None:
            return super().forward(maps)
        for layer in self:
            if isinstance(layer, nn.Conv1d | nn.Conv2d) and layer.kernel_size[-1] > 1:
                maps, mask = set_padding(maps, mask), mask_at_stride(mask, layer.stride[-1])
            maps = layer(maps)
        return maps
