"""SphereSpeaker against values worked out by hand, a naive loop in float64, and finite differences."""

import math
from math import acos, cos, exp, log1p, pi

import pytest
import torch

from pyspk.errors import UserError
from pyspk.losses import SphereSpeaker
from pyspk.losses import sphere_speaker as sphere_speaker_module
from pyspk.losses import weights as weights_module

SETTINGS = {"A": 0.15, "C": 0.2, "M": 1.3}


def naive(loss: SphereSpeaker, emb: torch.Tensor, spk: torch.Tensor, hard_negatives: int | None = None) -> float:
    """The formulas of the docstring, one pair at a time."""

    def g(z):
        return 2 * ((z + 1) / 2) ** loss.t - 1

    b, total = loss.b.item(), 0.0
    for x, y in zip(emb.tolist(), spk.tolist(), strict=True):
        zs = [max(-1.0, min(1.0, cosine(x, w))) for w in loss.weight.tolist()]
        others = sorted((j for j in range(len(zs)) if j != y), key=lambda j: -zs[j])[:hard_negatives]
        for j in [y, *others]:
            z, theta, m, both = zs[j], acos(zs[j]), loss.m, loss.margin_on == "both"
            if j == y:
                score = {"C": lambda: g(z) - m, "A": lambda: g(cos(min(pi, theta + m))),
                         "M": lambda: g(cos(min(pi, m * theta)))}[loss.margin]()
                total += loss.lam * log1p(exp(-(loss.r * score + b)))
            else:
                score = {"C": lambda: g(z) + m, "A": lambda: g(cos(max(0, theta - m)) if both else z),
                         "M": lambda: g(cos(theta / m) if both else z)}[loss.margin]()
                total += (1 - loss.lam) * log1p(exp(loss.r * score + b))
    return total / len(emb)


def cosine(x: list[float], w: list[float]) -> float:
    return sum(p * q for p, q in zip(x, w, strict=True)) / math.hypot(*x) / math.hypot(*w)


def cases():
    return [("C", "both"), ("A", "target"), ("A", "both"), ("M", "target"), ("M", "both")]


def make(margin, margin_on, seed=0, dtype=torch.float64, **settings):
    torch.manual_seed(seed)
    settings = {"r": 8.0, "t": 3.0, "lam": 0.7, **settings}
    loss = SphereSpeaker(5, 7, margin, SETTINGS[margin], margin_on=margin_on, **settings).to(dtype)
    return loss, torch.randn(6, 5, dtype=dtype) * 3, torch.tensor([0, 1, 2, 3, 6, 6])


@pytest.fixture(params=[(1, 1), (13, 8), (1 << 19, 1), (1 << 19, 8)], ids="blocks, many {}".format, autouse=True)
def block(request, monkeypatch):
    """Each test runs with a speaker a block, with blocks that end within the speakers, and with a single block.

    Hard negatives are taken pair by pair, or, where they are many, in blocks.
    """
    block_scores, many = request.param
    monkeypatch.setitem(sphere_speaker_module._BLOCK_SCORES, "cpu", block_scores)
    monkeypatch.setattr(sphere_speaker_module, "_MANY", many)


def test_margin_c_equals_the_value_worked_out_by_hand():
    loss = SphereSpeaker(emb_dim=2, n_spk=2, margin="C", r=1.0, m=0.0, t=1.0, lam=0.5, b=0.0)
    loss.weight.data = torch.eye(2)                                    # the speakers on the axes
    got = loss(torch.tensor([[5.0, 0.0]]), torch.tensor([0]))          # cos = (1, 0)
    assert got.item() == pytest.approx(0.5 * log1p(exp(-1)) + 0.5 * math.log(2), abs=1e-6)


@pytest.mark.parametrize("hard_negatives", [None, 1, 2, 6, 50])
@pytest.mark.parametrize(("margin", "margin_on"), cases())
def test_equals_the_naive_loop(margin, margin_on, hard_negatives):
    loss, emb, spk = make(margin, margin_on, hard_negatives=hard_negatives)
    assert loss(emb, spk).item() == pytest.approx(naive(loss, emb, spk, hard_negatives), rel=1e-5)


@pytest.mark.parametrize("t", [1.0, 2.5, 3.0])
@pytest.mark.parametrize("hard_negatives", [None, 2])
@pytest.mark.parametrize(("margin", "margin_on"), cases())
def test_gradcheck(margin, margin_on, hard_negatives, t):
    loss, emb, spk = make(margin, margin_on, seed=1, t=t, hard_negatives=hard_negatives)

    def value(emb, weight, b):
        return torch.func.functional_call(loss, {"weight": weight, "b": b}, (emb, spk))

    assert torch.autograd.gradcheck(value, (emb.requires_grad_(), loss.weight, loss.b))


