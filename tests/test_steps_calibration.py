"""docs/calibration.md as a user follows it: each command in it is run, and its thresholds hold on others."""

import re
import subprocess

import numpy as np
import pytest
from conftest import ROOT, environment

from pyspk.calibration import Calibration
from pyspk.tables.archive import ArchiveWriter, write_vector
from pyspk.tables.text import write_table

N_TRAIN, N_EVAL, N_UTTS = 90, 40, 8
DOCS = (ROOT / "docs" / "calibration.md").read_text()
EXP = "exp/resnet34p"


def blocks(is_program):
    """The indented blocks of the page that are commands, or that are Python."""
    found = re.findall(r"(?:^    .*\n|^\n(?=    ))+", DOCS, re.MULTILINE)
    programs = [re.sub("^    ", "", block, flags=re.MULTILINE) for block in found]
    return [text for text in programs if (".py" in text and not is_program) or ("import" in text and is_program)]


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """(folder with what the page starts from and all that its commands write, what they said).

    Embeddings are a voice and noise that falls with the utterance's length. A third of the training speakers is unseen.
    """
    folder = tmp_path_factory.mktemp("experiment")
    rng = np.random.default_rng(0)
    for name, n_spk in (("train", N_TRAIN), ("eval", N_EVAL)):
        data, xvectors = folder / "data" / name, folder / EXP / f"xvectors_{name}"
        data.mkdir(parents=True)
        utts = []
        with (ArchiveWriter(xvectors / "x.ark", xvectors / "xvector.scp") as writer,
              ArchiveWriter(xvectors / "s.ark", xvectors / "spk_xvector.scp") as means):
            for spk in range(n_spk):
                voice, embs = rng.normal(size=24), []
                for utt in range(N_UTTS):
                    n_frames = int(rng.integers(100, 1000))
                    embs.append(0.5 + voice + rng.normal(0, 1.4 * (300 / n_frames)**0.5, 24))
                    utts.append((f"{name}{spk:02d}-{utt}", f"{name}{spk:02d}", n_frames))
                    writer.write(utts[-1][0], embs[-1])
                means.write(f"{name}{spk:02d}", np.mean(embs, axis=0))
        write_vector(xvectors / "mean.vec", np.full(24, 0.5))
        write_table(data / "utt2spk", {utt: spk for utt, spk, _ in utts})
        write_table(data / "utt2num_frames", {utt: n for utt, _, n in utts})
    write_table(data / "spk2gender", {f"eval{spk:02d}": "mf"[spk % 2] for spk in range(N_EVAL)})
    write_table(folder / EXP / "spk2id", {f"train{spk:02d}": spk for spk in range(N_TRAIN) if spk % 3})
    (folder / "data" / "trials").mkdir()
    (folder / "data" / "trials" / "eval").write_text("".join(
        f"{a} {b} {'target' if x == y else 'nontarget'}\n"
        for i, (a, x, _) in enumerate(utts) for b, y, _ in utts[i + 1:]))
    (folder / "path.sh").write_text("")
    stage_5 = f"""
        x={EXP}/xvectors_eval mean='--subtract-mean {EXP}/xvectors_train/mean.vec'
        score_cosine.py $mean data/trials/eval $x/xvector.scp $x/xvector.scp {EXP}/scores/eval.cosine
        score_asnorm.py $mean {EXP}/scores/eval.cosine $x/xvector.scp {EXP}/xvectors_train/spk_xvector.scp \\
          {EXP}/scores/eval.asnorm
        """
    shell = "\n".join(["set -e", stage_5, *blocks(is_program=False)])
    done = subprocess.run(["bash", "-c", shell], cwd=folder, env=environment(), text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return folder, done.stdout


def tables_of(said):
    """The tables in `said`: a list of rows each, a dict each."""
    tables = []
    for line in said.splitlines():
        cells = re.split(" {2,}", line.strip())
        if re.match(r"\w+\.py:", line) or len(cells) < 5:
            continue
        if cells[0] in ("scores", "P target"):
            tables.append([])
            titles = cells
        else:
            tables[-1].append(dict(zip(titles, cells, strict=True)))
    return tables


def test_the_commands_of_the_page_run(followed):
    folder, said = followed
    assert "wrote 840 target and 27840 nontarget trials of 30 speakers to exp/resnet34p/calibration/trials\n" in said
    assert "wrote 60 speakers to exp/resnet34p/calibration/cohort.scp\n" in said
    assert "calibrate.py: wrote llr = " in said
    expected, _, of_fusion, _, of_groups = tables_of(said)
    assert [row["P target"] for row in expected] == [row["P target"] for row in of_fusion] == ["0.01", "0.05", "0.5"]
    assert [float(row["threshold"]) for row in expected] == pytest.approx([4.5951, 2.9444, 0], abs=1e-4)
    assert [row["spk2gender"] for row in of_groups] == ["f", "m", "f, m"]
    fusion = Calibration.load(folder / EXP / "calibration" / "fusion.json")
    assert (list(fusion.systems), list(fusion.qualities)) == (["cosine", "asnorm"],
                                                              ["duration.min", "duration.difference"])


def test_ratios_are_those_of_the_calibration(followed):
    calibration = Calibration.load(followed[0] / EXP / "calibration.json")
    assert calibration.p_target == 0.05 and calibration.trained_on["speakers"] == 30
    lines, got = ([line.split() for line in (followed[0] / EXP / "scores" / name).read_text().splitlines()]
                  for name in ("eval.cosine", "eval.calibrated"))
    assert [line[:2] for line in got] == [line[:2] for line in lines]
    np.testing.assert_allclose([float(line[2]) for line in got],
                               calibration.apply(np.array([float(line[2]) for line in lines])), rtol=1e-6)


def test_thresholds_hold_on_speakers_that_calibration_never_saw(followed):
    expected, [measured], *_ = tables_of(followed[1])
    for p in ("0.01", "0.05"):
        least, actual = float(measured[f"minDCF({p})"]), float(measured[f"actDCF({p})"])
        assert least <= actual < 1.1 * least                    # what is called well calibrated: within a tenth
    assert float(measured["Cllr"]) < 1.1 * float(measured["min Cllr"])
    foretold = {row["P target"]: float(row["actDCF"]) for row in expected}
    assert float(measured["actDCF(0.05)"]) == pytest.approx(foretold["0.05"], rel=0.25)


def test_fusion_with_durations_lowers_the_cost(followed, step):
    folder, _ = followed
    single, fused = tables_of(step("compute_metrics.py", "--all", folder / "data/trials/eval",
                                   folder / EXP / "scores/eval.calibrated", folder / EXP / "scores/eval.fused"))[0]
    assert float(fused["Cllr"]) < float(single["Cllr"])


def test_the_program_of_the_page_runs(followed):
    [program] = blocks(is_program=True)
    here = {"scores": np.array([-1.0, 0.9])}
    exec(program.replace("exp/resnet34p", str(followed[0] / EXP)), here)
    assert here["accept"].tolist() == [False, True] and 0 < here["probability"][0] < 0.01 < here["probability"][1] < 1


def test_each_step_says_when_it_is_current_and_what_has_changed(followed, tmp_path, step):
    folder, said = followed
    cal, xvectors = folder / EXP / "calibration", folder / EXP / "xvectors_train"
    trials = ("--cohort", xvectors / "spk_xvector.scp", folder / EXP, folder / "data/train", cal)
    assert step("make_calibration_trials.py", *trials).endswith(f"{cal / 'trials'} is current\n")
    assert "utts-per-speaker was 20, is 5" in step("make_calibration_trials.py", "--utts-per-speaker", 5, *trials,
                                                   code=1)
    duration = cal / "train.duration"
    assert step("compute_quality.py", "duration", folder / "data/train", duration).endswith(f"{duration} is current\n")
    assert "measure was duration, is norm" in step("compute_quality.py", "norm", xvectors / "xvector.scp", duration,
                                                   code=1)
    assert "wrote 720 norms" in step("compute_quality.py", "norm", xvectors / "xvector.scp", tmp_path / "norm")
    assert "wrote 720 cohort means" in step("compute_quality.py", "cohort", "--top-n", 20, xvectors / "xvector.scp",
                                            cal / "cohort.scp", tmp_path / "cohort")
    fit = "--utt2spk", cal / "utt2spk", cal / "trials", cal / "train.cosine", folder / EXP / "calibration.json"
    again = step("calibrate.py", *fit)
    assert again.endswith("calibration.json is current\n") and tables_of(again)[0] == tables_of(said)[0]
    assert "prior was 0.05, is 0.1" in step("calibrate.py", "--prior", 0.1, *fit, code=1)
    apply = fit[-1], folder / EXP / "scores/eval.cosine", folder / EXP / "scores/eval.calibrated"
    assert step("apply_calibration.py", *apply).endswith("eval.calibrated is current\n")


def test_mistakes_end_in_one_line_and_leave_nothing(followed, tmp_path, step):
    folder, _ = followed
    cosine = folder / EXP / "calibration/train.cosine"
    assert "trials have no score" in step("calibrate.py", folder / "data/trials/eval", cosine, tmp_path / "c.json",
                                          code=1)
    assert "files are told apart by their endings, which must differ" in step(
        "calibrate.py", folder / "data/trials/eval", cosine, folder / EXP / "scores/eval.cosine", tmp_path / "c.json",
        code=1)
    assert "Missing argument" in step("calibrate.py", folder / "data/trials/eval", code=1)
    assert "calibration.json.costs: not JSON; calibrate.py makes a calibration" in step(
        "apply_calibration.py", folder / EXP / "calibration.json.costs", cosine, tmp_path / "out", code=1)
    said = step("make_calibration_trials.py", tmp_path, folder / "data/train", tmp_path / "t", code=1)
    assert "spk2id: no such file; train.py writes it." in said
    assert not any((tmp_path / name).exists() for name in ("c.json", "out", "t"))
