"""Angles through their cosines, with slopes that stay finite."""

import math

import torch
from torch import Tensor

COS_LIMIT = 1 - 1e-6      # acos and sqrt(1 - cos^2) have no finite slope at 1


def angle(cos: Tensor) -> Tensor:
    """The angle in [0, pi], any shape."""
    return torch.acos(cos.clamp(-COS_LIMIT, COS_LIMIT))


def cos_of_sum(cos: Tensor, m: float) -> Tensor:
    """cos(min(pi, th + m)) without the inverse cosine. cos any shape; m in radians, from 0 to below pi."""
    sin = (1 - cos.clamp(-COS_LIMIT, COS_LIMIT) ** 2).sqrt()
    turned = cos * math.cos(m) - sin * math.sin(m)
    return torch.where(cos > math.cos(math.pi - m), turned, -torch.ones_like(cos))