@pytest.mark.parametrize(("margin", "margin_on"), cases())
def test_gradient_equals_finite_differences_of_the_naive_loop(margin, margin_on):
    loss, emb, spk = make(margin, margin_on, seed=1, hard_negatives=3)
    emb.requires_grad_(True)
    loss(emb, spk).backward()
    step = 1e-5
    for tensor, at in ((emb, (0, 1)), (emb, (5, 4)), (loss.weight, (6, 2)), (loss.weight, (0, 0)), (loss.b, ())):
        with torch.no_grad():
            tensor[at] += step
            above = naive(loss, emb, spk, 3)
            tensor[at] -= 2 * step
            below = naive(loss, emb, spk, 3)
            tensor[at] += step
        assert tensor.grad[at].item() == pytest.approx((above - below) / (2 * step), rel=2e-3, abs=1e-5)


def test_a_second_backward_and_a_factor_give_the_gradient_times_the_factor():
    loss, emb, spk = make("C", "both")
    value = loss(emb, spk)
    once, = torch.autograd.grad(value, loss.weight, retain_graph=True)
    thrice, = torch.autograd.grad(3 * value, loss.weight)
    torch.testing.assert_close(thrice, 3 * once)


def test_a_second_backward_under_autocast_is_computed_in_float32_too():
    loss, emb, spk = make("C", "both", dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(emb, spk)
        once, = torch.autograd.grad(value, loss.weight, retain_graph=True)
        again, = torch.autograd.grad(value, loss.weight)
    assert torch.equal(again, once)


@pytest.mark.parametrize(("margin", "margin_on"), cases())
def test_the_value_is_the_same_where_no_gradient_is_kept(margin, margin_on):
    loss, emb, spk = make(margin, margin_on)
    value = loss(emb, spk).item()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert loss(emb * 1, spk).item() == value


def two_speakers(emb, **settings):
    """The loss of embeddings (B, 2) of speaker 0; the two speakers lie on the axes."""
    loss = SphereSpeaker(emb_dim=2, n_spk=2, **{"r": 2.0, "t": 1.0, "lam": 0.5, "b": 0.0, **settings}).double()
    loss.weight.data = torch.eye(2, dtype=torch.float64)
    return loss(torch.tensor(emb, dtype=torch.float64), torch.zeros(len(emb), dtype=torch.int64)).item()


def half_softplus(*logits):
    return sum(0.5 * log1p(exp(logit)) for logit in logits)


@pytest.mark.parametrize(("emb", "settings", "worked_out"), [
    # On her axis: cos 1 and 0. Between both axes: cos .7071. t = 2 makes of 1, 0, -1: 1, -1/2, -1.
    ([3.0, 0.0], {"margin": "C", "m": 0.5}, half_softplus(-2 * 0.5, 2 * 0.5)),
    ([3.0, 0.0], {"margin": "C", "m": 0.0, "t": 2.0}, half_softplus(-2.0, -1.0)),
    ([1.0, 1.0], {"margin": "A", "m": pi / 4}, half_softplus(0.0, 2 * cos(pi / 4))),          # 45 + 45 degrees
    ([1.0, 1.0], {"margin": "A", "m": pi / 4, "margin_on": "both"}, half_softplus(0.0, 2.0)),         # 45 - 45
    ([1.0, 1.0], {"margin": "A", "m": 1.0, "margin_on": "both"}, half_softplus(-2 * cos(pi / 4 + 1), 2.0)),
    ([-1.0, -1.0], {"margin": "A", "m": 1.0}, half_softplus(2.0, -2 * cos(pi / 4))),     # 135 degrees + m > 180
    ([1.0, 1.0], {"margin": "M", "m": 2.0}, half_softplus(0.0, 2 * cos(pi / 4))),                     # 2 * 45
    ([1.0, 1.0], {"margin": "M", "m": 2.0, "margin_on": "both"}, half_softplus(0.0, 2 * cos(pi / 8))),
    ([-1.0, -1.0], {"margin": "M", "m": 3.0}, half_softplus(2.0, -2 * cos(pi / 4))),     # 3 * 135 > 180
    ([0.0, 0.0], {"margin": "C", "m": 0.0, "b": 1.5}, half_softplus(-1.5, 1.5)),      # no direction: both cos are 0
    ([3.0, 0.0], {"margin": "C", "m": 0.0, "lam": 0.9}, 0.9 * log1p(exp(-2)) + 0.1 * log1p(1)),
])
def test_values_worked_out_by_hand(emb, settings, worked_out):
    assert two_speakers([emb], **settings) == pytest.approx(worked_out, abs=2e-6)


def test_without_radius_every_pair_costs_log_2_whatever_the_margin():
    for margin, m in SETTINGS.items():
        loss = SphereSpeaker(5, 7, margin, m, r=1e-9, lam=0.7, b=0.0)
        assert loss(torch.randn(4, 5), torch.arange(4)).item() == pytest.approx((0.7 + 0.3 * 6) * math.log(2), rel=1e-5)


def test_one_hard_negative_is_the_nearest_other_speaker():
    loss = SphereSpeaker(2, 3, "C", m=0.0, r=2.0, t=1.0, lam=0.5, b=0.0, hard_negatives=1)
    loss.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    got = loss(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))               # cosines 1, 0, -1: that of -1 is left out
    assert got.item() == pytest.approx(half_softplus(-2, 0), abs=1e-6)


