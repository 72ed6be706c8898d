"""Score norms: each beside a naive loop, models of one utterance and several, cohorts that cannot serve."""

import statistics
import time
import tracemalloc

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine as cosine_distance
from score_world import write, write_embeddings

from pyspk.errors import UserError
from pyspk.scoring import cohort as cohort_module
from pyspk.scoring.cohort import cohort_statistics, cross_statistics
from pyspk.scoring.cosine import Enrollment
from pyspk.scoring.norms import NORMS, normalize_file
from pyspk.tables.archive import write_vector


def scores_of(path):
    return [float(line.split()[2]) for line in path.read_text().splitlines()]


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of four rows against a cohort of 25."""
    monkeypatch.setattr(cohort_module, "_BLOCK_SCORES", 100)
    monkeypatch.setattr(cohort_module, "_LEAST_ROWS", 1)


@pytest.fixture
def corpus(tmp_path):
    """Twenty embeddings, a cohort of 25, sixty scores: folder, name -> embedding, cohort, (enroll, test, score)."""
    rng = np.random.default_rng(0)
    emb = {f"utt{n:02d}": rng.normal(0.3, 1, 8).astype(np.float32) for n in range(20)}
    cohort = {f"c{n:02d}": rng.normal(0.3, 1, 8).astype(np.float32) for n in range(25)}
    scores = [(*rng.choice(sorted(emb), 2), round(n / 60, 3)) for n in range(60)]
    write(tmp_path / "scores", *(f"{e} {t} {s}" for e, t, s in scores))
    write_embeddings(tmp_path, "eval", emb)
    write_embeddings(tmp_path, "cohort", cohort)
    return tmp_path, emb, list(cohort.values()), scores


def naive_norm(norm, score, enroll, test, top_n):
    """One score, one Python number at a time; enroll and test are the scores of the sides against the cohort."""
    def z(own, chosen):
        picked = [own[c] for c in chosen]
        return (score - statistics.fmean(picked)) / statistics.pstdev(picked)

    def closest(side):
        return sorted(range(len(side)), key=lambda c: side[c], reverse=True)[:top_n]

    everyone = range(len(enroll))
    return {"z": lambda: z(enroll, everyone),
            "t": lambda: z(test, everyone),
            "s": lambda: (z(enroll, everyone) + z(test, everyone)) / 2,
            "as1": lambda: (z(enroll, closest(enroll)) + z(test, closest(test))) / 2,
            "as2": lambda: (z(enroll, closest(test)) + z(test, closest(enroll))) / 2}[norm]()


def against(cohort, *utts):
    """The mean of the cosines of `utts` with each of the cohort."""
    return [statistics.fmean(1 - cosine_distance(utt, other) for utt in utts) for other in cohort]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("top_n", "is_centred", "is_apart"), [(5, False, False), (30, True, False), (12, True, True)])
def test_each_norm_equals_a_naive_loop(corpus, small_blocks, caplog, norm, top_n, is_centred, is_apart):
    folder, emb, cohort, scores = corpus
    mean = np.linspace(-0.5, 0.5, 8, dtype=np.float32) * is_centred
    write_vector(folder / "mean.vec", mean)
    test_emb = {name: vector[::-1] for name, vector in emb.items()} if is_apart else emb
    write_embeddings(folder, "test", test_emb)
    n = normalize_file(folder / "scores", folder / "eval.scp", folder / "cohort.scp", folder / "out", top_n,
                       folder / "mean.vec" if is_centred else None, folder / "test.scp" if is_apart else None, norm)
    others = [vector - mean for vector in cohort]
    expected = [naive_norm(norm, s, against(others, emb[e] - mean), against(others, test_emb[t] - mean), top_n)
                for e, t, s in scores]
    assert n == 60
    assert [line.split()[:2] for line in (folder / "out").read_text().splitlines()] == [[e, t] for e, t, _ in scores]
    np.testing.assert_allclose(scores_of(folder / "out"), expected, rtol=1e-4, atol=1e-6)
    warned = "cohort has 25 embeddings, fewer than top-n 30: all of them are used" in caplog.text
    assert warned == (top_n == 30 and norm in ("as1", "as2"))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("average", ["embedding", "score"])
def test_models_of_several_utterances_are_normalised_by_their_own_scores(corpus, norm, average):
    folder, emb, cohort, _ = corpus
    models = {"m1": ["utt00"], "m2": ["utt01", "utt02", "utt03"], "m3": ["utt04", "utt00"]}
    write(folder / "map", *(f"{model} {' '.join(utts)}" for model, utts in models.items()))
    pairs = [("m2", "utt10"), ("m1", "utt11"), ("m3", "utt12"), ("m2", "utt13")]
    write(folder / "scores", *(f"{model} {utt} 0.25" for model, utt in pairs))
    normalize_file(folder / "scores", folder / "eval.scp", folder / "cohort.scp", folder / "out", 6, norm=norm,
                   enrollment=Enrollment(folder / "map", average))
    expected = []
    for model, utt in pairs:
        of_model = [emb[name] / np.linalg.norm(emb[name]) for name in models[model]]
        if average == "embedding":
            of_model = [sum(of_model)]
        expected.append(naive_norm(norm, 0.25, against(cohort, *of_model), against(cohort, emb[utt]), 6))
    np.testing.assert_allclose(scores_of(folder / "out"), expected, rtol=1e-4)


@pytest.mark.parametrize(("cohort", "top_n", "norm", "said"), [
    ({"c": [1.0, 2.0]}, 300, "as1", "a cohort of 1 and a top-n of 300: a standard deviation needs at least 2"),
    ({"c": [1.0, 2.0]}, 300, "s", "a cohort of 1 and a top-n of 1: a standard deviation needs at least 2"),
    ({"c": [1.0, 2.0], "d": [2.0, 1.0]}, 1, "as2", "a cohort of 2 and a top-n of 1"),
    ({"c": [1.0], "d": [2.0]}, 2, "as1", "cohort.scp has dimension 1, .*eval.scp has 2"),
    ({"c": [1.0, 2.0], "d": [1.0, 2.0], "e": [1.0, -3.0]}, 2, "as1",
     "cohort.scp: the cohort scores of 2 embeddings are all alike .a, b.; is the cohort made of copies"),
    ({"c": [1.0, 2.0], "d": [1.0, 2.0]}, 2, "z", "cohort.scp: the cohort scores of 1 embeddings are all alike .a."),
    ({"c": [1.0, 2.0], "d": [1.0, 2.0]}, 2, "t", "cohort.scp: the cohort scores of 1 embeddings are all alike .b."),
    ({"c": [1.0, 2.0], "d": [0.0, 0.0]}, 2, "as1", "cohort.scp: 1 of 2 embeddings are zero or not finite .d."),
])
def test_a_cohort_that_gives_no_statistics_is_refused(tmp_path, cohort, top_n, norm, said):
    scp = write_embeddings(tmp_path, "eval", {"a": [1.0, 1.0], "b": [0.0, 1.0]})
    with pytest.raises(UserError, match=said):
        normalize_file(write(tmp_path / "scores", "a b 0.5"), scp, write_embeddings(tmp_path, "cohort", cohort),
                       tmp_path / "out", top_n, norm=norm)
    assert not (tmp_path / "out").exists()


def random_embeddings(n_emb, n_cohort):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n, 8)).astype(np.float32) for n in (n_emb, n_cohort)]


def test_memory_does_not_grow_with_the_evaluation(monkeypatch):
    monkeypatch.setattr(cohort_module, "_BLOCK_SCORES", 1 << 16)
    emb, cohort = random_embeddings(6000, 2000)
    tracemalloc.start()
    cohort_statistics(emb, cohort, 100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20                                       # the whole matrix takes 46 MiB


def test_every_digit_is_the_same_with_any_number_of_threads(small_blocks):
    emb, cohort = random_embeddings(90, 25)
    enroll, test = np.arange(90), np.arange(90)[::-1].copy()
    before, got = torch.get_num_threads(), []
    try:
        for n_threads in (1, 3):
            torch.set_num_threads(n_threads)
            got.append([*cohort_statistics(emb, cohort, 5), *cross_statistics(emb, cohort, 5, enroll, test)[0]])
            assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(before)
    assert all(np.array_equal(one, three) for one, three in zip(*got, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same():
    emb, cohort = random_embeddings(500, 100)
    enroll, test = np.arange(500), np.arange(500)[::-1].copy()
    for top_n in (7, 100):
        np.testing.assert_allclose(cohort_statistics(emb, cohort, top_n, "cuda"), cohort_statistics(emb, cohort, top_n),
                                   rtol=1e-5)
        np.testing.assert_allclose(cross_statistics(emb, cohort, top_n, enroll, test, "cuda"),
                                   cross_statistics(emb, cohort, top_n, enroll, test), rtol=1e-5)


def test_an_interrupted_run_leaves_the_other_blocks(monkeypatch, small_blocks):
    """Ctrl-C comes to the thread that waits; the others must not go through the whole cohort before the end."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    rng, done = np.random.default_rng(0), []
    emb, cohort = (rng.normal(size=(n, 4)).astype(np.float32) for n in (4000, 25))

    def interrupted(pool, work, numbers):
        waiting = [pool.submit(work, number) for number in numbers]
        while not done:
            time.sleep(0.001)
        yield waiting
        raise KeyboardInterrupt

    def take(scores, start):
        done.append(start)
        time.sleep(0.01)

    monkeypatch.setattr(cohort_module.ThreadPoolExecutor, "map", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cohort_module._through_blocks(emb, cohort, "cpu", take)
    assert len(done) < 20                                            # of 1000
