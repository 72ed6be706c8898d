"""What reads files that people and other programs wrote, and a good file for each to begin with.

Whatever the bytes, a reader gives an answer or raises UserError in one line; no other exception, no hang, and no more
memory than the file accounts for. test_fuzz.py has hypothesis damage the good files; run.py has atheris look, which
sees what code its bytes reach, for as long as one likes.
"""

import io
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch

from pyspk.audio.recording import Recording
from pyspk.augment import config as augment_config
from pyspk.augment.description import parse
from pyspk.calibration import Calibration
from pyspk.calibration.quality import trial_qualities
from pyspk.datadir import DataDir
from pyspk.datadir.fix import fix
from pyspk.datadir.validate import check
from pyspk.errors import UserError
from pyspk.features import EnergyVad, Fbank, Mfcc, configured
from pyspk.model import load_model, load_torch
from pyspk.scoring.plda import Plda, read_plda, write_plda
from pyspk.scoring.trials import match, read_scores, read_trials
from pyspk.scoring.vectors import read_enroll_map
from pyspk.tables.archive import ArchiveReader, locate, read_scp
from pyspk.tables.matrix import encode
from pyspk.tables.records import begin
from pyspk.tables.specifiers import read_values
from pyspk.tables.stream import text_of
from pyspk.training import config as train_config
from pyspk.training import curves

MEMORY_BYTES = 64 << 20      # more than any good file of this size needs


class Target(NamedTuple):
    """A reader, called with a file of any bytes in a folder of its own, and good files."""

    read: Callable[[Path], object]
    good: tuple[bytes, ...]


def _table(name: str) -> Callable[[Path], object]:
    """A reader of a data directory whose table `name` may be anything."""
    def read(path: Path) -> None:
        folder = path.parent
        for other, content in DATA_DIR.items():
            (folder / other).write_bytes(content)
        (folder / name).write_bytes(path.read_bytes())
        path.unlink()
        faults = [line for fault in check(folder) for line in fault.lines()]
        assert all("\n" not in line for line in faults)
        try:
            data = DataDir(folder)
            data.utterances()
        except UserError:
            assert faults, "it cannot be used, and check finds nothing"
        fix(folder)

    return read


def _archive(path: Path) -> None:
    reader = ArchiveReader()
    for read in (reader.value, reader.shape, reader.matrix, reader.vector, lambda place: reader.matrix(place, 1, 2)):
        for place in (f"{path}:2", f"{path}:2[0:1,1:2]"):
            try:
                read(place)
            except UserError as fault:
                assert "\n" not in str(fault)


def _quality(path: Path) -> None:
    trials = path.with_name("trials")
    trials.write_bytes(TRIALS)
    trial_qualities(read_trials(trials), [path])


def _scores(path: Path) -> None:
    trials = path.with_name("trials")
    trials.write_bytes(TRIALS)
    match(read_trials(trials), read_scores(path), trials, path)


def _audio(path: Path) -> None:
    recording = Recording(str(path))
    recording.part(0.0, 0.01)
    recording.part()


def _curves(path: Path) -> None:
    (path.parent / "log").mkdir()
    path.rename(path.parent / curves.LOG)
    curves.plot_runs({"run": curves.read_reports(path.parent)}, path.parent / "a.png")


def _record(path: Path) -> None:
    (path.parent / ".made").mkdir()
    path.rename(path.parent / ".made" / "out.json")
    begin(path.parent / "out", {"bins": 40}, {})


def _model(path: Path) -> None:
    path.rename(path.parent / "final.pt")
    load_model(path.parent)


def _sound(kind: str, subtype: str, channels: int = 1) -> bytes:
    file = io.BytesIO()
    samples = np.random.default_rng(0).integers(-999, 999, (400, channels)).astype(np.int16)
    soundfile.write(file, samples, 8000, format=kind, subtype=subtype)
    return file.getvalue()


def _plda(text: bool) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write_plda(Path(folder) / "plda", Plda(np.ones(2), np.eye(2), np.array([3.0, 0.5])), text)
        return (Path(folder) / "plda").read_bytes()


