#!/usr/bin/env python3
"""SphereSpeaker beside plain softmax cross-entropy and beside itself written with whole (B, N) matrices.

A step is forward and backward, gradients of embeddings and weights included, the optimizer's part not. All take turns
in one process; the median of the turns counts. Memory is the peak of a process of its own above weights and gradient.

    PYTHONPATH=. tests/bench/losses.py
"""

import multiprocessing
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
def main(n_spk, batch_size, emb_dim, n_spk_memory, batch_size_memory, repeats, device):
    """Print milliseconds a step and their ratios, then the memory of one step with many speakers."""
    torch.manual_seed(0)
    kinds = {"C": {}, "A": {"margin": "A", "m": 0.15}, "M": {"margin": "M", "m": 1.2},
             "A on both": {"margin": "A", "m": 0.15, "margin_on": "both"}, "C, 100 hard": {"hard_negatives": 100}}
    losses = {"softmax": Softmax(emb_dim, n_spk),
              **{kind: SphereSpeaker(emb_dim, n_spk, **settings) for kind, settings in kinds.items()},
              **{f"whole {kind}": WholeMatrix(emb_dim, n_spk, **settings) for kind, settings in kinds.items()}}
    emb = torch.randn(batch_size, emb_dim, device=device, requires_grad=True)
    spk = torch.randint(n_spk, (batch_size,), device=device)
    for kind in kinds:
        losses[f"whole {kind}"].load_state_dict(losses[kind].state_dict())
        torch.testing.assert_close(losses[f"whole {kind}"].to(device)(emb, spk), losses[kind].to(device)(emb, spk))
    turns = [{name: step_s(loss.to(device), emb, spk) for name, loss in losses.items()} for _ in range(repeats + 2)]
    print(f"{'N = ' + str(n_spk):22}{'ms a step':>10}{'/ softmax':>11}{'/ whole':>9}")
    for name in losses:
        whole = f"whole {name}" if name in kinds else name
        ms, by_softmax, by_whole = (statistics.median(turn[name] / of for turn, of in zip(turns[2:], ofs, strict=True))
                                    for ofs in ([1e-3] * repeats, [turn["softmax"] for turn in turns[2:]],
                                                [turn[whole] for turn in turns[2:]]))
        print(f"{name:22}{ms:10.0f}{by_softmax:11.2f}{by_whole:9.2f}")
    with multiprocessing.get_context("spawn").Pool(1) as process:
        held, above = process.apply(peak_mib, (n_spk_memory, emb_dim, batch_size_memory))
    print(f"N = {n_spk_memory}, B = {batch_size_memory}: weights and gradient {held:.0f} MiB, "
          f"the step's peak above them {above:.0f} MiB")


if __name__ == "__main__":
    main()
