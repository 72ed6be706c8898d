"""PLDA: beside joint Gaussians in full, on simulated speakers, and through files that another program shares."""

import numpy as np
import pydrobert.kaldi.io as kaldi
import pytest
from scipy.stats import multivariate_normal

from pyspk.errors import UserError
from pyspk.scoring.plda import Plda, log_likelihood_ratios, read_plda, write_plda
from pyspk.scoring.plda_em import FactorModel, collect, em_step, initial_model, log_likelihood, train_plda


def covariance(rng, dim, floor=0.3):
    root = rng.normal(size=(dim, dim))
    return root @ root.T / dim + floor * np.eye(dim)


@pytest.fixture
def model():
    """(mean, within, between) of four dimensions."""
    rng = np.random.default_rng(0)
    return rng.normal(size=4), covariance(rng, 4), covariance(rng, 4)


def simulate(model, n_spk, seed=1, most_utts=8):
    """(vectors (M, D), their speakers (M,)) of the two-covariance model."""
    mean, within, between = model
    rng = np.random.default_rng(seed)
    spk = np.repeat(np.arange(n_spk), rng.integers(1, most_utts + 1, n_spk))
    voices = rng.multivariate_normal(np.zeros(len(mean)), between, n_spk)
    return mean + voices[spk] + rng.multivariate_normal(np.zeros(len(mean)), within, len(spk)), spk


def statistics_of(x, spk):
    return collect([(slice(0, 3), x[:3]), (slice(3, len(x)), x[3:])], spk)


def log_joint(x, mean, within, between):
    """log p of vectors x (n, D) of one speaker, as one Gaussian of n D dimensions."""
    n = len(x)
    joint = np.kron(np.eye(n), within) + np.kron(np.ones((n, n)), between)
    return multivariate_normal(np.tile(mean, n), joint).logpdf(x.reshape(-1))


# ---- scores

@pytest.mark.parametrize("rank", [4, 2])
def test_scores_equal_joint_gaussians_for_any_number_of_enroll_utterances(model, rank):
    mean, within, between = model
    if rank == 2:
        loading = np.random.default_rng(2).normal(size=(4, 2))
        between = loading @ loading.T
    plda = Plda.from_covariances(mean, within, between)
    rng = np.random.default_rng(3)
    models = [rng.normal(0, 2, (n, 4)) for n in (1, 2, 5, 2)]
    tests = rng.normal(0, 2, (3, 4))
    vectors = np.concatenate([[utts.mean(axis=0) for utts in models], tests])
    n_utts = np.array([1, 2, 5, 2, 1, 1, 1], dtype=np.int32)
    enroll, test = np.repeat(np.arange(4), 3), np.tile(np.arange(4, 7), 4)
    got = log_likelihood_ratios(plda.psi, plda.project(vectors), n_utts, enroll, test)
    expected = [log_joint(np.vstack([models[e], vectors[t]]), mean, within, between)
                - log_joint(models[e], mean, within, between) - log_joint(vectors[t][None], mean, within, between)
                for e, t in zip(enroll, test, strict=True)]
    np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_the_model_gives_back_its_covariances(model):
    mean, within, between = model
    plda = Plda.from_covariances(mean, within, between)
    np.testing.assert_allclose(plda.within, within, atol=1e-12)
    np.testing.assert_allclose(plda.between, between, atol=1e-12)
    assert (np.diff(plda.psi) <= 0).all()


def test_normalised_vectors_have_the_length_that_the_model_expects(model):
    plda = Plda.from_covariances(*model)
    n_utts = np.array([1, 4])
    u = plda.project(np.random.default_rng(6).normal(size=(2, 4)), n_utts)
    for row, n in zip(u, n_utts, strict=True):
        assert sum(value ** 2 / (psi + 1 / n) for value, psi in zip(row, plda.psi, strict=True)) == pytest.approx(4)


def test_a_covariance_that_is_none_is_refused():
    with pytest.raises(UserError, match="the covariance within speakers is not positive definite; take more"):
        Plda.from_covariances(np.zeros(2), np.diag([1.0, -1.0]), np.eye(2))


# ---- training

@pytest.mark.parametrize("rank", [1, 2, 4])
def test_the_likelihood_is_that_of_joint_gaussians_and_never_falls(model, rank):
    x, spk = simulate(model, 40)
    centred = statistics_of(x, spk).centred()
    parameters, before = initial_model(centred, rank), -np.inf
    for _ in range(12):
        now = log_likelihood(centred, parameters)
        between = parameters.loading @ parameters.loading.T
        expected = sum(log_joint(x[spk == s], x.mean(axis=0), parameters.within, between) for s in range(40))
        assert now == pytest.approx(expected, rel=1e-9) and now >= before - 1e-9 * abs(now)
        parameters, before = em_step(centred, parameters), now
    assert np.linalg.matrix_rank(between) == rank


def test_the_likelihood_rises_from_a_bad_start_too(model):
    centred = statistics_of(*simulate(model, 200)).centred()
    rng = np.random.default_rng(5)
    parameters = FactorModel(rng.normal(size=(4, 4)), 10 * np.eye(4))
    seen = []
    for _ in range(60):
        seen.append(log_likelihood(centred, parameters))
        parameters = em_step(centred, parameters)
    assert (np.diff(seen) >= -1e-9 * abs(seen[0])).all() and seen[-1] - seen[0] > 100
    good = initial_model(centred, 4)
    for _ in range(60):
        good = em_step(centred, good)
    assert seen[-1] == pytest.approx(log_likelihood(centred, good), rel=1e-5)


