"""The losses that users compare SphereSpeaker with: softmax over the training speakers, and its margins.

They hold whole (B, N) matrices, as the sum over speakers in a softmax wants.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyspk.errors import UserError
from pyspk.losses.angle import cos_of_sum, directions


class _SoftmaxLoss(nn.Module):
    """What the family has in common."""

    no_margin = 0.0
    parts: Mapping[str, Tensor] = MappingProxyType({})

    def learned(self) -> dict[str, float]:
        """What a log should show of the learned scalars: there is none."""
        return {}


class Softmax(_SoftmaxLoss):
    """Cross-entropy of a linear layer over the training speakers; no margin, no scale.

    Arguments: emb_dim D; n_spk N. Raises UserError for fewer than 2 speakers.
    """

    def __init__(self, emb_dim: int, n_spk: int):
        super().__init__()
        self.m = self.no_margin
        self.weight = _weight(n_spk, emb_dim)
        self.bias = nn.Parameter(torch.zeros(n_spk))

    def forward(self, emb: Tensor, spk: Tensor) -> Tensor:
        """Batch mean loss, (), in float32 or better also under autocast. emb (B, D); spk (B,) int64 below N."""
        with torch.autocast(emb.device.type, enabled=False):
            return F.cross_entropy(F.linear(emb.to(self.weight.dtype), self.weight, self.bias), spk)


class AMSoftmax(_SoftmaxLoss):
    """Additive margin on the cosine (Wang et al. 2018, arXiv 1801.05599, eq. 6; CosFace, Wang et al. 2018).

        L = -log(exp(r (cos th_y - m)) / (exp(r (cos th_y - m)) + sum over j != y of exp(r cos th_j)))

    th_j is the angle between the embedding and speaker weight w_j; r is the papers' scale s.
    Arguments: emb_dim D; n_spk N; m the margin, may be set while training; r the scale; n_centers K weights a speaker,
    of which the nearest counts (see SubCenterAAM). Raises UserError for values that make no sense, naming them.
    """

    def __init__(self, emb_dim: int, n_spk: int, m: float = 0.2, r: float = 32.0, n_centers: int = 1):
        super().__init__()
        _require(0 <= m < math.pi / 2, "m", m, "from 0 to pi / 2")
        _require(r > 0, "r", r, "above 0")
        _require(n_centers >= 1, "n_centers", n_centers, "1 or more")
        self.m, self.r, self.n_centers = m, r, n_centers
        self.weight = _weight(n_spk, emb_dim, n_centers)

    def forward(self, emb: Tensor, spk: Tensor) -> Tensor:
        """Batch mean loss, (), in float32 or better also under autocast. emb (B, D), any norm; spk (B,) int64.

        An embedding without direction, of length 0, has cosine 0 with all, and slope 0.
        """
        with torch.autocast(emb.device.type, enabled=False):
            unit, _ = directions(emb.to(self.weight.dtype))                                        # (B, D)
            cos = F.linear(unit, F.normalize(self.weight))                                         # (B, N K)
            if self.n_centers > 1:
                cos = cos.unflatten(1, (-1, self.n_centers)).amax(dim=2)                       # (B, N)
            own = self.with_margin(cos.gather(1, spk[:, None]))                                # (B, 1)
            return F.cross_entropy(self.r * self.others(cos, spk).scatter(1, spk[:, None], own), spk)

    def with_margin(self, cos: Tensor) -> Tensor:
        """What becomes of the cosine with one's own speaker. Any shape."""
        return cos - self.m

    def others(self, cos: Tensor, spk: Tensor) -> Tensor:
        """What becomes of the cosines (B, N) with the other speakers; one's own, spk (B,), may be anything."""
        return cos


class AAMSoftmax(AMSoftmax):
    """Additive margin on the angle: cos(th_y + m) in place of cos th_y (ArcFace, Deng et al. 2019, eq. 3).

    Beyond th_y = pi - m, where cos(th_y + m) would rise again, it goes on as cos th_y - m sin m, as in the authors' own
    programs. Arguments as AMSoftmax's, m in radians.
    """

    def with_margin(self, cos: Tensor) -> Tensor:
        """cos(th + m). Any shape."""
        return torch.where(cos > -math.cos(self.m), cos_of_sum(cos, self.m), cos - self.m * math.sin(self.m))


class SubCenterAAM(AAMSoftmax):
    """AAM-softmax with K weights a speaker, of which the nearest counts (Deng et al. 2020, ECCV, sub-center ArcFace).

    What does not fit a speaker's main center, a wrong label above all, gathers around another.
    Arguments as AMSoftmax's, with n_centers 3.
    """

    def __init__(self, emb_dim: int, n_spk: int, m: float = 0.2, r: float = 32.0, n_centers: int = 3):
        super().__init__(emb_dim, n_spk, m, r, n_centers)


class InterTopKAAM(AAMSoftmax):
    """AAM-softmax with a second margin on each utterance's top_k most similar other speakers (Zhao et al. 2022).

    Their cosines become cos(max(0, th_j - m_top)) ("inter-topK penalty", arXiv 2110.05042, eq. 7). While m is
    scheduled, m_top follows in proportion. Arguments as AMSoftmax's; top_k, m_top in radians.
    """

    def __init__(self, emb_dim: int, n_spk: int, m: float = 0.2, r: float = 32.0, n_centers: int = 1, top_k: int = 5,
                 m_top: float = 0.06):
        super().__init__(emb_dim, n_spk, m, r, n_centers)
        _require(top_k >= 1, "top_k", top_k, "1 or more")
        _require(0 <= m_top < math.pi / 2, "m_top", m_top, "from 0 to pi / 2")
        self.top_k, self.m_top, self._m_full = min(top_k, n_spk - 1), m_top, m

    def others(self, cos: Tensor, spk: Tensor) -> Tensor:
        """The cosines (B, N), the top_k of each row raised."""
        hardest = cos.detach().scatter(1, spk[:, None], -math.inf).topk(self.top_k).indices    # (B, top_k)
        m_top = self.m_top * (self.m / self._m_full if self._m_full else 1.0)
        raised = -cos_of_sum(-cos.gather(1, hardest), m_top)      # cos(max(0, th - m_top)), seen from pi - th
        return cos.scatter(1, hardest, raised)


def _weight(n_spk: int, emb_dim: int, n_centers: int = 1) -> nn.Parameter:
    _require(n_spk >= 2, "speakers", n_spk, "2 or more")
    weight = nn.Parameter(torch.empty(n_spk * n_centers, emb_dim))
    nn.init.xavier_normal_(weight)
    return weight


def _require(good: bool, name: str, value: float, valid: str) -> None:
    if not good:
        raise UserError(f"softmax {name} = {value}: it must be {valid}")
