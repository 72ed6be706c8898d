"""Trials, cosine scores, the table: by hand, by naive loops, and with the faults a file can have."""

import numpy as np
import pytest
import scipy.spatial.distance
from score_world import write, write_embeddings

from pyspk.errors import UserError
from pyspk.scoring import blocks, cosine, table, trials
from pyspk.tables.archive import write_vector


def lines_of(path):
    """(ENROLL TEST, score) of each line of a score file."""
    return [(pair, float(score)) for pair, _, score in (line.rpartition(" ") for line in path.read_text().splitlines())]


# ---- trial lists and score files

@pytest.mark.parametrize("lines", [
    ["a b target", "a c nontarget", "b  a\tnontarget"], ["1 a b", "0 a c", "0 b a"],
    ["\ufeffa b target", "a c nontarget", "b a nontarget"], ["\ufeff1 a b\r", "0 a c\r", "0 b a\r"],
    ["1 b target", "1 c nontarget", "b 1 nontarget"],           # an utterance called 1 does not make it VoxCeleb's form
])
def test_both_forms_of_a_trial_list_are_read(tmp_path, lines):
    got = trials.read_trials(write(tmp_path / "trials", *lines))
    first = "1" if lines[0].startswith("1 b t") else "a"
    assert [got.names[i] for i in got.enroll] == [first, first, "b"]
    assert [got.names[i] for i in got.test] == ["b", "c", first]
    assert got.is_target.tolist() == [True, False, False]


@pytest.mark.parametrize(("text", "said"), [
    ("a b target\na b\n", 'trials:2: 2 fields; a trial is "ENROLL TEST target"'),
    ("a b target\n\n", "trials:2: 0 fields"),
    ("a b target\na c tgt\n", 'trials:2: "tgt" is no label'), ("1 a b\na c target\n", 'trials:2: "a" is no label'),
    ("", "trials: empty"), (b"a \xff target\n", "trials: not UTF-8 text"), (None, "trials: no such file"),
])
def test_a_faulty_trial_list_is_refused(tmp_path, text, said):
    if text is not None:
        (tmp_path / "trials").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=said):
        trials.read_trials(tmp_path / "trials")


@pytest.mark.parametrize(("text", "said"), [
    ("a b 0.5\na b\n", 'scores:2: 2 fields; a score is "ENROLL TEST SCORE"'), ("a b 0.5 c\n", "scores:1: 4 fields"),
    ("a b 0.5\na c half\n", 'scores:2: "half" is no number'), ("", "scores: empty"),
    ("a b 0.5\na c 0.1", "scores:2: the last line has no newline"),
    ("".join(f"a u{n} {s}\n" for n, s in enumerate(["nan", 1, "inf", "nan", "-inf"])),
     "scores: 4 of 5 scores are NaN or infinite .a u0, a u2, a u3, ...."),
])
def test_a_faulty_score_file_is_refused(tmp_path, text, said):
    (tmp_path / "scores").write_text(text)
    with pytest.raises(UserError, match=said):
        trials.read_scores(tmp_path / "scores")


def test_scores_are_written_with_seven_digits_and_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "_BLOCK_LINES", 2)
    index = np.array([0, 1, 0], dtype=np.int32)
    written = trials.Scores(["a", "b"], index, index[::-1], np.array([1 / 3, -2e-9, 12345678.0]))
    trials.write_scores(tmp_path / "s", written)
    assert (tmp_path / "s").read_text() == "a a 0.3333333\nb b -2e-9\na a 12345680\n"
    assert trials.read_scores(tmp_path / "s").score.tolist() == [0.3333333, -2e-9, 12345680.0]


def matched(folder, trial_lines, score_lines):
    paths = write(folder / "trials", *trial_lines), write(folder / "scores", *score_lines)
    return trials.match(trials.read_trials(paths[0]), trials.read_scores(paths[1]), *paths).tolist()


def test_scores_find_their_trials_in_any_order(tmp_path):
    assert matched(tmp_path, ["a b target", "b a nontarget", "c a target"],
                   ["c a 3", "b a 2", "a b 1"]) == [1, 2, 3]


def test_a_trial_listed_twice_counts_twice_and_is_reported(tmp_path, caplog):
    assert matched(tmp_path, ["a b target", "c d nontarget", "a b target"], ["a b 1", "a b 1", "c d 0"]) == [1, 0, 1]
    assert "1 trials come again (a b); each line counts" in caplog.text