def test_the_parameters_of_simulated_speakers_are_found(model):
    mean, within, between = model
    plda = train_plda(statistics_of(*simulate(model, 4000)), n_iterations=20)
    np.testing.assert_allclose(plda.mean, mean, atol=0.05)
    np.testing.assert_allclose(plda.within, within, atol=0.03)
    np.testing.assert_allclose(plda.between, between, atol=0.07)


def test_simplified_plda_finds_the_space_of_the_speakers(model):
    mean, within, _ = model
    loading = np.random.default_rng(2).normal(size=(4, 2))
    statistics = statistics_of(*simulate((mean, within, loading @ loading.T), 4000))
    plda = train_plda(statistics, rank=2, n_iterations=20)
    assert (plda.psi > 1e-6).tolist() == [True, True, False, False]
    np.testing.assert_allclose(plda.between, loading @ loading.T, atol=0.15)
    np.testing.assert_allclose(plda.within, within, atol=0.04)


def test_statistics_are_those_of_a_naive_loop(model):
    x, spk = simulate(model, 12)
    statistics = statistics_of(x, spk)
    means = np.array([x[spk == s].mean(axis=0) for s in spk])
    np.testing.assert_allclose(statistics.mean, x.mean(axis=0))
    np.testing.assert_allclose(statistics.total, np.cov(x.T, bias=True), atol=1e-12)
    np.testing.assert_allclose(statistics.within, (x - means).T @ (x - means) / (len(x) - 12), atol=1e-12)


@pytest.mark.parametrize(("spk", "rank", "said"), [
    ([0, 0, 0], None, "3 utterances of 1 speakers: PLDA and LDA need several speakers, some with several utterances"),
    ([0, 1, 2], None, "3 utterances of 3 speakers"),
    ([0, 0, 1], None, "3 utterances of 2 speakers are too few for 2 dimensions"),
    ([0, 0, 1, 1], 3, "a rank of 3: the vectors have 2 dimensions"),
])
def test_what_cannot_be_trained_is_refused(spk, rank, said):
    x = np.random.default_rng(0).normal(size=(len(spk), 2))
    with pytest.raises(UserError, match=said):
        train_plda(collect([(slice(0, len(spk)), x)], np.array(spk)), rank)


# ---- Kaldi's file

@pytest.mark.parametrize("text", [False, True])
def test_kaldi_reads_what_we_write(tmp_path, model, text):
    plda = Plda.from_covariances(*model)
    write_plda(tmp_path / "plda", plda, text)
    with kaldi.open(str(tmp_path / "plda")) as file:
        assert file.read("t") == "<Plda>"
        parts = [file.read("dv"), file.read("dm"), file.read("dv")]
        assert file.read("t") == "</Plda>"
    for part, ours, again in zip(parts, plda, read_plda(tmp_path / "plda"), strict=True):
        np.testing.assert_array_equal(part, ours)
        np.testing.assert_array_equal(again, ours)


@pytest.mark.parametrize("kind", ["d", "f", "text"])
def test_we_read_what_kaldi_writes(tmp_path, model, kind):
    plda = Plda.from_covariances(*model)
    is_binary = kind != "text"
    with kaldi.open(str(tmp_path / "plda"), mode="w", header=is_binary) as file:
        file.write("<Plda>", "t", write_binary=is_binary)
        for value, form in zip(plda, ("v", "m", "v"), strict=True):
            value = value.astype(np.float32) if kind == "f" else value
            file.write(value, ("f" if kind == "f" else "d") + form, write_binary=is_binary)
        file.write("</Plda>", "t", write_binary=is_binary)
    for got, value in zip(read_plda(tmp_path / "plda"), plda, strict=True):
        np.testing.assert_allclose(got, value, rtol=1e-4)      # Kaldi writes six digits of text


DAMAGE = {
    "missing": (None, "plda: no such file"),
    "empty": (lambda _: b"", "plda: no PLDA model as Kaldi writes it, or damaged .not between <Plda> and </Plda>"),
    "another object": (lambda _: b"\0BFV \4\1\0\0\0\0\0\0\0", "not between <Plda> and </Plda>"),
    "cut short": (lambda whole: whole[:-40], "not between <Plda> and </Plda>"),
    "cut within": (lambda whole: whole[:60] + b"</Plda> ", "no PLDA model as Kaldi writes it, or damaged"),
    "other token": (lambda whole: whole.replace(b"DV ", b"XV ", 1), "neither vector nor matrix where one should be"),
    "two values": (lambda _: b"<Plda>  [ 1 ]\n [ 2 ]\n</Plda>", "2 values in brackets, not 3"),
    "no numbers": (lambda _: b"<Plda>  [ one ]\n [\n 1 ]\n [ 2 ]\n</Plda>", "could not convert string to float"),
    "sizes": (lambda _: b"<Plda>  [ 1 2 ]\n [\n 1 ]\n [ 2 ]\n</Plda>", r"sizes \(2,\), \(1, 1\) and \(1,\)"),
    "negative": (lambda _: b"<Plda>  [ 1 ]\n [\n 1 ]\n [ -2 ]\n</Plda>", "not finite, or a negative psi"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused(tmp_path, model, damage):
    change, said = DAMAGE[damage]
    if change:
        write_plda(tmp_path / "plda", Plda.from_covariances(*model))
        (tmp_path / "plda").write_bytes(change((tmp_path / "plda").read_bytes()))
    with pytest.raises(UserError, match=said):
        read_plda(tmp_path / "plda")
