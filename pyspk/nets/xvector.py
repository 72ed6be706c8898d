"""The x-vector network: five layers along time, pooling, one affine layer."""

from collections.abc import Callable

from torch import Tensor, nn

from pyspk.nets.activation import activation_named
from pyspk.nets.padding import MaskedSequential, frame_mask
from pyspk.nets.pooling import pooling_named

_CONTEXTS = ((5, 1), (3, 2), (3, 3), (1, 1), (1, 1))      # kernel, dilation: {-2..2}, {-2, 0, 2}, {-3, 0, 3}, {0}, {0}
_WIDENING = 1500 / 512                                    # the last layer has 1500 channels beside 512


class XVector(nn.Module):
    """The time-delay network of Snyder et al. 2018, table 1, up to its first affine layer after the pooling, segment6.

    Unlike there, frames before the beginning and after the end count as zero, so that an utterance of any length has
    an embedding.

    Arguments: feat_dim F, any from 1; emb_dim D; activation "relu" or "prelu"; channels of the first four layers, the
    fifth has 1500 / 512 times as many; pooling "statistics", "attentive" or "multi_head". Raises UserError for an
    unknown activation or pooling.
    """

    def __init__(self, feat_dim: int, emb_dim: int = 512, activation: str = "relu", channels: int = 512,
                 pooling: str = "statistics"):
        super().__init__()
        act = activation_named(activation)
        widths = [feat_dim, channels, channels, channels, channels, round(channels * _WIDENING)]
        self.layers = nn.ModuleList(
            tdnn_layer(before, width, kernel, dilation, act)
            for before, width, (kernel, dilation) in zip(widths[:-1], widths[1:], _CONTEXTS, strict=True))
        self.pool = pooling_named(pooling, widths[-1])
        self.embedding = nn.Linear(self.pool.out_dim, emb_dim)

    def forward(self, feats: Tensor, n_frames: Tensor | None = None) -> Tensor:
        """Embeddings (B, D) of features (B, T, F), of which the first n_frames (B,) int64 of each count; None: all."""
        mask = frame_mask(feats, n_frames)
        maps = feats.transpose(1, 2)                       # (B, F, T)
        for layer in self.layers:
            maps = layer(maps, mask)                       # (B, C, T), in the end (B, 1500 / 512 C, T)
        return self.embedding(self.pool(maps, mask))


def tdnn_layer(before: int, width: int, kernel: int, dilation: int,
               act: Callable[[int], nn.Module]) -> MaskedSequential:
    """(B, before, T) -> (B, width, T): convolution along time, activation, batch normalisation.

    The normalisation is last, as in Kaldi's relu-batchnorm-layer, with which x-vectors were trained, and in
    Desplanques et al. 2020, fig. 2: what the next layer gets has mean 0 and variance 1. A bias before an activation is
    not undone by a normalisation after it, and so the convolution has one.
    """
    return MaskedSequential(
        nn.Conv1d(before, width, kernel, dilation=dilation, padding=dilation * (kernel // 2)),
        act(width), nn.BatchNorm1d(width))
