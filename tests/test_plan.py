"""steps/plan.py: what stages 2 to 5 need, worked out by hand from rates that are given."""

import re
from dataclasses import replace

import click
import pytest
import torch
from conftest import ROOT, write_data_dir

from pyspk.augment.config import AugmentConfig
from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.features import Fbank
from pyspk.needs.sizes import Weights
from pyspk.plan.corpus import Copies, Corpus, copies_of, corpus_of
from pyspk.plan.measure import Measured, measure
from pyspk.plan.stages import Evaluation, Machine, Plan
from pyspk.plan.table import plan_lines
from pyspk.training.config import TrainConfig
from pyspk.training.cost import SampleCost

SMALL = TrainConfig(net="xvector", channels=8, emb_dim=8, chunk_frames=20, batch_size=8)
# A core takes 0.01 s for the features of a second of audio, 0.001 for decisions, 0.03 for a copy's features.
RATES = Measured(feature_s=0.01, decision_s=0.001, copy_s=0.03, samples_per_s=100.0, embedding_s=0.02, pair_s=1e-5,
                 cohort_s=1e-8, name_bytes=500.0)
PLAN = Plan(Corpus(n_utts=9000, n_spk=100, seconds=90_000.0, source="as given"), Copies(),
            Evaluation(n_utts=1000, n_trials=50_000), replace(SMALL, n_epochs=10, batch_size=64),
            Weights(net=1_000_000, buffers=1000, classifier=801), SampleCost(flops=1e9, kept_bytes=1e6), RATES,
            Machine(n_jobs=4, n_devices=2, base_bytes=1e8, on_cpu=True), [1, 8], feat_dim=80, frame_shift_ms=10,
            compress=True)


@pytest.fixture
def data_dir(tmp_path, recordings):
    return write_data_dir(tmp_path / "waves", recordings, ["s0", "s1"])


# ---- by hand

def test_features_by_hand():
    stage = PLAN.features()      # 100,000 s in 10,000 utterances, those to evaluate on among them: 10 million frames
    assert stage.disk_bytes == 10**7 * 80 + 10**4 * (60 + 8 * 80) + 4 * 10**7 + 60 * 10**4 + 500 * 10**4
    assert stage.memory_bytes == 5 * 1e8 + 2 * 500 * 9000      # the step and four jobs; the tables there, and in parts
    assert stage.hours == [pytest.approx(100_000 * 0.011 / 4 / 3600), pytest.approx(100_000 * 0.011 / 32 / 3600)]


def test_copies_by_hand():
    """Two speeds and a copy of each of three: five utterances more, of 2 * (1 + 2 + 0.5) - 1 = 6 times the length."""
    copies = Copies((0.5, 2.0), 1)
    plan = replace(PLAN, copies=copies)
    assert (copies.n_made(), copies.seconds_made(10.0)) == (5, 60)
    assert (copies.n_trained(True), copies.n_trained(False)) == (6, 2)
    assert plan.features().hours[0] == pytest.approx(
        (100_000 * 0.011 + 540_000 * (0.03 + 0.001)) / 4 / 3600)
    more = plan.features().disk_bytes - PLAN.features().disk_bytes
    assert more == 54 * 10**6 * 84 + 45_000 * (60 + 640 + 60) + 500 * (45_000 + 54_000)      # and tables of all
    assert plan.n_trained == 54_000 and plan.features().memory_bytes == 5 * 1e8 + 2 * 500 * 45_000
    assert replace(plan, config=replace(PLAN.config, speed_copies=False)).n_trained == 18_000
    online = replace(plan, copies=replace(copies, online="device"))
    assert online.features() == PLAN.features() and online.n_trained == 27_000


def test_training_by_hand():
    stage = PLAN.training()      # 9000 utterances are 141 batches of 64, ten times
    assert PLAN.n_samples == 10 * 141 * 64
    assert stage.hours == [pytest.approx(90_240 / 200 / 3600), pytest.approx(90_240 / 1600 / 3600)]
    checkpoint, model = 4 * (2 * (1_000_000 + 801) + 1000), 4 * 1_001_000
    assert stage.disk_bytes == 3 * checkpoint + (1 + 2 + 2) * model
    each = 12 * (1_000_000 + 801 / 2) + 1e6 * 64 / 2      # weights, gradient and momentum; half of the batch
    assert stage.memory_bytes == 2 * (1e8 + 500 * 9000) + checkpoint + 2 * each
    gpu = replace(PLAN, machine=replace(PLAN.machine, on_cpu=False), config=replace(PLAN.config, precision="bfloat16"))
    assert gpu.device_bytes(8) == 12 * (1_000_000 + 801 / 16) + 0.5e6 * 64 / 16
    assert gpu.training().memory_bytes == 2 * (1e8 + 500 * 9000) + checkpoint
    some = replace(PLAN, config=replace(PLAN.config, samples_per_epoch=100))
    assert some.n_samples == 10 * 128


