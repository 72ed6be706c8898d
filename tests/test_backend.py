"""The PLDA back end, from embeddings in files to scores: parts beside naive computations, Kaldi's files, mistakes."""

from itertools import chain

import kaldiio
import numpy as np
import pytest
from scipy.stats import multivariate_normal
from score_world import write, write_embeddings
from test_norms import naive_norm, scores_of

from pyspk.errors import UserError
from pyspk.scoring import adaptation, backend, vectors
from pyspk.scoring.backend import Frontend, lda, read_backend, score_file, train, whitening
from pyspk.scoring.norms import NORMS, normalize_plda_file
from pyspk.scoring.plda import Plda, read_plda, write_plda
from pyspk.scoring.plda_em import collect
from pyspk.tables.archive import read_vector, write_vector

DIM = 5


def speakers(seed, n_spk, n_utts, shift=0.0, scale=1.0):
    """utterance -> embedding, of n_spk speakers."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(99).normal(size=(DIM, DIM))
    emb = {}
    for spk in range(n_spk):
        voice = 2 * rng.normal(size=DIM)
        for utt in range(n_utts):
            emb[f"s{spk:03d}-{utt}"] = (shift + scale * mix @ (voice + rng.normal(size=DIM))).astype(np.float32)
    return emb


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with training embeddings, back ends "whitened" and "lda" of them, and evaluation embeddings."""
    folder = tmp_path_factory.mktemp("plda")
    emb = speakers(0, 60, 6, shift=3.0)
    write_embeddings(folder, "train", emb)
    write(folder / "utt2spk", *(f"{utt} {utt[:4]}" for utt in sorted(emb)))
    write_embeddings(folder, "eval", speakers(1, 6, 4, shift=3.0))
    train(folder / "utt2spk", folder / "train.scp", folder / "whitened")
    train(folder / "utt2spk", folder / "train.scp", folder / "lda", lda_dim=3, rank=2, n_iterations=5)
    return folder


def arrays(emb):
    names = sorted(emb)
    return np.array([emb[name] for name in names]), np.array([int(name[1:4]) for name in names])


# ---- what is done to an embedding first

def test_lda_and_whitening_do_what_they_say():
    x, spk = arrays(speakers(0, 60, 6))
    statistics = collect([(slice(0, len(x)), x)], spk)
    means = np.array([x[spk == s].mean(axis=0) for s in spk])
    white = (x - x.mean(axis=0)) @ whitening(statistics).T
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(DIM), atol=1e-5)
    full = lda(statistics, DIM)
    np.testing.assert_allclose(full @ ((x - means).T @ (x - means) / (len(x) - 60)) @ full.T, np.eye(DIM), atol=1e-4)
    ratios = [np.var(means @ row) / np.var((x - means) @ row) for row in full]
    assert ratios == sorted(ratios, reverse=True)
    rng = np.random.default_rng(0)                        # no direction beats the first
    others = [np.var(means @ row) / np.var((x - means) @ row) for row in rng.normal(size=(500, DIM))]
    assert max(others) <= ratios[0] * (1 + 1e-6)
    np.testing.assert_array_equal(lda(statistics, 2), full[:2])


def test_the_frontend_by_hand():
    frontend = Frontend(np.array([1.0, 0.0]), np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([0.0, 1.0]))
    got = frontend.apply(np.array([[2.5, 3.0]]), ["a"], "x.scp")               # (3, 4), then of length sqrt(2)
    np.testing.assert_allclose(got, np.array([[3.0, 4.0]]) / 5 * np.sqrt(2), rtol=1e-6)
    with pytest.raises(UserError, match="x.scp: 1 of 2 embeddings less the mean are zero or not finite .b.; extract"):
        frontend._replace(offset=0.0).apply(np.array([[2.5, 3.0], [1.0, 0.0]]), ["a", "b"], "x.scp")
    with pytest.raises(UserError, match=r"x.scp has dimension 3, mean.vec has 2; they must come from one model"):
        frontend.apply(np.zeros((1, 3)), ["a"], "x.scp")


