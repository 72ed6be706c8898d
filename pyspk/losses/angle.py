"""Angles through their cosines, with slopes that stay finite, and directions of vectors of any length."""

import math

import torch
from torch import Tensor

COS_LIMIT = 1 - 1e-6      # acos and sqrt(1 - cos^2) have no finite slope at 1
_SHORTEST = 1e-12         # a vector shorter than this has no direction: cosine 0, slope 0


def angle(cos: Tensor) -> Tensor:
    """The angle in [0, pi], any shape."""
    return torch.acos(cos.clamp(-COS_LIMIT, COS_LIMIT))


def cos_of_sum(cos: Tensor, m: float) -> Tensor:
    """cos(min(pi, th + m)) without the inverse cosine. cos any shape; m in radians, from 0 to below pi."""
    sin = (1 - cos.clamp(-COS_LIMIT, COS_LIMIT) ** 2).sqrt()
    turned = cos * math.cos(m) - sin * math.sin(m)
    return torch.where(cos > math.cos(math.pi - m), turned, -torch.ones_like(cos))


def directions(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(rows (B, D) scaled to length 1, or 0 where they have no direction; one over their lengths (B, 1)).

    Automatic differentiation may go through both; where they are 0 their slope is 0.
    """
    largest = rows.detach().abs().amax(dim=1, keepdim=True).clamp_min(1.0)     # squares overflow long before numbers do
    length = torch.linalg.vector_norm(rows / largest, dim=1, keepdim=True)
    return rows / largest * one_over(length), one_over(length) / largest


def one_over(length: Tensor) -> Tensor:
    """1 / length, and 0 for a vector too short to have a direction."""
    is_short = length < _SHORTEST
    return torch.where(is_short, 0.0, 1 / torch.where(is_short, 1.0, length))
