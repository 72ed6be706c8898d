"""From the clips of a voice to its utterances: decoded, without silence at their ends, joined or cut to 3 to 6 s."""

import hashlib
import itertools
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from debian_voices.sources import Source
from pyspk.audio import load, resample, to_mono
from pyspk.errors import UserError

RATE_HZ = 16000
MIN_UTT = 3 * RATE_HZ
MAX_UTT = 2 * MIN_UTT           # twice the minimum, so that join_clips always finds a length between the two
FRAME = RATE_HZ // 100
SILENCE_RMS = 33                # of a frame: 60 dB below full scale
MARGIN = 10 * FRAME             # this much of the silence around a clip is kept
TIME = 1_000_000_000            # of all files alike, so that a corpus made anew is the same to what was made from it
CLIP_RULES = (RATE_HZ, MIN_UTT, MAX_UTT, FRAME, SILENCE_RMS, MARGIN)


@dataclass
class Made:
    """What became of the clips of a voice."""

    seconds: Counter[Source] = field(default_factory=Counter)
    rest_s: float = 0.0
    digests: set[bytes] = field(default_factory=set)                 # of the clips used
    left_out: dict[str, str] = field(default_factory=dict)           # clip -> reason


def make_voice(sources: dict[Source, list[Path]], unpacked: Path, folder: Path, max_seconds: float,
               seen: Set[bytes] = frozenset()) -> Made:
    """Write the utterances of one voice to `folder`, named after it, alike many seconds of each source.

    sources: source -> its clips below `unpacked`. Clips whose digest is `seen` are left out.
    """
    made = Made()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    numbers = itertools.count(1)
    for source, clips in sources.items():
        for utt in join_clips(sounds(clips, unpacked, seen, made)):
            seconds = len(utt) / RATE_HZ
            if len(utt) < MIN_UTT:
                made.rest_s += seconds
            elif made.seconds[source] + seconds > max_seconds / len(sources):
                break
            else:
                made.seconds[source] += seconds
                path = folder / f"{folder.name}-{next(numbers):04d}.wav"
                soundfile.write(path, utt, RATE_HZ, "PCM_16")
                os.utime(path, (TIME, TIME))
    return made


def sounds(clips: Iterable[Path], unpacked: Path, seen: Set[bytes], made: Made) -> Iterator[np.ndarray]:
    """The sound, (S,) int16 at RATE_HZ, of each clip that did not come before; `made` notes all clips."""
    for clip in clips:
        name = clip_name(clip, unpacked)
        try:
            samples, from_hz = load(str(clip))
        except UserError as fault:
            made.left_out[name] = f"unreadable: {str(fault).removeprefix(f'{clip}: ')}"
            continue
        samples = resample(to_mono(samples, "mix"), from_hz, RATE_HZ)
        samples = cut_silence(np.rint(samples).clip(-32768, 32767).astype(np.int16))
        digest = digest_of(samples.tobytes())
        if len(samples) == 0:
            made.left_out[name] = "silent"
        elif digest in made.digests or digest in seen:
            made.left_out[name] = "a duplicate"
        else:
            made.digests.add(digest)
            yield samples


def cut_silence(samples: np.ndarray) -> np.ndarray:
    """`samples`, (S,) int16, from MARGIN before the first frame with sound to MARGIN after the last; (0,) without any.

    Some clips are padded: five seconds of zeros around one letter would not count as voice.
    """
    frames = samples[:len(samples) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64)
    with_sound = np.flatnonzero(np.sqrt(np.mean(frames ** 2, axis=1)) >= SILENCE_RMS)
    if len(with_sound) == 0:
        return samples[:0]
    return samples[max(0, with_sound[0] * FRAME - MARGIN):(with_sound[-1] + 1) * FRAME + MARGIN]


def join_clips(clips: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Utterances of MIN_UTT to MAX_UTT samples, (S,) int16, and last what is left over, shorter.

    A clip of MIN_UTT or more is an utterance; beyond MAX_UTT it is cut into equal ones. Shorter clips are joined while
    they fit into MAX_UTT.
    """
    joined: list[np.ndarray] = []
    for clip in clips:
        if len(clip) >= MIN_UTT:
            yield from np.array_split(clip, math.ceil(len(clip) / MAX_UTT))
            continue
        if sum(map(len, joined)) + len(clip) > MAX_UTT:
            yield np.concatenate(joined)
            joined = []
        joined.append(clip)
    if joined:
        yield np.concatenate(joined)


def clip_name(clip: Path, unpacked: Path) -> str:
    """PACKAGE/path of a clip."""
    return clip.relative_to(unpacked).as_posix()


def digest_of(content: bytes) -> bytes:
    """A hash of `content` that is the same everywhere."""
    return hashlib.sha256(content).digest()
