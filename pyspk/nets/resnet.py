"""The speaker ResNet: ResNet-P with activation="prelu", the usual one with "relu"."""

from collections.abc import Callable

from torch import Tensor, nn

from pyspk.errors import UserError
from pyspk.nets.activation import activation_named
from pyspk.nets.padding import MaskedSequential, frame_mask, mask_at_stride
from pyspk.nets.pooling import pooling_named

# depth -> (blocks in each of the four stages, whether a block is a bottleneck)
DEPTHS = {18: ((2, 2, 2, 2), False), 34: ((3, 4, 6, 3), False),
          50: ((3, 4, 6, 3), True), 101: ((3, 4, 23, 3), True), 152: ((3, 8, 36, 3), True),
          221: ((6, 16, 48, 3), True), 293: ((10, 20, 64, 3), True)}
_STRIDES = (1, 2, 2, 2)


class ResNet(nn.Module):
    """Residual network (He et al. 2016) as used for speakers: stride-1 stem, no max-pooling, statistics pooling.

    ResNet-P (Ji et al. 2025) has a PReLU with one learned slope a channel, started at 0.25, wherever the ReLU network
    has a ReLU; nothing else differs.

    Arguments: depth, one of 18, 34 (basic blocks), 50, 101, 152, 221, 293 (bottlenecks); feat_dim F, any from 1;
    emb_dim D; activation "prelu" or "relu"; channels of the first stage, doubled at each further one; pooling
    "statistics", "attentive" or "multi_head". Raises UserError for an unknown depth, activation or pooling.
    """

    def __init__(self, depth: int, feat_dim: int, emb_dim: int = 256, activation: str = "prelu", channels: int = 32,
                 pooling: str = "statistics"):
        super().__init__()
        if depth not in DEPTHS:
            raise UserError(f"depth {depth}: the depths of a ResNet are {', '.join(map(str, DEPTHS))}")
        n_blocks, bottleneck = DEPTHS[depth]
        act, block = activation_named(activation), Bottleneck if bottleneck else BasicBlock
        self.stem = MaskedSequential(nn.Conv2d(1, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels),
                                     act(channels))
        stages, before, height = [], channels, feat_dim
        for stage, stride in enumerate(_STRIDES):
            width = channels * 2**stage
            blocks = []
            for i in range(n_blocks[stage]):
                blocks.append(block(before, width, stride if i == 0 else 1, act))
                before = width * block.expansion
            stages.append(nn.Sequential(*blocks))
            height = (height - 1) // stride + 1
        self.stages = nn.ModuleList(stages)
        self.pool = pooling_named(pooling, before * height)
        self.embedding = nn.Linear(self.pool.out_dim, emb_dim)
        self._initialise()

    def forward(self, feats: Tensor, n_frames: Tensor | None = None) -> Tensor:
        """Embeddings (B, D) of features (B, T, F), of which the first n_frames (B,) int64 of each count; None: all.

        Any T from 1; 30 frames (0.3 s) or more make sense.
        """
        mask = frame_mask(feats, n_frames)
        maps = feats.transpose(1, 2).unsqueeze(1)      # (B, 1, F, T): an image whose height is frequency
        maps = self.stem(maps, mask)                   # (B, C, F, T)
        for stage in self.stages:
            for block in stage:
                maps, mask = block(maps, mask)         # in the end (B, 8 C, F / 8, T / 8), times 4 with bottlenecks
        maps = maps.flatten(1, 2)                      # (B, 8 C F / 8, T / 8), frequency running fastest
        return self.embedding(self.pool(maps, mask))

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class Block(nn.Module):
    """A body around a shortcut, which is a 1x1 convolution where the stride or the width changes.

    The shortcut leaves rows and columns out before its convolution and not in it, which comes to the same: torch 2.13's
    backward of a strided 1x1 convolution writes out of bounds on the CPU, channels last and with few channels.
    """

    def __init__(self, body: MaskedSequential, before: int, after: int, stride: int, act: Callable[[int], nn.Module]):
        super().__init__()
        self.body = body
        self.shortcut = nn.Identity() if stride == 1 and before == after else nn.Sequential(
            nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after))
        self.act = act(after)
        self.stride = stride

    def forward(self, maps: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """(B, before, F, T) -> (B, after, F / stride, T / stride), and with it the mask (B, 1, T / stride)."""
        every = self.stride
        return (self.act(self.body(maps, mask) + self.shortcut(maps[:, :, ::every, ::every])),
                mask_at_stride(mask, every))


class BasicBlock(Block):
    """Two 3x3 convolutions, the first with the stride."""

    expansion = 1

    def __init__(self, before: int, width: int, stride: int, act: Callable[[int], nn.Module]):
        super().__init__(MaskedSequential(
            nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), act(width),
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)), before, width, stride, act)


class Bottleneck(Block):
    """1x1 down, 3x3 with the stride, 1x1 up to four times the width."""

    expansion = 4

    def __init__(self, before: int, width: int, stride: int, act: Callable[[int], nn.Module]):
        wide = width * self.expansion
        super().__init__(MaskedSequential(
            nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width), act(width),
            nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), act(width),
            nn.Conv2d(width, wide, 1, bias=False), nn.BatchNorm2d(wide)), before, wide, stride, act)
