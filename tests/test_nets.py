"""Sizes against the published parameter counts, poolings step by step, PReLU against ReLU, padding against none."""

import math

import pytest
import torch
from torch import nn

from pyspk.errors import UserError
from pyspk.nets import NETS, EcapaTdnn, ResNet, XVector
from pyspk.nets.activation import PReLU
from pyspk.nets.ecapa import Res2Layer, SqueezeExcitation
from pyspk.nets.padding import frame_mask, mask_at_stride, set_padding
from pyspk.nets.pooling import POOLINGS, AttentivePooling, MultiHeadPooling, StatisticsPooling, pooling_named

PUBLISHED = {18: 4_105_440, 34: 6_634_336, 50: 11_131_360, 101: 15_892_448, 152: 19_814_880, 221: 23_792_224,
             293: 28_626_016}
SMALL = {"resnet18": (ResNet, {"depth": 18, "channels": 2}), "resnet50": (ResNet, {"depth": 50, "channels": 2}),
         "xvector": (XVector, {"channels": 8}), "ecapa": (EcapaTdnn, {"channels": 8})}


def small(name, feat_dim=10, emb_dim=8, **arguments):
    net_class, sizes = SMALL[name]
    return net_class(feat_dim=feat_dim, emb_dim=emb_dim, **sizes, **arguments)