def test_workers_that_augment_bound_the_rate():
    online = replace(PLAN, copies=Copies((0.9, 1.1), 1, "workers"))
    assert online.feed_per_s() == pytest.approx(4 / (0.2 * 0.03))      # 667 chunks of 0.2 s a second
    assert online.samples_per_s() == 200
    slow = replace(online, measured=replace(RATES, copy_s=0.5))
    assert slow.samples_per_s() == pytest.approx(40)
    assert replace(slow, copies=Copies((0.9, 1.1), 1, "device")).samples_per_s() == 200


def test_embeddings_and_scores_by_hand():
    stage = PLAN.embeddings()
    assert stage.disk_bytes == (10_000 + 1100) * (4 * 8 + 120)
    assert stage.hours[1] == pytest.approx(100_000 * 0.02 / 4 / 8 / 3600)
    on_gpus = replace(PLAN, machine=replace(PLAN.machine, on_cpu=False)).embeddings()
    assert on_gpus.hours[0] == pytest.approx(100_000 * 0.02 / 2 / 3600)
    scores = PLAN.scores()
    assert scores.disk_bytes == 2 * 50_000 * 75
    assert scores.hours == [pytest.approx((2 * 50_000 * 1e-5 + 1000 * 100 * 1e-8) / 3600)] * 2
    assert scores.memory_bytes == 1e8 + 4 * 8 * 1100 + 500 * 1100 + 40 * 50_000


def test_a_batch_that_so_many_cannot_share_is_named(tmp_path):
    plan = replace(PLAN, n_machines=[1, 3, 4, 8])      # 64 among 2, 6, 8 and 16 processes: 32, no, 8 and 4 each
    assert plan.too_many() == [3, 8]
    said = "\n".join(plan_lines(plan, tmp_path, False))
    assert "a batch of 64 is not for 3 or 8 machines with 2 each: give a batch_size" in said and "such as 512" in said


def test_the_table_says_what_is_there_and_what_it_rests_on(tmp_path):
    lines = plan_lines(replace(PLAN, copies=Copies((0.9, 1.1), 1, "workers")), tmp_path, False)
    assert lines[0] == "25 h, 9,000 utterances of 100 speakers (as given); augmented while training (--online workers)"
    assert lines[2].startswith("training: 27,000 utterances, 10 epochs, 2.7e+05 samples of 20 frames, 1.0 GFLOP each, ")
    rows = {line[:12].strip(): re.split(r"\s{2,}", line[12:].strip()) for line in lines[4:10]}
    assert rows["stage"] == ["disk", "memory a machine", "1 machine", "8 machines"]
    assert rows["2 features"] == ["852.6 MB", "509.0 MB", "4.6 min", "34.4 s"]      # 275 s, a share of them
    assert rows["4 embeddings"][2:] == ["8.3 min", "1.0 min"] and rows["5 scores"][2:] == ["1.0 s", "1.0 s"]
    assert rows["all"][0] == "905.8 MB"
    said = "\n".join(lines)
    assert f"free in {tmp_path}, enough; " in said and "features 100, decisions 1,000, features of an augmented" in said
    assert "training 100.0 samples a second on this CPU (0.100 TFLOP/s); embeddings 50 times real time" in said
    assert "feed 667 augmented chunks a second (--online workers), the devices take 200" in said

    huge = replace(PLAN, corpus=replace(PLAN.corpus, seconds=1e15), machine=replace(PLAN.machine, on_cpu=False,
                                                                                    base_bytes=1e15))
    said = "\n".join(plan_lines(huge, tmp_path, True))
    assert f"free in {tmp_path}, TOO LITTLE; " in said and "TOO LITTLE for this many jobs" in said
    assert "training: 100 samples a second of a device, as given" in said and "samples a second on this" not in said
    assert "what the forward pass keeps): 44.0 MB on 1 machine, 16.0 MB on 8 machines" in said


# ---- what is planned, and measuring it

def test_the_corpus_is_given_or_found(data_dir):
    assert corpus_of(None, 2.0, 10, 3) == Corpus(10, 3, 7200.0, "as given")
    got = corpus_of(DataDir(data_dir), None, None, None)
    assert (got.n_utts, got.n_spk, got.source) == (12, 2, "by the headers of 12 of 12 recordings")
    assert got.seconds == pytest.approx(20.4) and got.mean_s == pytest.approx(1.7)
    lines = (data_dir / "wav.scp").read_text().splitlines()
    (data_dir / "wav.scp").write_text("".join(f"{line}\n" for line in ["s0-u0 true |", *lines[1:]]))
    assert corpus_of(DataDir(data_dir), None, None, None).seconds == pytest.approx(12 / 11 * (20.4 - 1.2))
    (data_dir / "wav.scp").write_text("".join(f"{line.split()[0]} true |\n" for line in lines))
    with pytest.raises(UserError, match="nothing tells how long its 12 utterances are .*; write utt2dur"):
        corpus_of(DataDir(data_dir), None, None, None)
    with pytest.raises(UserError, match="--hours, --utts and --speakers belong together"):
        corpus_of(None, 5.0, None, None)
    with pytest.raises(UserError, match=r"--speakers 4: more than the 3 utterances \(--utts\)"):
        corpus_of(None, 5.0, 3, 4)


