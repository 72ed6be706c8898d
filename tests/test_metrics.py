"""Error rates: by hand, by exact fractions, and by trials repeated one by one."""

import tracemalloc
from fractions import Fraction
from itertools import pairwise
from math import exp, log, log2

import numpy as np
import pytest
from scipy.special import ndtri

from pyspk.errors import UserError
from pyspk.metrics import (
    Cost,
    Evaluation,
    act_dcf,
    cllr,
    det_points,
    eer,
    eer_hull,
    eer_interval,
    eer_replicates,
    interval,
    min_cllr,
    min_dcf,
    replicates,
    speakers_from_trials,
)


def exact_points(targets, nontargets):
    """(P_miss, P_fa) of each threshold by counting."""
    yield Fraction(0), Fraction(1)
    for threshold in sorted({*targets, *nontargets}):
        yield (Fraction(sum(s <= threshold for s in targets), len(targets)),
               Fraction(sum(s > threshold for s in nontargets), len(nontargets)))


def exact_eer(targets, nontargets):
    points = list(exact_points(targets, nontargets))
    for (miss_0, fa_0), (miss_1, fa_1) in pairwise(points):
        if miss_1 >= fa_1:                 # x = miss_0 + u (miss_1 - miss_0) = fa_0 + u (fa_1 - fa_0)
            u = (fa_0 - miss_0) / (miss_1 - miss_0 - fa_1 + fa_0)
            return miss_0 + u * (miss_1 - miss_0)


@pytest.mark.parametrize(("targets", "nontargets", "expected"), [
    ([2, 3], [0, 1], 0),                   # apart
    ([0, 1], [2, 3], 1),                   # the wrong way round
    ([1, 3], [0, 2], 1 / 2),               # a corner: (0, 1) (0, 1/2) (1/2, 1/2)
    ([5, 5, 5], [5, 5], 1 / 2),            # no information: one line from (0, 1) to (1, 0)
    ([1, 2], [0, 0, 0, 1], 1 / 6),         # a tie across the diagonal: (0, 1/4) to (1/2, 0)
    ([1, 3, 5, 7], [0, 2], 1 / 4),         # (0, 1/2) (1/4, 1/2) (1/4, 0): the crossing is on the way down
])
def test_eer_equals_the_value_worked_out_by_hand(targets, nontargets, expected):
    assert eer(np.array(targets), np.array(nontargets)) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("seed", range(20))
def test_points_eer_and_min_dcf_equal_exact_counts(seed):
    rng = np.random.default_rng(seed)
    targets, nontargets = rng.integers(0, 15, rng.integers(1, 40)) + 3, rng.integers(0, 15, rng.integers(1, 60))
    points = list(exact_points(targets, nontargets))
    np.testing.assert_allclose(np.transpose(det_points(targets, nontargets)), np.array(points, float), atol=1e-15)
    assert eer(targets, nontargets) == pytest.approx(float(exact_eer(targets, nontargets)), abs=1e-12)
    for p, c_miss, c_fa in ((0.01, 1, 1), (0.05, 1, 1), (0.5, 10, 1), (0.9, 1, 20)):
        cost = min(c_miss * p * miss + c_fa * (1 - p) * fa for miss, fa in points)
        assert min_dcf(targets, nontargets, p, c_miss, c_fa) == pytest.approx(cost / min(c_miss * p, c_fa * (1 - p)))


@pytest.mark.parametrize(("p_target", "c_fa", "expected"), [
    (0.01, 1, 0.25),                       # miss a quarter, no false alarm: .01 / 4 over .01
    (0.9, 1, 0.5),                         # no miss, half false alarms: .1 / 2 over .1
    (0.9, 10, 0.25),                       # reject all costs .9, accept all 1; miss a quarter: .225 over .9
])
def test_min_dcf_equals_the_value_worked_out_by_hand(p_target, c_fa, expected):
    got = min_dcf(np.array([1, 3, 5, 7]), np.array([0, 2]), p_target, c_fa=c_fa)
    assert got == pytest.approx(expected, abs=1e-15)


def test_min_dcf_of_useless_scores_is_that_of_no_scores():
    assert min_dcf(np.array([0.0, 1.0]), np.array([2.0, 3.0])) == 1


