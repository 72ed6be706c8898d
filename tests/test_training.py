"""Settings, schedules, the loop and what it refuses."""

import json
import math
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import ROOT, environment

from pyspk.chunks import FeatureReader
from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.losses import LOSSES, SphereSpeaker
from pyspk.model import FINAL, build_net, load_model, load_torch
from pyspk.nets.activation import PReLU
from pyspk.nets.pooling import StatisticsPooling
from pyspk.tables.archive import ArchiveWriter
from pyspk.training import loop
from pyspk.training.checkpoint import Checkpoints
from pyspk.training.config import TrainConfig, load_config, to_toml
from pyspk.training.schedule import Schedule
from pyspk.training.split import split_speakers
from pyspk.training.validation import validation_eer
from pyspk.world import World

SMALL = TrainConfig(depth=18, channels=2, emb_dim=8, lr=0.1, chunk_frames=20, batch_size=8, n_epochs=3, warmup_epochs=1,
                    margin_start_epoch=0, margin_full_epoch=2, valid_speakers=2)


def train(config, data, folder):
    loop.train(config, data, folder, World())
    return (folder / FINAL).read_bytes()


def test_training_learns_to_tell_held_out_speakers_apart(data, tmp_path):
    train(replace(SMALL, n_epochs=20, channels=4, valid_speakers=3), data, tmp_path)
    history = [json.loads(line) for line in (tmp_path / "log" / "train.jsonl").open()]
    assert history[-1]["loss"] < 0.7 * history[2]["loss"]              # from epoch 3 on the margin is the same
    assert history[-1]["valid_eer"] < 0.25
    net, settings = load_model(tmp_path)
    assert settings["feat_dim"] == 6 and not net.training


def test_it_ends_when_the_validation_eer_falls_no_more(data, tmp_path, monkeypatch):
    eers = iter([0.4, 0.2, 0.3, 0.25, 0.1, 0.3])
    monkeypatch.setattr(loop, "validation_eer", lambda *_: next(eers))
    train(replace(SMALL, n_epochs=6, patience_epochs=2, average_of="best"), data, tmp_path)
    history = [json.loads(line) for line in (tmp_path / "log" / "train.jsonl").open()]
    assert [done["valid_eer"] for done in history] == [0.4, 0.2, 0.3, 0.25]
    assert [path.name for path in (tmp_path / "epochs").iterdir()] == ["0002.pt"]
    best = load_torch(tmp_path / "epochs" / "0002.pt")["weights"]
    assert all(torch.equal(value, best[name]) for name, value in load_torch(tmp_path / FINAL)["weights"].items())


def test_saving_is_no_waiting_for_data(data, tmp_path, monkeypatch):
    save = Checkpoints.save
    monkeypatch.setattr(Checkpoints, "save", lambda *args: (time.sleep(0.5), save(*args)))
    train(replace(SMALL, n_epochs=1, checkpoint_minutes=1e-9), data, tmp_path)
    assert json.loads((tmp_path / "log" / "train.jsonl").read_text())["waited_share"] < 0.4