def test_as_many_hard_negatives_as_there_are_others_is_all_of_them():
    every, emb, spk = make("A", "target")
    hard, _, _ = make("A", "target", hard_negatives=6)
    assert hard(emb, spk).item() == every(emb, spk).item() and hard.b.item() == every.b.item()


@pytest.mark.parametrize(("margin", "margin_on"), cases())
def test_lengths_of_embeddings_and_weights_change_nothing(margin, margin_on):
    loss, emb, spk = make(margin, margin_on)
    before = loss(emb, spk).item()
    loss.weight.data *= 10 ** (6 * torch.rand(7, 1) - 3)
    assert loss(emb * 10 ** (6 * torch.rand(6, 1) - 3), spk).item() == pytest.approx(before, rel=1e-6)


@pytest.mark.parametrize(("margin", "margin_on"), cases())
def test_no_gradient_along_embedding_or_weight(margin, margin_on):
    loss, emb, spk = make(margin, margin_on)
    loss(emb.requires_grad_(), spk).backward()
    assert (emb.grad * emb).sum(1).abs().max() < 1e-12 < emb.grad.abs().max()
    assert (loss.weight.grad * loss.weight).sum(1).abs().max() < 1e-12 < loss.weight.grad.abs().max()


@pytest.mark.parametrize(("n_spk", "b"), [(5994, 9.749), (17982, 8.650)])
def test_bias_in_closed_form_is_the_published_one(n_spk, b):
    loss = SphereSpeaker(2, n_spk, "C", m=0.2, r=32.0, t=3.0, lam=0.7)
    assert loss.b.item() == pytest.approx(b, abs=5e-4)


@pytest.mark.parametrize("hard_negatives", [None, 1, 20])
@pytest.mark.parametrize("n_spk", [2, 3, 100, 10**5])
@pytest.mark.parametrize(("margin", "margin_on"), cases())
def test_at_the_start_positives_and_negatives_pull_equally(margin, margin_on, n_spk, hard_negatives):
    loss = SphereSpeaker(2, n_spk, margin, SETTINGS[margin], r=32.0, t=3.0, lam=0.7, margin_on=margin_on,
                         hard_negatives=hard_negatives)
    g = lambda z: 2 * ((z + 1) / 2) ** 3 - 1                           # noqa: E731
    m = SETTINGS[margin]
    positive = {"C": g(0) - m, "A": g(cos(pi / 2 + m)), "M": g(cos(m * pi / 2))}[margin]
    negative = {"C": g(0) + m, "A": g(cos(pi / 2 - m)), "M": g(cos(pi / 2 / m))}[margin]
    negative = negative if margin_on == "both" else g(0)
    b = loss.b.item()
    pull = 0.7 / (1 + exp(32 * positive + b))
    push = 0.3 * min(n_spk - 1, hard_negatives or n_spk) / (1 + exp(-(32 * negative + b)))
    assert pull == pytest.approx(push, rel=1e-4)


def test_the_closed_form_does_not_run_out_of_numbers():
    # P = -r m, Q = r m, so far apart that exp(P - Q) is 0. One negative: .7 sigmoid(-(P + b)) = .3 sigmoid(Q + b) with
    # sigmoid(Q + b) = 1 gives P + b = log(4 / 3).
    loss = SphereSpeaker(2, 2, "C", m=0.2, r=20_000.0, t=1.0, lam=0.7)
    assert loss.b.item() - 20_000 * 0.2 == pytest.approx(math.log(4 / 3), abs=1e-3)
    equal = SphereSpeaker(2, 2, "C", m=0.2, r=20_000.0, t=1.0, lam=0.5)     # lam = K: 0 by symmetry
    assert equal.b.item() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(("n_spk", "emb_dim"), [(7, 5), (20000, 4)])      # fewer than are drawn at a time, and more