def lived_in(net):
    """The net in double precision and evaluation mode, with nothing zero in its normalisations by chance."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for vector in (module.weight.data, module.running_var):
                vector.uniform_(0.5, 1.5)
            for vector in (module.bias.data, module.running_mean):
                vector.normal_()
    return net.double().eval()


# ---- sizes and arguments

def n_parameters(net_class, **arguments):
    with torch.device("meta"):
        return sum(p.numel() for p in net_class(**arguments).parameters())


@pytest.mark.parametrize(("depth", "n"), PUBLISHED.items())
def test_resnet_parameter_counts_are_the_published_ones(depth, n):
    assert n_parameters(ResNet, depth=depth, feat_dim=80, emb_dim=256, activation="relu") == n


@pytest.mark.parametrize(("channels", "n"), [(512, 6_190_720), (1024, 14_657_088)])
def test_ecapa_parameter_counts_are_the_published_ones(channels, n):
    assert n_parameters(EcapaTdnn, feat_dim=80, emb_dim=192, activation="relu", channels=channels) == n


def test_xvector_parameter_count_is_that_of_its_table():
    frame_layers = (5 * 24 + 1) * 512 + 2 * (3 * 512 + 1) * 512 + (512 + 1) * 512 + (512 + 1) * 1500
    normalisation = 2 * (4 * 512 + 1500)
    segment6 = (2 * 1500 + 1) * 512
    assert n_parameters(XVector, feat_dim=24) == frame_layers + normalisation + segment6


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_only_biases_normalisation_and_slopes_are_vectors(name, pooling):
    for module in small(name, activation="prelu", pooling=pooling).modules():
        for kind, p in module.named_parameters(recurse=False):
            is_matrix = kind == "weight" and isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)
            assert (p.ndim > 1) == is_matrix, (module, kind)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 7), (3, 4, 5, 6)])
def test_prelu_and_its_gradients_are_torchs(shape):
    torch.manual_seed(0)
    ours, theirs = PReLU(4).double(), nn.PReLU(4).double()
    theirs.weight.data = ours.weight.data = torch.tensor([0.25, -0.5, 0.0, 2.0]).double()
    values = torch.randn(shape, dtype=torch.double)
    values[0, 0] = 0.0                              # where the slope changes
    weights = torch.randn_like(values)
    results = []
    for layer in (ours, theirs):
        leaf = values.clone().requires_grad_()
        (layer(leaf) * weights).sum().backward()
        results.append((layer(values), leaf.grad, layer.weight.grad))
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(ours, values.masked_fill(values == 0, 1.0).requires_grad_())


def test_prelu_under_autocast_has_a_float32_gradient():
    layer, values = PReLU(4), torch.randn(3, 4, 5, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        layer(values).sum().backward()
    assert layer.weight.grad.dtype == torch.float32 and values.grad.dtype == torch.bfloat16
    by_hand = values.detach().float().clamp(max=0).sum((0, 2))
    torch.testing.assert_close(layer.weight.grad, by_hand, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("name", SMALL)
def test_prelu_with_slope_zero_is_relu(name):
    torch.manual_seed(0)
    relu, prelu = small(name, activation="relu").eval(), small(name, activation="prelu").eval()
    without = dict(relu.named_parameters())
    slopes = {key: torch.zeros_like(p) for key, p in prelu.named_parameters() if key not in without}
    assert slopes and all((prelu.get_parameter(key) == 0.25).all() for key in slopes)
    prelu.load_state_dict({**relu.state_dict(), **slopes})
    feats = torch.randn(2, 50, 10)
    torch.testing.assert_close(prelu(feats), relu(feats))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("feat_dim", [1, 13, 80])
@pytest.mark.parametrize("n_frames", [1, 2, 7, 30, 101])
def test_any_feature_dimension_and_length(name, feat_dim, n_frames):
    emb = small(name, feat_dim).eval()(torch.randn(3, n_frames, feat_dim))
    assert emb.shape == (3, 8)
    assert emb.isfinite().all()


@pytest.mark.parametrize("name", SMALL)
def test_channels_last_changes_nothing(name):
    net = small(name).eval()
    feats = torch.randn(2, 30, 10)
    expected = net(feats)
    torch.testing.assert_close(net.to(memory_format=torch.channels_last)(feats), expected)


@pytest.mark.parametrize(("net_class", "arguments", "said"), [
    (ResNet, {"depth": 20}, "depth 20: the depths of a ResNet are 18, 34, 50"),
    (ResNet, {"depth": 18, "activation": "gelu"}, 'activation "gelu": the activations are prelu, relu'),
    (XVector, {"activation": ""}, 'activation "": the activations are prelu, relu'),
    (EcapaTdnn, {"activation": "tanh"}, 'activation "tanh": the activations are prelu, relu'),
    (EcapaTdnn, {"channels": 12}, "channels 12: an ECAPA-TDNN takes a multiple of 8"),
    *((net_class, {**depth, "pooling": "max"}, 'pooling "max": the poolings are statistics, attentive, multi_head')
      for net_class, depth in [(ResNet, {"depth": 18}), (XVector, {}), (EcapaTdnn, {})])])
def test_an_impossible_argument_is_named(net_class, arguments, said):
    with pytest.raises(UserError, match=said):
        net_class(feat_dim=8, **arguments)


def test_every_network_is_known_by_its_name():
    assert {"resnet": ResNet, "xvector": XVector, "ecapa": EcapaTdnn} == NETS


# ---- poolings

def statistics(values, weights):
    """Mean and standard deviation, weight by weight; the weights add up to 1."""
    mean = sum(w * x for w, x in zip(weights, values, strict=True))
    return mean, math.sqrt(sum(w * (x - mean) ** 2 for w, x in zip(weights, values, strict=True)) + 1e-7)


def softmax(scores):
    total = sum(math.exp(s) for s in scores)
    return [math.exp(s) / total for s in scores]


def padded(maps, n_frames):
    """maps (1, C, T) with garbage from n_frames on, and the mask that says so: none where nothing is padded."""
    mask = (torch.arange(maps.shape[2]) < n_frames)[None, None]
    return maps.masked_fill(~mask, math.nan), None if mask.all() else mask


def test_statistics_pooling_by_hand():
    maps = torch.tensor([[[1.0, 3.0], [2.0, 2.0]]])                              # two channels, two frames
    expected = torch.tensor([[2.0, 2.0, (2 + 1e-7) ** 0.5, 1e-7 ** 0.5]])
    torch.testing.assert_close(StatisticsPooling(2)(maps), expected)
    mask = torch.tensor([[[True, False, True]]])
    maps = torch.tensor([[[1.0, math.nan, 3.0], [2.0, 1e6, 2.0]]])               # and a frame that does not count
    torch.testing.assert_close(StatisticsPooling(2)(maps, mask), expected)


def test_a_single_frame_has_no_deviation():
    expected = torch.tensor([[5.0, 1e-7 ** 0.5]])
    torch.testing.assert_close(StatisticsPooling(1)(torch.tensor([[[5.0]]])), expected)
    torch.testing.assert_close(StatisticsPooling(1)(torch.tensor([[[5.0, 9.0]]]), torch.tensor([[[True, False]]])),
                               expected)


@pytest.mark.parametrize("n_frames", [1, 4, 5])
def test_attentive_pooling_step_by_step(n_frames):
    torch.manual_seed(0)
    pool = AttentivePooling(3).double()
    maps = torch.randn(1, 3, 5).double()
    w, b = pool.from_frame.weight[:, :, 0].tolist(), pool.from_frame.bias.tolist()
    u, v, k = pool.from_context.weight.tolist(), pool.score.weight[:, :, 0].tolist(), pool.score.bias.tolist()
    frames = maps[0, :, :n_frames].T.tolist()                                    # frame by frame, the channels
    means = [sum(h) / n_frames for h in zip(*frames, strict=True)]
    deviations = [math.sqrt(sum((x - mean) ** 2 for x in h) / max(1, n_frames - 1) + 1e-7)
                  for h, mean in zip(zip(*frames, strict=True), means, strict=True)]
    context = [*means, *deviations]
    hidden = [[math.tanh(sum(w[i][c] * h[c] for c in range(3)) + sum(u[i][j] * context[j] for j in range(6)) + b[i])
               for i in range(128)] for h in frames]
    weights = [softmax([sum(v[c][i] * f[i] for i in range(128)) + k[c] for f in hidden]) for c in range(3)]
    pooled = [statistics([h[c] for h in frames], weights[c]) for c in range(3)]
    expected = torch.tensor([*(mean for mean, _ in pooled), *(std for _, std in pooled)]).double()

    torch.testing.assert_close(pool(*padded(maps, n_frames))[0], expected)


@pytest.mark.parametrize("n_frames", [1, 4, 5])
@pytest.mark.parametrize(("n_channels", "n_heads"), [(16, 8), (12, 4), (6, 2), (5, 1)])
def test_multi_head_pooling_step_by_step(n_channels, n_heads, n_frames):
    torch.manual_seed(0)
    pool = MultiHeadPooling(n_channels).double()
    maps = torch.randn(1, n_channels, 5).double()
    width = n_channels // n_heads
    u = pool.score.weight[:, :, 0].tolist()
    assert len(u) == n_heads
    frames = maps[0, :, :n_frames].T.tolist()
    means, deviations = [], []
    for j in range(n_heads):
        parts = [h[j * width:(j + 1) * width] for h in frames]
        weights = softmax([sum(u[j][i] * part[i] for i in range(width)) / math.sqrt(width) for part in parts])
        for i in range(width):
            mean, deviation = statistics([part[i] for part in parts], weights)
            means.append(mean)
            deviations.append(deviation)

    torch.testing.assert_close(pool(*padded(maps, n_frames))[0], torch.tensor([*means, *deviations]).double())


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("n_frames", [1, 20])
def test_constant_maps_have_finite_gradients(pooling, n_frames):
    pool = pooling_named(pooling, 8)
    maps = torch.full((2, 8, n_frames), 3.0, requires_grad=True)
    pooled = pool(maps)
    assert pooled.shape == (2, pool.out_dim)
    pooled.square().sum().backward()
    assert all(leaf.grad.isfinite().all() for leaf in (maps, *pool.parameters()))


def test_resnet_pools_channel_by_channel_with_frequency_fastest():
    net = small("resnet18", feat_dim=20).eval()
    seen = {}
    net.stages[-1][-1].register_forward_hook(lambda block, given, made: seen.update(maps=made[0]))
    net.pool.register_forward_hook(lambda pool, given, made: seen.update(pooled=made))
    net(torch.randn(2, 40, 20))
    assert seen["maps"].shape == (2, 16, 3, 5)                                   # (B, C, F, T)
    for i, maps in enumerate(seen["maps"]):
        rows = [maps[c, f] for c in range(16) for f in range(3)]
        expected = [row.mean() for row in rows] + [(row.var(unbiased=True) + 1e-7).sqrt() for row in rows]
        torch.testing.assert_close(seen["pooled"][i], torch.stack(expected))


# ---- what the time-delay networks are made of

def frames_that_matter(layers, n_frames, at):
    """The input frames that have a part in the output at frame `at`."""
    maps = torch.randn(1, 10, n_frames, dtype=torch.double, requires_grad=True)
    out = maps
    for layer in layers:
        out = layer(out)
    out[0, :, at].square().sum().backward()
    return maps.grad[0].abs().sum(dim=0).nonzero().flatten().tolist()


def test_xvector_layers_have_their_contexts():
    torch.manual_seed(0)
    layers = list(lived_in(small("xvector", activation="prelu")).layers)
    assert frames_that_matter(layers[:1], 21, at=10) == [8, 9, 10, 11, 12]
    assert frames_that_matter(layers[:2], 21, at=10) == list(range(6, 15))
    assert frames_that_matter(layers, 21, at=10) == list(range(3, 18))


class Scaled(nn.Module):
    """Stands for a layer or block: ten times its input, which it keeps."""

    def forward(self, maps, mask=None):
        self.given = maps
        return 10 * maps


def test_res2_layer_by_hand():
    layer = Res2Layer(8, dilation=2, act=nn.PReLU)
    layer.layers = nn.ModuleList(Scaled() for _ in range(7))
    got = layer(torch.ones(1, 8, 1)).flatten().tolist()
    # The first part as it is, the second times ten, each other: ten times the sum of itself and the one before.
    assert got == [1, 10, 110, 1110, 11110, 111110, 1111110, 11111110]


def test_ecapa_blocks_get_the_sum_of_all_before():
    net = small("ecapa").eval()
    net.blocks = nn.ModuleList(Scaled() for _ in range(3))
    feats = torch.randn(1, 9, 10)
    net(feats)
    first = net.stem(feats.transpose(1, 2))
    for block, factor in zip(net.blocks, (1, 1 + 10, 1 + 10 + 110), strict=True):
        torch.testing.assert_close(block.given, factor * first)


def test_squeeze_excitation_by_hand():
    layer = SqueezeExcitation(2, lambda channels: nn.ReLU())
    squeeze, _, excite, _ = layer.gate
    with torch.no_grad():
        for p in layer.parameters():
            p.zero_()
        squeeze.weight[0] = torch.tensor([1.0, 1.0])                             # the sum of the channels' means
        excite.weight[:, 0] = torch.tensor([1.0, -1.0])
    maps = torch.tensor([[[1.0, 3.0], [0.0, 2.0]]])                              # means 2 and 1: gates at 3 and -3
    up, down = 1 / (1 + math.exp(-3)), 1 / (1 + math.exp(3))
    torch.testing.assert_close(layer(maps), torch.tensor([[[up, 3 * up], [0.0, 2 * down]]]))


# ---- padding

@pytest.mark.parametrize("garbage", [1e6, math.nan])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("name", SMALL)
def test_padding_has_no_part_in_an_embedding(name, pooling, garbage):
    torch.manual_seed(0)
    net = lived_in(small(name, activation="prelu", pooling=pooling))
    n_frames = torch.tensor([60, 1, 2, 8, 9, 33, 59])
    feats = torch.full((7, 60, 10), garbage, dtype=torch.double)
    alone = [torch.randn(n, 10, dtype=torch.double) for n in n_frames.tolist()]
    for row, utt in zip(feats, alone, strict=True):
        row[:len(utt)] = utt
    expected = torch.cat([net(utt[None]) for utt in alone])
    torch.testing.assert_close(net(feats, n_frames), expected, rtol=1e-9, atol=1e-9)
    single = net.float()(feats.float(), n_frames).double()                       # what users run
    # Beside the length: an entry near 0 is what is left of large ones, and has their rounding.
    assert ((single - expected).norm(dim=1) / expected.norm(dim=1)).max() < 2e-5


@pytest.mark.parametrize("name", SMALL)
def test_a_batch_without_padding_needs_no_lengths(name):
    net = lived_in(small(name))
    feats = torch.randn(2, 35, 10, dtype=torch.double)
    torch.testing.assert_close(net(feats, torch.tensor([35, 35])), net(feats))


@pytest.mark.parametrize("stride", [1, 2])
def test_the_mask_follows_the_stride(stride):
    mask = frame_mask(torch.zeros(9, 9, 1), torch.arange(1, 10))
    kept = mask_at_stride(mask, stride)
    assert kept.sum(dim=2).flatten().tolist() == [(n - 1) // stride + 1 for n in range(1, 10)]
    assert kept.shape == (9, 1, (9 - 1) // stride + 1)


def test_padding_is_set_in_sequences_and_in_images():
    mask = torch.tensor([[[True, True]], [[True, False]]])
    assert set_padding(torch.ones(2, 1, 2), mask).tolist() == [[[1, 1]], [[1, 0]]]
    assert set_padding(torch.ones(2, 1, 2, 2), mask, 5).tolist() == [[[[1, 1], [1, 1]]], [[[1, 5], [1, 5]]]]


@pytest.mark.parametrize(("n_frames", "said"),
                         [([0, 3], "from 1 to 4"), ([5, 3], "from 1 to 4"), ([3], "1,. lengths for 2 utterances")])
def test_impossible_lengths_are_our_own_bug(n_frames, said):
    with pytest.raises(AssertionError, match=said):
        frame_mask(torch.zeros(2, 4, 1), torch.tensor(n_frames))
