"""The loss against values worked out by hand, a naive loop in float64, and finite differences."""

import math
from math import acos, cos, exp, log1p, pi

import pytest
import torch

from pyspk.errors import UserError
from pyspk.losses import SphereSpeaker

SETTINGS = {"A": 0.15, "C": 0.2, "M": 1.3}


def naive(loss: SphereSpeaker, emb: torch.Tensor, spk: torch.Tensor) -> float:
    """The formulas of the docstring, one pair at a time."""

    def g(z):
        return 2 * ((z + 1) / 2) ** loss.t - 1

    b, total = loss.b.item(), 0.0
    for x, y in zip(emb.tolist(), spk.tolist(), strict=True):
        for j, w in enumerate(loss.weight.tolist()):
            z = sum(p * q for p, q in zip(x, w, strict=True)) / math.hypot(*x) / math.hypot(*w)
            theta, m, both = acos(max(-1.0, min(1.0, z))), loss.m, loss.margin_on == "both"
            if j == y:
                score = {"C": lambda: g(z) - m, "A": lambda: g(cos(min(pi, theta + m))),
                         "M": lambda: g(cos(min(pi, m * theta)))}[loss.margin]()
                total += loss.lam * log1p(exp(-(loss.r * score + b)))
            else:
                score = {"C": lambda: g(z) + m, "A": lambda: g(cos(max(0, theta - m)) if both else z),
                         "M": lambda: g(cos(theta / m) if both else z)}[loss.margin]()
                total += (1 - loss.lam) * log1p(exp(loss.r * score + b))
    return total / len(emb)


def cases():
    return [("C", "both"), ("A", "target"), ("A", "both"), ("M", "target"), ("M", "both")]


def make(margin, margin_on, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    loss = SphereSpeaker(5, 7, margin, SETTINGS[margin], r=8.0, t=3.0, lam=0.7, margin_on=margin_on).to(dtype)
    return loss, torch.randn(6, 5, dtype=dtype) * 3, torch.tensor([0, 1, 2, 3, 6, 6])


def test_margin_c_equals_the_value_worked_out_by_hand():
    loss = SphereSpeaker(emb_dim=2, n_spk=2, margin="C", r=1.0, m=0.0, t=1.0, lam=0.5, b=0.0)
    loss.weight.data = torch.eye(2)                                    # the speakers on the axes
    got = loss(torch.tensor([[5.0, 0.0]]), torch.tensor([0]))          # cos = (1, 0)
    assert got.item() == pytest.approx(0.5 * log1p(exp(-1)) + 0.5 * math.log(2), abs=1e-6)


@pytest.mark.parametrize(("margin", "margin_on"), cases())
def test_equals_the_naive_loop(margin, margin_on):
    loss, emb, spk = make(margin, margin_on)
    assert loss(emb, spk).item() == pytest.approx(naive(loss, emb, spk), rel=1e-5)


@pytest.mark.parametrize(("margin", "margin_on"), cases())
def test_gradient_equals_finite_differences_of_the_naive_loop(margin, margin_on):
    loss, emb, spk = make(margin, margin_on, seed=1)
    emb.requires_grad_(True)
    loss(emb, spk).backward()
    step = 1e-5
    for tensor, at in ((emb, (0, 1)), (emb, (5, 4)), (loss.weight, (6, 2)), (loss.weight, (0, 0)), (loss.b, ())):
        with torch.no_grad():
            tensor[at] += step
            above = naive(loss, emb, spk)
            tensor[at] -= 2 * step
            below = naive(loss, emb, spk)
            tensor[at] += step
        assert tensor.grad[at].item() == pytest.approx((above - below) / (2 * step), rel=2e-3, abs=1e-5)


@pytest.mark.parametrize(("margin", "margin_on"), cases())
def test_lengths_of_embeddings_and_weights_change_nothing(margin, margin_on):
    loss, emb, spk = make(margin, margin_on)
    before = loss(emb, spk).item()
    loss.weight.data *= torch.rand(7, 1) + 0.5
    assert loss(emb * 17, spk).item() == pytest.approx(before, rel=1e-6)


@pytest.mark.parametrize(("n_spk", "b"), [(5994, 9.749), (17982, 8.650)])
def test_bias_in_closed_form_is_the_published_one(n_spk, b):
    loss = SphereSpeaker(2, n_spk, "C", m=0.2, r=32.0, t=3.0, lam=0.7)
    assert loss.b.item() == pytest.approx(b, abs=5e-4)


@pytest.mark.parametrize("n_spk", [2, 3, 100, 10**5])
@pytest.mark.parametrize(("margin", "margin_on"), cases())
def test_at_the_start_positives_and_negatives_pull_equally(margin, margin_on, n_spk):
    loss = SphereSpeaker(2, n_spk, margin, SETTINGS[margin], r=32.0, t=3.0, lam=0.7, margin_on=margin_on)
    g = lambda z: 2 * ((z + 1) / 2) ** 3 - 1                           # noqa: E731
    m = SETTINGS[margin]
    positive = {"C": g(0) - m, "A": g(cos(pi / 2 + m)), "M": g(cos(m * pi / 2))}[margin]
    negative = {"C": g(0) + m, "A": g(cos(pi / 2 - m)), "M": g(cos(pi / 2 / m))}[margin]
    negative = negative if margin_on == "both" else g(0)
    b = loss.b.item()
    pull = 0.7 / (1 + exp(32 * positive + b))
    push = 0.3 * (n_spk - 1) / (1 + exp(-(32 * negative + b)))
    assert pull == pytest.approx(push, rel=1e-4)


@pytest.mark.parametrize(("margin", "margin_on"), cases())
@pytest.mark.parametrize("special", ["zero", "on its speaker", "opposite", "huge"])
def test_value_and_gradient_are_finite_everywhere(margin, margin_on, special):
    loss, emb, spk = make(margin, margin_on, dtype=torch.float32)
    loss.r = 64.0
    emb[0] = {"zero": emb[0] * 0, "on its speaker": loss.weight[0].detach(), "opposite": -loss.weight[0].detach(),
              "huge": emb[0] * 1e18}[special]
    emb.requires_grad_(True)
    value = loss(emb, spk)
    value.backward()
    assert all(t.isfinite().all() for t in (value, emb.grad, loss.weight.grad, loss.b.grad))


def test_a_larger_margin_costs_more_and_may_change_while_training():
    loss, emb, spk = make("C", "both")
    before = loss(emb, spk).item()
    loss.m = 0.4
    assert loss(emb, spk).item() > before


def test_under_autocast_the_loss_is_computed_in_float32():
    loss, emb, spk = make("C", "both", dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(emb, spk)
    assert inside.dtype == torch.float32
    assert inside.item() == loss(emb, spk).item()


@pytest.mark.parametrize(("arguments", "said"), [
    ({"margin": "B"}, "the margins are A, C, M"), ({"margin_on": "negatives"}, '"target" or "both"'),
    ({"margin_on": "target"}, "margin C is always on both"), ({"m": -1.0}, "m = -1.0"),
    ({"lam": 1.0}, "between 0 and 1"),
    ({"t": 0.5}, "1 or more"), ({"r": 0.0}, "above 0"), ({"margin": "M", "m": 0.5}, "from 1 to inf"),
    ({"n_spk": 1}, "at least 2 speakers"),
])
def test_an_impossible_setting_is_named(arguments, said):
    with pytest.raises(UserError, match=said):
        SphereSpeaker(**{"emb_dim": 4, "n_spk": 3, **arguments})
