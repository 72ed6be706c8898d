"""Learning rate and margin as functions of the samples seen: the batch size and the number of GPUs change nothing."""

import math

from pyspk.training.config import TrainConfig


class Schedule:
    """Values at a number of samples seen, of an epoch of `samples_per_epoch`; `no_margin` is the loss's."""

    def __init__(self, config: TrainConfig, samples_per_epoch: int, no_margin: float = 0.0):
        self._config, self._samples_per_epoch, self._no_margin = config, samples_per_epoch, no_margin

    def lr(self, n_samples: int) -> float:
        """From lr to final_lr over the run, exponentially or as half a cosine, times a linear warm-up from 0."""
        config, epoch = self._config, n_samples / self._samples_per_epoch
        done = epoch / config.n_epochs
        if config.lr_schedule == "cosine":
            lr = config.final_lr + (config.lr - config.final_lr) * (1 + math.cos(math.pi * done)) / 2
        else:
            lr = config.lr * (config.final_lr / config.lr) ** done
        return lr * (min(1.0, epoch / config.warmup_epochs) if config.warmup_epochs else 1.0)

    def margin(self, n_samples: int) -> float:
        """No margin until margin_start_epoch, then linear up to m at margin_full_epoch."""
        config, epoch = self._config, n_samples / self._samples_per_epoch
        if epoch >= config.margin_full_epoch:
            return config.m
        if epoch <= config.margin_start_epoch:
            return self._no_margin
        done = (epoch - config.margin_start_epoch) / (config.margin_full_epoch - config.margin_start_epoch)
        return self._no_margin + (config.m - self._no_margin) * done
