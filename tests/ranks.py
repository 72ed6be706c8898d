"""What processes that train together check, each for itself; test_distributed.py starts them and reads their answers.

    ranks.py FOLDER     in each of several processes; writes FOLDER/SIZE.RANK.json, check -> "" or its traceback

Each process works out what one process alone would have, and compares its own part. One that finds a fault stops, and
the others then fail at their next exchange with it.
"""

import copy
import json
import sys
import traceback
from itertools import product
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from pyspk.errors import UserError
from pyspk.losses import SphereSpeaker
from pyspk.losses import sphere_speaker as sphere_speaker_module
from pyspk.nets import ResNet
from pyspk.nets.normalisation import with_statistics_of_all
from pyspk.world import World, joined

MARGINS = (("C", "both", 0.2), ("A", "target", 0.15), ("A", "both", 0.15), ("M", "target", 1.3), ("M", "both", 1.3))
EMB_DIM, BATCH_SIZE = 5, 8
CLOSE = {torch.float64: 1e-10, torch.float32: 1e-5}


def share(rows: torch.Tensor, world: World) -> torch.Tensor:
    """What the process has of a batch (B, ...)."""
    return rows.chunk(world.size)[world.rank]


def close(got: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> None:
    assert_close(got, wanted, rtol=tolerance, atol=tolerance)


# ---- what they tell each other


def exchanges(world: World, folder: Path) -> None:
    ours = torch.tensor([[world.rank, 1], [world.rank, 2]])
    everyones = torch.tensor([[rank, place] for rank in range(world.size) for place in (1, 2)])
    assert torch.equal(world.gather_rows(ours), everyones)
    sums = world.sum_rows(everyones * (world.rank + 1))
    assert torch.equal(sums, ours * sum(range(1, world.size + 1)))
    assert torch.equal(world.sum(torch.tensor([1.0, world.rank])),
                       torch.tensor([world.size, sum(range(world.size))], dtype=torch.float32))
    assert world.any(world.rank == world.size - 1) and not world.any(False)


def what_differs_is_refused_by_all(world: World, folder: Path) -> None:
    world.require_same("the weather", [1, 2])
    with pytest.raises(UserError, match=rf"process {world.size} of {world.size} found the weather other than the first "
                                        rf"did .\[1, {world.size - 1}\], not \[1, 0\]"):
        world.require_same("the weather", [1, world.rank if world.rank == world.size - 1 else 0])


def rows_are_dealt_out_and_collected(world: World, folder: Path) -> None:
    for n_rows in (1, 3, 7, 8, 101):
        whole = torch.arange(2 * n_rows).view(n_rows, 2)
        ours = whole[world.rows_here(n_rows)]
        assert n_rows // world.size <= len(ours) <= -(-n_rows // world.size)
        got = world.whole_rows(ours, n_rows)
        assert torch.equal(got, whole) if world.is_first else got is None


# ---- the loss


def loss_and_batch(world: World, n_spk: int, dtype: torch.dtype = torch.float64, **settings):
    """(loss of `world`, embeddings (B, D) and speakers (B,) of the whole batch), the same for any world."""
    torch.manual_seed(1)
    loss = SphereSpeaker(EMB_DIM, n_spk, r=8.0, world=world, **settings).to(dtype)
    emb, spk = torch.randn(BATCH_SIZE, EMB_DIM, dtype=dtype) * 3, torch.randint(n_spk, (BATCH_SIZE,))
    return loss, emb, spk


def same_value_and_slopes(world: World, margin_m: float | None = None, **settings) -> None:
    """The shared loss against the whole one."""
    whole, emb, spk = loss_and_batch(World(), **settings)
    loss, *_ = loss_and_batch(world, **settings)
    here = world.rows_here(whole.n_spk)
    assert torch.equal(loss.weight, whole.weight[here]) and torch.equal(loss.b, whole.b)
    if margin_m is not None:
        loss.m = whole.m = margin_m
    ours = share(emb, world).clone().requires_grad_()
    value, wanted = loss(ours, share(spk, world)), whole(emb.requires_grad_(), spk)
    tolerance = CLOSE[emb.dtype]
    close(value, wanted, tolerance)
    (3 * value).backward()
    (3 * wanted).backward()
    close(ours.grad / world.size, share(emb.grad, world), tolerance)
    close(loss.weight.grad, whole.weight.grad[here], tolerance)
    close(loss.b.grad, whole.b.grad, tolerance)


def the_shared_loss_is_the_whole_one(world: World, folder: Path) -> None:
    usual = sphere_speaker_module._MANY
    for many in (usual, 1):                                # hard negatives in blocks, and pair by pair
        sphere_speaker_module._MANY = many
        for (margin, margin_on, m), hard in product(MARGINS, (None, 1, 4)):
            same_value_and_slopes(world, n_spk=7, margin=margin, margin_on=margin_on, m=m, hard_negatives=hard)
        for n_spk, hard in ((3, None), (3, 1), (8, 50)):   # 3 leave one of four processes without any; 50 are all
            same_value_and_slopes(world, n_spk=n_spk, hard_negatives=hard)
    sphere_speaker_module._MANY = usual
    for (margin, margin_on, m), hard in zip(MARGINS, (None, 4, None, 4, None), strict=True):
        same_value_and_slopes(world, n_spk=21, dtype=torch.float32, margin=margin, margin_on=margin_on, m=m,
                              hard_negatives=hard)


def a_second_backward_gives_the_same(world: World, folder: Path) -> None:
    loss, emb, spk = loss_and_batch(world, 7)
    ours = share(emb, world).clone().requires_grad_()
    value = loss(ours, share(spk, world))                  # slopes handed over, then computed again
    once, again = (torch.autograd.grad(value, [ours, loss.weight, loss.b], retain_graph=True) for _ in range(2))
    assert_close(once, again, rtol=1e-12, atol=1e-12)


def the_shared_loss_is_the_whole_one_in_small_blocks(world: World, folder: Path) -> None:
    usual = sphere_speaker_module._BLOCK_SCORES["cpu"]
    sphere_speaker_module._BLOCK_SCORES["cpu"] = 13
    for hard in (None, 4):
        same_value_and_slopes(world, n_spk=21, margin="A", m=0.15, hard_negatives=hard)
    sphere_speaker_module._BLOCK_SCORES["cpu"] = usual


def the_margin_may_change(world: World, folder: Path) -> None:
    same_value_and_slopes(world, margin_m=1.0, n_spk=7, margin="M", m=1.3)


def short_vectors_and_half_precision(world: World, folder: Path) -> None:
    whole, emb, spk = loss_and_batch(World(), 7, torch.float32)
    loss, *_ = loss_and_batch(world, 7, torch.float32)
    emb[::2] = 0
    value = loss(share(emb, world).half(), share(spk, world))
    close(value, whole(emb.half(), spk), 1e-5)


def directions_slopes_and_three_sums_are_all_that_is_exchanged(world: World, folder: Path) -> None:
    n_here, k = BATCH_SIZE // world.size, 4
    for hard, more in ((None, []), (k, [(1, BATCH_SIZE, k)])):
        loss, emb, spk = loss_and_batch(world, 21, hard_negatives=hard)
        with (patch.object(dist, "all_gather", wraps=dist.all_gather) as gather,
              patch.object(dist, "all_reduce", wraps=dist.all_reduce) as reduce):
            loss(share(emb, world).clone().requires_grad_(), share(spk, world)).backward()
        assert [call.args[1].shape for call in gather.call_args_list] == [(n_here, EMB_DIM), (n_here,), *more]
        assert [call.args[0].shape for call in reduce.call_args_list] == [(3,), (BATCH_SIZE, EMB_DIM)]


def a_speaker_that_is_none_is_an_error(world: World, folder: Path) -> None:
    loss, emb, _ = loss_and_batch(world, 7)
    try:
        loss(emb, torch.full((BATCH_SIZE,), 7))
    except IndexError as fault:
        assert "from 0 to 6" in str(fault)
    else:
        raise AssertionError("no error")


# ---- checkpoints


def train_loss(world: World, n_steps: int, saved: dict | None = None) -> dict | None:
    """Loss and momentum as one process would have them, after n_steps from the start or from `saved`."""
    loss, emb, spk = loss_and_batch(world, 7)
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    if saved:
        loss.load_whole_state(saved["loss"])
        optimizer.state[loss.weight]["momentum_buffer"] = saved["momentum"][world.rows_here(7)].clone()
        optimizer.state[loss.b]["momentum_buffer"] = saved["momentum_b"]
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss(share(emb, world), share(spk, world)).backward()
        optimizer.step()
    state = loss.whole_state()
    momentum = world.whole_rows(optimizer.state[loss.weight]["momentum_buffer"], 7)
    return state and {"loss": state, "momentum": momentum,
                      "momentum_b": optimizer.state[loss.b]["momentum_buffer"]}


def saved_path(folder: Path, size: int) -> Path:
    """What a world of `size` processes left after three steps."""
    return folder / f"saved_on_{size}.pt"


def saved_here_it_is_what_one_process_saves(world: World, folder: Path) -> None:
    saved, wanted = train_loss(world, 3), train_loss(World(), 3)
    if world.is_first:
        assert_close(saved, wanted, rtol=1e-10, atol=1e-10)
        torch.save(saved, saved_path(folder, world.size))
    world.any(False)                                       # for the file


def saved_elsewhere_it_goes_on_here(world: World, folder: Path) -> None:
    wanted = train_loss(World(), 5)
    for path in folder.glob("saved_on_*.pt"):              # on 1, on 4, and on 2
        got = train_loss(world, 2, torch.load(path))
        if world.is_first:
            assert_close(got, wanted, rtol=1e-10, atol=1e-10)


def a_state_of_other_speakers_is_refused_by_all(world: World, folder: Path) -> None:
    state = loss_and_batch(World(), 8)[0].state_dict()
    try:
        loss_and_batch(world, 7)[0].load_whole_state(state)
    except ValueError as fault:
        assert str(fault) == "weights of 8 speakers, not of 7"
    else:
        raise AssertionError("no error")


# ---- normalisation


def same_normalisation(world: World, norm: nn.Module, shape: tuple[int, ...], scale: float = 1.0,
                       shift: float = 0.0) -> None:
    """Two training steps and an evaluation of `norm` against its like on the whole batch, float64."""
    torch.manual_seed(2)
    whole = nn.Sequential(norm).double()
    for values in norm.parameters():
        nn.init.normal_(values)
    shared = with_statistics_of_all(copy.deepcopy(whole), world)
    for _ in range(2):
        maps = (torch.randn(shape, dtype=torch.float64) * scale + shift).requires_grad_()
        grad = torch.randn(shape, dtype=torch.float64)
        ours = share(maps.detach(), world).requires_grad_()
        got, wanted = shared(ours), whole(maps)
        got.backward(share(grad, world))
        wanted.backward(grad)
        close(got, share(wanted, world), 1e-10)
        close(ours.grad, share(maps.grad, world), 1e-10)
    for part, total in zip(shared.parameters(), whole.parameters(), strict=True):
        close(world.sum(part.grad.clone()), total.grad, 1e-10)
    assert_close(shared.state_dict(), whole.state_dict(), rtol=1e-10, atol=1e-10)       # running statistics, and names
    close(shared.eval()(ours), share(whole.eval()(maps), world), 1e-10)


def normalisation_is_that_of_the_whole_batch(world: World, folder: Path) -> None:
    same_normalisation(world, nn.BatchNorm2d(3), (8, 3, 4, 5))
    same_normalisation(world, nn.BatchNorm1d(3), (8, 3, 6), scale=10, shift=-20)
    same_normalisation(world, nn.BatchNorm1d(3, eps=1e-3, momentum=0.3), (8, 3))


def statistics_are_float32_under_autocast(world: World, folder: Path) -> None:
    torch.manual_seed(3)
    maps = (torch.randn(8, 3, 50) + torch.tensor([0.0, 30.0, -100.0])[:, None]).bfloat16()
    shared = with_statistics_of_all(nn.Sequential(nn.BatchNorm1d(3)), world)
    ours = share(maps, world).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = shared(ours)
    got.sum().backward()
    exact = maps.double()
    assert got.dtype == ours.grad.dtype == torch.bfloat16 and shared[0].running_var.dtype == torch.float32
    close(shared[0].running_mean.double(), 0.1 * exact.mean((0, 2)), 1e-5)
    close(shared[0].running_var.double(), 0.9 + 0.1 * exact.transpose(0, 1).flatten(1).var(1), 1e-5)
    close(got.double(), share(nn.BatchNorm1d(3).double()(exact), world).detach(), 1e-2)


# ---- all of it


def a_training_is_that_of_one_process(world: World, folder: Path) -> None:
    got, wanted = trained(world), trained(World())
    if world.is_first:
        assert_close(got, wanted, rtol=1e-8, atol=1e-8)


def trained(world: World) -> dict | None:
    """Five steps on batches of 8: the losses, and the states of network and loss."""
    torch.manual_seed(4)
    net = ResNet(18, feat_dim=8, emb_dim=6, channels=2).double()
    loss = SphereSpeaker(6, 11, r=8.0, hard_negatives=5, world=world).double()
    batches = [(torch.randn(8, 20, 8, dtype=torch.float64), torch.randint(11, (8,))) for _ in range(5)]
    net = with_statistics_of_all(net, world)
    parallel = DistributedDataParallel(net) if world.size > 1 else net
    optimizer = torch.optim.SGD([*net.parameters(), *loss.parameters()], lr=0.05, momentum=0.9, weight_decay=1e-3)
    values = []
    for feats, spk in batches:
        optimizer.zero_grad()
        value = loss(parallel(share(feats, world)), share(spk, world))
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert (world.gather_rows(loss.b.detach()[None]) == loss.b).all()      # to the bit
    state = loss.whole_state()
    return state and {"values": values, "net": net.state_dict(), "loss": state}


CHECKS = {check.__name__: check for check in (
    exchanges, what_differs_is_refused_by_all, rows_are_dealt_out_and_collected,
    the_shared_loss_is_the_whole_one, the_shared_loss_is_the_whole_one_in_small_blocks,
    a_second_backward_gives_the_same, the_margin_may_change, short_vectors_and_half_precision,
    directions_slopes_and_three_sums_are_all_that_is_exchanged, a_speaker_that_is_none_is_an_error,
    saved_here_it_is_what_one_process_saves, saved_elsewhere_it_goes_on_here,
    a_state_of_other_speakers_is_refused_by_all,
    normalisation_is_that_of_the_whole_batch, statistics_are_float32_under_autocast,
    a_training_is_that_of_one_process)}


def main(folder: Path) -> None:
    """Run all checks and leave the answers in `folder`."""
    torch.set_num_threads(1)
    answers = {}
    with joined(torch.device("cpu"), timeout_s=30) as world:
        for name, check in CHECKS.items():
            try:
                check(world, folder)
                answers[name] = ""
            except BaseException:
                answers[name] = traceback.format_exc()
                raise
            finally:
                (folder / f"{world.size}.{world.rank}.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