def test_scores_may_be_float32_of_any_order():
    rng = np.random.default_rng(0)
    targets, nontargets = rng.normal(1, 1, 500).astype(np.float32), rng.normal(0, 1, 700).astype(np.float32)
    assert eer(rng.permutation(targets), nontargets[::-1]) == eer(targets, nontargets) == pytest.approx(
        float(exact_eer(targets, nontargets)))


@pytest.mark.parametrize(("targets", "nontargets", "said"), [
    ([], [1.0], "no target trials"), ([1.0], [], "no nontarget trials"),
    ([1.0, np.nan], [0.0], "1 of 3 scores are NaN or infinite"), ([1.0], [np.inf, -np.inf], "2 of 3 scores"),
])
def test_scores_that_give_no_rate_are_refused(targets, nontargets, said):
    for measure in (eer, min_dcf):
        with pytest.raises(UserError, match=said):
            measure(np.array(targets), np.array(nontargets))


@pytest.mark.parametrize("cost", [{"p_target": 0}, {"p_target": 1}, {"p_target": np.nan}, {"c_miss": 0}, {"c_fa": -1}])
def test_a_cost_that_is_none_is_refused(cost):
    with pytest.raises(UserError, match="0 < p_target < 1 and positive costs, not p_target"):
        min_dcf(np.array([1.0]), np.array([0.0]), **cost)


# ---- the convex hull

def hull_eer_by_minimax(targets, nontargets):
    """The greatest, over all priors, of the least error rate: a piecewise linear function of the prior, so that its
    greatest value lies where the lines of two thresholds cross."""
    points = set(exact_points(targets.tolist(), nontargets.tolist()))

    def least(prior):
        return min(prior * miss + (1 - prior) * fa for miss, fa in points)

    crossings = {(fa_1 - fa_0) / (miss_0 - miss_1 + fa_1 - fa_0)
                 for miss_0, fa_0 in points for miss_1, fa_1 in points if miss_0 > miss_1 and fa_0 < fa_1}
    return max(map(least, crossings))


@pytest.mark.parametrize(("targets", "nontargets", "expected"), [
    ([2, 3], [0, 1], 0),                   # apart
    ([0, 1], [2, 3], 1 / 2),               # the wrong way round: accept at random
    ([1, 3], [0, 2], 1 / 4),               # (P_miss, P_fa) from (0, 1/2) to (1/2, 0), past the corner (1/2, 1/2)
    ([5, 5, 5], [5, 5], 1 / 2),
    ([1, 3, 5, 7], [0, 2], 1 / 6),         # (0, 1/2) to (1/4, 0): x = 1/2 - 2 x
])
def test_eer_on_the_hull_equals_the_value_worked_out_by_hand(targets, nontargets, expected):
    assert eer_hull(np.array(targets), np.array(nontargets)) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("seed", range(12))
def test_eer_on_the_hull_is_the_greatest_least_error_of_all_priors(seed):
    rng = np.random.default_rng(seed)
    targets, nontargets = rng.integers(0, 15, rng.integers(2, 20)) + 3, rng.integers(0, 15, rng.integers(2, 30))
    assert eer_hull(targets, nontargets) == pytest.approx(float(hull_eer_by_minimax(targets, nontargets)), abs=1e-12)
    assert eer_hull(targets, nontargets) <= eer(targets, nontargets) + 1e-12


def kaldi_eer(targets, nontargets):
    """The convention of Kaldi's compute-eer: the share of targets below the first target score whose counterpart, as
    far from the top of the nontargets as it is from the bottom of the targets, is lower."""
    targets, nontargets = sorted(targets), sorted(nontargets)
    for position, threshold in enumerate(targets):
        counterpart = len(nontargets) - 1 - int(len(nontargets) * position / len(targets))
        if nontargets[max(counterpart, 0)] < threshold:
            return position / len(targets)
    return (len(targets) - 1) / len(targets)


@pytest.mark.parametrize("seed", range(10))
def test_eer_differs_from_kaldis_by_a_step_of_the_curve(seed):
    rng = np.random.default_rng(seed)
    n_target, n_nontarget = rng.integers(50, 400, 2)
    targets, nontargets = rng.normal(2, 1, n_target), rng.normal(0, 1, n_nontarget)
    assert abs(eer(targets, nontargets) - kaldi_eer(targets, nontargets)) <= 1 / n_target + 1 / n_nontarget


