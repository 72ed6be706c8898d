"""The speaker ResNet: ResNet-P with activation="prelu", the usual one with "relu"."""

from collections.abc import Callable

from torch import Tensor, nn

from pyspk.errors import UserError
from pyspk.nets.pooling import StatisticsPooling

# depth -> (blocks in each of the four stages, whether a block is a bottleneck)
DEPTHS = {18: ((2, 2, 2, 2), False), 34: ((3, 4, 6, 3), False),
          50: ((3, 4, 6, 3), True), 101: ((3, 4, 23, 3), True), 152: ((3, 8, 36, 3), True),
          221: ((6, 16, 48, 3), True), 293: ((10, 20, 64, 3), True)}
_STRIDES = (1, 2, 2, 2)
_SLOPE_AT_START = 0.25
ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    "prelu": lambda channels: nn.PReLU(channels, init=_SLOPE_AT_START),
    "relu": lambda channels: nn.ReLU(inplace=True),
}


class ResNet(nn.Module):
    """Residual network (He et al. 2016) as used for speakers: stride-1 stem, no max-pooling, statistics pooling.

    ResNet-P (Ji et al. 2025) has a PReLU with one learned slope a channel, started at 0.25, wherever the ReLU network
    has a ReLU; nothing else differs.

    Arguments: depth, one of 18, 34 (basic blocks), 50, 101, 152, 221, 293 (bottlenecks); feat_dim F, any from 1;
    emb_dim D; activation "prelu" or "relu"; channels of the first stage, doubled at each further one.
    Raises UserError for an unknown depth or activation.
    """

    def __init__(self, depth: int, feat_dim: int, emb_dim: int = 256, activation: str = "prelu", channels: int = 32):
        super().__init__()
        if depth not in DEPTHS:
            raise UserError(f"depth {depth}: the depths of a ResNet are {', '.join(map(str, DEPTHS))}")
        if activation not in ACTIVATIONS:
            raise UserError(f'activation "{activation}": the activations are {", ".join(ACTIVATIONS)}')
        n_blocks, bottleneck = DEPTHS[depth]
        act, block = ACTIVATIONS[activation], Bottleneck if bottleneck else BasicBlock
        self.stem = nn.Sequential(nn.Conv2d(1, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels), act(channels))
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
        self.pool = StatisticsPooling()
        self.embedding = nn.Linear(2 * before * height, emb_dim)
        self._initialise()

    def forward(self, feats: Tensor) -> Tensor:
        """Embeddings (B, D) of features (B, T, F). Any T from 1; 30 frames (0.3 s) or more make sense."""
        maps = feats.transpose(1, 2).unsqueeze(1)      # (B, 1, F, T): an image whose height is frequency
        maps = self.stem(maps)                         # (B, C, F, T)
        for stage in self.stages:
            maps = stage(maps)                         # in the end (B, 8 C, F / 8, T / 8), times 4 with bottlenecks
        return self.embedding(self.pool(maps))

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    expansion = 1

    def __init__(self, before: int, width: int, stride: int, act: Callable[[int], nn.Module]):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), act(width),
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))
        self.shortcut = _shortcut(before, width, stride)
        self.act = act(width)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, before, F, T) -> (B, width, F / stride, T / stride)."""
        return self.act(self.body(maps) + self.shortcut(maps))


class Bottleneck(nn.Module):
    """1x1 down, 3x3 with the stride, 1x1 up to four times the width, around a shortcut."""

    expansion = 4

    def __init__(self, before: int, width: int, stride: int, act: Callable[[int], nn.Module]):
        super().__init__()
        wide = width * self.expansion
        self.body = nn.Sequential(
            nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width), act(width),
            nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), act(width),
            nn.Conv2d(width, wide, 1, bias=False), nn.BatchNorm2d(wide))
        self.shortcut = _shortcut(before, wide, stride)
        self.act = act(wide)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, before, F, T) -> (B, 4 width, F / stride, T / stride)."""
        return self.act(self.body(maps) + self.shortcut(maps))


def _shortcut(before: int, after: int, stride: int) -> nn.Module:
    if stride == 1 and before == after:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
