"""Draws what is done to an utterance and does it: the one code behind offline copies and training."""

import logging

import numpy as np

from pyspk.augment.config import KINDS, AugmentConfig
from pyspk.augment.description import Added, Augmentation, Reverb, Speed
from pyspk.augment.effects import add_noise, babble, direct_path, reverberate, speed
from pyspk.augment.sources import Sources
from pyspk.errors import UserError

log = logging.getLogger("pyspk")
_SNR_DECIMALS = 2      # what is drawn is rounded first, so that its text says all of it


class Augmenter:
    """Noise, music, babble, reverberation and speed by one configuration.

    What is drawn depends on the generator alone, what is applied on the description alone. A process that unpickles
    one reads the recordings for itself. resample: convert recordings of other rates, else they are an error. no_pipes:
    commands in their wav.scp are errors.
    """

    def __init__(self, config: AugmentConfig, resample: bool = False, no_pipes: bool = False):
        self.config = config
        self._sources = {kind: Sources(kind, config.dirs(kind), resample, no_pipes) for kind in KINDS}

    def draw(self, rng: np.random.Generator, clean: bool = True) -> Augmentation:
        """One kind at random, with all that it takes; () for an utterance that stays clean, never unless `clean`.

        Speed is not drawn: whoever speaks faster is another speaker, which is for the caller to decide. Raises
        UserError when the configuration has no kind to draw, and for a recording that cannot be read.
        """
        probs = self.config.probs()
        total = sum(probs.values())
        if not clean and total == 0:
            raise UserError("all of " + ", ".join(f"{kind}_prob" for kind in KINDS) + " are 0: nothing can be drawn")
        point = rng.random() * (1 if clean else total)
        for kind, prob in probs.items():
            if point < prob:
                return (self._draw_kind(kind, rng),)
            point -= prob
        return () if clean else (self._draw_kind([kind for kind in KINDS if probs[kind]][-1], rng),)    # by rounding

    def apply(self, samples: np.ndarray, rate_hz: int, augmentation: Augmentation) -> np.ndarray:
        """Samples (S,) at rate_hz with the steps of `augmentation` done in turn: (S,) float32, or S / factor of them.

        Raises UserError naming a recording that is not there or cannot be read.
        """
        for step in augmentation:
            if isinstance(step, Speed):
                samples = speed(samples, step.factor)
            elif isinstance(step, Reverb):
                samples = reverberate(samples, self.response(step, rate_hz)[0])
            elif (noise := self.noise(step, rate_hz, len(samples))) is not None:
                samples = add_noise(samples, noise, step.snr_db)
        return samples

    def response(self, step: Reverb, rate_hz: int) -> tuple[np.ndarray, int]:
        """The impulse response, (K,) float32, and its direct path. Raises UserError as `apply` does."""
        try:
            rir = self._sources["reverb"].whole(step.id, rate_hz)
            return rir, direct_path(rir)
        except UserError as fault:
            raise UserError(f"{step}: {fault}") from None

    def noise(self, step: Added, rate_hz: int, n_samples: int) -> np.ndarray | None:
        """What is added, at no level yet, (n_samples,) float32; None, with a warning, where the recordings are silent.

        Recordings pause; that is no reason to lose the utterance. Raises UserError as `apply` does.
        """
        sources = self._sources[step.kind]
        noise = babble([sources.stretch(id, rate_hz, at_s, n_samples) for id, at_s in step.parts])
        if noise.any():
            return noise
        log.warning('"%s" is silent there: these samples stay without it', step)
        return None

    def _draw_kind(self, kind: str, rng: np.random.Generator) -> Reverb | Added:
        sources = self._sources[kind]
        if kind == "reverb":
            return Reverb(sources.draw(rng))
        low, high = self.config.babble_voices if kind == "babble" else (1, 1)
        n_parts = int(rng.integers(low, high, endpoint=True))
        snr_db = round(float(rng.uniform(*self.config.snr_db(kind))), _SNR_DECIMALS)
        return Added(kind, sources.draw_places(rng, n_parts), snr_db)

