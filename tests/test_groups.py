"""Trials by groups: names, bins, pairs, and the error rates of each, counted one by one."""

import numpy as np
import pytest

from pyspk.errors import UserError
from pyspk.metrics import Cost, eer, eer_interval, min_dcf
from pyspk.metrics.groups import group_labels, pair_groups
from pyspk.scoring import table
from pyspk.scoring.groups import groups_table, measure_groups


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_texts_are_groups_in_order():
    labels, places = group_labels(["m", "f", "m", "x"])
    assert labels == ["f", "m", "x"] and places.tolist() == [1, 0, 1, 2]


def test_many_numbers_become_four_bins_of_as_many():
    values = np.random.default_rng(0).permutation(40) / 10
    labels, places = group_labels([f"{value:g}" for value in values])
    assert labels == ["0 to 0.975", "0.975 to 1.95", "1.95 to 2.925", "2.925 to 3.9"]
    assert np.bincount(places).tolist() == [10, 10, 10, 10]
    for number, (low, high) in enumerate([(0, 0.95), (1, 1.9), (2, 2.9), (3, 3.9)]):
        own = values[places == number]
        assert low <= own.min() and own.max() <= high


def test_few_numbers_are_groups_as_they_are():
    assert group_labels(["1", "2", "1"])[0] == ["1", "2"]


def test_numbers_most_of_which_are_equal_make_fewer_bins():
    labels, places = group_labels(["5"] * 90 + [str(n) for n in range(10, 50)])
    assert labels == ["5 to 16.75", "16.75 to 49"] and places[0] == 0 and places[-1] == 1


@pytest.mark.parametrize(("values", "said"), [
    ([f"spk{n:02d}" for n in range(21)], "21 different groups .spk00, spk01, spk02, ...., more than 20; group by"),
    (["nan", *map(str, range(20))], "NaN or infinity among the numbers to group by"),
])
def test_values_that_make_no_groups_are_refused(values, said):
    with pytest.raises(UserError, match=said):
        group_labels(values)


def test_a_trials_group_is_the_pair_of_its_sides():
    one, other = np.array([0, 1, 1, 0, 2]), np.array([1, 0, 1, 0, 1])
    names, group = pair_groups(["f", "m", "x"], one, other)
    assert [names[number] for number in group] == ["f, m", "f, m", "m", "f", "m, x"]
    assert names == ["f", "m", "f, m", "m, x"]                      # same-group trials first


def test_each_group_is_measured_alone_and_at_the_threshold_of_all():
    rng = np.random.default_rng(0)
    n, n_spk = 400, 12
    enroll = rng.integers(n_spk, size=n)
    is_target = rng.random(n) < 0.5
    test = np.where(is_target, enroll, (enroll + rng.integers(1, n_spk, n)) % n_spk)
    names, group = pair_groups(["f", "m"], enroll % 2, test % 2)
    score = np.round(rng.normal(1.5 * is_target + 0.5 * (enroll % 2)), 2)
    results = measure_groups(score, is_target, (enroll, test), names, group, [Cost(0.1)])
    assert [one.name for one in results] == ["f", "m", "f, m"]
    threshold = min(t for t in score if np.mean(score[is_target] <= t) >= np.mean(score[~is_target] > t))
    for number, one in enumerate(results[:2]):
        own = (enroll % 2 == number) & (test % 2 == number)
        targets, nontargets = score[own & is_target], score[own & ~is_target]
        assert (one.n_speakers, one.n_targets, one.n_nontargets) == (6, len(targets), len(nontargets))
        assert one.eer == eer(targets, nontargets) and one.min_dcfs == [min_dcf(targets, nontargets, 0.1)]
        assert one.interval == eer_interval(score[own], is_target[own], enroll[own], test[own])
        assert one.p_miss == pytest.approx(np.mean(targets <= threshold))
        assert one.p_fa == pytest.approx(np.mean(nontargets > threshold))
    mixed = results[2]
    assert mixed.n_targets == 0 and (mixed.eer, mixed.interval, mixed.min_dcfs, mixed.p_miss) == (None,) * 4
    assert mixed.p_fa == pytest.approx(np.mean(score[(enroll % 2 != test % 2) & ~is_target] > threshold))