# ---- log-likelihood ratios

def test_act_dcf_equals_the_value_worked_out_by_hand():
    targets, nontargets = np.array([-1, 3, 4, 5.0]), np.array([-5, -2, 2, 6.0])
    assert Cost(0.05).threshold == pytest.approx(log(19))                   # 2.94: one of each kind on the wrong side
    assert act_dcf(targets, nontargets, 0.05) == pytest.approx((0.05 / 4 + 0.95 / 4) / 0.05)
    assert act_dcf(targets, nontargets, 0.5) == pytest.approx(1 / 4 + 2 / 4)                    # above 0
    assert act_dcf(targets, nontargets, 0.5, c_miss=10) == pytest.approx(3 / 4)                 # above log(1 / 10)
    assert act_dcf(targets, nontargets, 0.5, c_fa=exp(5.5)) == pytest.approx(1 + exp(5.5) / 4)  # no target is above 5.5
    assert act_dcf(np.array([0.0]), np.array([-1.0]), 0.5) == 1                 # a score on the threshold is rejected


def test_act_dcf_is_no_less_than_min_dcf():
    rng = np.random.default_rng(0)
    targets, nontargets = rng.normal(2, 2, 300), rng.normal(-2, 2, 500)
    for p in (0.01, 0.05, 0.3, 0.9):
        assert act_dcf(targets, nontargets, p) >= min_dcf(targets, nontargets, p)


def test_cllr_equals_the_value_worked_out_by_hand():
    assert cllr(np.zeros(3), np.zeros(2)) == pytest.approx(1)
    targets, nontargets = np.array([0, log(3)]), np.array([-log(7), log(3), 0, 0])
    by_hand = ((1 + log2(4 / 3)) / 2 + (log2(8 / 7) + 2 + 1 + 1) / 4) / 2
    assert cllr(targets, nontargets) == pytest.approx(by_hand, abs=1e-14)
    assert cllr(targets.astype(np.float32), nontargets) == pytest.approx(by_hand, abs=1e-6)


def test_cllr_of_huge_ratios_is_finite():
    assert cllr(np.array([1e4, -1e4]), np.array([-1e4])) == pytest.approx(1e4 / log(2) / 4)


def min_cllr_by_pooling(targets, nontargets):
    """Blocks of neighbouring scores, one score each at first, joined while the share of targets falls."""
    blocks = []
    for score in sorted({*targets, *nontargets}):
        blocks.append([sum(s == score for s in targets), sum(s == score for s in nontargets)])
        while len(blocks) > 1 and Fraction(blocks[-2][0], sum(blocks[-2])) >= Fraction(blocks[-1][0], sum(blocks[-1])):
            last = blocks.pop()
            blocks[-1] = [blocks[-1][0] + last[0], blocks[-1][1] + last[1]]
    total = 0.0
    for n_target, n_nontarget in blocks:
        odds = (n_target / len(targets)) / (n_nontarget / len(nontargets)) if n_nontarget else np.inf
        total += n_target * log2(1 + 1 / odds) / len(targets) if n_target else 0
        total += n_nontarget * log2(1 + odds) / len(nontargets) if n_nontarget else 0
    return total / 2


@pytest.mark.parametrize("seed", range(20))
def test_min_cllr_equals_pooling_one_by_one(seed):
    rng = np.random.default_rng(seed)
    targets, nontargets = rng.integers(0, 15, rng.integers(1, 40)) + 3, rng.integers(0, 15, rng.integers(1, 60))
    assert min_cllr(targets, nontargets) == pytest.approx(min_cllr_by_pooling(targets, nontargets), abs=1e-12)


@pytest.mark.parametrize(("targets", "nontargets", "expected"), [
    ([2, 3], [0, 1], 0), ([0, 1], [2, 3], 1),
    ([1, 3], [0, 2], 1 / 2),               # the pair in the middle tells nothing: half of each side costs one bit
])
def test_min_cllr_equals_the_value_worked_out_by_hand(targets, nontargets, expected):
    assert min_cllr(np.array(targets), np.array(nontargets)) == pytest.approx(expected, abs=1e-15)


