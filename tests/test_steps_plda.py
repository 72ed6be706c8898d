"""The PLDA steps as a user runs them: train, score, adapt; again; with changed inputs; with mistakes."""

import pytest
from score_world import write, write_embeddings
from test_backend import speakers
from test_norms import scores_of

from pyspk.metrics import eer


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    """A folder with embeddings of a training set, an evaluation set and another domain, a map, trials."""
    folder = tmp_path_factory.mktemp("evaluation")
    emb = {"train": speakers(0, 60, 6), "eval": speakers(1, 8, 5), "other": speakers(2, 40, 3, shift=2.0)}
    for name, vectors in emb.items():
        write_embeddings(folder, name, vectors)
    write(folder / "utt2spk", *(f"{utt} {utt[:4]}" for utt in sorted(emb["train"])))
    write(folder / "map", *(f"s{spk:03d} s{spk:03d}-0 s{spk:03d}-1 s{spk:03d}-2" for spk in range(8)))
    write(folder / "trials", *(f"s{spk:03d} {utt} {'target' if utt.startswith(f's{spk:03d}') else 'nontarget'}"
                               for spk in range(8) for utt in sorted(emb["eval"]) if utt[-1] in "34"))
    return folder


def test_a_back_end_is_trained_scored_and_adapted(evaluation, tmp_path, step):
    training = (evaluation / "utt2spk", evaluation / "train.scp", tmp_path / "plda")
    said = step("train_plda.py", "--lda-dim", 4, "--rank", 3, *training).splitlines()
    assert "train_plda.py: EM iteration 0: log likelihood a vector " in said[1]
    assert said[-1] == (f"train_plda.py: wrote a model of 360 utterances of 60 speakers in 4 dimensions to "
                        f"{tmp_path / 'plda'}")
    assert {path.name for path in (tmp_path / "plda").glob("[a-z]*")} == {"mean.vec", "transform.mat", "plda"}
    scp = evaluation / "eval.scp"
    inputs = (evaluation / "trials", scp, scp)
    scoring = ("--enroll-map", evaluation / "map", tmp_path / "plda", *inputs, tmp_path / "scores")
    assert step("score_plda.py", *scoring).splitlines()[-1] == (
        f"score_plda.py: wrote 128 scores to {tmp_path / 'scores'}")
    is_target = [line.split()[2] == "target" for line in (evaluation / "trials").read_text().splitlines()]
    target, nontarget = ([score for score, label in zip(scores_of(tmp_path / "scores"), is_target, strict=True)
                          if label is wanted] for wanted in (True, False))
    assert len(target) == 16 and eer(target, nontarget) < 0.15

    norming = ("--plda", tmp_path / "plda", "--enroll-map", evaluation / "map", tmp_path / "scores", scp,
               evaluation / "other.scp", tmp_path / "normed")
    assert step("score_asnorm.py", *norming).endswith(f"wrote 128 scores to {tmp_path / 'normed'}\n")
    assert "normalize-length was False, is True" in step("score_asnorm.py", "--normalize-length", *norming, code=1)
    assert "its input plda has changed" in step("score_asnorm.py", *norming[2:], code=1)

    for call, out in ((("train_plda.py", "--lda-dim", 4, "--rank", 3, *training), tmp_path / "plda" / "plda"),
                      (("score_plda.py", *scoring), tmp_path / "scores")):
        made = out.stat().st_mtime_ns
        assert step(*call).endswith(f"{out} is current\n") and out.stat().st_mtime_ns == made
    assert "normalize-length was False, is True" in step("score_plda.py", "--normalize-length", *scoring, code=1)
    assert "lda-dim was 4, is None" in step("train_plda.py", *training, code=1)
    step("train_plda.py", "--overwrite", *training)
    assert "its input plda has changed" in step("score_plda.py", *scoring, code=1)
    step("score_plda.py", "--overwrite", *scoring)

    adapting = (tmp_path / "plda", evaluation / "other.scp", tmp_path / "adapted")
    assert step("adapt_plda.py", *adapting).splitlines()[-1] == (
        f"adapt_plda.py: wrote a model fitted to 120 embeddings to {tmp_path / 'adapted'}")
    assert step("adapt_plda.py", *adapting).endswith("plda is current\n")
    assert "within-scale was 0.3, is 0.5" in step("adapt_plda.py", "--within-scale", 0.5, *adapting, code=1)
    assert "method was kaldi, is coral" in step("adapt_plda.py", "--method", "coral", *adapting, code=1)
    step("adapt_plda.py", "--overwrite", "--method", "coral", *adapting)
    step("score_plda.py", *scoring[:2], tmp_path / "adapted", *inputs, tmp_path / "adapted.scores")


@pytest.mark.parametrize(("call", "said"), [
    (["train_plda.py", "UTT2SPK", "TRAIN"], "Missing argument 'OUT_DIR'"),
    (["train_plda.py", "UTT2SPK", "EVAL", "OUT"], "eval.scp: 320 of the 360 names wanted are not there (s000-5,"),
    (["train_plda.py", "--lda-dim", "9", "UTT2SPK", "TRAIN", "OUT"], "--lda-dim 9: embeddings of 5 dimensions and 60"),
    (["train_plda.py", "/dev/null", "TRAIN", "OUT"], '/dev/null: empty; it has a line "utterance speaker" for each'),
    (["adapt_plda.py", "--within-scale", "nan", "none", "EVAL", "OUT"], "'--within-scale': nan is no finite number"),
    (["train_plda.py", "--rank", "0", "UTT2SPK", "TRAIN", "OUT"], "0 is not in the range x>=1"),
    (["score_plda.py", "none", "TRIALS", "EVAL", "EVAL", "OUT"], "none/mean.vec: no such file"),
    (["score_asnorm.py", "--plda", "none", "TRIALS", "EVAL", "TRAIN", "OUT"], "none/mean.vec: no such file"),
    (["score_asnorm.py", "--plda", "none", "--subtract-mean", "x", "TRIALS", "EVAL", "TRAIN", "OUT"],
     "--plda has a mean and averages of its own; leave --subtract-mean and --enroll-average out"),
    (["score_asnorm.py", "--normalize-length", "TRIALS", "EVAL", "TRAIN", "OUT"],
     "--normalize-length is for scores of --plda; leave it out"),
    (["adapt_plda.py", "--method", "magic", "none", "EVAL", "OUT"], "'magic' is not one of 'kaldi', 'coral'"),
    (["adapt_plda.py", "none", "EVAL", "OUT"], "none/mean.vec: no such file"),
])
def test_a_mistake_is_one_line(evaluation, tmp_path, step, call, said):
    places = {"UTT2SPK": evaluation / "utt2spk", "TRAIN": evaluation / "train.scp", "EVAL": evaluation / "eval.scp",
              "TRIALS": evaluation / "trials", "OUT": tmp_path / "out"}
    lines = step(*(places.get(word, word) for word in call), code=1).splitlines()
    assert len(lines) == 2 and said in lines[1]
    assert not (tmp_path / "out" / "plda").exists()
