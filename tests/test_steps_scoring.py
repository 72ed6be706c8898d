"""The scoring steps as a user runs them: from embeddings to the table, again, with changed inputs, with mistakes."""

import re

import kaldiio
import numpy as np
import pytest
import scipy.spatial.distance

from pyspk.metrics import eer, min_dcf
from pyspk.scoring.norms import normalize_file
from pyspk.tables.archive import ArchiveWriter, write_vector


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    """A folder with embeddings of 6 speakers, a cohort, the mean of both, trials, utt2spk."""
    folder = tmp_path_factory.mktemp("evaluation")
    rng = np.random.default_rng(0)
    for name, n_spk in (("eval", 6), ("cohort", 30)):
        with ArchiveWriter(folder / f"{name}.ark", folder / f"{name}.scp") as writer:
            for spk in range(n_spk):
                voice = rng.normal(size=16)
                for utt in range(4):
                    writer.write(f"{name}{spk:02d}-{utt}", 5.0 + voice + rng.normal(0, 1.5, 16))
    write_vector(folder / "mean.vec", np.full(16, 5.0))
    utts = [f"eval{spk:02d}-{utt}" for spk in range(6) for utt in range(4)]
    (folder / "utt2spk").write_text("".join(f"{utt} {utt[:6]}\n" for utt in utts))
    (folder / "trials").write_text("".join(
        f"{a} {b} {'target' if a[:6] == b[:6] else 'nontarget'}\n" for a in utts for b in utts if a < b))
    return folder


def test_embeddings_become_scores_and_scores_a_table(evaluation, tmp_path, step):
    trials, scp, cohort = evaluation / "trials", evaluation / "eval.scp", evaluation / "cohort.scp"
    pairs = [line.split() for line in trials.read_text().splitlines()]
    emb = {utt: vector - 5.0 for utt, vector in kaldiio.load_scp(str(scp)).items()}
    mean = ("--subtract-mean", evaluation / "mean.vec")

    said = step("score_cosine.py", *mean, trials, scp, scp, tmp_path / "cosine").splitlines()
    assert said[0].startswith("score_cosine.py: score_cosine.py --subtract-mean /")
    assert said[-1] == f"score_cosine.py: wrote 276 scores to {tmp_path / 'cosine'}"
    scores = [line.split() for line in (tmp_path / "cosine").read_text().splitlines()]
    assert [score[:2] for score in scores] == [pair[:2] for pair in pairs]
    np.testing.assert_allclose([float(score[2]) for score in scores],
                               [1 - scipy.spatial.distance.cosine(emb[e], emb[t]) for e, t, _ in pairs], atol=1e-6)

    said = step("score_asnorm.py", *mean, "--top-n", 40, tmp_path / "cosine", scp, cohort, tmp_path / "asnorm")
    assert said.splitlines()[-1] == f"score_asnorm.py: wrote 276 scores to {tmp_path / 'asnorm'}"
    normalize_file(tmp_path / "cosine", scp, cohort, tmp_path / "expected", 40, evaluation / "mean.vec")
    assert (tmp_path / "asnorm").read_text() == (tmp_path / "expected").read_text()

    said = step("compute_metrics.py", "--p-target", 0.1, "--p-target", 0.2, "--utt2spk", evaluation / "utt2spk", trials,
                tmp_path / "cosine", tmp_path / "asnorm")
    rows = [re.split(" {2,}", line) for line in said.splitlines()[1:-1]]
    assert rows[0][-2:] == ["minDCF(0.1)", "minDCF(0.2)"]
    is_target = np.array([label == "target" for _, _, label in pairs])
    for name, row in zip(("cosine", "asnorm"), rows[1:], strict=True):
        score = np.array([float(line.split()[2]) for line in (tmp_path / name).read_text().splitlines()])
        low, high = map(float, row[5].split("-"))
        rate = 100 * eer(score[is_target], score[~is_target])
        assert row[:5] == [name, "6", "36", "240", f"{rate:.3f}"] and 0 < low < rate < high
        assert row[6:] == [f"{min_dcf(score[is_target], score[~is_target], p):.4f}" for p in (0.1, 0.2)]
    assert said.endswith("compute_metrics.py: wrote 2 rows to standard output\n")


