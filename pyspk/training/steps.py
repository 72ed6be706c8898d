"""One step: forward, backward, update; checked, and measured without waiting for the device."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from pyspk.errors import UserError, first_few

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class Step:
    """Which step it is: epoch and batch from 0, the names of its utterances. And what became of it."""

    epoch: int
    batch: int
    names: list[str]
    feats: Tensor | None = None
    emb: Tensor | None = None
    rate: float = 0.0


class Stepper:
    """Takes steps with a network, a loss and an optimizer, the network in `precision`, compiled if that is wanted."""

    def __init__(self, net: nn.Module, loss: nn.Module, optimizer: torch.optim.Optimizer, precision: str,
                 compiled: bool, device: torch.device):
        self._net, self._loss, self._optimizer, self._device = net, loss, optimizer, device
        self._dtype = _DTYPES.get(precision)
        self._run = torch.compile(net) if compiled else net
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")

    def step(self, step: Step, feats: Tensor, spk: Tensor) -> dict[str, float]:
        """Loss, its parts and the norm of the network's gradient, by name. feats (B, T, F), spk (B,).

        Raises UserError, naming step and utterances, when loss or gradient are not finite; nothing is updated then.
        """
        step.feats, spk = feats.to(self._device, non_blocking=True), spk.to(self._device, non_blocking=True)
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype is not None):
            step.emb = self._run(step.feats)                                 # (B, D)
        value = self._loss(step.emb.float(), spk)                            # ()
        self._optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(value).backward()
        self.scaler.unscale_(self._optimizer)
        norm = get_total_norm([p.grad for p in self._net.parameters() if p.grad is not None])
        step.rate = self._optimizer.param_groups[0]["lr"]
        numbers = {"loss": value, **self._loss.parts, "grad_norm": norm}
        values = torch.stack([one.detach().float() for one in numbers.values()]).tolist()
        plain = dict(zip(numbers, values, strict=True))
        self._check(step, plain)
        self.scaler.step(self._optimizer)
        self.scaler.update()
        return plain

    def _check(self, step: Step, numbers: dict[str, float]) -> None:
        """Raise UserError when loss or gradient are not finite. A gradient scaled for float16 may overflow: the scaler
        leaves that step out, and scales less."""
        good = math.isfinite(numbers["loss"]) and (self.scaler.is_enabled() or math.isfinite(numbers["grad_norm"]))
        if not good:
            raise UserError(f"epoch {step.epoch + 1}, batch {step.batch + 1}: {_what_is_not_finite(step, numbers)} "
                            f"(rate {step.rate:.3g}); last.pt is from before it")


def _what_is_not_finite(step: Step, numbers: dict[str, float]) -> str:
    """Where a loss or gradient that is not finite comes from, and what to do."""
    for what, values, remedy in (("features", step.feats, "make them again"),
                                 ("embeddings", step.emb, "the network diverged: lower lr and start again")):
        good = values.flatten(1).isfinite().all(dim=1)                       # (B,)
        if not good.all():
            bad = [name for name, fine in zip(step.names, good.tolist(), strict=True) if not fine]
            return f"the {what} of {len(bad)} utterances are not finite ({first_few(bad, 5)}); {remedy}"
    what = "gradient" if math.isfinite(numbers["loss"]) else "loss"
    return f"the {what} is not finite with the utterances {first_few(step.names, 5)}; lower lr and start again"
