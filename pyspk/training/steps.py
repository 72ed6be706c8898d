"""One step: forward, backward, update; checked before anything is updated, and measured."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from pyspk.errors import UserError, first_few
from pyspk.frontend import WaveBatch
from pyspk.losses import SphereSpeaker
from pyspk.world import World

_TRAIN_ANEW = "train anew (--overwrite) with a lower lr"
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class Step:
    """Which step it is: epoch and batch from 0, the names of its utterances, what can be gone back to in words.

    And what became of it.
    """

    epoch: int
    batch: int
    names: list[str]
    way_back: str
    feats: Tensor | None = None
    emb: Tensor | None = None
    rate: float = 0.0


class Stepper:
    """Takes steps with a network, a loss and an optimizer, the same in all processes of a world.

    frontend: what makes features (B, T, F) of a batch; None: they are the batch. precision: of the network. compiled:
    whether torch.compile is to make it faster.
    """

    def __init__(self, net: nn.Module, loss: nn.Module, optimizer: torch.optim.Optimizer, world: World,
                 frontend: nn.Module | None = None, precision: str = "float32", compiled: bool = False):
        self._net, self._optimizer, self._world, self._parts = net, optimizer, world, loss.parts
        self._frontend = frontend or nn.Identity()
        self._dtype = _DTYPES.get(precision)
        self._run = _averaging(net, world)
        self._loss = loss if isinstance(loss, SphereSpeaker) else _averaging(loss, world)
        if compiled:
            self._run = torch.compile(self._run)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=precision == "float16")

    def step(self, step: Step, batch: Tensor | WaveBatch, spk: Tensor) -> dict[str, float]:
        """Means over the whole batch of loss and its parts, and the norm of the network's gradient, by name.

        A step that float16's scaler leaves out has no such norm. batch: this process's features (B, T, F), or what
        `frontend` takes; spk (B,). Raises UserError, naming step and
        utterances, when loss or gradient are not finite; nothing is updated then.
        """
        device = self._world.device
        step.feats = self._frontend(batch.to(device, non_blocking=True))     # (B, T, F)
        with torch.autocast(device.type, self._dtype, enabled=self._dtype is not None):
            step.emb = self._run(step.feats)                                 # (B, D)
        value = self._loss(step.emb.float(), spk.to(device, non_blocking=True))      # ()
        self._optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(value).backward()
        self.scaler.unscale_(self._optimizer)
        norm = get_total_norm([p.grad for p in self._net.parameters() if p.grad is not None])
        step.rate = self._optimizer.param_groups[0]["lr"]
        numbers = {"loss": value, **self._parts, "grad_norm": norm}
        values = self._world.sum(torch.stack([one.detach().float() for one in numbers.values()])) / self._world.size
        plain = dict(zip(numbers, values.tolist(), strict=True))
        self._check(step, plain)
        self.scaler.step(self._optimizer)
        self.scaler.update()
        if not math.isfinite(plain["grad_norm"]):      # nothing for a mean
            del plain["grad_norm"]
        return plain

    def _check(self, step: Step, numbers: dict[str, float]) -> None:
        """Raise UserError when loss or gradient are not finite. A gradient scaled up for float16 may overflow: the
        scaler leaves that step out, and scales less; but one that is not scaled up any more is not finite itself."""
        fine = all(map(math.isfinite, numbers.values()))
        may_be_scale = math.isfinite(numbers["loss"]) and self.scaler.is_enabled() and self.scaler.get_scale() > 1
        if not fine and not may_be_scale:
            what = _what_is_not_finite(step, numbers, self._world)
            raise UserError(f"epoch {step.epoch + 1}, batch {step.batch + 1}: {what} (rate {step.rate:.3g}); "
                            f"{step.way_back}")


def _averaging(module: nn.Module, world: World) -> nn.Module:
    """`module`, with gradients that are means over all processes; its statistics are the same in all already."""
    return module if world.size == 1 else nn.parallel.DistributedDataParallel(module, broadcast_buffers=False)


def _what_is_not_finite(step: Step, numbers: dict[str, float], world: World) -> str:
    """Where a loss or gradient that is not finite comes from, and what to do. All processes must call it."""
    for what, values, remedy in (("features", step.feats, "make them again"),
                                 ("embeddings", step.emb, f"the network diverged: {_TRAIN_ANEW}")):
        good = values.flatten(1).isfinite().all(dim=1)                       # (B,)
        bad = [name for name, fine in zip(step.names, good.tolist(), strict=True) if not fine]
        somewhere = world.any(bool(bad))      # normalisation takes what is wrong in one process to all
        if bad:
            return f"the {what} of {len(bad)} utterances are not finite ({first_few(bad, 5)}); {remedy}"
        if somewhere:
            return f"the {what} of another process are not finite, which names the utterances"
    what = "gradient" if math.isfinite(numbers["loss"]) else "loss"
    return f"the {what} is not finite with the utterances {first_few(step.names, 5)}; {_TRAIN_ANEW}"