@pytest.mark.parametrize(("trial_lines", "score_lines", "said"), [
    (["a b target", *(f"a u{n} nontarget" for n in range(4))], ["a b 1"],
     "scores does not fit .*trials: 4 of 5 trials have no score .a u0, a u1, a u2, ....; score this trial list"),
    (["a b target"], ["a b 1", "b a 1", "x y 1"], "trials: 2 scores have no trial .b a, x y.;"),
    (["a b target", "a c target"], ["a b 1", "x c 1"],
     "1 of 2 trials have no score .a c. and 1 scores have no trial .x c."),
    (["a b target"], ["a b 1", "a b 1"], "1 pairs have more or fewer score lines than trial lines .a b."),
    (["a b target", "a b target"], ["a b 1"], "1 pairs have more or fewer score lines than trial lines .a b."),
    (["a b target", "a b nontarget"], ["a b 1", "a b 1"], "trials: 1 repeated pairs have different labels .a b."),
    (["a b target", "a b target"], ["a b 1", "a b 2"], "scores: 1 repeated pairs have different scores .a b."),
])
def test_scores_that_do_not_fit_their_trials_are_refused(tmp_path, trial_lines, score_lines, said):
    with pytest.raises(UserError, match=said):
        matched(tmp_path, trial_lines, score_lines)


# ---- cosine

@pytest.fixture
def corpus(tmp_path):
    """Twenty embeddings and sixty trials among them: folder, name -> embedding, pairs."""
    rng = np.random.default_rng(0)
    emb = {f"utt{n:02d}": rng.normal(0.3, 1, 8).astype(np.float32) for n in range(20)}
    pairs = [tuple(rng.choice(sorted(emb), 2)) for _ in range(60)]
    write(tmp_path / "trials", *(f"{e} {t} {'target' if n % 3 else 'nontarget'}" for n, (e, t) in enumerate(pairs)))
    write_embeddings(tmp_path, "eval", emb)
    return tmp_path, emb, pairs


@pytest.mark.parametrize("is_centred", [False, True])
def test_cosine_scores_equal_scipys(corpus, monkeypatch, is_centred):
    folder, emb, pairs = corpus
    monkeypatch.setattr(blocks, "_BLOCK_TRIALS", 7)
    mean = np.linspace(-0.5, 0.5, 8, dtype=np.float32) * is_centred
    write_vector(folder / "mean.vec", mean)
    n = cosine.score_file(folder / "trials", folder / "eval.scp", folder / "eval.scp", folder / "out",
                          folder / "mean.vec" if is_centred else None)
    expected = [1 - scipy.spatial.distance.cosine(emb[e] - mean, emb[t] - mean) for e, t in pairs]
    pairs_got, got = zip(*lines_of(folder / "out"), strict=True)
    assert n == 60 and list(pairs_got) == [f"{e} {t}" for e, t in pairs]
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_enroll_and_test_names_are_looked_up_apart(tmp_path):
    enroll = write_embeddings(tmp_path, "enroll", {"a": [1.0, 0.0], "b": [0.0, 2.0]})
    test = write_embeddings(tmp_path, "test", {"a": [3.0, 4.0], "unused": [0.0, 0.0]})
    cosine.score_file(write(tmp_path / "trials", "a a target", "b a nontarget"), enroll, test, tmp_path / "out")
    assert lines_of(tmp_path / "out") == [("a a", pytest.approx(0.6)), ("b a", pytest.approx(0.8))]


def test_voxcelebs_names_find_kaldis(tmp_path):
    scp = write_embeddings(tmp_path, "eval", {"id1-x_-y-00001": [1.0, 0.0], "id2/z/00002.wav": [3.0, 4.0]})
    write(tmp_path / "trials", "1 id1/x_-y/00001.wav id2/z/00002.wav")
    cosine.score_file(tmp_path / "trials", scp, scp, tmp_path / "out")
    assert lines_of(tmp_path / "out") == [("id1/x_-y/00001.wav id2/z/00002.wav", pytest.approx(0.6))]


