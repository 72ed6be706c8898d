"""Embeddings of utterances, one by one and together."""

import numpy as np
import pytest
import torch

from pyspk.embeddings import embed, mean_vector, speaker_means
from pyspk.nets import NETS

SMALL = {"resnet": {"depth": 18, "channels": 2}, "xvector": {"channels": 16}, "ecapa": {"channels": 16}}


@pytest.mark.parametrize("name", NETS)
def test_utterances_of_unequal_length_have_the_same_embeddings_together_as_alone(name):
    torch.manual_seed(0)
    net = NETS[name](feat_dim=10, emb_dim=6, **SMALL[name]).eval()
    rng = np.random.default_rng(0)
    feats = [rng.standard_normal((n, 10), dtype=np.float32) for n in (40, 31, 95, 1)]
    alone = np.concatenate([embed(net, [one]) for one in feats])
    assert alone.shape == (4, 6) and alone.dtype == np.float32
    np.testing.assert_allclose(embed(net, feats), alone, rtol=1e-4, atol=1e-5)


def test_means_by_hand():
    vectors = {"u": np.array([1.0, 2.0], np.float32), "v": np.array([3.0, 6.0], np.float32)}
    assert mean_vector(vectors.values()).tolist() == [2.0, 4.0]
    means = dict(speaker_means(vectors.__getitem__, {"s": ["u", "v"], "t": ["v"]}))
    assert means["s"].tolist() == [2.0, 4.0] and means["t"].tolist() == [3.0, 6.0]