def _saved(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


_MATRIX = np.arange(12, dtype=np.float32).reshape(3, 4)
DATA_DIR = {
    "utt2spk": b"a-1 a\na-2 a\nb-1 b\n", "spk2utt": b"a a-1 a-2\nb b-1\n", "wav.scp": b"r1 /x/1.wav\nr2 /x/2.wav\n",
    "segments": b"a-1 r1 0.0 1.5\na-2 r1 1.5 2.0\nb-1 r2 0.25 9\n",
    "feats.scp": b"a-1 f.ark:4\na-2 f.ark:40\nb-1 f.ark:9\n",
    "utt2dur": b"a-1 1.5\na-2 0.5\nb-1 8.75\n", "reco2dur": b"r1 2\nr2 10.5\n", "spk2gender": b"a f\nb m\n",
    "utt2num_frames": b"a-1 148\na-2 48\nb-1 873\n", "frame_shift": b"0.01\n", "text": b"a-1 one two\na-2 x\nb-1 y\n",
}
TRIALS = b"a-1 a-2 target\na-1 b-1 nontarget\n"

TARGETS = {
    **{f"table {name}": Target(_table(name), (content,)) for name, content in DATA_DIR.items()},
    "archive": Target(_archive, tuple(b"a " + encode(value, method) for value, method in [
        (_MATRIX, None), (_MATRIX.astype(np.float64), None), (_MATRIX[0], None), (_MATRIX, 2), (_MATRIX, 3),
        (_MATRIX, 5)])),
    "stream": Target(lambda path: list(read_values(f"ark:{path}")),
                     (b"a " + encode(_MATRIX) + b"b " + encode(_MATRIX[0]), b"a " + encode(_MATRIX, 2))),
    "text stream": Target(lambda path: list(read_values(f"ark:{path}")),
                          (b"a " + text_of(_MATRIX) + b"b " + text_of(_MATRIX[0]), b"a  [ 5 ]\n", b"a [ ]\n")),
    "scp": Target(lambda path: [locate(place) for place in read_scp(path).values()],
                  (b"a x.ark:5[0:3]\nb y.ark:17[:,2:3]\nc z.ark\n",)),
    "fbank.conf": Target(lambda path: configured(Fbank, path), (
        b"--sample-frequency=16000\n--num-mel-bins=80 # bins\n--frame-length=25\n--frame-shift=10\n--dither=0\n",
        b"--low-freq=20\n--high-freq=-400\n--window-type=hamming\n--snip-edges=false\n--preemphasis-coefficient=.9\n")),
    "mfcc.conf": Target(lambda path: configured(Mfcc, path), (
        b"--num-ceps=20\n--use-energy=true\n--cepstral-lifter=22\n--energy-floor=1\n--raw-energy=false\n",)),
    "vad.conf": Target(lambda path: configured(EnergyVad, path), (
        b"--vad-energy-threshold=5.5\n--vad-energy-mean-scale=0.5\n--vad-frames-context=2\n",)),
    "train.toml": Target(train_config.load_config, (
        b'depth = 18\nlr = 0.1\nmargin = "A"\nb = 3\ncompile = true\nnet = "resnet"\n',)),
    "augment.toml": Target(augment_config.load_config, (
        b'noise_prob = 0.5\nnoise_dirs = ["a", "b"]\nnoise_snr_db = [0, 15]\nspeeds = [0.9]\n',
        b"babble_voices = [3, 7]\n")),
    "utt2aug line": Target(lambda path: parse(path.read_bytes().decode("utf-8", "replace")), (
        b"speed factor=0.9 reverb id=r1 noise id=n1 at=0 snr=5", b"babble id=a at=1 id=b at=2.5 snr=13")),
    "trials": Target(read_trials, (TRIALS, b"1 id1/a/1.wav id1/b/1.wav\n0 id1/a/1.wav id2/b/1.wav\n")),
    "scores": Target(_scores, (b"a-1 a-2 0.5\na-1 b-1 -1e-3\n",)),
    "calibration": Target(lambda path: Calibration.load(path).apply(np.zeros(3)), (
        b'{"format": "pyspk calibration 1", "systems": {"cosine": 20.5}, "qualities": {}, "offset": -3,'
        b' "p_target": 0.05, "trained_on": {"trials": "t"}}\n',)),
    "quality": Target(_quality, (b"a-1 0.5\na-2 -1e-3\nb-1 7\n",)),
    "enroll map": Target(read_enroll_map, (b"a a-1 a-2\nb b-1\n",)),
    "plda": Target(read_plda, (_plda(text=False), _plda(text=True))),
    "audio": Target(_audio, (_sound("WAV", "PCM_16"), _sound("WAV", "PCM_16", 2), _sound("WAV", "ULAW"),
                             _sound("WAVEX", "FLOAT"), _sound("FLAC", "PCM_16"), _sound("NIST", "PCM_16"),
                             _sound("OGG", "VORBIS"), _sound("MP3", "MPEG_LAYER_III"))),
    "checkpoint": Target(load_torch, (_saved({"a": torch.ones(3), "b": [1, "x"]}),)),
    "model": Target(_model, (_saved({"settings": {"net": "xvector", "feat_dim": 4, "channels": 2, "emb_dim": 2},
                                     "weights": {"a": torch.ones(3)}}),)),
    "train.jsonl": Target(_curves, (b'{"epoch": 1, "loss": 3.5, "lr": 0.1, "valid_eer": null}\n'
                                    b'{"epoch": 2, "loss": 2.5, "lr": 0.05, "valid_eer": 0.1}\n',)),
    "record": Target(_record, (b'{"settings": {"bins": 40}, "inputs": {}}\n',)),
}


def attempt(target: Target, content: bytes) -> str | None:
    """Have `target` read a file of this content: what it complains of, or None. Raises whatever else comes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(content)
        tracemalloc.start()
        try:
            target.read(path)
        except UserError as fault:
            assert str(fault).strip() and "\n" not in str(fault), f"not one line: {fault}"
            return str(fault)
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < MEMORY_BYTES, f"{peak / 2**20:.0f} MiB for a file of {len(content)} bytes"
    return None