def test_true_ratios_cost_about_what_the_best_function_of_them_does():
    rng = np.random.default_rng(0)
    targets, nontargets = rng.normal(4.5, 3, 20000), rng.normal(-4.5, 3, 20000)     # their own log-likelihood ratios
    assert min_cllr(targets, nontargets) < cllr(targets, nontargets) < 1.02 * min_cllr(targets, nontargets)
    assert cllr(2 * targets, 2 * nontargets) > 1.2 * cllr(targets, nontargets)


# ---- one sort for all

def test_an_evaluation_gives_what_the_functions_give():
    rng = np.random.default_rng(0)
    targets, nontargets = rng.normal(1, 2, 300), rng.normal(-1, 2, 1000)
    one, cost = Evaluation(targets, nontargets), (0.1, 2.0, 3.0)
    assert (one.eer(), one.eer_hull(), one.cllr(), one.min_cllr()) == (
        eer(targets, nontargets), eer_hull(targets, nontargets), cllr(targets, nontargets),
        min_cllr(targets, nontargets))
    assert one.min_dcf(Cost(*cost)) == min_dcf(targets, nontargets, *cost)
    assert one.act_dcf(Cost(*cost)) == act_dcf(targets, nontargets, *cost)
    np.testing.assert_array_equal(one.targets, np.sort(targets))
    np.testing.assert_array_equal(one.nontargets, np.sort(nontargets))


@pytest.mark.parametrize("seed", range(10))
def test_the_eer_threshold_is_the_first_with_as_many_misses_as_false_alarms(seed):
    rng = np.random.default_rng(seed)
    targets, nontargets = rng.integers(0, 15, rng.integers(1, 40)) + 3, rng.integers(0, 15, rng.integers(1, 60))
    expected = min(t for t in {*targets, *nontargets}
                   if Fraction(sum(s <= t for s in targets), len(targets))
                   >= Fraction(sum(s > t for s in nontargets), len(nontargets)))
    one = Evaluation(targets, nontargets)
    assert one.eer_threshold() == expected
    assert one.rates(expected) == pytest.approx((np.mean(targets <= expected), np.mean(nontargets > expected)))


@pytest.mark.parametrize(("n_target", "n_nontarget"), [(300, 200_000), (200_000, 300), (50_000, 50_000), (7, 9)])
def test_a_thinned_det_curve_looks_like_the_whole(n_target, n_nontarget):
    rng = np.random.default_rng(0)
    one = Evaluation(rng.normal(2, 1, n_target), rng.normal(0, 1, n_nontarget))
    whole = det_points(one.targets, one.nontargets)
    miss, fa = one.det(2000)
    assert len(miss) == len(fa) <= 2000
    assert (miss[0], fa[0], miss[-1], fa[-1]) == (0, 1, 1, 0)
    assert {*zip(miss, fa, strict=True)} <= {*zip(*whole, strict=True)}
    # What is left out lies in a box of two kept points no higher, or no wider, than 0.04 normal deviates, the width of
    # a line on a page; half an error is as far as a plot can go.
    edges = 0.5 / n_target, 0.5 / n_nontarget
    x, y = (ndtri(np.clip(rate, edge, 1 - edge)) for rate, edge in zip(whole, edges, strict=True))
    at = np.searchsorted(whole[0] - whole[1], miss - fa)
    for left, right in pairwise(at):
        if right > left + 1:
            width, height = x[right] - x[left], y[left] - y[right]
            assert min(width, height) < 0.04


@pytest.mark.parametrize("measure", [eer_hull, act_dcf, cllr, min_cllr, Evaluation])
def test_every_measure_refuses_what_gives_no_rate(measure):
    with pytest.raises(UserError, match="1 of 3 scores are NaN or infinite"):
        measure(np.array([1.0, np.nan]), np.array([0.0]))
    with pytest.raises(UserError, match="no nontarget trials"):
        measure(np.array([1.0]), np.array([]))


# ---- the interval

def some_trials(n_spk, n, seed=0):
    """Scores with ties and a shift for each speaker: score, is_target, enroll_spk, test_spk."""
    rng = np.random.default_rng(seed)
    enroll = rng.integers(n_spk, size=n)
    is_target = rng.random(n) < 0.4
    test = np.where(is_target, enroll, (enroll + rng.integers(1, n_spk, size=n)) % n_spk)
    shift = rng.normal(0, 1, n_spk)
    return np.round(rng.normal(2 * is_target, 1) + shift[enroll] + shift[test], 1), is_target, enroll, test