def test_a_second_run_says_so_and_a_changed_one_asks(evaluation, tmp_path, step):
    trials, scp, out = tmp_path / "trials", evaluation / "eval.scp", tmp_path / "out"
    trials.write_text("eval00-0 eval00-1 target\neval00-0 eval01-1 nontarget\n")
    step("score_cosine.py", trials, scp, scp, out)
    scores, made = out.read_text(), out.stat().st_mtime_ns
    assert step("score_cosine.py", trials, scp, scp, out).endswith(f"{out} is current\n")
    assert out.stat().st_mtime_ns == made
    said = step("score_cosine.py", "--subtract-mean", evaluation / "mean.vec", trials, scp, scp, out, code=1)
    assert "its input mean has changed" in said and out.read_text() == scores
    step("score_cosine.py", "--overwrite", "--subtract-mean", evaluation / "mean.vec", trials, scp, scp, out)
    assert out.read_text() != scores

    normed, cohort = tmp_path / "normed", evaluation / "cohort.scp"
    step("score_asnorm.py", out, scp, cohort, normed)
    assert step("score_asnorm.py", out, scp, cohort, normed).endswith(f"{normed} is current\n")
    assert "top-n was 300, is 20" in step("score_asnorm.py", "--top-n", 20, out, scp, cohort, normed, code=1)
    other = ("--test-scp", scp, out, scp, cohort, normed)
    assert "its input test scp has changed" in step("score_asnorm.py", *other, code=1)
    step("score_asnorm.py", "--overwrite", *other)


def test_models_of_several_utterances_are_scored_and_normalised(evaluation, tmp_path, step):
    scp, cohort = evaluation / "eval.scp", evaluation / "cohort.scp"
    (tmp_path / "map").write_text("m0 eval00-0 eval00-1 eval00-2\nm1 eval01-0\n")
    (tmp_path / "trials").write_text("m0 eval00-3 target\nm1 eval00-3 nontarget\nm1 eval01-3 target\n")
    emb = {utt: vector / np.linalg.norm(vector) for utt, vector in kaldiio.load_scp(str(scp)).items()}
    enroll = ("--enroll-map", tmp_path / "map", "--enroll-average", "score")
    call = (tmp_path / "trials", scp, scp, tmp_path / "scores")
    step("score_cosine.py", *enroll, *call)
    scores = [float(line.split()[2]) for line in (tmp_path / "scores").read_text().splitlines()]
    assert scores[0] == pytest.approx(np.mean([emb[f"eval00-{n}"] @ emb["eval00-3"] for n in range(3)]), abs=1e-6)
    assert "enroll average was score, is embedding" in step("score_cosine.py", *enroll[:2], *call, code=1)
    assert "its input enroll map has changed" in step("score_cosine.py", *call, code=1)

    normed = (tmp_path / "scores", scp, cohort, tmp_path / "normed")
    step("score_asnorm.py", *enroll, "--norm", "z", *normed)
    against = np.mean([emb[f"eval00-{n}"] for n in range(3)], axis=0) @ np.stack(
        [vector / np.linalg.norm(vector) for vector in kaldiio.load_scp(str(cohort)).values()]).T
    first = float((tmp_path / "normed").read_text().split()[2])
    assert first == pytest.approx((scores[0] - against.mean()) / against.std(), rel=1e-4)
    assert step("score_asnorm.py", *enroll, "--norm", "z", "--top-n", 20, *normed).endswith("normed is current\n")
    other = ("--norm", "as2", *normed)
    assert "norm was z, is as2; top-n was None, is 300" in step("score_asnorm.py", *enroll, *other, code=1)


def test_the_table_is_kept_and_shown_again(evaluation, tmp_path, step):
    trials, scores, output = tmp_path / "trials", tmp_path / "scores", tmp_path / "metrics"
    trials.write_text("a1 a2 target\na1 b1 nontarget\n")
    scores.write_text("a1 a2 1\na1 b1 0\n")
    call = ("compute_metrics.py", "--output", output, trials, scores)
    said = step(*call)
    assert output.read_text() in said and said.endswith(f"wrote 1 rows to {output}\n")
    assert "minDCF(0.01)  minDCF(0.05)\n" in said
    again = step(*call)
    assert output.read_text() in again and again.endswith(f"{output} is current\n")
    scores.write_text("a1 a2 0\na1 b1 1\n")
    assert "its input scores 1 has changed" in step(*call, code=1)
    assert "100.000" in step("compute_metrics.py", "--overwrite", *call[1:])