def test_first_weights_are_those_that_torch_draws(n_spk, emb_dim):
    torch.manual_seed(3)
    wanted, then = torch.nn.init.xavier_normal_(torch.empty(n_spk, emb_dim)), torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(SphereSpeaker(emb_dim, n_spk).weight, wanted) and torch.equal(torch.rand(1), then)


@pytest.mark.parametrize("drawn", [1, 3, 8])
def test_first_weights_do_not_depend_on_who_holds_them(drawn, monkeypatch):
    monkeypatch.setattr(weights_module, "_SPEAKERS_DRAWN", drawn)
    parts = []
    for rows in (slice(0, 7), slice(0, 2), slice(2, 2), slice(2, 6), slice(6, 7)):
        torch.manual_seed(3)
        parts.append(weights_module.first_weights(7, 5, rows))
    assert torch.equal(torch.cat(parts[1:]), parts[0])


HARD_INPUTS = {"zero": lambda x, w: x * 0, "on its speaker": lambda x, w: w, "opposite": lambda x, w: -w,
               "huge": lambda x, w: x * 1e4, "tiny": lambda x, w: x * 1e-7}


@pytest.mark.parametrize(("margin", "margin_on"), cases())
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("special", HARD_INPUTS)
def test_value_and_gradient_are_finite_everywhere(margin, margin_on, special, dtype):
    loss, emb, spk = make(margin, margin_on, dtype=torch.float32, r=64.0)
    loss.weight.data[3] = 0.0
    emb[0] = HARD_INPUTS[special](emb[0], loss.weight[0].detach())
    emb = emb.to(dtype).requires_grad_(True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(emb, spk)
    value.backward()
    assert value.dtype == loss.weight.grad.dtype == torch.float32 and emb.grad.dtype == dtype
    assert all(t.isfinite().all() for t in (value, emb.grad, loss.weight.grad, loss.b.grad))


@pytest.mark.parametrize("scale", [1e-30, 1e-13, 1e18, 1e30, 3e38])
def test_lengths_at_the_ends_of_float32(scale):
    loss, emb, spk = make("C", "both", dtype=torch.float32)
    usual = loss(emb, spk).item()
    emb = (emb / emb.abs().max() * scale).requires_grad_(True)
    value = loss(emb, spk)
    value.backward()
    assert emb.grad.isfinite().all() and loss.weight.grad.isfinite().all()
    if scale > 1e-12:
        assert value.item() == pytest.approx(usual, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_loss_kept_in_half_precision_still_computes_in_float32(dtype):
    loss, emb, spk = make("C", "both", dtype=torch.float32)
    loss.weight.data[1] *= 1e-6                                            # its slope exceeds what float16 holds
    value = loss.to(dtype)(emb.to(dtype), spk)
    value.backward()
    assert value.dtype == torch.float32 and value.isfinite()
    assert loss.weight.grad.dtype == dtype and loss.weight.grad.isfinite().all()


def test_embeddings_may_be_more_precise_than_the_weights():
    loss, emb, spk = make("C", "both", dtype=torch.float32)
    double = emb.double().requires_grad_()
    loss(double, spk).backward()
    assert double.grad.dtype == torch.float64 and double.grad.any()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("hard_negatives", [None, 2])
@pytest.mark.parametrize(("margin", "margin_on"), cases())
def test_an_embedding_that_is_not_finite_makes_the_loss_so(margin, margin_on, hard_negatives, bad):
    loss, emb, spk = make(margin, margin_on, hard_negatives=hard_negatives)
    emb[1, 2] = bad
    assert not loss(emb, spk).isfinite()


@pytest.mark.parametrize("spk", [-1, 7])
def test_a_speaker_that_is_none_is_an_error(spk):
    loss, emb, _ = make("C", "both")
    with pytest.raises(IndexError, match="from 0 to 6"):
        loss(emb, torch.tensor([0, 1, 2, 3, 4, spk]))


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
    ({"n_spk": 1}, "at least 2 speakers"), ({"hard_negatives": 0}, "hard_negatives = 0"),
])
def test_an_impossible_setting_is_named(arguments, said):
    with pytest.raises(UserError, match=said):
        SphereSpeaker(**{"emb_dim": 4, "n_spk": 3, **arguments})
