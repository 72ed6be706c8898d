"""The softmax family against naive loops in float64, and what holds for every loss of the registry."""

import math
from math import acos, cos, exp, pi

import pytest
import torch

from pyspk.errors import UserError
from pyspk.losses import LOSSES, AAMSoftmax, AMSoftmax, InterTopKAAM, Softmax, SubCenterAAM


def naive_softmax(scores: list[float], own: float, y: int) -> float:
    """Cross-entropy where the speaker's own score is `own`."""
    return -own + math.log(sum(exp(own if j == y else score) for j, score in enumerate(scores)))


def family(kind, **settings):
    torch.manual_seed(3)
    loss = kind(5, 6, **settings).double()
    return loss, torch.randn(4, 5, dtype=torch.float64), torch.tensor([0, 5, 2, 2])


def cosine(x: list[float], w: list[float]) -> float:
    return sum(p * q for p, q in zip(x, w, strict=True)) / math.hypot(*x) / math.hypot(*w)


def raised(z: float, m: float) -> float:
    """cos(th + m), and beyond th = pi - m what Deng et al. take in its place."""
    return cos(acos(z) + m) if acos(z) + m < pi else z - m * math.sin(m)


def test_softmax_equals_the_naive_loop():
    loss, emb, spk = family(Softmax)
    loss.bias.data = torch.randn(6, dtype=torch.float64)
    logits = [[sum(p * q for p, q in zip(x, w, strict=True)) + b
               for w, b in zip(loss.weight.tolist(), loss.bias.tolist(), strict=True)] for x in emb.tolist()]
    wanted = sum(naive_softmax(row, row[y], y) for row, y in zip(logits, spk.tolist(), strict=True)) / 4
    assert loss(emb, spk).item() == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(("kind", "settings", "own", "n_centers", "top_k"), [
    (AMSoftmax, {"m": 0.3}, lambda z: z - 0.3, 1, 0),
    (AAMSoftmax, {"m": 0.3}, lambda z: raised(z, 0.3), 1, 0),
    (AAMSoftmax, {"m": 1.5}, lambda z: raised(z, 1.5), 1, 0),                       # some beyond pi - m
    (SubCenterAAM, {"m": 0.3}, lambda z: raised(z, 0.3), 3, 0),
    (SubCenterAAM, {"m": 0.3, "n_centers": 2}, lambda z: raised(z, 0.3), 2, 0),
    (InterTopKAAM, {"m": 0.3, "top_k": 2, "m_top": 0.1}, lambda z: raised(z, 0.3), 1, 2),
    (InterTopKAAM, {"m": 0.3, "top_k": 50, "m_top": 0.1, "n_centers": 2}, lambda z: raised(z, 0.3), 2, 5),
])
def test_margin_softmax_equals_the_naive_loop(kind, settings, own, n_centers, top_k):
    loss, emb, spk = family(kind, r=8.0, **settings)
    weights, total = loss.weight.tolist(), 0.0
    for x, y in zip(emb.tolist(), spk.tolist(), strict=True):
        zs = [max(cosine(x, weights[n_centers * j + k]) for k in range(n_centers)) for j in range(6)]
        hardest = sorted((j for j in range(6) if j != y), key=lambda j: -zs[j])[:top_k]
        scores = [8 * (cos(max(0, acos(z) - 0.1)) if j in hardest else z) for j, z in enumerate(zs)]
        total += naive_softmax(scores, 8 * own(zs[y]), y)
    assert loss(emb, spk).item() == pytest.approx(total / 4, rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_has_a_right_gradient_and_a_margin_that_can_be_taken_away(name):
    torch.manual_seed(0)
    loss, emb, spk = LOSSES[name](4, 6).double(), torch.randn(5, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 5, 5])
    with_margin = loss(emb, spk).item()
    assert torch.autograd.gradcheck(lambda emb: loss(emb, spk), emb.requires_grad_())
    loss.m = loss.no_margin
    assert loss(emb, spk).item() < with_margin or name == "softmax"


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_computed_in_float32_under_autocast(name):
    loss, emb = LOSSES[name](4, 6), torch.randn(3, 4).to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(emb, torch.tensor([0, 1, 2]))
    assert inside.dtype == torch.float32 and inside.item() == loss(emb.float(), torch.tensor([0, 1, 2])).item()


@pytest.mark.parametrize("name", LOSSES)
def test_no_loss_hides_an_embedding_that_is_not_finite(name):
    emb = torch.randn(3, 4)
    emb[1, 2] = math.nan
    assert not LOSSES[name](4, 5)(emb, torch.tensor([0, 1, 2])).isfinite()


@pytest.mark.parametrize("name", LOSSES.keys() - {"softmax"})
def test_an_embedding_without_direction_costs_no_step(name):
    loss, emb, spk = LOSSES[name](4, 5), torch.randn(3, 4), torch.tensor([0, 1, 2])
    emb[1] = 0.0
    loss(emb.requires_grad_(), spk).backward()
    assert not emb.grad[1].any() and emb.grad[0].any() and loss.weight.grad.abs().max() < 1e3


@pytest.mark.parametrize(("kind", "settings", "said"), [
    (Softmax, {"n_spk": 1}, "softmax speakers = 1: it must be 2 or more"), (AMSoftmax, {"r": 0}, "r = 0"),
    (AAMSoftmax, {"m": -0.1}, "m = -0.1"), (SubCenterAAM, {"n_centers": 0}, "n_centers = 0"),
    (InterTopKAAM, {"top_k": 0}, "top_k = 0"), (InterTopKAAM, {"m_top": 2.0}, "m_top = 2.0"),
])
def test_an_impossible_setting_of_a_softmax_is_named(kind, settings, said):
    with pytest.raises(UserError, match=said):
        kind(**{"emb_dim": 4, "n_spk": 3, **settings})
