"""The calibration steps as a user runs them: from embeddings to ratios whose thresholds hold on other speakers."""

import re
import subprocess

import numpy as np
import pytest
from conftest import environment

from pyspk.calibration import Calibration
from pyspk.tables.archive import ArchiveWriter

N_TRAIN, N_EVAL, N_UTTS = 90, 40, 8


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """FOLDER/{train,eval}/{xvector.scp,spk_xvector.scp,utt2spk,utt2num_frames}, trials, exp/spk2id.

    Embeddings are a voice and noise that falls with the utterance's length. A third of the training speakers is unseen.
    """
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    for name, n_spk in (("train", N_TRAIN), ("eval", N_EVAL)):
        (folder / name).mkdir()
        utts = []
        with (ArchiveWriter(folder / name / "x.ark", folder / name / "xvector.scp") as writer,
              ArchiveWriter(folder / name / "s.ark", folder / name / "spk_xvector.scp") as means):
            for spk in range(n_spk):
                voice, embs = rng.normal(size=24), []
                for utt in range(N_UTTS):
                    n_frames = int(rng.integers(100, 1000))
                    embs.append(voice + rng.normal(0, 1.4 * (300 / n_frames)**0.5, 24))
                    utts.append((f"{name}{spk:02d}-{utt}", f"{name}{spk:02d}", n_frames))
                    writer.write(utts[-1][0], embs[-1])
                means.write(f"{name}{spk:02d}", np.mean(embs, axis=0))
        (folder / name / "utt2spk").write_text("".join(f"{utt} {spk}\n" for utt, spk, _ in utts))
        (folder / name / "utt2num_frames").write_text("".join(f"{utt} {n}\n" for utt, _, n in utts))
    (folder / "trials").write_text("".join(f"{a} {b} {'target' if x == y else 'nontarget'}\n"
                                           for i, (a, x, _) in enumerate(utts) for b, y, _ in utts[i + 1:]))
    (folder / "exp").mkdir()
    (folder / "exp" / "spk2id").write_text("".join(f"train{spk:02d} {spk}\n" for spk in range(N_TRAIN) if spk % 3))
    return folder