def repeated_trials_rates(score, is_target, enroll, test, n_resamples):
    """The replicates with each drawn trial written out as often as it counts, and how many were drawn again."""
    n_spk = len({*enroll, *test})
    rng = np.random.default_rng(0)
    rates, n_redrawn = [], 0
    while len(rates) < n_resamples:
        drawn = np.bincount(rng.integers(n_spk, size=n_spk), minlength=n_spk)
        targets, nontargets = [], []
        for s, is_one, e, t in zip(score, is_target, enroll, test, strict=True):
            (targets if is_one else nontargets).extend([s] * (drawn[e] if is_one else drawn[e] * drawn[t]))
        if targets and nontargets:
            rates.append(eer(np.array(targets), np.array(nontargets)))
        else:
            n_redrawn += 1
    return rates, n_redrawn


COST = Cost(0.3, 2.0, 1.0)


def test_replicates_of_any_measure_equal_those_of_repeated_trials():
    score, is_target, enroll, test = some_trials(9, 300)
    measures = [Evaluation.eer_hull, Evaluation.cllr, Evaluation.min_cllr, lambda one: one.min_dcf(COST),
                lambda one: one.act_dcf(COST), lambda one: one.det(100)[0][1]]
    got = replicates(score, is_target, enroll, test, measures, n_resamples=20)
    rng, expected = np.random.default_rng(0), []
    for _ in range(20):
        drawn = np.bincount(rng.integers(9, size=9), minlength=9)
        times = np.where(is_target, drawn[enroll], drawn[enroll] * drawn[test])
        repeated = np.repeat(score, times), np.repeat(is_target, times)
        one = Evaluation(repeated[0][repeated[1]], repeated[0][~repeated[1]])
        expected.append([one.eer_hull(), one.cllr(), one.min_cllr(), one.min_dcf(COST), one.act_dcf(COST)])
    assert got.shape == (20, 6)
    np.testing.assert_allclose(got[:, :5], expected, atol=1e-12)
    assert interval(got[:, 0], level=0.5) == tuple(np.quantile(got[:, 0], [0.25, 0.75]))


ONE_TARGET_SPEAKER = np.array([3, 1, 2, 0.0]), np.array([True, True, False, False]), [0, 0, 0, 1], [0, 0, 1, 2]


@pytest.mark.parametrize(("trials", "is_redrawn"), [
    (some_trials(9, 300), False), (some_trials(2, 12), True), (ONE_TARGET_SPEAKER, True),
])
def test_replicates_and_interval_equal_those_of_repeated_trials(trials, is_redrawn):
    expected, n_redrawn = repeated_trials_rates(*trials, n_resamples=30)
    assert bool(n_redrawn) == is_redrawn
    np.testing.assert_allclose(eer_replicates(*trials, n_resamples=30), expected, atol=1e-12)
    ends = np.quantile(expected, [0.05, 0.95])
    assert eer_interval(*trials, n_resamples=30, level=0.9) == pytest.approx(tuple(ends), abs=1e-12)


@pytest.mark.parametrize("trials", [some_trials(9, 300), some_trials(2, 12), ONE_TARGET_SPEAKER])
def test_scores_in_one_order_have_the_same_replicates(trials):
    score, *rest = trials
    rates = eer_replicates(score, *rest, n_resamples=40)
    assert rates.shape == (40,) and rates.dtype == np.float64
    for other in (score.copy(), np.exp(score / 4), 3 * score - 7):
        np.testing.assert_array_equal(eer_replicates(other, *rest, n_resamples=40), rates)


def test_replicates_of_two_systems_draw_the_same_speakers():
    score, is_target, enroll, test = some_trials(12, 4000)
    worse = score + np.random.default_rng(1).normal(0, 1, len(score))       # the same speakers are hard for both
    one, two, unpaired = (eer_replicates(s, is_target, enroll, test, n_resamples=200, seed=seed)
                          for s, seed in ((score, 0), (worse, 0), (worse, 1)))
    assert np.corrcoef(one, two)[0, 1] > 0.9
    assert abs(np.corrcoef(one, unpaired)[0, 1]) < 0.3
    assert np.ptp(np.quantile(two / one, [0.025, 0.975])) < np.ptp(np.quantile(unpaired / one, [0.025, 0.975])) / 2


