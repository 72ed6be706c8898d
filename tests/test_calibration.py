"""Calibration: undone where the truth is known in closed form, beside scipy's minimiser, saved, loaded, refused."""

import json
from math import log

import numpy as np
import pytest
import scipy.optimize

from pyspk.calibration import Calibration, files, measures, quality
from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.metrics import Cost, Evaluation
from pyspk.tables.archive import ArchiveWriter, write_vector

VARIANCE = 9.0                           # of a Gaussian's log-likelihood ratios, whose means are then +- 4.5
N_TARGET, N_NONTARGET = 4000, 40000


def gaussian_ratios(seed, n_target=N_TARGET, n_nontarget=N_NONTARGET, variance=VARIANCE):
    """(llr (n,), is_target (n,)) of scores that are their own log-likelihood ratios."""
    rng = np.random.default_rng(seed)
    is_target = np.arange(n_target + n_nontarget) < n_target
    return rng.normal(np.where(is_target, variance / 2, -variance / 2), variance**0.5), is_target


def standard_errors(p_target):
    """Of slope and intercept when the truth is (1, 0): the sandwich H^-1 S H^-1 of an M-estimator (Huber 1967), with
    H the curvature of the expected cost and S the covariance of its gradient, by summation over a fine grid."""
    x = np.linspace(-40, 40, 80001)
    posterior = 1 / (1 + np.exp(-(x + log(p_target / (1 - p_target)))))
    basis = np.stack([x, np.ones_like(x)])                                       # (2, grid)
    hessian, covariance = np.zeros((2, 2)), np.zeros((2, 2))
    for mean, share, n, residual in ((VARIANCE / 2, p_target, N_TARGET, posterior - 1),
                                     (-VARIANCE / 2, 1 - p_target, N_NONTARGET, posterior)):
        density = np.exp(-(x - mean)**2 / (2 * VARIANCE))
        density /= density.sum()
        hessian += share * (basis * (density * posterior * (1 - posterior))) @ basis.T
        gradient = basis * residual
        average = gradient @ density
        covariance += share**2 / n * ((gradient * density) @ gradient.T - np.outer(average, average))
    inverse = np.linalg.inv(hessian)
    return np.sqrt(np.diag(inverse @ covariance @ inverse))


