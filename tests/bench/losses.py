#!/usr/bin/env python3
"""SphereSpeaker beside plain softmax cross-entropy and beside itself written with whole (B, N) matrices.

A step is forward and backward, gradients of embeddings and weights included, the optimizer's part not. All take turns
in one process; the median of the turns counts. Memory is the peak of a process of its own above weights and gradient.
With a checkout of the wespeaker toolkit, its SphereFace2 takes turns too: the same loss, with margin C and with A on
both sides.

    PYTHONPATH=. tests/bench/losses.py [--wespeaker DIR]
"""

import multiprocessing
import runpy
import statistics
import time
from pathlib import Path

import click
import torch
import torch.nn.functional as F
from torch import Tensor

from pyspk.losses import Softmax, SphereSpeaker
from pyspk.losses.angle import cos_of_sum

KIB, MIB = 1024, 1024**2


class WholeMatrix(SphereSpeaker):
    """The same loss as the formulas stand, left to automatic differentiation; margin M on the target alone."""

    def forward(self, emb: Tensor, spk: Tensor) -> Tensor:
        """Batch mean loss, (). emb (B, D), spk (B,)."""
        cos = F.linear(F.normalize(emb), F.normalize(self.weight))                            # (B, N)
        positive = self._positive_logit(cos.gather(1, spk[:, None]).squeeze(1), self.b)       # (B,)
        added = self.m if self.margin == "C" else 0.0
        if self.margin == "A" and self.margin_on == "both":
            cos = -cos_of_sum(-cos, self.m)                                  # cos(max(0, th - m)), seen from pi - th
        if self.n_negatives < self.n_spk - 1:
            cos = cos.scatter(1, spk[:, None], -torch.inf).topk(self.n_negatives).values      # (B, k)
        push = F.softplus(self.r * (self._adjust(cos) + added) + self.b)                      # (B, N) or (B, k)
        if cos.shape[1] == self.n_spk:
            push = push.scatter(1, spk[:, None], 0.0)
        return (self.lam * F.softplus(-positive) + (1 - self.lam) * push.sum(1)).mean()


class Theirs(torch.nn.Module):
    """The toolkit's class `kind` with the weights of `loss`."""

    def __init__(self, kind: type[torch.nn.Module], loss: SphereSpeaker):
        super().__init__()
        self.loss = kind(loss.weight.shape[1], loss.n_spk, loss.r, loss.m, loss.lam, loss.t, loss.margin)
        self.loss.load_state_dict({"weight": loss.weight, "bias": loss.b.view(1, 1)})

    def forward(self, emb: Tensor, spk: Tensor) -> Tensor:
        """Batch mean loss, (). emb (B, D), spk (B,)."""
        return self.loss(emb, spk)[1]


def step_s(loss: torch.nn.Module, emb: Tensor, spk: Tensor) -> float:
    """Seconds of one step."""
    loss.zero_grad(set_to_none=True)
    emb.grad = None
    start = time.perf_counter()
    loss(emb, spk).backward()
    if emb.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_mib(n_spk: int, emb_dim: int, batch_size: int) -> tuple[float, float]:
    """(MiB of weights and their gradient, MiB of the peak above them) of a step on the CPU."""
    loss = SphereSpeaker(emb_dim, n_spk)
    emb, spk = torch.randn(batch_size, emb_dim, requires_grad=True), torch.randint(n_spk, (batch_size,))
    SphereSpeaker(emb_dim, 4)(emb, spk % 4).backward()                     # what torch itself loads on the first step
    before = memory_mib("VmRSS")
    step_s(loss, emb, spk)
    gradient = loss.weight.nbytes / MIB
    return 2 * gradient, memory_mib("VmHWM") - before - gradient


def memory_mib(field: str) -> float:
    """VmRSS, what this process holds in memory now, or VmHWM, the most that it held since it began."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) / KIB


@click.command()
@click.option("--n-spk", default=18_000, show_default=True, help="speakers in the comparison of time")
@click.option("--batch-size", default=256, show_default=True)
@click.option("--emb-dim", default=256, show_default=True)
@click.option("--n-spk-memory", default=1_000_000, show_default=True, help="speakers in the measurement of memory")
@click.option("--batch-size-memory", default=64, show_default=True)
@click.option("--repeats", default=15, show_default=True, help="turns of which the median counts")
@click.option("--device", default="cpu", show_default=True)
@click.option("--wespeaker", type=Path, metavar="DIR", help="a checkout of that toolkit, to measure its loss as well")
def main(n_spk, batch_size, emb_dim, n_spk_memory, batch_size_memory, repeats, device, wespeaker):
    """Print milliseconds a step and their ratios, then the memory of one step with many speakers."""
    torch.manual_seed(0)
    kinds = {"C": {}, "A": {"margin": "A", "m": 0.15}, "M": {"margin": "M", "m": 1.2},
             "A on both": {"margin": "A", "m": 0.15, "margin_on": "both"}, "C, 100 hard": {"hard_negatives": 100}}
    theirs = wespeaker and runpy.run_path(str(wespeaker / "wespeaker" / "models" / "projections.py"))["SphereFace2"]
    losses, beside = {"softmax": Softmax(emb_dim, n_spk)}, {}              # beside: name -> what it is divided by
    for kind, settings in kinds.items():
        ours = losses[kind] = SphereSpeaker(emb_dim, n_spk, **settings)
        whole = losses[f"whole {kind}"] = WholeMatrix(emb_dim, n_spk, **settings)
        whole.load_state_dict(ours.state_dict())
        beside[kind] = [f"whole {kind}"]
        if theirs and kind in ("C", "A on both"):
            losses[f"wespeaker {kind}"] = Theirs(theirs, ours)
            beside[kind].append(f"wespeaker {kind}")
    emb = torch.randn(batch_size, emb_dim, device=device, requires_grad=True)
    spk = torch.randint(n_spk, (batch_size,), device=device)
    for kind, names in beside.items():
        for name in names:
            torch.testing.assert_close(losses[name].to(device)(emb, spk), losses[kind].to(device)(emb, spk))
    turns = [{name: step_s(loss.to(device), emb, spk) for name, loss in losses.items()} for _ in range(repeats + 2)]
    print(f"{f'N = {n_spk}':22}{'ms a step':>10}{'/ softmax':>11}{'/ whole':>9}{'  / wespeaker' if theirs else ''}")
    for name in losses:
        seconds = [turn[name] for turn in turns[2:]]
        ratios = (statistics.median(turn[name] / turn[other] for turn in turns[2:])
                  for other in ("softmax", *beside.get(name, [])))
        print(f"{name:22}{1e3 * statistics.median(seconds):10.0f}"
              + "".join(f"{ratio:{width}.2f}" for ratio, width in zip(ratios, (11, 9, 13), strict=False)))
    with multiprocessing.get_context("spawn").Pool(1) as process:
        held, above = process.apply(peak_mib, (n_spk_memory, emb_dim, batch_size_memory))
    print(f"N = {n_spk_memory}, B = {batch_size_memory}: weights and gradient {held:.0f} MiB, "
          f"the step's peak above them {above:.0f} MiB")


if __name__ == "__main__":
    main()
