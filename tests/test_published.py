"""Published checkpoints: parity with a forward pass written from the layout's description, and every mistake."""

import itertools
import re

import numpy as np
import pytest
import torch
from conftest import write_data_dir
from torch.nn import functional

from pyspk.chunks import FeatureReader
from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.model import load_model
from pyspk.nets import ResNet
from pyspk.published import read_wespeaker, resnet_from_wespeaker
from pyspk.tables.archive import ArchiveReader, read_scp

BLOCKS = {18: "2-2-2-2", 34: "3-4-6-3", 50: "3-4-6-3", 101: "3-4-23-3", 152: "3-8-36-3", 221: "6-16-48-3",
          293: "10-20-64-3"}
STRIDES = (1, 2, 2, 2)


# ---- the layout, from its description and from nothing of ours

def published_state(depth, channels=32, feat_dim=80, emb_dim=256, seed=0):
    """A state dict as the toolkit writes it, with random weights and random batch statistics."""
    draw = torch.Generator().manual_seed(seed)
    state = {}

    def conv(name, after, before, size):
        state[f"{name}.weight"] = torch.randn(after, before, size, size, generator=draw) / (before * size**2) ** 0.5

    def norm(name, width):
        state[f"{name}.weight"] = 0.5 + torch.rand(width, generator=draw)
        state[f"{name}.bias"] = 0.3 * torch.randn(width, generator=draw)
        state[f"{name}.running_mean"] = 0.3 * torch.randn(width, generator=draw)
        state[f"{name}.running_var"] = 0.5 + torch.rand(width, generator=draw)
        state[f"{name}.num_batches_tracked"] = torch.tensor(1000)

    conv("conv1", channels, 1, 3)
    norm("bn1", channels)
    before = channels
    for layer, n_blocks in enumerate(map(int, BLOCKS[depth].split("-"))):
        width = channels * 2**layer
        after = width * 4 if depth >= 50 else width
        for i in range(n_blocks):
            block = f"layer{layer + 1}.{i}"
            sizes = [(width, before, 1), (width, width, 3), (after, width, 1)] if depth >= 50 else \
                    [(width, before, 3), (width, width, 3)]
            for number, size in enumerate(sizes, start=1):
                conv(f"{block}.conv{number}", *size)
                norm(f"{block}.bn{number}", size[0])
            if before != after or (i == 0 and STRIDES[layer] != 1):
                conv(f"{block}.shortcut.0", after, before, 1)
                norm(f"{block}.shortcut.1", after)
            before = after
    n_inputs = 2 * before * -(-feat_dim // 8)
    state["seg_1.weight"] = torch.randn(emb_dim, n_inputs, generator=draw) / n_inputs**0.5
    state["seg_1.bias"] = torch.randn(emb_dim, generator=draw)
    return state


def published_forward(state, feats):
    """Embeddings (B, D) float64 of feats (B, T, F): the description, line by line, in double precision."""
    state = {name: tensor.double() for name, tensor in state.items()}

    def norm(maps, name):
        mean, variance, gamma, beta = (state[f"{name}.{part}"][:, None, None]
                                       for part in ("running_mean", "running_var", "weight", "bias"))
        return (maps - mean) / (variance + 1e-5).sqrt() * gamma + beta

    def conv(maps, name, stride=1):
        kernel = state[f"{name}.weight"]
        return functional.conv2d(maps, kernel, stride=stride, padding=kernel.shape[-1] // 2)

    maps = feats.double().transpose(1, 2)[:, None]                          # (B, 1, F, T)
    maps = functional.relu(norm(conv(maps, "conv1"), "bn1"))
    for layer, stride in enumerate(STRIDES, start=1):
        for i in itertools.count():
            block = f"layer{layer}.{i}"
            if f"{block}.conv1.weight" not in state:
                break
            step = stride if i == 0 else 1
            if f"{block}.conv3.weight" in state:
                out = functional.relu(norm(conv(maps, f"{block}.conv1"), f"{block}.bn1"))
                out = functional.relu(norm(conv(out, f"{block}.conv2", step), f"{block}.bn2"))
                out = norm(conv(out, f"{block}.conv3"), f"{block}.bn3")
            else:
                out = functional.relu(norm(conv(maps, f"{block}.conv1", step), f"{block}.bn1"))
                out = norm(conv(out, f"{block}.conv2"), f"{block}.bn2")
            if f"{block}.shortcut.0.weight" in state:
                maps = norm(conv(maps, f"{block}.shortcut.0", step), f"{block}.shortcut.1")
            maps = functional.relu(out + maps)
    mean, std = maps.mean(dim=3), (maps.var(dim=3, unbiased=True) + 1e-7).sqrt()      # (B, C, F / 8)
    return functional.linear(torch.cat([mean.flatten(1), std.flatten(1)], dim=1), state["seg_1.weight"],
                             state["seg_1.bias"])


@pytest.fixture
def checkpoint(tmp_path):
    """Save a value as a checkpoint, by default a small ResNet 18: checkpoint(value) -> its path."""

    def save(value=None, name="avg_model.pt"):
        torch.save(published_state(18, channels=2, emb_dim=8) if value is None else value, tmp_path / name)
        return tmp_path / name

    return save


# ---- parity

@pytest.mark.parametrize(("depth", "channels", "n_bins"), [(18, 32, 80), (34, 4, 80), (34, 8, 40), (50, 4, 80),
                                                           (101, 2, 24), (152, 2, 24), (221, 1, 24), (293, 1, 24)])
@pytest.mark.parametrize("activation", ["relu", "prelu"])
def test_embeddings_equal_the_description_carried_out(checkpoint, depth, channels, n_bins, activation):
    state = published_state(depth, channels, n_bins, emb_dim=32)
    net, settings = read_wespeaker(checkpoint(state), activation=activation)
    assert settings == {"net": "resnet", "depth": depth, "feat_dim": n_bins, "emb_dim": 32, "activation": activation,
                        "channels": channels}
    feats = 3 * torch.randn(2, 67, n_bins, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        got, wanted = net.eval()(feats), published_forward(state, feats)
    assert (got - wanted).abs().max() < 1e-5 * wanted.abs().max()
    assert (got[0] - got[1]).abs().max() > 1e-2 * wanted.abs().max()        # the features matter


@pytest.mark.parametrize("depth", BLOCKS)
def test_the_names_of_each_depth_map_one_to_one(depth):
    state = published_state(depth, channels=1, emb_dim=3)
    settings, weights = resnet_from_wespeaker(state)
    assert (settings["depth"], settings["channels"], settings["emb_dim"]) == (depth, 1, 3)
    with torch.device("meta"):
        ours = ResNet(depth, feat_dim=80, emb_dim=3, activation="relu", channels=1).state_dict()
    assert {name: tensor.shape for name, tensor in weights.items()} == \
           {name: tensor.shape for name, tensor in ours.items()}
    assert sorted(map(id, weights.values())) == sorted(map(id, state.values()))


def test_a_resnet_p_begins_with_slopes_0_and_can_learn_them(checkpoint):
    net, _ = read_wespeaker(checkpoint(), activation="prelu")
    slopes = [module.weight for module in net.modules() if isinstance(module, torch.nn.PReLU)]
    assert len(slopes) == 17 and not any(slope.any() for slope in slopes)
    net.train()(torch.randn(4, 30, 80)).square().sum().backward()
    assert all(slope.grad.any() for slope in slopes)


@pytest.mark.parametrize(("n_bins", "highest"), [(73, 80), (80, 80), (81, 88), (40, 40), (1, 8)])
def test_the_dimension_of_the_features_is_the_highest_that_fits_or_the_one_given(n_bins, highest):
    state = published_state(18, channels=1, feat_dim=n_bins)
    assert resnet_from_wespeaker(state)[0]["feat_dim"] == highest
    assert resnet_from_wespeaker(state, feat_dim=n_bins)[0]["feat_dim"] == n_bins


# ---- what files have besides

def test_the_classifier_is_left_out_with_a_line(checkpoint, caplog):
    state = published_state(18, channels=2, emb_dim=8)
    with caplog.at_level("INFO", logger="pyspk"):
        net, _ = read_wespeaker(checkpoint({**state, "projection.weight": torch.randn(5, 8)}))
    assert caplog.messages == ["left out the classifier, 1 tensors: projection.weight"]
    feats = torch.randn(1, 30, 80)
    torch.testing.assert_close(net.eval()(feats).double(), published_forward(state, feats), rtol=1e-4, atol=1e-5)


def test_of_two_embedding_layers_the_first_is_taken_with_a_warning(checkpoint, caplog):
    second = {"seg_bn_1.running_mean": torch.randn(8), "seg_bn_1.running_var": torch.rand(8),
              "seg_bn_1.num_batches_tracked": torch.tensor(7), "seg_2.weight": torch.randn(8, 8),
              "seg_2.bias": torch.randn(8)}
    state = published_state(18, channels=2, emb_dim=8)
    net, _ = read_wespeaker(checkpoint({**state, **second}))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "avg_model.pt has two embedding layers; the embedding is the first one's, seg_1, and the second is left " \
           f"out ({', '.join(second)}), so scores published for the second do not hold for it" in caplog.text
    assert torch.equal(net.embedding.weight, state["seg_1.weight"])


def test_counters_that_old_files_lack_begin_at_0():
    state = {name: tensor for name, tensor in published_state(18, channels=1).items()
             if not name.endswith("num_batches_tracked")}
    _, weights = resnet_from_wespeaker(state)
    assert all(tensor == 0 for name, tensor in weights.items() if name.endswith("num_batches_tracked"))
    ResNet(18, feat_dim=80, activation="relu", channels=1).load_state_dict(weights)


@pytest.mark.parametrize("wrap", [
    lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    lambda state: {"model": state, "epoch": 150},
    lambda state: {"epoch": 150, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
], ids=["module.", "model", "state_dict, module."])
def test_wrappers_are_taken_off(checkpoint, wrap):
    state = published_state(18, channels=2, emb_dim=8)
    net, _ = read_wespeaker(checkpoint(wrap(state)))
    assert torch.equal(net.stages[3][1].body[4].running_var, state["layer4.1.bn2.running_var"])


# ---- what does not fit

def without(state, *names):
    return {name: tensor for name, tensor in state.items() if name not in names}


def test_every_fault_is_listed_at_once():
    state = without(published_state(34, channels=4), "conv1.weight", "layer3.5.bn2.running_var", "seg_1.bias")
    state.update({"pool.attention.weight": torch.zeros(3), "layer5.0.conv1.weight": torch.zeros(1),
                  "layer2.1.conv1.weight": torch.zeros(8, 8, 1, 1)})
    with pytest.raises(UserError) as fault:
        resnet_from_wespeaker(state, where="x.pt")
    assert str(fault.value) == (
        "x.pt: not a ResNet 34 as wespeaker lays it out; 2 unknown: pool.attention.weight, layer5.0.conv1.weight; "
        "3 missing: conv1.weight, layer3.5.bn2.running_var, seg_1.bias; "
        "1 of a wrong shape: layer2.1.conv1.weight is (8, 8, 1, 1) instead of (8, 8, 3, 3)")


def test_of_many_faults_the_first_ten_are_listed_and_all_counted():
    state = {**published_state(18, channels=1), **{f"extra{i}": torch.zeros(1) for i in range(12)}}
    said = r"; 12 unknown: " + ", ".join(f"extra{i}" for i in range(10)) + r", \.\.\.$"
    with pytest.raises(UserError, match=said):
        resnet_from_wespeaker(state)


@pytest.mark.parametrize("name", ["conv1.weight", "bn1.bias", "layer1.0.conv3.weight", "layer2.0.shortcut.1.weight",
                                  "layer4.2.bn3.running_mean", "seg_1.weight", "seg_1.bias"])
def test_one_tensor_missing_or_of_a_wrong_shape_is_the_only_one_named(name):
    state = published_state(50, channels=2, emb_dim=8)
    with pytest.raises(UserError, match=f"lays it out; 1 missing: {re.escape(name)}$"):
        resnet_from_wespeaker(without(state, name))
    with pytest.raises(UserError, match=rf"lays it out; 1 of a wrong shape: {re.escape(name)} is \(7, 3\) instead of "):
        resnet_from_wespeaker({**state, name: torch.zeros(7, 3)})


@pytest.mark.parametrize(("depth", "name"), [(50, "layer4.2.shortcut.0.weight"), (34, "layer1.0.conv3.weight"),
                                             (18, "layer1.0.shortcut.0.weight")])
def test_a_name_of_the_layout_in_the_wrong_place_is_unknown(depth, name):
    state = {**published_state(depth, channels=1), name: torch.zeros(1)}
    with pytest.raises(UserError, match=f"ResNet {depth} as wespeaker lays it out; 1 unknown: {re.escape(name)}$"):
        resnet_from_wespeaker(state)


def test_blocks_that_no_depth_has_are_named_beside_those_that_exist():
    state = published_state(34, channels=1)
    cut = {name: tensor for name, tensor in state.items() if not name.startswith("layer3.5.")}
    with pytest.raises(UserError) as fault:
        resnet_from_wespeaker(cut, where="x.pt")
    assert str(fault.value).startswith("x.pt: no ResNet known here: layer1 to layer4 have 3-4-5-3 basic blocks; ")
    for depth, blocks in BLOCKS.items():
        assert f"{depth} has {blocks} {'bottleneck' if depth >= 50 else 'basic'}" in str(fault.value)


def test_another_kind_of_network_is_told_by_its_first_names():
    with pytest.raises(UserError, match="have 0-0-0-0 basic blocks; .*; the first names there are tdnn.0.w, tdnn.0.b$"):
        resnet_from_wespeaker({"tdnn.0.w": torch.zeros(1), "tdnn.0.b": torch.zeros(1)})


@pytest.mark.parametrize("feat_dim", [72, 81])
def test_a_dimension_that_seg_1_does_not_fit_is_refused_with_those_it_fits(feat_dim):
    with pytest.raises(UserError, match=f"its seg_1 fits features of 73 to 80 dimensions, not --feat-dim {feat_dim}$"):
        resnet_from_wespeaker(published_state(18, channels=1), feat_dim)


@pytest.mark.parametrize(("value", "said"), [
    ({"settings": {}, "weights": {}}, "not a state dict (a tensor for each name): settings, weights hold none"),
    ([1, 2], "holds one list, not a dict of tensors"),
    ({"model": {}}, "no ResNet known here: layer1 to layer4 have 0-0-0-0 basic blocks"),
])
def test_a_file_of_something_else_is_told_apart(checkpoint, value, said):
    with pytest.raises(UserError, match=re.escape(f"avg_model.pt: {said}")):
        read_wespeaker(checkpoint(value))


# ---- the step

def test_an_imported_model_extracts_and_scores(step, checkpoint, recordings, tmp_path):
    data = write_data_dir(tmp_path / "eval", recordings, ["s0", "s1"])
    step("make_fbank.py", "--nj", 2, "--compress", "false", data)
    state = published_state(18, channels=2, emb_dim=8)
    file, model = checkpoint({**state, "projection.weight": torch.zeros(9, 8)}), tmp_path / "model"
    said = step("import_checkpoint.py", file, model).splitlines()
    assert said == [f"import_checkpoint.py: import_checkpoint.py {file} {model}",
                    "import_checkpoint.py: left out the classifier, 1 tensors: projection.weight",
                    "import_checkpoint.py: wrote ResNet 18 (2 channels, 80 bins, embeddings of 8 dimensions, relu) "
                    f"to {model}/final.pt"]

    xvectors = model / "xvectors_eval"
    step("extract_xvectors.py", "--nj", 1, "--device", "cpu", model, data, xvectors)
    reader, archives = FeatureReader.from_data_dir(DataDir(data)), ArchiveReader()
    embs = {utt: archives.vector(place) for utt, place in read_scp(xvectors / "xvector.scp").items()}
    assert len(embs) == 12
    for utt, emb in embs.items():
        wanted = published_forward(state, torch.from_numpy(reader.whole(utt))[None])[0].numpy()
        assert np.abs(emb - wanted).max() < 1e-5 * np.abs(wanted).max()

    (tmp_path / "trials").write_text("s0-u0 s0-u1 target\ns0-u0 s1-u0 nontarget\n")
    scp = xvectors / "xvector.scp"
    step("score_cosine.py", tmp_path / "trials", scp, scp, tmp_path / "scores")
    score = float((tmp_path / "scores").read_text().splitlines()[1].split()[2])
    one, other = embs["s0-u0"].astype(float), embs["s1-u0"].astype(float)
    assert score == pytest.approx(one @ other / np.linalg.norm(one) / np.linalg.norm(other), abs=1e-5)


def test_an_imported_model_is_fine_tuned_as_a_resnet_p(step, checkpoint, recordings, tmp_path):
    data = write_data_dir(tmp_path / "train", recordings, ["s0", "s1", "s2"])
    step("make_fbank.py", "--nj", 2, data)
    step("import_checkpoint.py", "--activation", "prelu", checkpoint(), tmp_path / "model")
    (tmp_path / "my.toml").write_text("""depth = 18
channels = 2
emb_dim = 8
activation = "prelu"
chunk_frames = 40
batch_size = 4
samples_per_epoch = 12
n_epochs = 2
warmup_epochs = 0.5
margin_start_epoch = 0
margin_full_epoch = 1
lr = 1e-4
final_lr = 1e-4
weight_decay = 0
valid_speakers = 0
""")
    step("train.py", "--device", "cpu", "--init-model", tmp_path / "model", "--config", tmp_path / "my.toml", data,
         tmp_path / "finetuned")
    before, after = (load_model(tmp_path / name)[0].state_dict() for name in ("model", "finetuned"))
    assert (after["stem.0.weight"] - before["stem.0.weight"]).abs().max() < 0.1 * before["stem.0.weight"].abs().max()
    slopes = [name for name, tensor in after.items() if tensor.ndim == 1 and not before[name].any()]
    assert len(slopes) == 17 and all(after[name].any() for name in slopes)


def test_a_second_import_says_current_and_another_is_refused(step, checkpoint, tmp_path):
    file, model = checkpoint(), tmp_path / "model"
    step("import_checkpoint.py", file, model)
    before = (model / "final.pt").read_bytes()
    said = step("import_checkpoint.py", "--feat-dim", 80, file, model)      # what it was without the option
    assert said.splitlines()[-1].endswith(f"{model}/final.pt is current")
    said = step("import_checkpoint.py", "--activation", "prelu", file, model, code=1)
    assert "final.pt exists, but activation was relu, is prelu; --overwrite makes it anew" in said
    checkpoint(published_state(18, channels=2, emb_dim=8, seed=1))
    assert "its input checkpoint has changed" in step("import_checkpoint.py", file, model, code=1)
    assert (model / "final.pt").read_bytes() == before
    step("import_checkpoint.py", "--overwrite", "--activation", "prelu", file, model)
    assert load_model(model)[1]["activation"] == "prelu"


@pytest.mark.parametrize("name", ["final.pt", "last.pt"])
def test_a_folder_of_another_training_is_left_alone(step, checkpoint, tmp_path, name):
    model = tmp_path / "trained"
    model.mkdir()
    (model / name).write_bytes(b"days of work")
    said = step("import_checkpoint.py", checkpoint(), model, code=1)
    assert f"{name} exists, but it was not made by this step; --overwrite makes it anew" in said
    assert (model / name).read_bytes() == b"days of work" and len(list(model.iterdir())) == 1
    step("import_checkpoint.py", "--overwrite", checkpoint(), model)
    assert [path.name for path in model.iterdir() if path.suffix == ".pt"] == ["final.pt"]


def test_a_file_is_not_replaced_by_its_own_import(step, checkpoint, tmp_path):
    file = checkpoint(name="final.pt")
    before = file.read_bytes()
    said = step("import_checkpoint.py", "--overwrite", file, tmp_path, code=1)
    assert "final.pt: the import would replace it; choose another MODEL_DIR" in said
    assert file.read_bytes() == before


@pytest.mark.parametrize(("content", "said"), [
    (None, "bad.pt: cannot be read (No such file or directory)"),
    (b"PK nonsense", "bad.pt: cannot be read; it is damaged, no file of PyTorch's, or holds more than tensors"),
    ({**published_state(18, channels=1), "odd": torch.zeros(1)}, "bad.pt: not a ResNet 18 as wespeaker lays it out; "
                                                                 "1 unknown: odd"),
])
def test_a_file_that_does_not_fit_ends_with_one_line_and_nothing_is_lost(step, tmp_path, content, said):
    if isinstance(content, bytes):
        (tmp_path / "bad.pt").write_bytes(content)
    elif content:
        torch.save(content, tmp_path / "bad.pt")
    model = tmp_path / "model"
    model.mkdir()
    (model / "final.pt").write_bytes(b"days of work")
    lines = step("import_checkpoint.py", "--overwrite", tmp_path / "bad.pt", model, code=1).splitlines()
    assert len(lines) == 2 and said in lines[1] and lines[1].startswith("import_checkpoint.py: error: ")
    assert (model / "final.pt").read_bytes() == b"days of work" and len(list(model.iterdir())) == 1


@pytest.mark.parametrize(("arguments", "said"), [
    (["--activation", "gelu", "a.pt", "m"], "'gelu' is not one of 'relu', 'prelu'"),
    (["--feat-dim", "0", "a.pt", "m"], "0 is not in the range x>=1"),
    (["a.pt"], "Missing argument 'MODEL_DIR'"),
])
def test_a_wrong_call_ends_with_one_line(step, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    lines = step("import_checkpoint.py", *arguments, code=1).splitlines()
    assert len(lines) == 2 and said in lines[1]
    assert not list(tmp_path.iterdir())