# ---- training and scoring

def test_a_folder_has_kaldis_files_and_what_they_say(trained):
    x, _ = arrays(kaldiio.load_scp(str(trained / "train.scp")))
    mean, transform = kaldiio.load_mat(str(trained / "lda" / "mean.vec")), kaldiio.load_mat(
        str(trained / "lda" / "transform.mat"))
    np.testing.assert_allclose(mean, x.mean(axis=0), atol=1e-4)
    assert transform.shape == (3, DIM)
    plda = read_plda(trained / "lda" / "plda")
    y = (x - mean) @ transform.T
    y *= np.sqrt(3) / np.linalg.norm(y, axis=1, keepdims=True)
    np.testing.assert_allclose(plda.mean, y.mean(axis=0), atol=1e-5)
    assert (plda.psi > 1e-6).tolist() == [True, True, False]


def test_blocks_do_not_change_the_model(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(vectors, "_BLOCK_VECTORS", 7)
    train(trained / "utt2spk", trained / "train.scp", tmp_path / "again")
    again, before = (read_plda(folder / "plda") for folder in (tmp_path / "again", trained / "whitened"))
    for got, expected in zip(again, before, strict=True):
        np.testing.assert_allclose(np.abs(got), np.abs(expected), atol=1e-4)


@pytest.mark.parametrize("kind", ["whitened", "lda"])
@pytest.mark.parametrize("has_map", [False, True])
def test_scores_equal_joint_gaussians_of_prepared_embeddings(trained, tmp_path, kind, has_map):
    emb = kaldiio.load_scp(str(trained / "eval.scp"))
    frontend, plda = read_backend(trained / kind)
    ready = {utt: frontend.apply(vector[None], [utt], "")[0].astype(np.float64) for utt, vector in emb.items()}
    models = {"s000-0": ["s000-0"], "s001-0": ["s001-0", "s001-1", "s001-2"]}
    if not has_map:
        models = {name: [name] for name in models}
    pairs = [(model, utt) for utt in sorted(emb) for model in models]
    write(tmp_path / "trials", *(f"{model} {utt} target" for model, utt in pairs))
    write(tmp_path / "map", *(f"{model} {' '.join(utts)}" for model, utts in models.items()))
    n = score_file(trained / kind, tmp_path / "trials", trained / "eval.scp", trained / "eval.scp", tmp_path / "out",
                   tmp_path / "map" if has_map else None)

    def log_p(x):
        n = len(x)
        joint = np.kron(np.eye(n), plda.within) + np.kron(np.ones((n, n)), plda.between)
        return multivariate_normal(np.tile(plda.mean, n), joint).logpdf(np.concatenate(x))

    expected = []
    for model, utt in pairs:
        enrolled = [ready[name] for name in models[model]]
        expected.append(log_p([*enrolled, ready[utt]]) - log_p(enrolled) - log_p([ready[utt]]))
    np.testing.assert_allclose(scores_of(tmp_path / "out"), expected, rtol=2e-5, atol=2e-5)
    assert n == 48
    is_target = np.array([model[:4] == utt[:4] for model, utt in pairs])
    got = np.array(scores_of(tmp_path / "out"))
    assert got[is_target].mean() > 0 > got[~is_target].mean()


def test_kaldis_length_normalisation_may_be_had(trained, tmp_path):
    write(tmp_path / "trials", "s000-0 s001-0 nontarget")
    eval_scp = trained / "eval.scp"
    score_file(trained / "lda", tmp_path / "trials", eval_scp, eval_scp, tmp_path / "out", normalizes_length=True)
    frontend, plda = read_backend(trained / "lda")
    _, ready = frontend.read(eval_scp, ["s000-0", "s001-0"])
    u = plda.project(ready)
    e, t = (row * np.sqrt(3 / (row ** 2 / (plda.psi + 1)).sum()) for row in u)
    shrink, variance = plda.psi / (plda.psi + 1), 1 + plda.psi / (plda.psi + 1)
    one = -0.5 * (np.log(variance) + (t - shrink * e) ** 2 / variance).sum()
    two = -0.5 * (np.log(1 + plda.psi) + t ** 2 / (1 + plda.psi)).sum()
    assert scores_of(tmp_path / "out") == [pytest.approx(one - two, rel=1e-5)]


def test_a_folder_of_kaldis_serves_with_an_offset_or_without_a_transform(tmp_path, caplog):
    write_vector(tmp_path / "mean.vec", np.array([1.0, 2.0]))
    write_plda(tmp_path / "plda", Plda(np.zeros(2), np.eye(2), np.ones(2)))
    assert read_backend(tmp_path)[0].transform.tolist() == [[1, 0], [0, 1]]
    assert f"{tmp_path}: no transform.mat" in caplog.text
    kaldiio.save_mat(str(tmp_path / "transform.mat"), np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32))
    frontend, plda = read_backend(tmp_path)
    assert frontend.transform.tolist() == [[1, 2], [4, 5]] and frontend.offset.tolist() == [3, 6]
    backend.write_backend(tmp_path / "copy", frontend, plda)
    assert kaldiio.load_mat(str(tmp_path / "copy" / "transform.mat")).tolist() == [[1, 2, 3], [4, 5, 6]]
    kaldiio.save_mat(str(tmp_path / "transform.mat"), np.zeros((3, 2), dtype=np.float32))
    with pytest.raises(UserError, match="transform.mat: 3 rows and 2 columns do not fit mean.vec of 2 and plda of 2"):
        read_backend(tmp_path)


