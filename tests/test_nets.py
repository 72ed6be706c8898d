"""Sizes against the published parameter counts, pooling by hand, PReLU against ReLU."""

import pytest
import torch

from pyspk.errors import UserError
from pyspk.nets import ResNet
from pyspk.nets.pooling import StatisticsPooling

PUBLISHED = {18: 4_105_440, 34: 6_634_336, 50: 11_131_360, 101: 15_892_448, 152: 19_814_880, 221: 23_792_224,
             293: 28_626_016}


@pytest.mark.parametrize(("depth", "n_parameters"), PUBLISHED.items())
def test_parameter_counts_are_the_published_ones(depth, n_parameters):
    with torch.device("meta"):
        net = ResNet(depth, feat_dim=80, emb_dim=256, activation="relu")
    assert sum(p.numel() for p in net.parameters()) == n_parameters


@pytest.mark.parametrize("depth", [18, 50])
def test_prelu_with_slope_zero_is_relu(depth):
    torch.manual_seed(0)
    relu = ResNet(depth, feat_dim=20, emb_dim=8, activation="relu", channels=4).eval()
    prelu = ResNet(depth, feat_dim=20, emb_dim=8, activation="prelu", channels=4).eval()
    without = dict(relu.named_parameters())
    slopes = {name: torch.zeros_like(p) for name, p in prelu.named_parameters() if name not in without}
    assert slopes and all((prelu.get_parameter(name) == 0.25).all() for name in slopes)
    prelu.load_state_dict({**relu.state_dict(), **slopes})
    feats = torch.randn(2, 50, 20)
    torch.testing.assert_close(prelu(feats), relu(feats))


@pytest.mark.parametrize("feat_dim", [1, 13, 40, 80])
@pytest.mark.parametrize("n_frames", [1, 7, 30, 101])
def test_any_feature_dimension_and_length(feat_dim, n_frames):
    net = ResNet(18, feat_dim, emb_dim=8, channels=2).eval()
    emb = net(torch.randn(3, n_frames, feat_dim))
    assert emb.shape == (3, 8)
    assert emb.isfinite().all()


def test_statistics_pooling_by_hand():
    maps = torch.tensor([[[[1.0, 3.0], [2.0, 2.0]]]])                  # one channel, two bins, two frames
    mean_and_std = StatisticsPooling()(maps)
    torch.testing.assert_close(mean_and_std, torch.tensor([[2.0, 2.0, (2 + 1e-7) ** 0.5, 1e-7 ** 0.5]]))


@pytest.mark.parametrize(("arguments", "said"), [({"depth": 20}, "18, 34, 50"),
                                                 ({"activation": "gelu"}, "prelu, relu")])
def test_an_unknown_depth_or_activation_is_named(arguments, said):
    with pytest.raises(UserError, match=said):
        ResNet(**{"depth": 18, "feat_dim": 8, **arguments})
