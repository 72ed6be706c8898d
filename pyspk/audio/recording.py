"""An open recording, of which parts are decoded, each part of it once."""

import io
import subprocess
from pathlib import Path

import numpy as np

from pyspk.audio.decoders import open_decoder
from pyspk.datadir import MAX_OVERSHOOT_S
from pyspk.errors import UserError
from pyspk.tables.stream import is_command

_BLOCK = 1 << 16      # samples decoded at a time on the way to a part


class Recording:
    """An open recording: a path, or a command ending in "|" that writes audio to its stdout (run by bash, once).

    `rate_hz`; `n_samples`, what the header promises, None when it does not say.
    Parts that follow each other, overlapping or not, are decoded once also where the format cannot seek: the last part
    is kept until the next is asked for. A part that begins before the last one costs a new beginning there.
    Raises UserError, naming rxfilename, for a missing, unreadable or empty file, or a command that fails.
    """

    def __init__(self, rxfilename: str):
        self._name = rxfilename
        self._source = _run(rxfilename) if is_command(rxfilename) else rxfilename
        try:
            if self._source is rxfilename and not Path(rxfilename).is_file():
                raise UserError(f"{rxfilename}: {'not a file' if Path(rxfilename).exists() else 'no such file'}")
            self._open()
        except OSError as fault:      # it may not be read, its name is too long, the disk is at fault
            raise UserError(f"{rxfilename:.200}: cannot be read ({fault.strerror})") from None
        self.rate_hz, self.n_samples = self._decoder.rate_hz, self._decoder.n_samples
        if self.n_samples == 0:
            raise UserError(f"{rxfilename}: no samples; leave it out")

    def _open(self) -> None:
        if isinstance(self._source, io.BytesIO):
            self._source.seek(0)
        self._decoder = open_decoder(self._source, self._name)
        self._at = self._first = 0      # decoded up to `at`; kept are the samples from `first` on, (at - first, C)
        self._kept = np.zeros((0, self._decoder.n_channels), np.float32)

    def part(self, start_s: float | None = None, end_s: float | None = None) -> np.ndarray:
        """The samples from start_s to end_s, (S,) or (S, C) float32 on the int16 scale; all by default.

        Raises UserError, naming the recording, for a part outside of it, damaged content, or an end that comes early.
        """
        start, end = self._span(start_s, end_s)
        if self._decoder.seeks:
            at = self._decoder.seek(start)
            samples = self._decoder.read(end - start)
            self._at = at + len(samples)
        else:
            samples = self._forward(start, end)
        if end is None or len(samples) < end - start:
            self._end_here()
            start, end = self._span(start_s, end_s)
        samples = samples[:end - start]
        return samples[:, 0] if samples.shape[1] == 1 else samples

    def _span(self, start_s: float | None, end_s: float | None) -> tuple[int, int | None]:
        """First sample and the one after the last (None: to an end not known yet). Raises UserError when outside."""
        n_samples, start = self.n_samples, round((start_s or 0) * self.rate_hz)
        end = n_samples if end_s is None else round(end_s * self.rate_hz)
        if n_samples is None and start >= 0 and (end is None or start < end):
            return start, end
        length = 0 if n_samples is None else n_samples
        if not 0 <= start < min(end, length) or end > length + MAX_OVERSHOOT_S * self.rate_hz:
            last = "its end" if end_s is None else f"{end_s} s"
            raise UserError(f"{self._name}: the segment from {start_s or 0} s to {last} is not inside the recording of "
                            f"{length / self.rate_hz:.3f} s; mend its line in segments")
        return start, min(end, length)

    def _forward(self, start: int, end: int | None) -> np.ndarray:
        """Samples start to end, (S, C), decoded on from the last part; fewer where the recording ends."""
        if start < self._first:
            self._open()
        try:
            while self._at < start and len(self._next(start)):
                self._first, self._kept = self._at, self._kept[:0]
            blocks = [self._kept[max(0, start - self._first):]]
            while (end is None or self._at < end) and len(block := self._next(end)):
                blocks.append(block)
        except UserError:
            self._open()                 # the decoder has lost its place
            raise
        self._kept = np.concatenate(blocks)
        self._first = self._at - len(self._kept)
        return self._kept[:None if end is None else end - start].copy()

    def _next(self, end: int | None) -> np.ndarray:
        """The next block of samples, (n, C), none of it after `end`; empty where the recording ends."""
        block = self._decoder.read(_BLOCK if end is None else min(_BLOCK, end - self._at))
        self._at += len(block)
        return block

    def _end_here(self) -> None:
        """What is known now that no more samples come: the length, or that some are missing. Raises UserError then."""
        promised = self.n_samples
        if self._at == 0:
            raise UserError(f"{self._name}: no samples; leave it out")
        if promised is not None and self._at < promised - self._decoder.slack:
            raise UserError(f"{self._name}: ends after {self._at / self.rate_hz:.3f} s of the "
                            f"{promised / self.rate_hz:.3f} s that its header promises; copy it again, or leave it out")
        self.n_samples = self._at


def load(rxfilename: str, start_s: float | None = None, end_s: float | None = None) -> tuple[np.ndarray, int]:
    """Samples, (S,) or (S, C) float32 on the int16 scale, and their rate in Hz; 16-bit PCM comes back exactly.

    rxfilename, start_s, end_s and errors as for Recording; of a plain wav or flac nothing but the part is decoded.
    """
    recording = Recording(rxfilename)
    return recording.part(start_s, end_s), recording.rate_hz


def _run(rxfilename: str) -> io.BytesIO:
    """What the command `... |` writes to stdout. A fault anywhere in its pipeline counts, not only at its end."""
    command = rxfilename.rstrip()[:-1]
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2] or "no message"
        raise UserError(f"{rxfilename}: the command failed (exit {done.returncode}): {last}")
    return io.BytesIO(done.stdout)
