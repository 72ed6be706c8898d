"""Which epochs final.pt is the mean of, and the mean."""

import torch

from pyspk.model import build_net, load_torch
from pyspk.training.average import epochs_to_keep, keep_epoch, mean_weights, wanted_epochs

EERS = [0.30, 0.10, 0.20, 0.10, 0.15]
HISTORY = [{"epoch": i, "valid_eer": value} for i, value in enumerate(EERS, start=1)]
SETTINGS = {"net": "xvector", "feat_dim": 3, "emb_dim": 4, "channels": 2}


def test_the_last_or_the_best_epochs():
    assert wanted_epochs(HISTORY, 2, "last") == [4, 5]
    assert wanted_epochs(HISTORY[:1], 3, "last") == [1]
    assert wanted_epochs(HISTORY, 1, "best") == [4]                # of equals the later
    assert wanted_epochs(HISTORY, 3, "best") == [2, 4, 5]


def test_what_may_count_after_going_back_is_kept():
    assert epochs_to_keep(HISTORY[:1], 1, "best", 2) == [1]
    assert epochs_to_keep(HISTORY[:2], 1, "best", 0) == [2]
    assert epochs_to_keep(HISTORY[:2], 1, "best", 1) == [1, 2]         # should the EER of 2 come out higher
    assert epochs_to_keep(HISTORY, 1, "best", 2) == [2, 4]
    assert epochs_to_keep(HISTORY, 2, "last", 1) == [3, 4, 5]


def test_only_the_epochs_that_may_count_are_kept_and_their_mean_is_right(tmp_path):
    nets = []
    for epoch in range(1, 6):
        torch.manual_seed(epoch)
        nets.append(build_net(SETTINGS))
        for name, buffer in nets[-1].named_buffers():
            buffer.fill_(epoch if "num_batches" in name else 0.5 * epoch)
        keep_epoch(tmp_path, epoch, wanted_epochs(HISTORY[:epoch], 2, "best"), SETTINGS, nets[-1])
    assert sorted(path.name for path in (tmp_path / "epochs").iterdir()) == ["0002.pt", "0004.pt"]
    assert load_torch(tmp_path / "epochs" / "0004.pt")["settings"] == SETTINGS
    for name, mean in mean_weights(tmp_path, [2, 4]).items():
        second, fourth = (nets[i].state_dict()[name] for i in (1, 3))
        expected = fourth if "num_batches" in name else ((second.double() + fourth.double()) / 2).float()
        assert torch.equal(mean, expected) and mean.dtype == expected.dtype
