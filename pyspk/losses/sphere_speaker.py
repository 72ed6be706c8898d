"""SphereSpeaker: speaker verification trained as what it is, a binary question."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pyspk.errors import UserError
from pyspk.losses.angle import COS_LIMIT, angle, cos_of_sum, directions, one_over
from pyspk.losses.weights import first_weights
from pyspk.world import World

MARGINS = ("A", "C", "M")
_BLOCK_SCORES = {"cpu": 1 << 20}        # scores (B, n), or numbers of pairs (B, p, D), at a time: 4 MiB
_BLOCK_SCORES_ELSEWHERE = 1 << 25       # a GPU wants few large steps: 128 MiB
_MANY = 50                              # hard negatives are many when they are 1 in so many speakers or more

_Entries = tuple[Tensor, Tensor]        # (rows, columns) of a matrix


class _Logit(NamedTuple):
    """Logits and their slope in the cosine, of one shape."""

    logit: Tensor
    slope: Tensor


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
    sides by definition and takes only "both" or the default. hard_negatives=k sums over the k speakers j != y of the
    highest cos th_j alone: target sample mining.

    Sources: the ideas, Ji et al. 2025 (PLOS ONE, 10.1371/journal.pone.0320256), of which only the abstract could be
    read; the formulas, Wen et al. 2022 (SphereFace2, ICLR, arXiv 2108.01513, eqs. 3 to 8) and Han et al. 2023 (arXiv
    2307.08205). Of the two public variants this is neither. Unlike that for faces, it is neither divided by r nor
    multiplied by a weight, and the gradient flows through the margin; like it, A and M margin the positive only unless
    margin_on="both". Unlike that for speakers, whose A margins both sides, b starts in closed form, the angles are held
    within 0 and pi, and softplus does not overflow.

    No question depends on another, so the speakers are taken a block at a time, the block's loss and slopes together,
    and its (B, n) scores are forgotten: memory above weights and their gradient does not grow with N.

    In a `world` of several processes each holds the weights of about N / world.size speakers, those of
    world.rows_here(N), and asks their questions of everyone's embeddings; b is the same everywhere. What goes over the
    wire: the embeddings' directions to all, their slopes back, value and slope of b, and with hard_negatives each
    process's k highest cosines. Value, slopes and first weights are those of one process with the whole batch.

    Arguments: emb_dim D; n_spk N; b None for the closed form (see `balanced_bias`) or its first value. `m` may be set
    while training; at `no_margin` there is none. Raises UserError for values that make no sense, naming them.
    """

    def __init__(self, emb_dim: int, n_spk: int, margin: str = "C", m: float = 0.2, r: float = 32.0, t: float = 3.0,
                 lam: float = 0.7, b: float | None = None, margin_on: str | None = None,
                 hard_negatives: int | None = None, world: World | None = None):
        super().__init__()
        _check(n_spk, margin, m, r, t, lam, margin_on, hard_negatives)
        self.margin, self.m, self.r, self.t, self.lam = margin, m, r, t, lam
        self.margin_on = margin_on or ("both" if margin == "C" else "target")
        self.n_negatives = min(n_spk - 1, hard_negatives or n_spk)
        self.no_margin = 1.0 if margin == "M" else 0.0
        self.parts: dict[str, Tensor] = {}
        self.world, self.n_spk = world or World(), n_spk
        self.weight = nn.Parameter(first_weights(n_spk, emb_dim, self.world.rows_here(n_spk)))
        self.b = nn.Parameter(torch.tensor(self.balanced_bias() if b is None else float(b)))

    def forward(self, emb: Tensor, spk: Tensor) -> Tensor:
        """Batch mean loss, (), in float32 or better also under autocast. emb (B, D), any norm; spk (B,) int64 below N.

        NaN where an embedding is not finite. Raises IndexError for a speaker outside 0 to N - 1.

        In a world of several processes emb and spk are this one's (B / world.size,), as many in each. All get the mean
        of the whole batch; the gradient of emb is world.size times its slope in emb, since DistributedDataParallel,
        where it goes next, averages over the processes what is to be summed. Those of weight and b are as they are:
        this module must not be wrapped.
        """
        value, self.parts["positive"], self.parts["negative"] = _BlockedLoss.apply(emb, self.weight, self.b, spk, self)
        return value

    def learned(self) -> dict[str, float]:
        """What a log should show of the learned scalars."""
        return {"b": self.b.item()}

    def whole_state(self) -> dict[str, Tensor] | None:
        """The state_dict() that one process alone would have, in the first process, on the CPU; None in the others."""
        weight = self.world.whole_rows(self.weight, self.n_spk)
        return {**self.state_dict(), "weight": weight} if self.world.is_first else None

    def load_whole_state(self, state: dict[str, Tensor]) -> None:
        """Take this process's part of what whole_state gave, in a world of any size.

        The rows are copied from state["weight"], which may be mapped from a file. Raises ValueError for another number
        of speakers, RuntimeError for other names or another dimension.
        """
        if "weight" in state and len(state["weight"]) != self.n_spk:
            raise ValueError(f"weights of {len(state['weight'])} speakers, not of {self.n_spk}")
        self.load_state_dict({name: value[self.world.rows_here(self.n_spk)] if name == "weight" else value
                              for name, value in state.items()})

    def balanced_bias(self) -> float:
        """The b at which, all cosines being 0, positives and negatives pull equally hard under the margin m.

        With P and Q the positive and negative logits at cos = 0 without b, and K = (1 - lam) * (number of negatives),
        the condition lam * sigmoid(-(P + b)) = K * sigmoid(Q + b) is quadratic in exp(b). Of its solution

            b = log(2 lam) - Q - log(K - lam + sqrt((K - lam)^2 + 4 lam K exp(P - Q)))

        only logarithms are held, so that nothing overflows and nothing becomes 0.
        """
        zero = torch.zeros((), dtype=torch.float64, device="cpu")      # also for a loss on "meta"
        p, q = self._positive_logit(zero, 0.0).item(), self._negative_logit(zero, 0.0).logit.item()
        k = (1 - self.lam) * self.n_negatives
        excess, log_product = k - self.lam, math.log(4 * self.lam * k) + p - q
        log_excess = math.log(abs(excess)) if excess else -math.inf
        log_sum = np.logaddexp(log_excess, np.logaddexp(2 * log_excess, log_product) / 2)
        # For few speakers excess < 0 and the sum cancels; its conjugate does not.
        return float(math.log(2 * self.lam) - q - (log_sum if excess >= 0 else log_product - log_sum))

    def _positive_logit(self, cos: Tensor, b: Tensor | float) -> Tensor:
        """s_y of cos th_y, of any shape."""
        if self.margin == "C":
            return self.r * (self._adjust(cos) - self.m) + b
        turned = cos_of_sum(cos, self.m) if self.margin == "A" else (self.m * angle(cos)).clamp(max=math.pi).cos()
        return self.r * self._adjust(turned) + b

    def _adjust(self, cos: Tensor) -> Tensor:
        """g: (-1, 1) onto itself, flatter where scores are low."""
        return 2 * ((cos.clamp(-1, 1) + 1) / 2) ** self.t - 1

    def _negative_logit(self, cos: Tensor, b: Tensor | float) -> _Logit:
        """s_j of cos th_j, of any shape, and its slope, both written out: this is where training spends its time."""
        turned, turning = self._turned_negative(cos)
        half = turned.new_tensor(0.5)
        share = torch.add(half, turned, alpha=0.5).clamp_(0, 1)            # (z + 1) / 2
        power = share ** (self.t - 1)
        level = half.new_tensor(self.r * ((self.m if self.margin == "C" else 0.0) - 1)) + b
        logit = torch.addcmul(level, share, power, value=2 * self.r)
        slope = power.mul_(self.r * self.t)
        return _Logit(logit, slope if turning is None else slope.mul_(turning))

    def _turned_negative(self, cos: Tensor) -> tuple[Tensor, Tensor | None]:
        """(the cosine that a negative's margin makes of cos, its slope or None for 1)."""
        if self.margin == "C" or self.margin_on == "target":
            return cos, None
        one = cos.new_tensor(1.0)
        if self.margin == "A":                                             # cos(max(0, th - m))
            # Held at cos m, where the margin ends, both come out as they should be beyond: 1, and slope 0.
            cos = cos.clamp(-COS_LIMIT, min(COS_LIMIT, math.cos(self.m)))
            sin = torch.addcmul(one, cos, cos, value=-1).sqrt_()
            turning = torch.addcdiv(one * math.cos(self.m), cos, sin, value=-math.sin(self.m))
            return cos.mul_(math.cos(self.m)).add_(sin, alpha=math.sin(self.m)), turning
        theta = angle(cos)                                                 # cos(th / m)
        part = theta / self.m
        return part.cos(), part.sin_().div_(theta.sin_().mul_(self.m))

    def _value_and_slopes(self, emb: Tensor, weight: Tensor, b: Tensor,
                          spk: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, ...]]:
        """(positive and negative part of the loss (), slopes in emb (B / world, D), times world, weight (n, D), b ()).
        """
        if spk.min() < 0 or spk.max() >= self.n_spk:
            raise IndexError(f"speakers must be from 0 to {self.n_spk - 1}, not {spk.min()} to {spk.max()}")
        with torch.autocast(emb.device.type, enabled=False):               # also where backward comes here again
            unit, per_length = directions(emb.to(torch.promote_types(weight.dtype, torch.float32)))    # (B / world, D)
            sums, slope_unit, slope_weight = self._sums(
                self.world.gather_rows(unit), weight, b,
                self.world.gather_rows(spk) - self.world.rows_here(self.n_spk).start)
            positive, negative, slope_b = map(Tensor.clone, self.world.sum(sums))    # no views: backward changes slopes
            slope_unit = self.world.sum_rows(slope_unit)                                # (B / world, D)
            along = torch.linalg.vecdot(slope_unit, unit)[:, None]
            slope_emb = slope_unit.addcmul_(unit, along, value=-1).mul_(per_length * self.world.size)
            return (positive, negative), (_within(slope_emb, emb.dtype), _within(slope_weight, weight.dtype),
                                          slope_b.to(b.dtype))

    def _sums(self, unit: Tensor, weight: Tensor, b: Tensor, spk: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The speakers' questions that are answered here, added up over the batch.

        unit (B, D), of length 1 or 0; weight (n, D); spk (B,) counted from the first speaker here, so that others are
        outside 0 to n - 1. Returns (their share of the mean loss, positive, negative and slope in b (3,); its slopes in
        unit (B, D), in weight (n, D)).
        """
        here = ((spk >= 0) & (spk < len(weight))).nonzero().squeeze(1)
        pull, pull_b, pull_cos = self._positive(unit[here], weight[spk[here]].to(unit.dtype), b)   # (len(here),) each
        pull_cos = unit.new_zeros(len(unit)).index_copy_(0, here, pull_cos)                        # (B,)
        hardest = self._hardest(unit, weight, spk) if self.n_negatives < self.n_spk - 1 else None
        pairs = self._all_pairs if hardest is None or _MANY * self.n_negatives >= self.n_spk else self._hard_pairs
        push, push_b, slope_unit, slope_weight = pairs(unit, weight, b, spk, pull_cos, hardest)
        return torch.stack([pull.sum(), push, pull_b.sum() + push_b]) / len(unit), slope_unit, slope_weight

    def _all_pairs(self, unit: Tensor, weight: Tensor, b: Tensor, spk: Tensor, pull_cos: Tensor,
                   hardest: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(the negatives' part of the loss (), its slope in b (), summed over the batch; slopes in unit, in weight).

        Arguments as those of _sums; pull_cos (B,): the positives' slopes in cos th_y, which the last two include;
        hardest (B, k): the negatives that count, as _hardest gives them, None for all.
        """
        push, push_b = unit.new_zeros(()), unit.new_zeros(())
        slope_unit, slope_weight = torch.zeros_like(unit), torch.empty_like(weight, dtype=unit.dtype)
        for block in self._blocks(len(weight), len(unit), unit.device):
            axes = weight[block].to(unit.dtype)                            # (n, D), of any length
            per_axis = one_over(torch.linalg.vector_norm(axes, dim=1))     # (n,)
            cos = (unit @ axes.T).mul_(per_axis)                           # (B, n)
            left_out = own = _entries(spk[:, None], block)
            if hardest is not None:
                left_out = torch.ones_like(cos, dtype=torch.bool)
                left_out[_entries(hardest, block)] = False
            added, added_b, slope_cos = self._negatives(cos, b, left_out)
            push += added
            push_b += added_b
            slope_cos[own] = pull_cos[own[0]]
            slope_dot = slope_cos.mul_(per_axis / len(unit))
            slope_unit.addmm_(slope_dot, axes)
            slope_axes = torch.mm(slope_dot.T, unit, out=slope_weight[block])
            along = torch.linalg.vecdot(slope_axes, axes).mul_(per_axis.square())
            slope_axes.addcmul_(axes, along[:, None], value=-1)
        return push, push_b, slope_unit, slope_weight

    def _hard_pairs(self, unit: Tensor, weight: Tensor, b: Tensor, spk: Tensor, pull_cos: Tensor,
                    hardest: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What _all_pairs gives, pair by pair, without the product of all: faster where those that count are few."""
        who = torch.cat([spk[:, None], hardest], dim=1)                    # (B, 1 + k), one's own first
        left_out = (who < 0) | (who >= len(weight))
        who = who.masked_fill(left_out, 0)
        left_out[:, 0] = True
        push, push_b = unit.new_zeros(()), unit.new_zeros(())
        slope_unit, slope_weight = torch.zeros_like(unit), torch.zeros_like(weight, dtype=unit.dtype)
        n_columns = who.shape[1] if len(weight) else 0                     # a process may hold no speaker
        for block in self._blocks(n_columns, unit.numel(), unit.device):
            axes = weight[who[:, block]].to(unit.dtype)                    # (B, p, D)
            per_axis = one_over(torch.linalg.vector_norm(axes, dim=2))     # (B, p)
            cos = (axes @ unit[:, :, None]).squeeze(2).mul_(per_axis)
            added, added_b, slope_cos = self._negatives(cos, b, left_out[:, block])
            push += added
            push_b += added_b
            if block.start == 0:
                slope_cos[:, 0] = pull_cos
            slope_dot = slope_cos.mul_(per_axis / len(unit))
            slope_unit += (slope_dot[:, None] @ axes).squeeze(1)
            along = (slope_dot * cos).mul_(per_axis)
            slope_axes = torch.addcmul(slope_dot[:, :, None] * unit[:, None], along[:, :, None], axes, value=-1)
            slope_weight.index_add_(0, who[:, block].flatten(), slope_axes.flatten(0, 1))
        return push, push_b, slope_unit, slope_weight

    def _positive(self, unit: Tensor, axes: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(lam * softplus(-s_y), its slope in b, its slope in cos th_y), (B,) each, of unit and axes (B, D)."""
        cos = torch.linalg.vecdot(unit, axes) * one_over(torch.linalg.vector_norm(axes, dim=1))
        with torch.inference_mode(False), torch.enable_grad():
            cos = cos.clone().requires_grad_()
            logit = self._positive_logit(cos, b.detach())
            slope, = torch.autograd.grad(logit.sum(), cos)
        logit = logit.detach()
        slope_b = torch.sigmoid(-logit) * -self.lam
        return self.lam * F.softplus(-logit), slope_b, slope_b * slope

    def _negatives(self, cos: Tensor, b: Tensor, left_out: _Entries | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(sum of (1 - lam) * softplus(s_j) (), its slope in b (), its slope in cos th_j, of the shape of cos).

        left_out: the pairs that do not count, as places or as a mask.
        """
        logit, slope_cos = self._negative_logit(cos, b)
        push = F.softplus(logit)
        push_b = logit.sigmoid_().mul_(1 - self.lam)
        push[left_out], push_b[left_out] = 0.0, 0.0
        return push.sum().mul_(1 - self.lam), push_b.sum(), slope_cos.mul_(push_b)

    @torch.no_grad()
    def _hardest(self, unit: Tensor, weight: Tensor, spk: Tensor) -> Tensor:
        """The n_negatives most similar other speakers of each utterance, (B, n_negatives) int64; -1 if held elsewhere.

        Arguments as those of _sums.
        """
        best = unit.new_full((len(unit), self.n_negatives), -math.inf)
        which = torch.zeros_like(best, dtype=torch.int64)
        for block in self._blocks(len(weight), len(unit), unit.device):
            axes = weight[block].to(unit.dtype)
            cos = (unit @ axes.T).mul_(one_over(torch.linalg.vector_norm(axes, dim=1)))
            cos[_entries(spk[:, None], block)] = -math.inf
            here = torch.arange(block.start, block.stop, device=unit.device).expand_as(cos)
            best, order = torch.cat([best, cos], 1).topk(self.n_negatives)
            which = torch.cat([which, here], 1).gather(1, order)
        if self.world.size == 1:
            return which
        everyones = self.world.gather_rows(best[None])                     # (world, B, k), of which k count
        places = everyones.transpose(0, 1).flatten(1).topk(self.n_negatives).indices
        owner, place = places // self.n_negatives, places % self.n_negatives
        return which.gather(1, place).where(owner == self.world.rank, -1)

    @staticmethod
    def _blocks(n: int, size: int, device: torch.device) -> Iterator[slice]:
        """Cuts n things, of which each brings `size` numbers, into blocks that the device's cache or memory likes."""
        step = max(1, _BLOCK_SCORES.get(device.type, _BLOCK_SCORES_ELSEWHERE) // max(1, size))
        return (slice(start, min(start + step, n)) for start in range(0, n, step))


class _BlockedLoss(torch.autograd.Function):
    """The slopes are computed with the value and handed over in backward, without a second copy of any."""

    @staticmethod
    def forward(ctx, emb: Tensor, weight: Tensor, b: Tensor, spk: Tensor, loss: SphereSpeaker) -> tuple[Tensor, ...]:
        (positive, negative), ctx.slopes = loss._value_and_slopes(emb, weight, b, spk)
        ctx.save_for_backward(emb, weight, b, spk)
        ctx.loss = loss
        ctx.mark_non_differentiable(positive, negative)
        return positive + negative, positive, negative

    @staticmethod
    @once_differentiable
    def backward(ctx, slope: Tensor, *_parts):
        slopes, ctx.slopes = ctx.slopes, None
        if slopes is None:                                                 # a second time through the same value
            slopes = ctx.loss._value_and_slopes(*ctx.saved_tensors)[1]
        return *(one.mul_(slope) for one in slopes), None, None


def _within(slope: Tensor, dtype: torch.dtype) -> Tensor:
    """The slope in dtype, held to its largest number: that of a short vector can exceed it in float16."""
    most = torch.finfo(dtype).max
    return slope.clamp_(-most, most).to(dtype) if most < torch.finfo(slope.dtype).max else slope.to(dtype)


def _entries(spk: Tensor, block: slice) -> _Entries:
    """(rows, columns within `block`) of the speakers in spk (B, k) that belong to it."""
    rows, places = ((spk >= block.start) & (spk < block.stop)).nonzero(as_tuple=True)
    return rows, spk[rows, places] - block.start


def _check(n_spk: int, margin: str, m: float, r: float, t: float, lam: float, margin_on: str | None,
           hard_negatives: int | None) -> None:
    if n_spk < 2:
        raise UserError(f"SphereSpeaker needs at least 2 speakers, not {n_spk}")
    if margin not in MARGINS:
        raise UserError(f'margin "{margin}": the margins are {", ".join(MARGINS)}')
    if margin_on not in (None, "target", "both") or (margin == "C" and margin_on == "target"):
        raise UserError(f'margin_on "{margin_on}": "target" or "both", and margin C is always on both')
    low, high = {"A": (0, math.pi), "C": (0, 2), "M": (1, math.inf)}[margin]
    for name, value, good, range_text in (
            ("m", m, low <= m < high, f"from {low} to {high:g} for margin {margin}"), ("r", r, r > 0, "above 0"),
            ("t", t, t >= 1, "1 or more"), ("lam", lam, 0 < lam < 1, "between 0 and 1"),
            ("hard_negatives", hard_negatives, hard_negatives is None or hard_negatives >= 1, "1 or more")):
        if not good:
            raise UserError(f"SphereSpeaker {name} = {value}: it must be {range_text}")