@pytest.fixture(scope="module")
def scored(corpus, tmp_path_factory):
    """A folder with calibration trials, and cosine, asnorm and duration of calibration and evaluation."""
    folder = tmp_path_factory.mktemp("scored")

    def step(name, *args):
        done = subprocess.run([name, *map(str, args)], env=environment(), text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stderr

    said = step("make_calibration_trials.py", "--cohort", corpus / "train/spk_xvector.scp", corpus / "exp",
                corpus / "train", folder / "cal")
    assert said.endswith(f"wrote 840 target and 27840 nontarget trials of 30 speakers to {folder}/cal/trials\n")
    assert len((folder / "cal" / "cohort.scp").read_text().splitlines()) == 60
    assert len((folder / "cal" / "utt2spk").read_text().splitlines()) == 240
    for name, trials in (("train", folder / "cal" / "trials"), ("eval", corpus / "trials")):
        xvectors = corpus / name / "xvector.scp"
        step("score_cosine.py", trials, xvectors, xvectors, folder / f"{name}.cosine")
        step("score_asnorm.py", folder / f"{name}.cosine", xvectors, folder / "cal" / "cohort.scp",
             folder / f"{name}.asnorm")
        step("compute_quality.py", "duration", corpus / name, folder / f"{name}.duration")
    return folder


def table_of(said):
    """The rows of the table in `said`, a dict each."""
    rows = [re.split(" {2,}", line.strip()) for line in said.splitlines() if not re.match(r"\w+\.py:", line)]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def test_thresholds_hold_on_speakers_that_calibration_never_saw(corpus, scored, tmp_path, step):
    said = step("calibrate.py", "--prior", 0.05, scored / "cal/trials", scored / "train.cosine", tmp_path / "c.json")
    calibration = Calibration.load(tmp_path / "c.json")
    assert list(calibration.systems) == ["cosine"] and calibration.p_target == 0.05
    assert calibration.trained_on["speakers"] == 30
    assert "calibrate.py: wrote llr = " in said and said.endswith(f"{tmp_path}/c.json\n")
    expected = table_of(said)
    assert [row["P target"] for row in expected] == ["0.01", "0.05", "0.5"]
    assert [float(row["threshold"]) for row in expected] == pytest.approx([4.5951, 2.9444, 0], abs=1e-4)

    step("apply_calibration.py", tmp_path / "c.json", scored / "eval.cosine", tmp_path / "eval.calibrated")
    lines = [line.split() for line in (scored / "eval.cosine").read_text().splitlines()]
    got = [line.split() for line in (tmp_path / "eval.calibrated").read_text().splitlines()]
    assert [line[:2] for line in got] == [line[:2] for line in lines]
    np.testing.assert_allclose([float(line[2]) for line in got],
                               calibration.apply(np.array([float(line[2]) for line in lines])), rtol=1e-6)

    row = table_of(step("compute_metrics.py", "--all", "--p-target", 0.05, "--p-target", 0.5, corpus / "trials",
                        tmp_path / "eval.calibrated"))[0]
    for p in ("0.05", "0.5"):
        least, actual = float(row[f"minDCF({p})"]), float(row[f"actDCF({p})"])
        assert least <= actual < 1.1 * least                    # what is called well calibrated: within a tenth
    foretold = {one["P target"]: float(one["actDCF"]) for one in expected}
    assert float(row["actDCF(0.05)"]) == pytest.approx(foretold["0.05"], rel=0.25)


def test_fusion_with_durations_lowers_the_cost(corpus, scored, tmp_path, step):
    step("calibrate.py", "--prior", 0.5, scored / "cal/trials", scored / "train.cosine", tmp_path / "c.json")
    step("apply_calibration.py", tmp_path / "c.json", scored / "eval.cosine", tmp_path / "eval.single")
    step("calibrate.py", "--prior", 0.5, "--quality", scored / "train.duration", scored / "cal/trials",
         scored / "train.cosine", scored / "train.asnorm", tmp_path / "f.json")
    step("apply_calibration.py", "--quality", scored / "eval.duration", tmp_path / "f.json", scored / "eval.cosine",
         scored / "eval.asnorm", tmp_path / "eval.fused")
    assert list(Calibration.load(tmp_path / "f.json").qualities) == ["duration.min", "duration.difference"]
    single, fused = table_of(step("compute_metrics.py", "--all", "--p-target", 0.5, corpus / "trials",
                                  tmp_path / "eval.single", tmp_path / "eval.fused"))
    assert float(fused["Cllr"]) < float(single["Cllr"]) < 1.1 * float(single["min Cllr"])


def test_each_step_says_when_it_is_current_and_what_has_changed(corpus, scored, tmp_path, step):
    make, where = ("make_calibration_trials.py", "--cohort", corpus / "train/spk_xvector.scp"), scored / "cal"
    assert step(*make, corpus / "exp", corpus / "train", where).endswith(f"{where / 'trials'} is current\n")
    assert "utts-per-speaker was 20, is 5" in step(*make, "--utts-per-speaker", 5, corpus / "exp", corpus / "train",
                                                   where, code=1)
    duration = scored / "eval.duration"
    assert step("compute_quality.py", "duration", corpus / "eval", duration).endswith(f"{duration} is current\n")
    assert "measure was duration, is norm" in step("compute_quality.py", "norm", corpus / "eval/xvector.scp", duration,
                                                   code=1)
    assert "wrote 320 norms" in step("compute_quality.py", "norm", corpus / "eval/xvector.scp", tmp_path / "norm")
    assert "wrote 320 cohort means" in step("compute_quality.py", "cohort", "--top-n", 20, corpus / "eval/xvector.scp",
                                            scored / "cal/cohort.scp", tmp_path / "cohort")

    fit = scored / "cal/trials", scored / "train.cosine", tmp_path / "c.json"
    first, again = step("calibrate.py", *fit), step("calibrate.py", *fit)
    assert again.endswith(f"{tmp_path}/c.json is current\n") and table_of(again) == table_of(first)
    assert "prior was 0.05, is 0.1" in step("calibrate.py", "--prior", 0.1, *fit, code=1)
    apply = tmp_path / "c.json", scored / "eval.cosine", tmp_path / "eval.calibrated"
    step("apply_calibration.py", *apply)
    assert step("apply_calibration.py", *apply).endswith("eval.calibrated is current\n")


def test_mistakes_end_in_one_line_and_leave_nothing(corpus, scored, tmp_path, step):
    assert "trials have no score" in step("calibrate.py", corpus / "trials", scored / "train.cosine",
                                          tmp_path / "c.json", code=1)
    assert "Missing argument" in step("calibrate.py", corpus / "trials", code=1)
    (tmp_path / "c.costs").write_text("P target\n")
    assert "c.costs: not JSON; calibrate.py makes a calibration" in step(
        "apply_calibration.py", tmp_path / "c.costs", scored / "eval.cosine", tmp_path / "out", code=1)
    assert "spk2id: no such file" in step("make_calibration_trials.py", tmp_path, corpus / "train", tmp_path / "t",
                                          code=1)
    assert not any((tmp_path / name).exists() for name in ("c.json", "out", "t"))
