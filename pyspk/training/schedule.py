"""Learning rate and margin as functions of the samples seen: the batch size and the number of GPUs change nothing."""

from pyspk.training.config import TrainConfig


class Schedule:
    """Values at a number of samples seen, of an epoch of `samples_per_epoch`."""

    def __init__(self, config: TrainConfig, samples_per_epoch: int):
        self._config, self._samples_per_epoch = config, samples_per_epoch

    def lr(self, n_samples: int) -> float:
        """Exponential from lr to final_lr over the run, times a linear warm-up from 0 over warmup_epochs."""
        config, epoch = self._config, n_samples / self._samples_per_epoch
        decay = (config.final_lr / config.lr) ** (epoch / config.n_epochs)
        warmup = min(1.0, epoch / config.warmup_epochs) if config.warmup_epochs else 1.0
        return config.lr * decay * warmup

    def margin(self, n_samples: int) -> float:
        """No margin until margin_start_epoch, then linear up to m at margin_full_epoch. Margin M has none at 1."""
        config, epoch = self._config, n_samples / self._samples_per_epoch
        none = 1.0 if config.margin == "M" else 0.0
        if epoch >= config.margin_full_epoch:
            return config.m
        if epoch <= config.margin_start_epoch:
            return none
        done = (epoch - config.margin_start_epoch) / (config.margin_full_epoch - config.margin_start_epoch)
        return none + (config.m - none) * done