def test_reports_for_tensorboard(data, tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(replace(SMALL, tensorboard=True), data, tmp_path)
    read = events.EventAccumulator(str(tmp_path / "log")).Reload()
    history = [json.loads(line) for line in (tmp_path / "log" / "train.jsonl").open()]
    assert [event.step for event in read.Scalars("loss")] == [1, 2, 3]
    assert [event.value for event in read.Scalars("loss")] == pytest.approx([done["loss"] for done in history])


def test_an_epoch_that_is_reported_again_stands_once_for_tensorboard(data, tmp_path, monkeypatch):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = replace(SMALL, tensorboard=True)

    def gone(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "keep_epoch", gone)
        with pytest.raises(KeyboardInterrupt):
            train(config, data, tmp_path)
    train(config, data, tmp_path)
    read = events.EventAccumulator(str(tmp_path / "log")).Reload()
    assert [event.step for event in read.Scalars("loss")] == [1, 2, 3]


def test_tensorboard_that_is_not_installed_is_said(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r'pip install "pyspk\[tensorboard\]"'):
        train(replace(SMALL, tensorboard=True), data, tmp_path)


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_trains_to_the_same_loss(data, tmp_path):
    reports = []
    for name, compiled in (("plain", False), ("compiled", True)):
        train(replace(SMALL, net="xvector", n_epochs=1, compile=compiled), data, tmp_path / name)
        reports.append(json.loads((tmp_path / name / "log" / "train.jsonl").read_text()))
    assert reports[1]["loss"] == pytest.approx(reports[0]["loss"], rel=1e-3)


def test_held_out_speakers_are_in_no_batch(data):
    split = split_speakers(data.utt2spk, SMALL, data.path)
    assert list(split.valid) == ["s2", "s6"]                           # of 8, at (0 + .5) * 4 and (1 + .5) * 4
    assert split.spk2id == {"s0": 0, "s1": 1, "s3": 2, "s4": 3, "s5": 4, "s7": 5}
    assert not {utt.split("-")[0] for utt in split.utts} & set(split.valid)
    assert len(split.utts) == len(split.spk_ids) == 36


@pytest.mark.parametrize(("n_spk", "valid", "held_out"), [(8, -1, 0), (12, -1, 4), (50, -1, 5), (5000, -1, 100),
                                                          (8, 0, 0), (8, 3, 3)])
def test_how_many_speakers_are_held_out(tmp_path, n_spk, valid, held_out):
    (tmp_path / "utt2spk").write_text("".join(f"{spk:04}-{utt} {spk:04}\n" for spk in range(n_spk) for utt in "ab"))
    config = replace(SMALL, valid_speakers=valid)
    assert len(split_speakers(DataDir(tmp_path).utt2spk, config, tmp_path).valid) == held_out


def test_copies_of_a_held_out_speaker_are_held_out_and_none_is_validated_on(tmp_path):
    utt2spk = {}
    for name in ("", "sp0.9-", "sp1.1-"):
        for spk in ("a", "b", "c", "d"):
            utt2spk |= {f"{name}{spk}-{utt}": f"{name}{spk}" for utt in ("1", "1-aug1", "2", "2-aug1")}
    utt2spk |= {"sp2-e-1": "sp2-e"}                                    # looks like a copy, but of nobody
    split = split_speakers(utt2spk, replace(SMALL, min_utts_per_speaker=1), tmp_path)
    assert split.valid == {"b": ["b-1", "b-2"], "d": ["d-1", "d-2"]}   # of a, b, c, d, sp2-e, at 1.25 and 3.75
    assert list(split.spk2id) == ["a", "c", "sp0.9-a", "sp0.9-c", "sp1.1-a", "sp1.1-c", "sp2-e"]
    assert len(split.utts) == 2 * 3 * 4 + 1


def test_speakers_at_another_speed_can_be_left_out(tmp_path):
    utt2spk = {f"{name}{spk}-{utt}": f"{name}{spk}" for name in ("", "sp0.9-") for spk in "ab" for utt in "12"}
    split = split_speakers(utt2spk, replace(SMALL, valid_speakers=0, speed_copies=False), tmp_path)
    assert split.spk2id == {"a": 0, "b": 1} and split.utts == ["a-1", "a-2", "b-1", "b-2"]


def test_speakers_with_a_single_utterance_are_said_and_refused(tmp_path):
    utt2spk = {"a-1": "a", "b-1": "b", "b-2": "b", "c-1": "c"}
    config = replace(SMALL, valid_speakers=0)
    with pytest.raises(UserError, match=r"2 of 3 speakers have fewer than 2 utterances \(a, c\).*min_utts_per_spea"):
        split_speakers(utt2spk, config, tmp_path)
    assert len(split_speakers(utt2spk, replace(config, min_utts_per_speaker=1), tmp_path).spk2id) == 3


@pytest.mark.parametrize("goes_by", [{"patience_epochs": 1}, {"average_of": "best"}])
@pytest.mark.parametrize("no_pairs", [{"valid_speakers": -1}, {"valid_utts_per_speaker": 1}])      # none of 8; no two
def test_a_run_that_goes_by_a_validation_eer_needs_one(data, goes_by, no_pairs):
    with pytest.raises(UserError, match=r"best go by the EER of held-out speakers, and \d are held out, with \d utt"):
        split_speakers(data.utt2spk, replace(SMALL, **goes_by, **no_pairs), data.path)
    with pytest.raises(UserError, match="valid_speakers = 0: it must be another number with patience_epochs"):
        replace(SMALL, **goes_by, valid_speakers=0)


def test_too_few_speakers_are_refused(data):
    with pytest.raises(UserError, match="8 speakers, of which 7 are held out"):
        split_speakers(data.utt2spk, replace(SMALL, valid_speakers=7), data.path)


def test_no_weight_decay_on_slopes_biases_and_normalisation(data):
    net = build_net(SMALL.net_settings(6))
    loss = LOSSES["sphere_speaker"](8, 6)
    decayed, free = loop.make_optimizer(net, loss, SMALL).param_groups
    assert decayed["weight_decay"] == 1e-4 and free["weight_decay"] == 0
    kinds = {id(p): (type(module), name) for whole in (net, loss) for module in whole.modules()
             for name, p in module.named_parameters(recurse=False)}
    found = [[kinds.pop(id(p)) for p in group["params"]] for group in (decayed, free)]
    assert not kinds                                                       # every parameter, in one group
    assert set(found[0]) == {(torch.nn.Conv2d, "weight"), (torch.nn.Linear, "weight"), (SphereSpeaker, "weight")}
    assert {name for _, name in found[1]} == {"weight", "bias", "b"}
    assert {kind for kind, name in found[1] if name == "weight"} == {torch.nn.BatchNorm2d, PReLU}


def test_features_that_are_not_finite_stop_training_and_are_named(data, tmp_path):
    with ArchiveWriter(data.path / "f.ark", data.path / "feats.scp") as writer:
        for number, utt in enumerate(data.utt2spk):
            writer.write(utt, np.full((30, 6), np.nan if utt == "s3-4" else number) * np.arange(30)[:, None] ** 2)
    with pytest.raises(UserError, match=r"the features of 1 utterances are not finite \(s3-4\); make them again"):
        train(replace(SMALL, valid_speakers=0), data, tmp_path / "x")
    assert not (tmp_path / "x" / FINAL).exists()


def test_embeddings_that_are_not_finite_stop_training_and_are_named(data, tmp_path, monkeypatch):
    def one_is_not(self, maps, *mask):
        return whole_pool(self, maps, *mask).index_fill(0, torch.tensor([2]), math.inf)

    whole_pool = StatisticsPooling.forward
    monkeypatch.setattr(StatisticsPooling, "forward", one_is_not)
    with pytest.raises(UserError, match=r"the embeddings of 1 utterances are not finite \(s\d-\d\); the network"):
        train(replace(SMALL, valid_speakers=0), data, tmp_path / "x")


def test_a_loss_that_is_not_finite_stops_training(data, tmp_path, monkeypatch):
    monkeypatch.setattr(LOSSES["sphere_speaker"], "forward", lambda self, emb, spk: emb.sum() * math.nan)
    with pytest.raises(UserError, match=r"the loss is not finite with the utterances s\d-\d, .*with a lower lr.*; "
                                        "there is no checkpoint yet"):
        train(replace(SMALL, valid_speakers=0), data, tmp_path / "x")


def test_a_fault_says_to_which_checkpoint_one_can_go_back(data, tmp_path, monkeypatch):
    forward, steps = LOSSES["sphere_speaker"].forward, iter(range(99))
    monkeypatch.setattr(LOSSES["sphere_speaker"], "forward", lambda self, emb, spk: (
        forward(self, emb, spk) * (1 if next(steps) < 8 else math.nan)))
    with pytest.raises(UserError, match=r"epoch 2, batch 4: .*x/last\.pt is good, after 0 epochs and 5 batches"):
        train(SMALL, data, tmp_path / "x")
    with pytest.raises(UserError, match=r"epoch 2, batch 1: .*x/last\.pt is good, after 0 epochs and 5 batches"):
        train(SMALL, data, tmp_path / "x")


def test_no_two_processes_train_in_one_folder(data, tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", "import sys, pathlib; from pyspk.tables.records import hold; "
                               "hold(pathlib.Path(sys.argv[1], 'last.pt')); print('holds', flush=True); input()",
                               tmp_path], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "holds\n"
    with pytest.raises(UserError, match=r"process \d+ on .* is making .*last\.pt at this moment"):
        train(SMALL, data, tmp_path)
    holder.communicate("")
    assert not (tmp_path / "config.toml").exists()


def test_a_run_that_ends_before_the_margin_begins_says_so(data, tmp_path, caplog):
    train(replace(SMALL, n_epochs=1, margin_start_epoch=1), data, tmp_path / "a")
    assert "there will be no margin: it begins after epoch 1 (margin_start_epoch) of 1" in caplog.text
    caplog.clear()
    train(replace(SMALL, n_epochs=1, margin_start_epoch=1, loss="softmax"), data, tmp_path / "b")
    assert not caplog.text


def test_a_damaged_checkpoint_is_named(data, tmp_path):
    tmp_path.joinpath("last.pt").write_bytes(b"PK nonsense")
    with pytest.raises(UserError, match="last.pt: cannot be read"):
        train(SMALL, data, tmp_path)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("executed",)

    torch.save({"settings": Evil()}, tmp_path / FINAL)
    with pytest.raises(UserError, match="cannot be read"):
        load_model(tmp_path)


def test_reading_faults_in_worker_processes_stay_one_line(data, tmp_path):
    (data.path / "f.ark").write_bytes((data.path / "f.ark").read_bytes()[:9000])
    with pytest.raises(UserError) as fault:
        train(replace(SMALL, valid_speakers=0, n_workers=1), data, tmp_path / "x")
    assert "cut short" in str(fault.value) and "\n" not in str(fault.value)


def test_learning_rate_by_hand():
    schedule = Schedule(TrainConfig(n_epochs=10, warmup_epochs=2, lr=0.1, final_lr=0.001), samples_per_epoch=100)
    assert schedule.lr(0) == 0
    assert schedule.lr(100) == pytest.approx(0.1 * 100 ** -0.1 / 2)
    assert schedule.lr(500) == pytest.approx(0.01)
    assert schedule.lr(1000) == pytest.approx(0.001)


def test_cosine_learning_rate_by_hand():
    schedule = Schedule(TrainConfig(n_epochs=10, warmup_epochs=0, lr=0.1, final_lr=0.02, lr_schedule="cosine"), 100)
    assert [schedule.lr(n) for n in (0, 500, 1000)] == pytest.approx([0.1, 0.06, 0.02])
    assert schedule.lr(250) == pytest.approx(0.06 + 0.04 * math.sqrt(0.5))


@pytest.mark.parametrize(("margin", "m", "at_half"), [("C", 0.2, 0.1), ("A", 0.15, 0.075), ("M", 1.4, 1.2)])
def test_margin_by_hand(margin, m, at_half):
    config = TrainConfig(margin=margin, m=m, margin_start_epoch=2, margin_full_epoch=4)
    schedule = Schedule(config, samples_per_epoch=10, no_margin=LOSSES["sphere_speaker"](2, 2, margin, m).no_margin)
    assert schedule.margin(0) == schedule.margin(20) == (1 if margin == "M" else 0)
    assert schedule.margin(30) == pytest.approx(at_half)
    assert schedule.margin(40) == schedule.margin(10**6) == m


def test_settings_without_a_value_are_the_networks_and_the_losss_own(tmp_path):
    config = load_config(None, ["loss=aam_softmax", "b=3", "hard_negatives=none", "net=resnet", "t=2"])
    assert config.b == 3.0 and config.hard_negatives is None
    assert config.loss_settings() == {"m": 0.2, "r": 32.0}                   # t and b are not this loss's
    assert config.idle() == ["t", "b"] == load_config(None, ["loss=softmax", "m=0.2", "b=3", "t=2"]).idle()
    assert load_config(None, ["net=ecapa", "depth=18"]).idle() == ["depth"] and not SMALL.idle()
    assert "pooling" not in config.net_settings(feat_dim=80) and "hard_negatives" not in to_toml(config)
    path = tmp_path / "a.toml"
    path.write_text(to_toml(config))
    assert load_config(path) == config


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_trains(name, data, tmp_path):
    train(replace(SMALL, n_epochs=1, loss=name), data, tmp_path)
    history = json.loads((tmp_path / "log" / "train.jsonl").read_text())
    assert math.isfinite(history["loss"]) and ("b" in history) == (name == "sphere_speaker")


def test_settings_come_from_file_and_command_line_and_read_back(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text('depth = 18\nlr = 1\nmargin = "A"\n')
    config = load_config(path, ["lr=0.5", "m = 0.15", "activation=relu"])
    assert (config.depth, config.lr, config.margin, config.m, config.activation) == (18, 0.5, "A", 0.15, "relu")
    path.write_text(to_toml(config))
    assert load_config(path) == config


@pytest.mark.parametrize(("override", "said"), [
    ("rate=1", 'no setting is called "rate".*batch_size'), ("depth=big", "depth = 'big' must be a whole number"),
    ("depth=1.5", "must be a whole number"), ("lr=nan", "lr = nan must be a number"), ("lr", 'not "key=value"'),
    ("net=vgg", "net = vgg: it must be one of resnet"), ("loss=x", "one of sphere_speaker"),
    ("batch_size=1", "2 or more"),
    ("momentum=1", "below 1"), ("final_lr=9", "at most lr"), ("margin_full_epoch=3", "at least margin_start_epoch"),
    ("valid_speakers=1", "2 or more"), ("n_epochs=0", "1 or more"), ("seed=-1", "0 or more"),
])
def test_a_wrong_setting_is_named_with_what_is_valid(override, said):
    with pytest.raises(UserError, match=said):
        load_config(None, [override])


def test_the_recipes_settings_are_valid_and_fine_tuning_has_the_network_that_it_begins_with():
    confs = {path.name: load_config(path) for path in ROOT.glob("egs/*/conf/*.toml") if path.name != "augment.toml"}
    assert {"resnet34p.toml", "resnet34p_24gb.toml", "large_margin.toml"} <= confs.keys()
    for config in confs.values():
        config.check_parts(feat_dim=80)
        assert not config.idle()
    first, tuned = confs["resnet34p.toml"], confs["large_margin.toml"]
    assert tuned.net_settings(80) == first.net_settings(80) and tuned.loss == first.loss
    assert tuned.chunk_frames > first.chunk_frames and tuned.m > first.m and not tuned.speed_copies


def test_a_file_that_is_not_toml_is_named(tmp_path):
    (tmp_path / "a.toml").write_text("depth 18")
    with pytest.raises(UserError, match=r"a\.toml: not TOML"):
        load_config(tmp_path / "a.toml")


def test_validation_eer_of_a_perfect_and_a_useless_network(data):
    reader = FeatureReader.from_data_dir(data)
    valid = {spk: utts for spk, utts in data.spk2utt.items() if spk in ("s1", "s5")}

    class Average(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(()))

        def forward(self, feats, n_frames=None):
            return torch.fft.rfft(feats, dim=1).abs().mean(2) * self.scale

    assert validation_eer(Average(), reader, valid, World()) == 0
    assert validation_eer(Average(), reader, {"s1": valid["s1"]}, World()) is None
    assert math.isfinite(validation_eer(build_net(SMALL.net_settings(6)), reader, valid, World()))