def test_a_replicate_is_the_rate_of_the_speakers_drawn():
    # Of two speakers only speaker 1 is hard: its one target lies below both nontargets. Draws of a single speaker leave
    # no nontarget and are drawn again; both speakers: P_miss and P_fa meet at one half, (0, 1) (1/2, 1) (1/2, 0).
    score, is_target = np.array([3.0, 0.0, 1.0, 2.0]), np.array([True, True, False, False])
    rates = eer_replicates(score, is_target, np.array([0, 1, 0, 1]), np.array([0, 1, 1, 0]), n_resamples=20)
    assert rates.tolist() == [0.5] * 20


def test_the_interval_depends_on_the_seed_alone():
    score, is_target, enroll, test = some_trials(12, 2000)
    interval = eer_interval(score, is_target, enroll, test, n_resamples=50)
    mixed = np.random.default_rng(1).permutation(len(score))
    names = np.array([f"spk{n:02d}" for n in range(12)])
    assert eer_interval(score[mixed], is_target[mixed], names[enroll[mixed]], names[test[mixed]],
                        n_resamples=50) == interval
    assert eer_interval(score, is_target, 7 * enroll + 3, 7 * test + 3, n_resamples=50) == interval
    assert eer_interval(score, is_target, enroll, test, n_resamples=50, seed=1) != interval


def test_speakers_make_the_interval_wider_than_independent_trials_would():
    score, is_target, enroll, test = some_trials(12, 4000)
    low, high = eer_interval(score, is_target, enroll, test, n_resamples=200)
    assert low < eer(score[is_target], score[~is_target]) < high
    n = len(score)
    alone = np.arange(n), np.where(is_target, np.arange(n), np.arange(n) + n)        # each trial its own speakers
    alone_low, alone_high = eer_interval(score, is_target, *alone, n_resamples=200)
    assert high - low > 2 * (alone_high - alone_low)


@pytest.mark.parametrize(("enroll", "test", "said"), [
    ([0, 0, 0], [1, 1, 1], "1 target trials join two speakers .number 1."),
    ([0, 0, 1], [0, 0, 1], "2 nontarget trials stay within one speaker .number 2, 3."),
])
def test_labels_that_contradict_the_speakers_are_refused(enroll, test, said):
    with pytest.raises(UserError, match=said):
        eer_interval(np.array([1.0, 0.0, 0.5]), np.array([True, False, False]), np.array(enroll), np.array(test))


def test_an_interval_of_nan_is_refused():
    with pytest.raises(UserError, match="1 of 2 scores are NaN"):
        eer_interval(np.array([1.0, np.nan]), np.array([True, False]), np.array([0, 0]), np.array([0, 1]))


def test_speakers_are_what_target_trials_join():
    pairs = [("a", "b", True), ("c", "b", True), ("d", "e", True), ("a", "d", False), ("f", "c", False)]
    enroll, test, is_target = map(np.array, zip(*pairs, strict=True))
    a, b = speakers_from_trials(enroll, test, is_target)
    spk = {"a": a[0], "b": b[0], "c": a[1], "d": a[2], "e": b[2], "f": a[4]}
    assert spk["a"] == spk["b"] == spk["c"] and spk["d"] == spk["e"]
    assert len({spk["a"], spk["d"], spk["f"]}) == 3
    assert [a[3], b[3], b[4], b[1]] == [spk["a"], spk["d"], spk["c"], spk["b"]]


@pytest.mark.parametrize(("measure", "most_bytes"), [("eer", 70), ("interval", 100)])
def test_memory_is_a_few_numbers_a_trial(measure, most_bytes):
    n = 200_000
    _, is_target, enroll, test = some_trials(50, n)
    score = np.random.default_rng(1).normal(size=n)                   # without ties, the most points
    targets, nontargets = score[is_target], score[~is_target]
    tracemalloc.start()
    if measure == "eer":
        eer(targets, nontargets)
    else:
        eer_interval(score, is_target, enroll, test, n_resamples=3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < most_bytes * n