TRIALS = "a1 a2 target", "a1 b1 nontarget", "b1 b2 target", "b2 c1 nontarget", "a2 c1 nontarget", "c1 c2 target"
SCORES = "a1 a2 5", "a1 b1 1", "b1 b2 4", "b2 c1 0", "a2 c1 4.5", "c1 c2 3"
UTT2SPK = "a1 a", "a2 a", "b1 b", "b2 b", "c1 c", "c2 c"


@pytest.mark.parametrize(("groups", "is_speakers"), [
    (["a1 f", "a2 f", "b1 m", "b2 m", "c1 f", "c2 f"], False), (["a f", "b m", "c f"], True)])
def test_the_table_has_a_line_for_each_group_and_dashes_for_what_cannot_be(tmp_path, groups, is_speakers):
    trials, scores = write(tmp_path / "trials", *TRIALS), write(tmp_path / "s", *SCORES)
    gender = write(tmp_path / "gender", *groups)
    utt2spk = write(tmp_path / "utt2spk", *UTT2SPK) if is_speakers else None
    lines = groups_table(trials, [scores], gender, [0.5], utt2spk)
    assert [line.split() for line in lines] == [
        ["scores", "gender", "speakers", "targets", "nontargets", "EER", "%", "95%", "interval", "minDCF(0.5)",
         "P", "miss", "%", "P", "fa", "%"],
        # The threshold is 3, where one target of three is missed, one nontarget of three accepted. The women's trials:
        # targets 5 and 3, nontarget 4.5; a replicate without both speakers has no nontargets.
        ["s", "f", "2", "2", "1", "50.000", "50.000-50.000", "0.5000", "50.000", "100.000"],
        ["s", "m", "1", "1", "0", "-", "-", "-", "0.000", "-"],
        ["s", "f,", "m", "3", "0", "2", "-", "-", "-", "-", "0.000"],
    ]


def test_utterances_without_a_group_are_counted_and_named(tmp_path):
    trials, scores = write(tmp_path / "trials", *TRIALS), write(tmp_path / "s", *SCORES)
    with pytest.raises(UserError, match="gender: 5 of the 6 names wanted are not there .a2, b1, b2, ...."):
        groups_table(trials, [scores], write(tmp_path / "gender", "a1 f"))


def test_the_file_of_too_many_groups_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("pyspk.metrics.groups._MOST_LABELS", 2)
    trials, scores = write(tmp_path / "trials", *TRIALS), write(tmp_path / "s", *SCORES)
    with pytest.raises(UserError, match="utt2spk: 3 different groups .a, b, c., more than 2; group by"):
        groups_table(trials, [scores], write(tmp_path / "utt2spk", *UTT2SPK))


def test_the_table_of_all_measures(tmp_path):
    trials, scores = write(tmp_path / "trials", *TRIALS), write(tmp_path / "s", *SCORES)
    lines = table.metrics_table(trials, [scores], [0.5, 0.1], c_miss=2, c_fa=3, everything=True)
    assert lines[0].split("  ")[-1] == "min Cllr"
    assert "minDCF(0.5, 2, 3)  minDCF(0.1, 2, 3)  EER hull %  actDCF(0.5, 2, 3)  actDCF(0.1, 2, 3)" in lines[0]
    # Targets 3, 4, 5; nontargets 0, 1, 4.5. (P_miss, P_fa) runs (0, 1) (0, 1/3) (2/3, 1/3) (2/3, 0) (1, 0).
    # EER: on the way from (0, 1/3) to (2/3, 1/3). Hull: (0, 1/3) (2/3, 0): x = 1/3 - x / 2. Costs: 2 p P_miss and
    # 3 (1 - p) P_fa over the lesser of the factors, least at (0, 1/3) for p = 0.5, at (2/3, 0) for 0.1.
    # Thresholds: log(3 / 2) and log(27 / 2), of which 0 is below both, 1 above the first, 3 above both.
    cllr = (np.log2(1 + np.exp([-3, -4, -5])).mean() + np.log2(1 + np.exp([0, 1, 4.5])).mean()) / 2
    least = (2 / 3 * np.log2(3 / 2) + 1 / 3 * np.log2(3)) / 2      # pooled: 3, 4 and 4.5, targets 2 of 3 : 1 of 3
    assert lines[1].split()[4] == "33.333" and lines[1].split()[6:] == [
        "0.5000", "0.6667", "22.222", f"{1.5 * 2 / 3:.4f}", f"{(2.7 / 3) / 0.2:.4f}", f"{cllr:.4f}", f"{least:.4f}"]
