"""Model folders: where fine-tuning starts, and files that are none."""

import random

import pytest
import torch

from pyspk.errors import UserError
from pyspk.model import FINAL, build_net, fill, load_model, load_torch, save_model, save_torch, start_from

SETTINGS = {"net": "resnet", "depth": 18, "feat_dim": 16, "emb_dim": 8, "activation": "relu", "channels": 2}
FEATS = torch.randn(3, 40, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def folder(tmp_path):
    """Save a network with random weights, slopes and batch statistics: folder(**settings) -> (its folder, network)."""

    def save(**settings):
        torch.manual_seed(1)
        settings = {**SETTINGS, **settings}
        net = build_net(settings)
        for name, tensor in net.state_dict().items():
            if tensor.ndim == 1:
                tensor.uniform_(0.5, 1.5) if name.endswith(("weight", "var")) else tensor.normal_(0, 0.3)
        save_model(tmp_path / FINAL, settings, net)
        return tmp_path, net.eval()

    return save


@pytest.mark.parametrize(("activation", "begun"), [("relu", "relu"), ("prelu", "prelu"), ("relu", "prelu")])
def test_training_starts_where_the_other_model_ended(folder, activation, begun):
    place, before = folder(activation=activation)
    settings = {**SETTINGS, "activation": begun}
    net = build_net(settings)
    start_from(net, settings, place)
    assert net.training
    assert torch.equal(net.eval()(FEATS), before(FEATS))


def test_settings_that_differ_are_named_with_both_values(folder):
    place, _ = folder()
    settings = {**SETTINGS, "depth": 34, "emb_dim": 4, "activation": "prelu"}
    net = build_net(settings)
    weights = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(UserError) as fault:
        start_from(net, settings, place)
    assert str(fault.value) == (f"{place / FINAL}: training cannot start from another network: "
                                "emb_dim is 8 there, 4 here; depth is 18 there, 34 here")
    assert all(torch.equal(tensor, weights[name]) for name, tensor in net.state_dict().items())


def test_slopes_that_were_learned_are_not_given_up(folder):
    place, _ = folder(activation="prelu")
    with pytest.raises(UserError, match="another network: activation is prelu there, relu here$"):
        start_from(build_net(SETTINGS), SETTINGS, place)


def test_a_network_of_another_kind_is_named_alone(folder, monkeypatch):
    class Other(torch.nn.Module):
        def __init__(self, feat_dim, width=5):
            super().__init__()

    monkeypatch.setitem(build_net.__globals__["NETS"], "other", Other)
    place, _ = folder()
    settings = {"net": "other", "feat_dim": 16}
    with pytest.raises(UserError, match="another network: net is resnet there, other here$"):
        start_from(build_net(settings), settings, place)


def test_a_setting_that_older_models_lack_has_its_default(folder):
    place, before = folder(channels=32)
    older = {key: value for key, value in SETTINGS.items() if key != "channels"}
    save_torch(place / FINAL, {"settings": older, "weights": before.state_dict()})
    net = build_net({**SETTINGS, "channels": 32})
    start_from(net, {**SETTINGS, "channels": 32}, place)
    assert torch.equal(net.eval()(FEATS), before(FEATS))
    with pytest.raises(UserError, match="channels is 32 there, 2 here$"):
        start_from(build_net(SETTINGS), SETTINGS, place)


def test_only_slopes_may_be_absent(folder):
    _, before = folder()
    weights = before.state_dict()
    del weights["stem.1.bias"]
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "stem.1.bias"'):
        fill(build_net({**SETTINGS, "activation": "prelu"}), weights)


def test_a_start_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="final.pt: no such model"):
        start_from(build_net(SETTINGS), SETTINGS, tmp_path)


@pytest.mark.parametrize("value", [{"weights": {}}, {"settings": SETTINGS, "weights": {}},
                                   {"settings": {"net": "resnet", "colour": 1}, "weights": {}}])
def test_a_file_that_is_no_model_is_named(tmp_path, value):
    torch.save(value, tmp_path / FINAL)
    with pytest.raises(UserError, match=r"final\.pt: not a model of this version \(.{5,300}\)$"):
        load_model(tmp_path)


@pytest.mark.parametrize(("value", "kind"), [(torch.zeros(3), "Tensor"), ([1], "list")])
def test_a_file_that_holds_no_dict_is_named(tmp_path, value, kind):
    torch.save(value, tmp_path / FINAL)
    with pytest.raises(UserError, match=f"final.pt: holds one {kind}, not a dict of tensors$"):
        load_model(tmp_path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [True, False])
def test_a_damaged_file_is_never_a_traceback(tmp_path, zipped):
    torch.save({"a": torch.zeros(50)}, tmp_path / "whole.pt", _use_new_zipfile_serialization=zipped)
    whole, rng = (tmp_path / "whole.pt").read_bytes(), random.Random(0)
    damaged = [whole[:rng.randrange(len(whole))] for _ in range(60)] + [b"", b".", b"].", b"text\n", b"(dp0\n.u"]
    for _ in range(120):
        one = bytearray(whole)
        one[rng.randrange(len(one))] = rng.randrange(256)
        damaged.append(bytes(one))
    refused = 0
    for content in damaged:
        (tmp_path / "x.pt").write_bytes(content)
        try:
            load_torch(tmp_path / "x.pt")
        except UserError as fault:
            refused += 1
            assert str(fault).startswith(f"{tmp_path}/x.pt: cannot be read; it is damaged, ")
    assert refused > 60


def test_a_file_that_cannot_be_opened_says_why(tmp_path):
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)$"):
        load_torch(tmp_path)