@pytest.mark.parametrize(("options", "said"), [
    ({"lda_dim": 6}, "--lda-dim 6: embeddings of 5 dimensions and 60 speakers allow 1 to 5"),
    ({"rank": 6}, "a rank of 6: the vectors have 5 dimensions"),
])
def test_settings_that_do_not_fit_are_refused(trained, tmp_path, options, said):
    with pytest.raises(UserError, match=said):
        train(trained / "utt2spk", trained / "train.scp", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_embeddings_in_a_plane_are_not_whitened():
    x, spk = arrays(speakers(0, 60, 6))
    x[:, 4] = x[:, 3]
    with pytest.raises(UserError, match="the embeddings do not span their 5 dimensions, so they cannot be whitened"):
        whitening(collect([(slice(0, len(x)), x)], spk))


# ---- score norms

@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("normalizes_length", [False, True])
def test_plda_scores_are_normalised_by_plda_scores_of_a_cohort(trained, tmp_path, norm, normalizes_length):
    eval_scp, back_end = trained / "eval.scp", trained / "lda"
    cohort_scp = write_embeddings(tmp_path, "cohort", speakers(3, 12, 1, shift=3.0))
    cohort = sorted(kaldiio.load_scp(str(cohort_scp)))
    write(tmp_path / "map", "m0 s000-0 s000-1", "m1 s001-0", "m2 s002-0 s002-1 s002-2",
          *(f"{utt} {utt}" for utt in sorted(kaldiio.load_scp(str(eval_scp)))))
    pairs = [(model, utt) for model in ("m2", "m0", "m1") for utt in ("s000-3", "s001-3", "s004-1")]

    def ratios(name, pairs, test_scp):
        write(tmp_path / "trials", *(f"{a} {b} target" for a, b in pairs))
        score_file(back_end, tmp_path / "trials", eval_scp, test_scp, tmp_path / name, tmp_path / "map",
                   normalizes_length)
        return dict(zip(pairs, scores_of(tmp_path / name), strict=True))

    against = ratios("against", [(side, c) for side in sorted(set(chain(*pairs))) for c in cohort], cohort_scp)
    given = ratios("scores", pairs, eval_scp)
    normalize_plda_file(back_end, tmp_path / "scores", eval_scp, cohort_scp, tmp_path / "out", 4, None, norm,
                        tmp_path / "map", normalizes_length)
    expected = [naive_norm(norm, given[pair], *([against[side, c] for c in cohort] for side in pair), 4)
                for pair in pairs]
    np.testing.assert_allclose(scores_of(tmp_path / "out"), expected, rtol=2e-4, atol=2e-4)


# ---- adaptation

PLDA = Plda.from_covariances(np.zeros(2), np.diag([1.0, 1.0]), np.diag([3.0, 1.0]))      # total 4 and 2


def test_the_excess_is_shared_as_worked_out_by_hand():
    # Of the total 4 and 2, the new 8 exceeds by 4 and the new 1 does not; mean 2 off in the first dimension adds 4.
    adapted = adaptation.by_excess(PLDA, np.array([2.0, 0.0]), np.diag([4.0, 1.0]), 0.25, 0.5)
    np.testing.assert_allclose(adapted.within, np.diag([1 + 0.25 * 4, 1.0]), atol=1e-12)
    np.testing.assert_allclose(adapted.between, np.diag([3 + 0.5 * 4, 1.0]), atol=1e-12)
    assert adapted.mean.tolist() == [2.0, 0.0]


def test_correlation_alignment_as_worked_out_by_hand():
    adapted = adaptation.by_correlation(PLDA, np.array([2.0, 0.0]), np.diag([8.0, 1.0]))      # times 2 and times 1/2
    np.testing.assert_allclose(adapted.within, np.diag([2.0, 0.5]), atol=1e-12)
    np.testing.assert_allclose(adapted.between, np.diag([6.0, 0.5]), atol=1e-12)


def test_after_alignment_the_total_is_the_new_covariance():
    rng = np.random.default_rng(0)
    new = np.cov(rng.normal(size=(3, 50)))
    roots = rng.normal(size=(2, 3, 3))
    plda = Plda.from_covariances(np.zeros(3), roots[0] @ roots[0].T + np.eye(3), roots[1] @ roots[1].T)
    adapted = adaptation.by_correlation(plda, np.zeros(3), new)
    np.testing.assert_allclose(adapted.within + adapted.between, new, atol=1e-10)


@pytest.mark.parametrize("method", adaptation.METHODS)
def test_a_folder_is_adapted(trained, tmp_path, method, monkeypatch):
    monkeypatch.setattr(vectors, "_BLOCK_VECTORS", 50)
    other = speakers(2, 40, 3, shift=-1.0, scale=2.0)
    scp = write_embeddings(tmp_path, "other", other)
    assert adaptation.adapt(trained / "lda", scp, tmp_path / "adapted", method) == 120
    x = np.array(list(other.values()))
    np.testing.assert_allclose(read_vector(tmp_path / "adapted" / "mean.vec"), x.mean(axis=0), atol=1e-4)
    frontend, plda = read_backend(tmp_path / "adapted")
    ready = frontend.apply(x, list(other), "")
    np.testing.assert_allclose(plda.mean, ready.mean(axis=0), atol=1e-5)
    before = read_plda(trained / "lda" / "plda")
    arguments = (ready.mean(axis=0), np.cov(ready.T, bias=True))
    expected = (adaptation.by_excess(before, *arguments, 0.3, 0.7) if method == "kaldi"
                else adaptation.by_correlation(before, *arguments))
    np.testing.assert_allclose(plda.within, expected.within, atol=1e-5)
    np.testing.assert_allclose(plda.between, expected.between, atol=1e-5)


def test_too_few_embeddings_are_refused(trained, tmp_path):
    scp = write_embeddings(tmp_path, "few", speakers(2, 1, 5))
    with pytest.raises(UserError, match="few.scp: 5 embeddings are too few for 5 dimensions; take more"):
        adaptation.adapt(trained / "lda", scp, tmp_path / "adapted")
    with pytest.raises(UserError, match="the covariance of the new embeddings is not positive definite"):
        adaptation.by_correlation(PLDA, np.zeros(2), np.diag([1.0, 0.0]))
