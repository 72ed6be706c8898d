"""A corpus like MUSAN and RIRS_NOISES for the tests of augmentation, small and synthetic."""

from pathlib import Path

import numpy as np
import soundfile
from conftest import RATE_HZ, voice

T60_S = {"room-a": 0.2, "room-b": 0.4}
DIRECT = 80      # sample of the direct path in each impulse response: 5 ms


def tone(hz: float, seconds: float, amplitude: float = 3000) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)


def room(t60_s: float, seed: int = 0) -> np.ndarray:
    """Noise that falls by 60 dB in t60_s after a direct path, the largest sample, (S,) float64 in [-1, 1]."""
    time_s = np.arange(int(1.5 * t60_s * RATE_HZ)) / RATE_HZ
    tail = np.random.default_rng(seed).normal(size=len(time_s)) * 10 ** (-3 * time_s / t60_s)
    tail[0] = 5
    return np.concatenate([np.zeros(DIRECT), 0.15 * tail])


def write_sources(folder: Path) -> Path:
    """FOLDER/data/{musan_noise,musan_music,musan_speech,rirs}: data directories, and FOLDER/augment.toml for them."""
    rng = np.random.default_rng(7)
    kinds = {
        "musan_noise": {f"noise-{i}": rng.normal(0, 500 * (i + 1), int(seconds * RATE_HZ))
                        for i, seconds in enumerate([0.7, 3.0, 6.0])},
        "musan_music": {f"music-{i}": tone(200 + 150 * i, 4.0) for i in range(3)},
        "musan_speech": {f"speech-{i}": voice(20 + i, 0, 2.0 + 0.5 * i) for i in range(8)},
        "rirs": {name: 32767 * room(t60_s) for name, t60_s in T60_S.items()},
    }
    for kind, recordings in kinds.items():
        data = folder / "data" / kind
        data.mkdir(parents=True)
        for name, samples in recordings.items():
            soundfile.write(data / f"{name}.wav", samples.astype(np.int16), RATE_HZ)
        (data / "wav.scp").write_text("".join(f"{name} {data}/{name}.wav\n" for name in sorted(recordings)))
        (data / "utt2spk").write_text("".join(f"{name} {name}\n" for name in sorted(recordings)))
    (folder / "augment.toml").write_text('reverb_dirs = ["data/rirs"]\n')
    return folder