@pytest.mark.parametrize(("call", "said"), [
    (["score_cosine.py", "TRIALS", "EVAL", "EVAL"], "Missing argument 'OUT'"),
    (["score_cosine.py", "none", "EVAL", "EVAL", "OUT"], "error: none: no such file"),
    (["score_cosine.py", "TRIALS", "COHORT", "EVAL", "OUT"], "23 of the 23 names wanted are not there (eval00-0, "),
    (["score_cosine.py", "--subtract-mean", "none.vec", "TRIALS", "EVAL", "EVAL", "OUT"], "none.vec: no such file"),
    (["score_asnorm.py", "--top-n", "1", "TRIALS", "EVAL", "COHORT", "OUT"], "1 is not in the range x>=2"),
    (["score_asnorm.py", "--norm", "b", "TRIALS", "EVAL", "COHORT", "OUT"], "not one of 'as1', 'as2', 's', 'z', 't'"),
    (["score_asnorm.py", "--device", "abacus", "TRIALS", "EVAL", "COHORT", "OUT"], "--device abacus: not on this"),
    (["score_cosine.py", "--enroll-map", "TRIALS", "--enroll-average", "x", "TRIALS", "EVAL", "EVAL", "OUT"],
     "'x' is not one of 'embedding', 'score'"),
    (["score_cosine.py", "--enroll-map", "none", "TRIALS", "EVAL", "EVAL", "OUT"], "error: none: no such file"),
    (["score_asnorm.py", "TRIALS", "EVAL", "COHORT", "OUT"], 'trials:1: "target" is no number'),
    (["compute_metrics.py", "TRIALS"], "Missing argument 'SCORES...'"),
    (["compute_metrics.py", "--p-target", "1", "TRIALS", "TRIALS"], "1.0 is not in the range 0<x<1"),
])
def test_a_mistake_is_one_line(evaluation, tmp_path, step, call, said):
    places = {"TRIALS": evaluation / "trials", "EVAL": evaluation / "eval.scp", "COHORT": evaluation / "cohort.scp",
              "OUT": tmp_path / "out"}
    lines = step(*(places.get(word, word) for word in call), code=1).splitlines()
    assert said in lines[-1] and ["error: " in line for line in lines].count(True) == 1
    assert all(": scores of about " in line for line in lines[1:-1])      # what it will take, where that can be told
    assert not (tmp_path / "out").exists()


def test_more_measures_groups_and_a_picture(evaluation, tmp_path, step):
    trials, scp, scores = evaluation / "trials", evaluation / "eval.scp", tmp_path / "cosine"
    step("score_cosine.py", trials, scp, scp, scores)
    gender, det, output = tmp_path / "spk2gender", tmp_path / "det.png", tmp_path / "metrics"
    gender.write_text("".join(f"eval{spk:02d} {'fm'[spk % 2]}\n" for spk in range(6)))
    call = ("compute_metrics.py", "--all", "--c-miss", 10, "--p-target", 0.01, "--groups", gender, "--utt2spk",
            evaluation / "utt2spk", "--det", det, "--output", output, trials, scores)
    said = step(*call)
    total, groups = output.read_text().split("\n\n")
    assert "minDCF(0.01, 10, 1)  EER hull %  actDCF(0.01, 10, 1)    Cllr  min Cllr\n" in total
    assert [line.split("  ")[0] for line in groups.splitlines()] == ["scores", "cosine", "cosine", "cosine"]
    assert groups.splitlines()[3].split()[1:6] == ["f,", "m", "6", "0", "144"]
    assert det.read_bytes().startswith(b"\x89PNG") and f"wrote 1 DET curves to {det}\n" in said
    again = step(*call)
    assert f"{det} is current\n" in again and again.endswith(f"{output} is current\n") and groups in again
    assert "all was True, is None" in step(call[0], *call[2:], code=1)
    assert "a picture's name ends with .png, .svg, .pdf" in step("compute_metrics.py", "--det", tmp_path / "det.gif",
                                                                 trials, scores, code=1)
    assert not (tmp_path / "det.gif").exists()
