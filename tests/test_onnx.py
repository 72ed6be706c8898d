"""The ONNX file gives PyTorch's embeddings at any length, and says what it is made for."""

import json
import sys

import numpy as np
import onnxruntime
import pytest
import torch

from pyspk.errors import UserError
from pyspk.model import save_model
from pyspk.nets import NETS
from pyspk.verifier import onnx as exporter
from pyspk.verifier.onnx import CentredNetwork, export_onnx, parity_of

SMALL = {"resnet": {"depth": 18, "channels": 4, "activation": "prelu"}, "xvector": {"channels": 32},
         "ecapa": {"channels": 32}}


def network(name, feat_dim=24, **more):
    """A network whose batch normalisation has seen something, as a trained one's has."""
    torch.manual_seed(1)
    net = NETS[name](feat_dim=feat_dim, emb_dim=16, **{**SMALL[name], **more}).train()
    for _ in range(3):
        net(3 * torch.randn(4, 50, feat_dim))
    return net.eval()


@pytest.mark.parametrize(("name", "more"), [
    ("resnet", {}), ("xvector", {}), ("ecapa", {}), ("ecapa", {"activation": "prelu", "pooling": "multi_head"}),
    ("resnet", {"pooling": "attentive"})])
def test_onnxruntime_gives_the_embeddings_of_pytorch_from_a_third_of_a_second_to_20_s(tmp_path, name, more):
    net = network(name, **more)
    assert export_onnx(net, 24, tmp_path / "a.onnx", {}) < 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    for n_utts, n_frames in ((1, 30), (3, 77), (1, 2000)):
        feats = np.random.default_rng(n_frames).normal(5, 3, (n_utts, n_frames, 24)).astype(np.float32)
        with torch.inference_mode():
            ours = net(torch.from_numpy(feats - feats.mean(axis=1, keepdims=True))).numpy()
        np.testing.assert_allclose(session.run(None, {"feats": feats})[0], ours, atol=1e-4 * np.abs(ours).max())


def test_the_step_writes_a_file_that_says_what_it_is_made_for(step, scored, model, tmp_path):
    said = step("export_onnx.py", model, tmp_path / "a.onnx")
    assert "wrote the network to" in said and "differs from PyTorch by" in said and "Warning" not in said
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    told = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
    assert told["features"]["conf"] == {"sample-frequency": "16000", "num-mel-bins": "24", "snip-edges": "false"}
    assert told["sample_rate_hz"] == 16000 and told["network"]["depth"] == 18 and len(told["mean"]) == 16
    assert [one.shape for one in session.get_inputs()] == [["B", "T", 24]]
    assert "is current" in step("export_onnx.py", model, tmp_path / "a.onnx")
    said = step("export_onnx.py", other_network(tmp_path), tmp_path / "a.onnx", code=1)
    assert "its input final.pt has changed" in said


def other_network(tmp_path):
    settings = {"net": "xvector", "feat_dim": 24, "emb_dim": 16, "channels": 8}
    save_model(tmp_path / "other" / "final.pt", settings, NETS["xvector"](24, 16, channels=8))
    return tmp_path / "other"


def test_without_model_json_the_step_says_what_the_file_will_lack(step, tmp_path):
    said = step("export_onnx.py", other_network(tmp_path), tmp_path / "a.onnx")
    assert "model.json: no such file; the metadata will not say how the features are made" in said
    told = onnxruntime.InferenceSession(tmp_path / "a.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(told["network"])["net"] == "xvector" and "features" not in told


def test_a_file_that_gives_other_embeddings_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(exporter, "PARITY", 0.0)
    with pytest.raises(UserError, match="onnxruntime's embeddings differ from PyTorch's by .* it is not written"):
        export_onnx(network("xvector"), 24, tmp_path / "a.onnx", {})
    assert not list(tmp_path.iterdir())


def test_the_parity_is_that_of_the_worst_utterance(tmp_path):
    net, other = network("xvector"), network("xvector")
    export_onnx(net, 24, tmp_path / "a.onnx", {})
    with torch.no_grad():
        other.embedding.bias += 1.0
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    feats = np.random.default_rng(0).normal(size=(1, 40, 24)).astype(np.float32)
    with torch.inference_mode():
        largest = CentredNetwork(other)(torch.from_numpy(feats)).abs().max().item()
    assert parity_of(CentredNetwork(other), session, 24, [40]) >= 0.99 / largest


def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r'ONNX needs the package onnxruntime: pip install "pyspk\[onnx\]"'):
        export_onnx(network("xvector"), 24, tmp_path / "a.onnx", {})