@pytest.mark.parametrize("p_target", [0.01, 0.05, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_a_shifted_and_scaled_ratio_is_found_again(p_target, seed):
    llr, is_target = gaussian_ratios(seed)
    fitted = Calibration.fit(0.1 * llr + 0.3, is_target, ["cosine"], p_target)
    slope, intercept = 0.1 * fitted.systems["cosine"], 0.3 * fitted.systems["cosine"] + fitted.offset
    errors = standard_errors(p_target)
    assert errors.max() < 0.2                                                    # or this would be no test
    assert np.all(np.abs([slope - 1, intercept]) < 4 * errors)
    np.testing.assert_allclose(fitted.apply(0.1 * llr + 0.3), slope * llr + intercept, atol=1e-9)


def test_the_fusion_of_independent_systems_is_the_sum_of_their_ratios():
    one, is_target = gaussian_ratios(0, 20000, 20000, 4.0)
    other, _ = gaussian_ratios(1, 20000, 20000, 2.0)
    fitted = Calibration.fit(np.stack([one / 5, 1 - 2 * other], axis=1), is_target, ["a", "b"])
    # Four standard errors of a weight by Fisher's information, 1 / sqrt(n E[p (1 - p) x^2]), in llr units, both sides.
    p = 1 / (1 + np.exp(-(one + other)))
    x = np.stack([one, other, np.ones_like(one)], axis=1)
    errors = np.sqrt(np.diag(np.linalg.inv((x * (p * (1 - p))[:, None]).T @ x)))
    got = [fitted.systems["a"] / 5, -2 * fitted.systems["b"], fitted.offset + fitted.systems["b"]]
    assert errors.max() < 0.05 and np.all(np.abs(np.array(got) - [1, 1, 0]) < 4 * errors)


def test_a_quality_measure_takes_off_the_shift_that_it_causes():
    llr, is_target = gaussian_ratios(0)
    low = np.random.default_rng(1).uniform(0, 3, len(llr))
    fitted = Calibration.fit(llr + 2 * low, is_target, ["s"], 0.05, low[:, None], ["duration.min"])
    blind = Calibration.fit(llr + 2 * low, is_target, ["s"], 0.05)
    assert fitted.qualities["duration.min"] == pytest.approx(-2, abs=0.15)
    cost = Cost(0.05)
    costs = [Evaluation(out[is_target], out[~is_target]).act_dcf(cost)
             for out in (fitted.apply(llr + 2 * low, low[:, None]), blind.apply(llr + 2 * low))]
    assert costs[0] < 0.9 * costs[1]


def naive_cost(at, columns, is_target, p_target):
    z = columns @ at[:-1] + at[-1] + log(p_target / (1 - p_target))
    return (p_target * np.mean(np.log1p(np.exp(-z[is_target])))
            + (1 - p_target) * np.mean(np.log1p(np.exp(z[~is_target]))))


@pytest.mark.parametrize(("p_target", "seed"), [(0.01, 0), (0.3, 1), (0.9, 2)])
def test_the_fit_is_where_scipys_minimiser_ends(p_target, seed):
    rng = np.random.default_rng(seed)
    is_target = rng.random(800) < 0.4
    columns = rng.normal(size=(800, 3)) + is_target[:, None] * [1.0, 0.5, 0.1]
    found = scipy.optimize.minimize(naive_cost, np.zeros(4), (columns, is_target, p_target), method="BFGS",
                                    options={"gtol": 1e-9})
    fitted = Calibration.fit(columns[:, :2], is_target, ["a", "b"], p_target, columns[:, 2:], ["q"])
    got = [*fitted.systems.values(), *fitted.qualities.values(), fitted.offset]
    np.testing.assert_allclose(got, found.x, atol=2e-4)
    assert naive_cost(np.array(got), columns, is_target, p_target) <= found.fun + 1e-12


def test_the_cost_counts_both_kinds_alike_however_many_there_are():
    llr, is_target = gaussian_ratios(0, 500, 500)
    many = np.concatenate([llr, np.repeat(llr[~is_target], 7)])
    fitted, again = Calibration.fit(llr, is_target, ["s"], 0.1), Calibration.fit(
        many, np.concatenate([is_target, np.zeros(len(many) - 1000, dtype=bool)]), ["s"], 0.1)
    assert [*again.systems.values(), again.offset] == pytest.approx([*fitted.systems.values(), fitted.offset], rel=1e-6)


def test_blocks_of_trials_give_what_all_at_once_give(monkeypatch):
    llr, is_target = gaussian_ratios(0, 200, 300)
    whole = Calibration.fit(llr, is_target, ["s"])
    monkeypatch.setattr("pyspk.calibration.logistic._BLOCK_ROWS", 7)
    blocks = Calibration.fit(llr, is_target, ["s"])
    assert [blocks.offset, *blocks.systems.values()] == pytest.approx([whole.offset, *whole.systems.values()], rel=1e-6)


def platts_cost(at, scores, is_target, p_target):
    """Prior-weighted, with Platt's targets (n+ + 1) / (n+ + 2) and 1 / (n- + 2)."""
    n_target, n_nontarget = is_target.sum(), (~is_target).sum()
    label = np.where(is_target, (n_target + 1) / (n_target + 2), 1 / (n_nontarget + 2))
    share = np.where(is_target, p_target / n_target, (1 - p_target) / n_nontarget)
    z = at[0] * scores + at[1] + log(p_target / (1 - p_target))
    return share @ (label * np.logaddexp(0, -z) + (1 - label) * np.logaddexp(0, z))


def test_kinds_apart_give_platts_scale_and_a_warning(caplog):
    scores, is_target = np.array([1.0, 1.5, 3, 4, 4.2]), np.array([False, False, True, True, True])
    fitted = Calibration.fit(scores, is_target, ["s"], 0.3)
    found = scipy.optimize.minimize(platts_cost, np.zeros(2), (scores, is_target, 0.5), options={"gtol": 1e-9})
    assert [fitted.systems["s"], fitted.offset] == pytest.approx(found.x.tolist(), abs=1e-4)
    assert "the 3 target and 2 nontarget trials are told apart without error" in caplog.text


@pytest.mark.parametrize("p_target", [0.01, 0.05, 0.5, 0.99])
def test_kinds_apart_are_told_apart_by_what_was_fitted_to_them_at_any_prior(p_target):
    scores = np.concatenate([np.linspace(-0.1, 0.3, 24), np.linspace(0.7, 0.9, 4)])
    llr = Calibration.fit(scores, np.arange(28) >= 24, ["s"], p_target).apply(scores)
    assert llr[:24].max() < 0 < llr[24:].min()


def test_kinds_that_touch_give_a_finite_scale(caplog):
    fitted = Calibration.fit(np.array([1.0, 2, 2, 3]), np.array([False, False, True, True]), ["s"])
    assert np.isfinite([fitted.offset, *fitted.systems.values()]).all() and fitted.systems["s"] > 0
    assert "told apart without error" in caplog.text


def test_columns_that_say_nothing_weigh_nothing():
    llr, is_target = gaussian_ratios(0, 300, 300)
    plain = Calibration.fit(llr, is_target, ["s"])
    fitted = Calibration.fit(llr, is_target, ["s"], qualities=np.full((600, 1), 3.0), quality_names=["q"])
    assert fitted.qualities == {"q": 0.0} and fitted.systems == plain.systems
    twice = Calibration.fit(np.stack([llr, llr], axis=1), is_target, ["a", "b"])
    assert twice.systems["a"] == pytest.approx(plain.systems["s"] / 2) == twice.systems["b"]


def test_distances_are_noticed(caplog):
    llr, is_target = gaussian_ratios(0, 300, 300)
    fitted = Calibration.fit(-llr, is_target, ["distance"])
    assert fitted.systems["distance"] < 0 and "higher scores of distance speak against a target" in caplog.text


# ---- applied, saved, loaded

FUSION = Calibration({"cosine": 2.0, "asnorm": 0.5}, -1.0, {"duration.min": 0.25}, 0.05, {"trials": "t", "speakers": 4})


def test_the_ratio_is_the_weighted_sum():
    got = FUSION.apply(np.array([[1, 2], [0, 4.0]]), np.array([[4], [0.0]]))
    assert got.tolist() == [2 + 1 + 1 - 1, 0 + 2 + 0 - 1]
    assert Calibration({"s": 3.0}, 1.0).apply(np.array([1.0, 2.0])).tolist() == [4, 7]


def test_threshold_and_probability_follow_bayes():
    assert Calibration.threshold(0.01) == pytest.approx(log(99))
    assert Calibration.threshold(0.5, c_miss=10) == pytest.approx(-log(10))
    assert Calibration.probability(np.array([0.0, log(99)]), 0.01) == pytest.approx([0.01, 0.5])


def test_what_is_saved_is_loaded(tmp_path):
    FUSION.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == FUSION
    assert json.loads((tmp_path / "c.json").read_text()) == {
        "format": "pyspk calibration 1", "systems": {"cosine": 2.0, "asnorm": 0.5}, "qualities": {"duration.min": 0.25},
        "offset": -1.0, "p_target": 0.05, "trained_on": {"trials": "t", "speakers": 4}}


@pytest.mark.parametrize(("change", "said"), [
    (None, "no such file"), ("{", "not JSON; calibrate.py makes"), ("[1]", "no calibration"),
    ({"format": "x"}, '"format" is not "pyspk calibration 1"'),
    ({"more": 1}, "the fields more are missing or unknown; the fields are format, systems,"),
    ({"systems": {"s": "1"}}, "the field systems is damaged"), ({"offset": "1"}, "the field offset is damaged"),
    ({"qualities": [1]}, "the field qualities is damaged"), ({"p_target": True}, "the field p_target is damaged"),
    ({"offset": float("nan")}, "the field offset is damaged"), ({"offset": 10**400}, "the field offset is damaged"),
])
def test_a_file_that_is_no_calibration_is_refused(tmp_path, change, said):
    path = tmp_path / "c.json"
    if isinstance(change, dict):
        FUSION.save(path)
        change = json.dumps(json.loads(path.read_text()) | change)
    if change is not None:
        path.write_text(change)
    with pytest.raises(UserError, match=f"c.json: .*{said}"):
        Calibration.load(path)


@pytest.mark.parametrize(("scores", "qualities", "said"), [
    (np.zeros((3, 2)), None, r"quality columns of shape .3, 0. for 3 trials and 1 quality measures .duration.min."),
    (np.zeros((3, 1)), np.zeros((3, 1)), r"score columns of shape .3, 1. for 3 trials and 2 systems .cosine, asnorm."),
    (np.array([[np.nan, 0]]), np.zeros((1, 1)), "1 of 2 score values are NaN or infinite"),
    (np.zeros((1, 2)), np.full((1, 1), np.inf), "1 of 1 quality values are NaN or infinite"),
])
def test_columns_that_do_not_fit_are_refused(scores, qualities, said):
    with pytest.raises(UserError, match=said):
        FUSION.apply(scores, qualities)


@pytest.mark.parametrize(("scores", "is_target", "options", "said"), [
    ([1, 2], [True, True], {}, "no nontarget trials; calibration needs both"),
    ([1, 2], [False, False], {}, "no target trials"),
    ([1, 1], [True, False], {}, "all scores of s are alike"),
    ([1, 2], [True, False], {"p_target": 1}, "0 < p_target < 1"),
    ([[1, 2], [3, 4]], [True, False], {"systems": ["s", "s"]}, "systems need different names, not s, s"),
])
def test_what_cannot_be_fitted_is_refused(scores, is_target, options, said):
    with pytest.raises(UserError, match=said):
        Calibration.fit(np.array(scores, dtype=float), np.array(is_target), **{"systems": ["s"]} | options)


# ---- quality measures

def test_quality_measures_are_the_same_whichever_side_is_which():
    one, other = np.array([1.0, 5.0]), np.array([3.0, 2.0])
    assert quality.symmetric(one, other).tolist() == [[1, 2], [2, 3]]
    np.testing.assert_array_equal(quality.symmetric(one, other), quality.symmetric(other, one))
    assert quality.symmetric_names(["a", "b"]) == ["a.min", "a.difference", "b.min", "b.difference"]


def table(path):
    return {key: float(value) for key, value in (line.split() for line in path.read_text().splitlines())}


def data_dir(folder, **tables):
    (folder / "utt2spk").write_text("a s\nb s\n")
    for name, (a, b) in tables.items():
        (folder / name).write_text(f"a {a}\nb {b}\n")
    return DataDir(folder)


@pytest.mark.parametrize(("tables", "frame_shift", "seconds"), [
    ({"utt2num_frames": (300, 50)}, None, (3, 0.5)), ({"utt2num_frames": (300, 50)}, "0.02", (6, 1)),
    ({"utt2dur": (2.5, 4)}, "0.02", (2.5, 4)), ({"utt2dur": (9, 9), "utt2num_frames": (300, 50)}, None, (3, 0.5)),
])
def test_durations_come_from_the_best_table(tmp_path, tables, frame_shift, seconds):
    data = data_dir(tmp_path, **tables)
    if frame_shift:
        (tmp_path / "frame_shift").write_text(f"{frame_shift}\n")
    assert measures.write_log_durations(data, tmp_path / "out") == 2
    assert table(tmp_path / "out") == pytest.approx(dict(zip("ab", np.log(seconds), strict=True)), abs=1e-6)


def test_durations_count_speech_where_it_is_known(tmp_path):
    with ArchiveWriter(tmp_path / "vad.ark", tmp_path / "vad.scp") as writer:
        writer.write("a", np.array([1, 1, 0, 1.0]))
        writer.write("b", np.ones(2))
    measures.write_log_durations(data_dir(tmp_path, utt2num_frames=(300, 50)), tmp_path / "out")
    assert table(tmp_path / "out") == pytest.approx({"a": log(0.03), "b": log(0.02)}, abs=1e-6)


def test_utterances_without_speech_are_refused(tmp_path):
    with ArchiveWriter(tmp_path / "vad.ark", tmp_path / "vad.scp") as writer:
        writer.write("a", np.ones(3))
        writer.write("b", np.zeros(2))
    with pytest.raises(UserError, match="1 of 2 utterances have no speech .b.; take them out"):
        measures.write_log_durations(data_dir(tmp_path), tmp_path / "out")


@pytest.mark.parametrize(("tables", "frame_shift", "said"), [
    ({}, None, "no vad.scp, utt2num_frames or utt2dur"),
    ({"utt2num_frames": (1, 1)}, "x", "frame_shift: not a number of seconds above 0"),
])
def test_durations_that_there_are_none_of_are_refused(tmp_path, tables, frame_shift, said):
    data = data_dir(tmp_path, **tables)
    if frame_shift:
        (tmp_path / "frame_shift").write_text(f"{frame_shift}\n")
    with pytest.raises(UserError, match=said):
        measures.write_log_durations(data, tmp_path / "out")


def test_norms_and_cohort_means(tmp_path):
    for name, vectors in (("eval", {"a": [3, 4.0], "b": [0, 2.0]}),
                          ("cohort", {"c": [1, 0.0], "d": [1, 1.0], "e": [-1, 0.0]})):
        with ArchiveWriter(tmp_path / f"{name}.ark", tmp_path / f"{name}.scp") as writer:
            for key, vector in vectors.items():
                writer.write(key, np.array(vector))
    assert measures.write_norms(tmp_path / "eval.scp", tmp_path / "norm") == 2
    assert table(tmp_path / "norm") == {"a": 5, "b": 2}
    assert measures.write_cohort_means(tmp_path / "eval.scp", tmp_path / "cohort.scp", tmp_path / "means", 2) == 2
    root = 0.5**0.5                      # cosines of a: 0.6, 1.4 root, -0.6; of b: 0, root, 0
    assert table(tmp_path / "means") == pytest.approx({"a": (0.6 + 1.4 * root) / 2, "b": root / 2}, abs=1e-6)
    write_vector(tmp_path / "mean.vec", np.array([0, 1.0]))
    measures.write_cohort_means(tmp_path / "eval.scp", tmp_path / "cohort.scp", tmp_path / "means", 2,
                               tmp_path / "mean.vec")     # a is (3, 3), b (0, 1), the cohort (1, -1), (1, 0), (-1, -1)
    assert table(tmp_path / "means") == pytest.approx({"a": root / 2, "b": -root / 2}, abs=1e-6)


# ---- files

def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_halves_of_the_speakers_are_fitted_and_measured_crosswise(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"s{spk}-{utt}" for spk in range(6) for utt in range(4)]
    pairs = [(a, b, a[:2] == b[:2]) for i, a in enumerate(names) for b in names[i + 1:]]
    score = np.round([rng.normal(1.5 if same else 0) for *_, same in pairs], 4)
    trials = write(tmp_path / "t", *(f"{a} {b} {'target' if same else 'nontarget'}" for a, b, same in pairs))
    scores = write(tmp_path / "t.cosine", *(f"{a} {b} {s}" for (a, b, _), s in zip(pairs, score, strict=True)))
    calibration, lines = files.fit_files(trials, [scores], 0.3, [Cost(0.3), Cost(0.1, 2, 3)])

    same = np.array([one for *_, one in pairs])
    whole = Calibration.fit(score, same, ["cosine"], 0.3)
    assert calibration.systems == whole.systems and calibration.offset == whole.offset
    assert calibration.trained_on == {"trials": str(trials), "targets": 36, "nontargets": 240, "speakers": 6}
    llr, kinds = [], []
    for half in ("024", "135"):
        ours, theirs = (np.array([a[1] in some and b[1] in some for a, b, _ in pairs])
                        for some in (half, "135" if half == "024" else "024"))
        llr.append(Calibration.fit(score[theirs], same[theirs], ["cosine"], 0.3).apply(score[ours]))
        kinds.append(same[ours])
    llr, kinds = np.concatenate(llr), np.concatenate(kinds)
    one = Evaluation(llr[kinds], llr[~kinds])
    assert lines[0].split("  ")[0] == "P target" and "cosine" in lines[0]
    for line, cost in zip(lines[1:], (Cost(0.3), Cost(0.1, 2, 3)), strict=True):
        raw = (cost.threshold - whole.offset) / whole.systems["cosine"]
        p_miss, p_fa = one.rates(cost.threshold)
        assert line.split() == [f"{cost.p_target:g}", f"{cost.c_miss:g}", f"{cost.c_fa:g}", f"{cost.threshold:.4f}",
                                f"{raw:.4f}", f"{100 * p_miss:.3f}", f"{100 * p_fa:.3f}", f"{one.act_dcf(cost):.4f}",
                                f"{one.min_dcf(cost):.4f}"]


def test_too_few_speakers_to_halve_are_measured_on_themselves_and_said(tmp_path, caplog):
    trials = write(tmp_path / "t", "a1 a2 target", "a1 b1 nontarget", "a2 b2 nontarget", "b1 b2 target")
    scores = write(tmp_path / "s", "a1 a2 3", "a1 b1 1", "a2 b2 2", "b1 b2 1.5")
    calibration, lines = files.fit_files(trials, [scores], 0.5, [Cost(0.5)])
    llr = calibration.apply(np.array([3, 1, 2, 1.5]))
    one = Evaluation(llr[[0, 3]], llr[[1, 2]])
    assert lines[1].split()[-2:] == [f"{one.act_dcf(Cost(0.5)):.4f}", f"{one.min_dcf(Cost(0.5)):.4f}"]
    assert "t: too few speakers to fit on some and measure on others" in caplog.text


def test_a_fusion_is_applied_in_the_order_of_the_first_file(tmp_path):
    one, two = write(tmp_path / "e.cosine", "a b 1", "c a 0"), write(tmp_path / "e.asnorm", "c a 4", "a b 2")
    duration = write(tmp_path / "e.duration", "a 4", "b 5", "c 0")
    calibration = Calibration(FUSION.systems, -1.0, {"duration.min": 0.25, "duration.difference": 1.0})
    assert files.apply_files(calibration, [one, two], tmp_path / "out", [duration]) == 2
    assert (tmp_path / "out").read_text() == "a b 4\nc a 5\n"       # 2 + 1 + 1 + 1 - 1, 0 + 2 + 0 + 4 - 1


@pytest.mark.parametrize(("score_lines", "quality_lines", "said"), [
    (["a b 1"], ["a 4", "b x"], 'duration: "x" is no finite number; a quality measure'),
    (["a b 1"], ["a 4", "b nan"], 'duration: "nan" is no finite number'),
    (["a b 1"], ["a 4"], "duration: 1 of the 2 names wanted are not there .b."),
    (["a b 1"], None, "is of the quality measures duration.min, duration.difference, in this order, not none"),
    (None, ["a 4", "b 5"], "is of the score files cosine, asnorm, in this order, not asnorm, cosine"),
    (["b a 1"], ["a 4", "b 5"], "1 of 1 trials have no score .a b. and 1 scores have no trial .b a."),
])
def test_files_that_do_not_fit_the_calibration_are_refused(tmp_path, score_lines, quality_lines, said):
    one, two = write(tmp_path / "e.cosine", "a b 1"), write(tmp_path / "e.asnorm", *(score_lines or ["a b 2"]))
    scores = [one, two] if score_lines else [two, one]
    qualities = [write(tmp_path / "duration", *quality_lines)] if quality_lines else []
    calibration = Calibration(FUSION.systems, -1.0, {"duration.min": 0.25, "duration.difference": 1.0})
    with pytest.raises(UserError, match=said):
        files.apply_files(calibration, scores, tmp_path / "out", qualities)
    assert not (tmp_path / "out").exists()


def test_a_calibration_in_words():
    assert files.in_words(FUSION) == "llr = 2 cosine + 0.5 asnorm + 0.25 duration.min - 1"
