"""What an epoch came to: numbers of the steps added up, as a line of the log and of log/train.jsonl."""

import time
from pathlib import Path

import torch

from pyspk.errors import UserError

_WARM_UP, _FORECAST_S = 5, 30.0                # steps that do not count, and seconds of those that do
_MEANS = ("loss", "positive", "negative")      # over the steps of an epoch; what the loss has of them


def count(sums: dict[str, float], numbers: dict[str, float], n_samples: int, seconds: float, waited: float) -> None:
    """Add to `sums` what one step measured, its samples, and the seconds that it took and waited for data."""
    for name, value in (*numbers.items(), ("steps", 1), ("left_out", "grad_norm" not in numbers),
                        ("samples", n_samples), ("seconds", seconds), ("waited", waited)):
        sums[name] = sums.get(name, 0.0) + value


def report(epoch: int, sums: dict[str, float], now: dict[str, float], device: torch.device) -> dict:
    """Plain numbers by name: the epoch (from 1), means over its steps, what holds `now`, speed and memory.

    The gradient's norm is a mean over the steps that were taken, None without any, and `left_out` counts the others.
    """
    left_out = int(sums["left_out"])
    done = {"epoch": epoch, **{name: sums[name] / sums["steps"] for name in _MEANS if name in sums},
            "grad_norm": sums["grad_norm"] / (sums["steps"] - left_out) if "grad_norm" in sums else None,
            "left_out": left_out, **now,
            "samples_per_s": sums["samples"] / sums["seconds"], "waited_share": sums["waited"] / sums["seconds"]}
    if device.type == "cuda":
        done["gpu_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
    return done


class Forecast:
    """Says once, some steps after a start, how long the rest of the run will take."""

    def __init__(self):
        self._began, self._n_steps = 0.0, 0

    def step(self, n_left: int, batch_size: int) -> str:
        """A step was taken, n_left are left: the hours in words, once they can be told, and "" otherwise."""
        self._n_steps += 1
        now = time.monotonic()
        if self._n_steps <= _WARM_UP:
            self._began = now
        elif self._began and now - self._began > _FORECAST_S:
            seconds, self._began = (now - self._began) / (self._n_steps - _WARM_UP), 0.0
            return f"about {n_left * seconds / 3600:.2f} h to go, at {batch_size / seconds:.0f} samples/s"
        return ""


def tensorboard_writer(folder: Path, first_epoch: int):
    """Something with add_scalar(name, value, epoch) that writes for TensorBoard; UserError without the package.

    What earlier runs wrote of first_epoch and later, it takes back.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError('tensorboard = true needs the package tensorboard: pip install "pyspk[tensorboard]"') from None
    return SummaryWriter(folder, purge_step=first_epoch)


def in_words(done: dict, n_epochs: int) -> str:
    """A report as one line of the log."""
    parts = f" (positive {done['positive']:.4f}, negative {done['negative']:.4f})" if "positive" in done else ""
    valid = "" if done.get("valid_eer") is None else f", validation EER {100 * done['valid_eer']:.2f}%"
    bias = f"b {done['b']:.2f}, " if "b" in done else ""
    gradient = "no gradient" if done["grad_norm"] is None else f"gradient {done['grad_norm']:.3g}"
    if done["left_out"]:
        gradient += f", {done['left_out']} steps left out by float16's scaler"
    memory = f", {done['gpu_gib']:.1f} GiB of the GPU" if "gpu_gib" in done else ""
    return (f"epoch {done['epoch']}/{n_epochs}: loss {done['loss']:.4f}{parts}{valid}, margin {done['margin']:.3f}, "
            f"{bias}rate {done['lr']:.2e}, {gradient}, {done['samples_per_s']:.0f} samples/s, "
            f"{100 * done['waited_share']:.0f}% of the time waiting for data{memory}")
