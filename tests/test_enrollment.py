"""Models of several utterances: averages of embeddings and of scores, beside naive loops; maps that cannot be used."""

import numpy as np
import pytest
from score_world import write, write_embeddings
from test_norms import scores_of

from pyspk.errors import UserError
from pyspk.scoring.cosine import Enrollment, score_file
from pyspk.tables.archive import write_vector

MEAN = np.array([0.1, -0.2, 0.3, 0.0], dtype=np.float32)


@pytest.fixture
def corpus(tmp_path):
    """Embeddings of ten utterances, a map of three models, and trials of theirs."""
    rng = np.random.default_rng(0)
    emb = {f"u{n}": rng.normal(0.2, 1, 4).astype(np.float32) for n in range(10)}
    models = {"one": ["u3"], "many": ["u0", "u1", "u2"], "unused": ["gone"], "two": ["u1", "u4"]}
    write(tmp_path / "map", *(f"{model} {' '.join(utts)}" for model, utts in models.items()))
    pairs = [(model, f"u{n}") for n in range(5, 10) for model in ("two", "many", "one")]
    write(tmp_path / "trials", *(f"{model} {utt} target" for model, utt in pairs))
    write_embeddings(tmp_path, "eval", emb)
    write_vector(tmp_path / "mean.vec", MEAN)
    return tmp_path, emb, models, pairs


def unit(vector):
    return vector / np.sqrt((vector.astype(np.float64) ** 2).sum())


@pytest.mark.parametrize("average", ["embedding", "score"])
@pytest.mark.parametrize("mean", [None, MEAN])
def test_averages_equal_a_naive_loop(corpus, average, mean):
    folder, emb, models, pairs = corpus
    scp = folder / "eval.scp"
    score_file(folder / "trials", scp, scp, folder / "out", None if mean is None else folder / "mean.vec",
               Enrollment(folder / "map", average))
    less = 0 if mean is None else mean
    expected = []
    for model, utt in pairs:
        enrolled, test = [unit(emb[name] - less) for name in models[model]], unit(emb[utt] - less)
        if average == "embedding":
            enrolled = [unit(sum(enrolled) / len(enrolled))]
        expected.append(sum(float(one @ test) for one in enrolled) / len(enrolled))
    np.testing.assert_allclose(scores_of(folder / "out"), expected, atol=1e-6)


@pytest.mark.parametrize("average", ["embedding", "score"])
def test_models_of_one_utterance_score_as_the_utterance_does(corpus, average):
    folder, emb, _, _ = corpus
    scp, pairs = folder / "eval.scp", [(a, b) for a in sorted(emb) for b in sorted(emb)]
    write(folder / "trials", *(f"{a} {b} target" for a, b in pairs))
    score_file(folder / "trials", scp, scp, folder / "plain")
    write(folder / "map", *(f"{name} {name}" for name in reversed(sorted(emb))))      # a map may be in any order
    score_file(folder / "trials", scp, scp, folder / "mapped", enrollment=Enrollment(folder / "map", average))
    assert (folder / "mapped").read_bytes() == (folder / "plain").read_bytes()


@pytest.mark.parametrize(("lines", "said"), [
    (["two u1"], "map: 1 of the 2 names wanted are not there .one."),
    (["one u1", "two u1 nobody"], "eval.scp: 1 of the 2 names wanted are not there .nobody."),
    (["one u1", "two u1 u2 u1"], 'map:2: "two" names "u1" twice; name it once'),
    (["one u1", "one u2", "two u1"], 'map:2: "one" comes twice, first on line 1'),
    (["one u1", "two"], 'map:2: "two" has no value'),
    (["one u1", "two plus minus"],
     "map: 1 of 1 averages of a model's embeddings are zero or not finite .two.; extract them again"),
])
def test_a_map_that_cannot_be_used_is_refused(tmp_path, lines, said):
    scp = write_embeddings(tmp_path, "eval", {"u1": [1.0, 0.0], "u2": [1.0, 1.0], "plus": [2.0, 0.0],
                                              "minus": [-1.0, 0.0]})
    write(tmp_path / "trials", "one u1 target", "two u2 nontarget")
    enrollment = Enrollment(write(tmp_path / "map", *lines))
    with pytest.raises(UserError, match=said):
        score_file(tmp_path / "trials", scp, scp, tmp_path / "out", enrollment=enrollment)
    assert not (tmp_path / "out").exists()