def test_names_without_an_embedding_are_counted_and_named(tmp_path):
    scp = write_embeddings(tmp_path, "eval", {"a": [1.0, 0.0]})
    write(tmp_path / "trials", "a b target", "c a nontarget", "d e nontarget")
    with pytest.raises(UserError, match=r"eval.scp: 4 of the 5 names wanted are not there .b, c, d, ....; make"):
        cosine.score_file(tmp_path / "trials", scp, scp, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("emb", "mean", "said"), [
    ({"a": [1.0, 0.0], "b": [0.0, 0.0]}, None, "eval.scp: 1 of 2 embeddings are zero or not finite .b.; extract"),
    ({"a": [np.nan, 0.0], "b": [np.inf, 0.0]}, None, "2 of 2 embeddings are zero or not finite .a, b."),
    ({"a": [1.0, 2.0], "b": [0.0, 1.0]}, [1.0, 2.0], "1 of 2 embeddings less the mean are zero or not finite .a."),
    ({"a": [1.0, 2.0], "b": [0.0, 1.0, 2.0]}, None, 'eval.scp: "b" has dimension 3, "a" has 2'),
    ({"a": [1.0, 2.0], "b": [0.0, 1.0]}, [1.0], "the mean has dimension 1, .*eval.scp has 2"),
])
def test_embeddings_without_a_direction_are_refused(tmp_path, emb, mean, said):
    scp = write_embeddings(tmp_path, "eval", emb)
    write(tmp_path / "trials", "a b target")
    if mean:
        write_vector(tmp_path / "mean.vec", np.array(mean))
    with pytest.raises(UserError, match=said):
        cosine.score_file(tmp_path / "trials", scp, scp, tmp_path / "out", mean and tmp_path / "mean.vec")


def test_two_models_are_refused(tmp_path):
    enroll = write_embeddings(tmp_path, "e", {"a": [1.0]})
    test = write_embeddings(tmp_path, "t", {"a": [1.0, 2.0]})
    with pytest.raises(UserError, match=r"t.scp has dimension 2, .*e.scp has 1; they must come from one model"):
        cosine.score_file(write(tmp_path / "trials", "a a target"), enroll, test, tmp_path / "out")


# ---- the table

def test_the_table_is_aligned_and_right(tmp_path):
    trial_lines = ["a1 a2 target", "a1 b1 nontarget", "b1 b2 target", "b2 a2 nontarget"]
    write(tmp_path / "trials", *trial_lines)
    write(tmp_path / "utt2spk", "a1 a", "a2 a", "b1 b", "b2 b")
    perfect = write(tmp_path / "perfect", "a1 a2 2", "a1 b1 0", "b1 b2 3", "b2 a2 1")
    corner = write(tmp_path / "s", "a1 a2 3", "a1 b1 0", "b1 b2 1", "b2 a2 2")
    lines = table.metrics_table(tmp_path / "trials", [perfect, corner], [0.01, 0.5], tmp_path / "utt2spk")
    assert [line.split() for line in lines] == [
        ["scores", "speakers", "targets", "nontargets", "EER", "%", "95%", "interval", "minDCF(0.01)", "minDCF(0.5)"],
        [perfect.name, "2", "2", "2", "0.000", "0.000-0.000", "0.0000", "0.0000"],
        [corner.name, "2", "2", "2", "50.000", "50.000-50.000", "0.5000", "0.5000"],   # both speakers, or drawn again
    ]
    assert len({len(line) for line in lines}) == 1 and lines[2].startswith(f"{corner.name} ")
    assert lines == table.metrics_table(tmp_path / "trials", [perfect, corner], [0.01, 0.5])   # targets tell the same


def test_trials_may_enroll_speakers(tmp_path):
    write(tmp_path / "trials", "a a2 target", "a b1 nontarget", "b b1 target")
    write(tmp_path / "utt2spk", "a2 a", "b1 b")
    scores = write(tmp_path / "s", "a a2 1", "a b1 0", "b b1 1")
    assert table.metrics_table(tmp_path / "trials", [scores], [0.01], tmp_path / "utt2spk")[1].split()[1:4] == [
        "2", "2", "1"]


@pytest.mark.parametrize(("utt2spk", "said"), [
    (["a1 a", "b1 b"], "utt2spk: 1 of the 3 names wanted are not there .a2."),
    (["a1 a", "a2 c", "b1 b"], "1 target trials join two speakers .number 1.; mend the trials or utt2spk"),
])
def test_speakers_that_do_not_fit_the_trials_are_refused(tmp_path, utt2spk, said):
    write(tmp_path / "trials", "a1 a2 target", "a1 b1 nontarget")
    scores = write(tmp_path / "s", "a1 a2 1", "a1 b1 0")
    with pytest.raises(UserError, match=said):
        table.metrics_table(tmp_path / "trials", [scores], [0.01], write(tmp_path / "utt2spk", *utt2spk))
