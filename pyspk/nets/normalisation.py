"""Batch normalisation whose batch is the one of all processes that train together."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from pyspk.world import World


def with_statistics_of_all(net: nn.Module, world: World) -> nn.Module:
    """`net`, on its device, with layers in place of its BatchNorm1d and BatchNorm2d that count every process's batch.

    Names and tensors of the state_dict stay, and so does what an optimizer holds. In evaluation nothing changes. All
    processes must have batches of the same shape. On GPUs the layers are torch's own SyncBatchNorm, which does the same
    with its own kernels, but cannot work on a CPU.
    """
    if world.size == 1:
        return net
    if world.device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(net)
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                setattr(module, name, BatchNormOverAll(child, world))
    return net


class BatchNormOverAll(_BatchNorm):
    """The layer `norm`, holding the same tensors, with mean and variance of the batches of all processes of `world`."""

    def __init__(self, norm: _BatchNorm, world: World):
        super().__init__(norm.num_features, norm.eps, norm.momentum, device="meta")
        self.weight, self.bias, self.num_batches_tracked = norm.weight, norm.bias, norm.num_batches_tracked
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.world = world
        self.train(norm.training)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, ...) -> the same shape and dtype, each channel with mean 0 and variance 1 before weight and bias."""
        if not self.training:
            return F.batch_norm(maps, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        maps, mean, variance = _Normalise.apply(maps, self.weight, self.bias, self.eps, self.world)
        n_values = self.world.size * maps.numel() // maps.shape[1]           # that a channel has
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (n_values / (n_values - 1)), self.momentum)
        return maps


class _Normalise(torch.autograd.Function):
    """Ioffe & Szegedy 2015, arXiv 1502.03167, sec. 3: y_i = weight * z_i + bias with z_i = (x_i - mean) / std."""

    @staticmethod
    def forward(ctx, maps: Tensor, weight: Tensor, bias: Tensor, eps: float, world: World):
        """(y (B, C, ...), mean (C,), variance (C,) about it); the statistics in weight's dtype, under autocast too."""
        over = [dim for dim in range(maps.ndim) if dim != 1]
        ours = torch.stack(torch.var_mean(maps.to(weight.dtype), over, correction=0))        # (2, C)
        variances, means = world.gather_rows(ours[None]).unbind(1)                           # (world, C), twice
        mean = means.mean(0)
        # The total's variance is the mean of the parts' and the variance of their means: a difference of squares, which
        # a single sum would lead to, loses digits.
        variance = (variances + (means - mean).square()).mean(0)
        ctx.save_for_backward(maps, weight, mean, (variance + eps).rsqrt())
        ctx.over, ctx.world = over, world
        ctx.mark_non_differentiable(mean, variance)
        return F.batch_norm(maps, mean, variance, weight, bias, eps=eps), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor, *_statistics: Tensor):
        """The slopes in x, weight and bias; the latter two of this process's part of the batch alone.

        With n values in a channel, x_i's is weight / std * (grad_i - sum(grad) / n - z_i * sum(grad * z) / n).
        """
        maps, weight, mean, one_over_std = ctx.saved_tensors
        per_channel = [-1, *[1] * (maps.ndim - 2)]
        unit = (maps - mean.view(per_channel)) * one_over_std.view(per_channel)              # z
        ours = torch.stack([grad.sum(ctx.over, dtype=weight.dtype), (grad * unit).sum(ctx.over)])      # (2, C)
        n_values = ctx.world.size * maps.numel() // maps.shape[1]
        level, tilt = (ctx.world.sum(ours.clone()) / n_values).view(2, *per_channel)
        slope = (grad - level - unit * tilt) * (weight * one_over_std).view(per_channel)
        return slope.to(maps.dtype), ours[1], ours[0], None, None