def test_machines_are_whole_numbers(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "steps")
    from plan import Numbers
    assert Numbers().convert("1,8,64", None, None) == [1, 8, 64]
    for wrong in ("0", "1,", "-1", "1.5"):
        with pytest.raises(click.BadParameter, match="not whole numbers above 0 with commas between them"):
            Numbers().convert(wrong, None, None)


def test_copies_are_those_of_the_settings():
    assert copies_of(None, 1, "") == Copies() and copies_of(None, 1, "").n_trained(True) == 1
    assert copies_of(AugmentConfig(), 1, "") == Copies((0.9, 1.1), 1) and Copies((0.9, 1.1), 1).n_made() == 5


def test_rates_are_measured_on_recordings_or_noise(data_dir):
    def rates(data, **more):
        given = {"samples_per_s": None, **more}
        return measure(data, 1.0, Fbank({}), SMALL, 20_000, 4, torch.device("cpu"), 0.0, **given)

    for got in (rates(None), rates(DataDir(data_dir))):
        assert min(vars(got).values()) > 0
        assert 200 < got.name_bytes < 2000      # some strings and dictionary places
    given = rates(None, samples_per_s=500.0)
    assert given.samples_per_s == 500
    assert given.embedding_s == pytest.approx(100 / 20 / 3 / 500)      # five chunks a second, a third of the work each


def test_recordings_that_cannot_be_read_say_why(data_dir, tmp_path):
    utts = list(DataDir(data_dir).utt2spk)
    (data_dir / "wav.scp").write_text("".join(f"{utt} {tmp_path}/none.wav\n" for utt in utts))
    with pytest.raises(UserError, match=r"none\.wav: no such file"):
        measure(DataDir(data_dir), 1.0, Fbank({}), SMALL, 10, 4, torch.device("cpu"), 0.0, 100.0)


# ---- the step

QUICK = ["--budget", 0, "--device", "cpu", "--set", "net=xvector", "--set", "channels=8", "--set", "batch_size=8"]


def test_plan_prints_a_line_a_stage(step, data_dir, tmp_path):
    said = step("plan.py", *QUICK, "--machines", "1,4", "--nj", 3, "--work-dir", tmp_path, data_dir)
    assert "0 h, 12 utterances of 2 speakers (by the headers of 12 of 12 recordings)\n" in said
    assert re.search(r"^stage +disk +memory a machine +1 machine +4 machines$", said, re.MULTILINE)
    size, hours = r" +[\d.]+ [MG]B", r" +[\d.,]+ (h|min|s)"
    for stage in ("2 features", "3 training", "4 embeddings", "5 scores", "all"):
        assert re.search(f"^{stage}{2 * size}{2 * hours}$", said, re.MULTILINE)
    assert "a machine has 3 jobs at a time and 1 process to train; " in said


def test_the_plan_of_voxceleb2_agrees_with_the_documentation(step, tmp_path):
    """docs/training.md: 4.9 x 10^8 samples of 27.2 GFLOP, 1.33 x 10^19 in all, 8.5 h on 8 GPUs of 2,000 a second."""
    root = ROOT / "egs" / "voxceleb" / "conf"
    said = step("plan.py", "--hours", 2300, "--utts", 1092009, "--speakers", 5994, "--train-config",
                f"{root}/resnet34p.toml", "--fbank-config", f"{root}/fbank.conf", "--augment-config",
                f"{root}/augment.toml", "--online", "device", "--samples-per-second", 2000, "--num-gpus", 8,
                "--budget", 0, "--device", "cpu", "--machines", 1)
    assert "3,276,027 utterances, 150 epochs, 4.91e+08 samples of 200 frames, 27.2 GFLOP each, 1.33e+19 in all" in said
    assert re.search(r"^3 training +642\.\d MB +[\d.]+ GB +8\.5 h$", said, re.MULTILINE)


@pytest.mark.parametrize(("words", "said"), [
    ([], "no corpus: give a DATA_DIR, or --hours, --utts and --speakers"),
    (["--machines", "1,x"], "1,x: not whole numbers above 0 with commas between them, as 1,8,64"),
    (["--hours", "nan"], "'--hours': nan is no finite number"),
    (["--samples-per-second", "inf"], "'--samples-per-second': inf is no finite number"),
    (["--online", "workers"], "--online needs --augment-config"),
])
def test_what_cannot_be_planned_is_said(step, words, said):
    assert said in step("plan.py", *QUICK, *words, code=1)


def test_no_pipes_holds_here_too(step, data_dir, tmp_path):
    (data_dir / "wav.scp").write_text("".join(f"{utt} touch {tmp_path}/x |\n" for utt in DataDir(data_dir).utt2spk))
    (data_dir / "utt2dur").write_text("".join(f"{utt} 1.0\n" for utt in DataDir(data_dir).utt2spk))
    assert "--no-pipes runs none" in step("plan.py", *QUICK, "--no-pipes", data_dir, code=1)
    assert not (tmp_path / "x").exists()
