"""SphereSpeaker: speaker verification trained as what it is, a binary question."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyspk.errors import UserError

MARGINS = ("A", "C", "M")
_COS_LIMIT = 1 - 1e-6      # acos and sqrt(1 - cos^2) have no finite slope at 1


class SphereSpeaker(nn.Module):
    """Each speaker is a yes-or-no question: is this utterance hers? With balance, score adjustment, focus and margin.

    For an embedding x of speaker y, speaker weights w_j, th_j the angle between x and w_j:

        L = lam * softplus(-s_y) + (1 - lam) * sum over j != y of softplus(s_j)
        g(z) = 2 * ((z + 1) / 2)^t - 1

        margin | s_y                                  | s_j, j != y
        C      | r * (g(cos th_y) - m) + b            | r * (g(cos th_j) + m) + b
        A      | r * g(cos(min(pi, th_y + m))) + b    | r * g(cos th_j) + b
        M      | r * g(cos(min(pi, m * th_y))) + b    | r * g(cos th_j) + b

    Symbols: lam balances one positive against N - 1 negatives; r, the radius, sets how hard the focus on hard samples
    is; t > 1 pulls the two score distributions apart; m is the margin (radians for A, a factor for M); b is one learned
    bias for all speakers.

    margin_on="both" margins the negatives of A as well, cos(max(0, th_j - m)), and of M, cos(th_j / m). C margins both
    sides by definition and takes only "both" or the default.

    Sources: the ideas, Ji et al. 2025 (PLOS ONE, 10.1371/journal.pone.0320256), of which only the abstract could be
    read; the formulas, Wen et al. 2022 (SphereFace2, ICLR, arXiv 2108.01513, eqs. 3 to 8) and Han et al. 2023 (arXiv
    2307.08205). Of the two public variants this is neither: the loss is neither divided by r nor multiplied by a
    weight, the gradient flows through the margin, A and M margin the positive only unless margin_on="both", b starts in
    closed form, and softplus does not overflow.

    Arguments: emb_dim D; n_spk N; b None for the closed form (see `balanced_bias`) or its first value. `m` may be set
    while training. Raises UserError for values that make no sense, naming them.
    """

    def __init__(self, emb_dim: int, n_spk: int, margin: str = "C", m: float = 0.2, r: float = 32.0, t: float = 3.0,
                 lam: float = 0.7, b: float | None = None, margin_on: str | None = None):
        super().__init__()
        _check(n_spk, margin, m, r, t, lam, margin_on)
        self.margin, self.m, self.r, self.t, self.lam = margin, m, r, t, lam
        self.margin_on = margin_on or ("both" if margin == "C" else "target")
        self.weight = nn.Parameter(torch.empty(n_spk, emb_dim))
        nn.init.xavier_normal_(self.weight)
        self.b = nn.Parameter(torch.tensor(self.balanced_bias() if b is None else float(b)))

    def forward(self, emb: Tensor, spk: Tensor) -> Tensor:
        """Batch mean loss, (), in the weights' precision also under autocast. emb (B, D), any norm; spk (B,) int64."""
        with torch.autocast(emb.device.type, enabled=False):
            cos = F.linear(F.normalize(emb.to(self.weight.dtype)), F.normalize(self.weight))  # (B, N)
            positive = self._positive_logit(cos.gather(1, spk[:, None]).squeeze(1))       # (B,)
            pull = F.softplus(self._negative_logit(cos))                                  # (B, N)
            pull = pull.scatter(1, spk[:, None], 0.0)                                     # the speaker is no negative
            return (self.lam * F.softplus(-positive) + (1 - self.lam) * pull.sum(1)).mean()

    def balanced_bias(self) -> float:
        """The b at which, all cosines being 0, positives and negatives pull equally hard.

        With P and Q the positive and negative logits at cos = 0 without b, and K = (1 - lam)(N - 1), the condition
        lam * sigmoid(-(P + b)) = K * sigmoid(Q + b) is quadratic in exp(b). Written so that nothing overflows:

            b = log(2 lam) - Q - log(K - lam + sqrt((K - lam)^2 + 4 lam K exp(P - Q)))
        """
        zero = torch.zeros((), dtype=torch.float64)
        p, q = self._adjusted_positive(zero).item() * self.r, self._adjusted_negative(zero).item() * self.r
        k = (1 - self.lam) * (self.weight.shape[0] - 1)
        excess, product = k - self.lam, 4 * self.lam * k * math.exp(p - q)
        root = math.sqrt(excess**2 + product)
        # For few speakers excess < 0 and the sum cancels; its conjugate does not.
        total = excess + root if excess >= 0 else product / (root - excess)
        return math.log(2 * self.lam) - q - math.log(total)

    def _positive_logit(self, cos: Tensor) -> Tensor:
        return self.r * self._adjusted_positive(cos) + self.b

    def _negative_logit(self, cos: Tensor) -> Tensor:
        return self.r * self._adjusted_negative(cos) + self.b

    def _adjusted_positive(self, cos: Tensor) -> Tensor:
        if self.margin == "C":
            return self._adjust(cos) - self.m
        if self.margin == "A":
            return self._adjust(_cos_of_sum(cos, self.m))
        return self._adjust(torch.cos((self.m * _angle(cos)).clamp(max=math.pi)))

    def _adjusted_negative(self, cos: Tensor) -> Tensor:
        if self.margin == "C":
            return self._adjust(cos) + self.m
        if self.margin_on == "target":
            return self._adjust(cos)
        if self.margin == "A":
            return self._adjust(-_cos_of_sum(-cos, self.m))      # cos(max(0, th - m)), seen from pi - th
        return self._adjust(torch.cos(_angle(cos) / self.m))

    def _adjust(self, cos: Tensor) -> Tensor:
        """g: (-1, 1) onto itself, flatter where scores are low."""
        return 2 * ((cos.clamp(-1, 1) + 1) / 2) ** self.t - 1


def _angle(cos: Tensor) -> Tensor:
    return torch.acos(cos.clamp(-_COS_LIMIT, _COS_LIMIT))


def _cos_of_sum(cos: Tensor, m: float) -> Tensor:
    """cos(min(pi, th + m)) without the inverse cosine. cos any shape."""
    sin = (1 - cos.clamp(-_COS_LIMIT, _COS_LIMIT) ** 2).sqrt()
    turned = cos * math.cos(m) - sin * math.sin(m)
    return torch.where(cos > math.cos(math.pi - m), turned, -torch.ones_like(cos))


def _check(n_spk: int, margin: str, m: float, r: float, t: float, lam: float, margin_on: str | None) -> None:
    if n_spk < 2:
        raise UserError(f"SphereSpeaker needs at least 2 speakers, not {n_spk}")
    if margin not in MARGINS:
        raise UserError(f'margin "{margin}": the margins are {", ".join(MARGINS)}')
    if margin_on not in (None, "target", "both") or (margin == "C" and margin_on == "target"):
        raise UserError(f'margin_on "{margin_on}": "target" or "both", and margin C is always on both')
    low, high = {"A": (0, math.pi), "C": (0, 2), "M": (1, math.inf)}[margin]
    for name, value, good, range_text in (("m", m, low <= m < high, f"from {low} to {high:g} for margin {margin}"),
                                          ("r", r, r > 0, "above 0"), ("t", t, t >= 1, "1 or more"),
                                          ("lam", lam, 0 < lam < 1, "between 0 and 1")):
        if not good:
            raise UserError(f"SphereSpeaker {name} = {value}: it must be {range_text}")
