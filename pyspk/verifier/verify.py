"""Is it the same speaker? The answer of a model folder on recordings."""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pyspk.calibration.quality import symmetric
from pyspk.chunks import centred
from pyspk.embeddings import embed, mean_vector
from pyspk.errors import UserError
from pyspk.model import choose_device
from pyspk.verifier.folder import read_folder
from pyspk.verifier.recordings import Audio, read

log = logging.getLogger("pyspk")
LEAST_VOICE_S = 0.3       # networks take less, but what they make of it is no voice
LITTLE_VOICE_S = 1.0
MOST_VOICE_S = 300.0      # a longer recording would cost memory, and gain nothing


class Voice(NamedTuple):
    """One recording, or several of one speaker."""

    emb: np.ndarray       # (D,) float32, as extract_xvectors.py writes it; of several the mean
    voice_s: float        # seconds that the embedding rests on


class Answer(NamedTuple):
    """What is said of two voices. The last three are None where the model has no calibration, or nothing to decide by.

    Decided is by the log-likelihood ratio where the threshold comes from the calibration, by the score where it is
    given.
    """

    score: float                    # cosine, the mean subtracted, as score_cosine.py writes it
    llr: float | None               # natural log of the likelihood ratio, calibrated
    probability: float | None       # that it is one speaker, when it is in p_target of such questions
    threshold: float | None         # of the score, at or above which it is the same speaker
    same: bool | None
    p_target: float


class Verifier:
    """Embeddings and decisions of the model in `folder` (export_model.py makes it whole), on "auto", "cpu", "cuda:1".

        verifier = Verifier("exp/resnet34p")
        answer = verifier.verify("a.wav", "b.flac")
        print(answer.score, answer.probability, answer.same)

    An audio is a path, or (samples, rate in Hz): samples as soundfile.read gives them. channel: of recordings with
    several, 0, 1, ... or "mix" (which None means). Raises UserError as folder.read_folder does.
    """

    def __init__(self, folder: str | Path, device: str = "auto", channel: str | int | None = None):
        self.model = read_folder(folder, choose_device(device))
        self._channel = channel

    def embed(self, audio: Audio) -> np.ndarray:
        """The embedding (D,) float32 of a recording, that of extract_xvectors.py. Raises UserError as `voice` does."""
        return self.voice(audio).emb

    def voice(self, audio: Audio) -> Voice:
        """The embedding of a recording, and the seconds of voice in it; those beyond MOST_VOICE_S are left out.

        Raises UserError, naming the recording, when it cannot be read, is silent, or has too little voice.
        """
        features = self.model.features
        name, samples = read(audio, features.rate_hz, self._channel)
        try:
            feats = features(samples)                                            # (T, F)
        except UserError as fault:
            raise UserError(f"{name}: too short: {fault}") from None
        shift_s, seconds = features.frame_shift_ms / 1000, len(samples) / features.rate_hz
        voice_s = len(feats) * shift_s
        if not len(feats):
            raise UserError(f"{name}: no voice in its {seconds:.1f} s: too quiet throughout, or no speech; record it "
                            "again")
        if voice_s < LEAST_VOICE_S - shift_s / 2:
            raise UserError(f"{name}: too short: {min(voice_s, seconds):.2f} s of voice in {seconds:.2f} s; it takes "
                            f"{LEAST_VOICE_S:g} s, and a few seconds to be sure")
        if voice_s < LITTLE_VOICE_S:
            log.warning("%s: %.2f s of voice: so short, scores are uncertain", name, voice_s)
        if voice_s > MOST_VOICE_S:
            log.info("%s: the first %g s of its %.0f s of voice", name, MOST_VOICE_S, voice_s)
            feats = feats[:round(MOST_VOICE_S / shift_s)]
        return Voice(embed(self.model.net, [centred(feats)])[0], len(feats) * shift_s)

    def enroll(self, audios: Sequence[Audio]) -> Voice:
        """One voice of several recordings of a speaker: the mean of their embeddings, as spk_xvector.scp has it."""
        if not audios:
            raise UserError("to enroll a speaker takes one recording or more")
        voices = [self.voice(audio) for audio in audios]
        return Voice(mean_vector(voice.emb for voice in voices), sum(voice.voice_s for voice in voices))

    def verify(self, a: Audio | Voice, b: Audio | Voice, p_target: float = 0.5,
               threshold: float | None = None) -> Answer:
        """Whether `a` and `b` are one speaker.

        p_target: how often that is so before anything was heard. threshold: of the score; None: the calibration's, at
        which a false yes and a false no cost the same. Raises UserError as `voice` does, and for a p_target that is not
        between 0 and 1.
        """
        if not 0 < p_target < 1:
            raise UserError(f"p_target {p_target:g}: the share of questions whose answer is yes, between 0 and 1")
        first, second = (one if isinstance(one, Voice) else self.voice(one) for one in (a, b))
        score, calibration = self._score(first, second), self.model.calibration
        if calibration is None:
            return Answer(score, None, None, threshold, None if threshold is None else score > threshold, p_target)
        llr = float(calibration.apply(np.array([score]), self._qualities(first, second))[0])
        probability = float(calibration.probability(llr, p_target))
        if threshold is None:      # what the score would have to be for these two: the calibration is linear in it
            (scale,) = calibration.systems.values()
            threshold = score + (calibration.threshold(p_target) - llr) / scale
        return Answer(score, llr, probability, threshold, score > threshold, p_target)

    def identify(self, audio: Audio | Voice, voices: Mapping[str, Voice], p_target: float = 0.5,
                 threshold: float | None = None) -> list[tuple[str, Answer]]:
        """(name, answer to whether it is this one) of all `voices`, the most similar first. Errors as of `verify`."""
        voice = audio if isinstance(audio, Voice) else self.voice(audio)
        answers = [(name, self.verify(known, voice, p_target, threshold)) for name, known in voices.items()]
        return sorted(answers, key=lambda one: one[1].score, reverse=True)

    def _qualities(self, a: Voice, b: Voice) -> np.ndarray:
        """The quality measures (1, q) that the calibration asks for."""
        known = {"duration": lambda voice: math.log(voice.voice_s),
                 "norm": lambda voice: float(np.linalg.norm(voice.emb.astype(np.float64)))}
        columns = [np.empty((1, 0))]
        for measure in dict.fromkeys(name.rpartition(".")[0] for name in self.model.calibration.qualities):
            columns.append(symmetric(*(np.array([known[measure](voice)]) for voice in (a, b))))
        return np.hstack(columns)

    def _score(self, a: Voice, b: Voice) -> float:
        """The cosine of two embeddings less the model's mean, as score_cosine.py computes it."""
        if a.emb.shape != b.emb.shape:
            raise UserError(f"embeddings of {len(a.emb)} and {len(b.emb)} dimensions do not come from one model; "
                            "enroll again with this one")
        emb = np.stack([a.emb, b.emb])                                           # (2, D)
        if self.model.mean is not None:
            emb = emb - self.model.mean
        norm = np.sqrt(np.einsum("nd,nd->n", emb, emb))
        if not (np.isfinite(norm) & (norm > 0)).all():
            raise UserError("an embedding is zero or not finite, so that it has no direction; is the model trained?")
        emb = emb / norm[:, None]
        return float(np.einsum("d,d->", *emb))
