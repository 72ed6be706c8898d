"""Files to samples: libsndfile for all that it reads, FFmpeg (the package av) for MPEG-4 audio.

A decoder has rate_hz, n_channels, n_samples (what the header promises; None when it says nothing), seeks (whether
`seek`, which gives the place, finds the very sample and costs little), slack (how many samples the promise may be too
long by), and read(n): the next n samples or, at the end, fewer; (n, C) float32 on the int16 scale.
"""

import io
import struct
from pathlib import Path

import numpy as np
import soundfile

from pyspk.errors import UserError

INT16_SCALE = 32768
_HEAD = 1024               # bytes that tell what a file is; all of a NIST SPHERE header, the only length read here
_PLAIN_WAV = (0x0001, 0x0003, 0xFFFE)      # format tags of whole and floating-point numbers, and the extensible one
_LONGEST_KNOWN = 0x7FFF0000                # bytes; programs that write into a pipe put such sizes, or 0, for "unknown"
# An MPEG-4 header counts the encoder's delay in or leaves it out, as the encoder pleases: up to two frames of HE-AAC.
_AAC_SLACK = 4096


def open_decoder(source: str | io.BytesIO, name: str) -> "Libsndfile | Ffmpeg":
    """The decoder for a file (its path) or for bytes, at the first sample.

    Which one is told by the content, not by the file's name. Raises UserError, which begins with `name`, for what is
    empty or no decoder reads, and for MPEG-4 audio where the package av is missing.
    """
    head = _head(source)
    if not head:
        raise UserError(f"{name}: empty, not a single byte; make it again, or leave it out")
    if head.startswith(b"NIST_1A"):
        _refuse_compressed_sphere(head, name)
    if _is_mpeg4(head):
        return Ffmpeg(source, name)
    return Libsndfile(source, name, _samples_of_wav(head) if isinstance(source, str) else 0)


class Libsndfile:
    """A decoder for wav, flac, ogg, mp3, aiff, sph and the other formats of libsndfile.

    promised: samples that the header promises where libsndfile would take what is there for the whole.
    """

    slack = 0

    def __init__(self, source: str | io.BytesIO, name: str, promised: int = 0):
        self._name = name
        try:
            self._file = _UnmovedFile(source)
        except soundfile.LibsndfileError as fault:
            raise _unreadable(name, fault.error_string) from None
        self.rate_hz, self.n_channels = self._file.samplerate, self._file.channels
        self.n_samples = max(self._file.frames, promised)
        self.seeks = self._file.seekable()

    def seek(self, sample: int) -> int:
        """Go on with this sample, counted from 0, or at the end where there are fewer; where it is now.

        Raises UserError for damaged content.
        """
        try:
            return self._file.seek(min(sample, self._file.frames))
        except soundfile.LibsndfileError as fault:
            raise _unreadable(self._name, fault.error_string) from None

    def read(self, n: int) -> np.ndarray:
        """The next n samples, (n, C). Raises UserError for damaged content."""
        try:
            samples = self._file.read(n, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as fault:
            raise _unreadable(self._name, fault.error_string) from None
        samples *= INT16_SCALE       # libsndfile divides by it, a power of 2: exact both ways
        return samples


class _UnmovedFile(soundfile.SoundFile):
    """A sound file of which MP3 counts as not seekable, beside those that libsndfile cannot seek in, such as GSM.

    In MP3 libsndfile lands near the sample, not on it; and soundfile, which seeks to where it is after each read, would
    change what comes next in its last digits.
    """

    def seekable(self) -> bool:
        """Whether a seek finds the very sample."""
        return super().seekable() and self.format != "MP3"


class Ffmpeg:
    """A decoder for MPEG-4 audio: m4a, mp4, 3gp and raw aac. Of several streams, the first audio stream."""

    seeks, slack = False, _AAC_SLACK

    def __init__(self, source: str | io.BytesIO, name: str):
        try:
            import av
        except ImportError:
            raise UserError(f"{name}: MPEG-4 audio (m4a, aac) needs the package av: pip install av") from None
        self._name, self._fault = name, av.error.FFmpegError
        try:
            container = av.open(f"file:{source}" if isinstance(source, str) else source, metadata_errors="replace")
        except self._fault as fault:
            raise _unreadable(name, fault.strerror) from None
        if not container.streams.audio:
            raise UserError(f"{name}: no audio in it; leave it out")
        stream = container.streams.audio[0]
        self.rate_hz, self.n_channels, self.n_samples = stream.rate, stream.channels, None
        # Raw aac has no header: its duration would be a guess from the bit rate.
        if stream.duration is not None and container.format.name != "aac":
            self.n_samples = round(stream.duration * stream.time_base * stream.rate)
        self._frames = container.decode(stream)
        self._as_float = av.AudioResampler(format="fltp")
        self._rest = np.zeros((0, self.n_channels), np.float32)

    def read(self, n: int) -> np.ndarray:
        """The next n samples, (n, C). Raises UserError for damaged content."""
        pieces, n_read = [self._rest], len(self._rest)
        try:
            while n_read < n and (frame := next(self._frames, None)) is not None:
                for converted in self._as_float.resample(frame):
                    pieces.append(converted.to_ndarray().T * np.float32(INT16_SCALE))     # (n, C)
                    n_read += len(pieces[-1])
        except self._fault as fault:
            raise _unreadable(self._name, fault.strerror) from None
        samples = np.concatenate(pieces)
        self._rest = samples[n:].copy()
        return samples[:n]


def _head(source: str | io.BytesIO) -> bytes:
    if isinstance(source, io.BytesIO):
        return source.getvalue()[:_HEAD]
    with Path(source).open("rb") as file:
        return file.read(_HEAD)


def _samples_of_wav(head: bytes) -> int:
    """How many samples the header of a RIFF wav file promises; 0 for other files and where it does not say."""
    at, block_bytes = 12, 0
    while head[:4] == b"RIFF" and head[8:12] == b"WAVE" and at + 8 <= len(head):
        name, n_bytes = struct.unpack_from("<4sI", head, at)
        if name == b"fmt " and at + 22 <= len(head) and struct.unpack_from("<H", head, at + 8)[0] in _PLAIN_WAV:
            block_bytes = struct.unpack_from("<H", head, at + 20)[0]
        if name == b"data":
            return n_bytes // block_bytes if block_bytes and n_bytes < _LONGEST_KNOWN else 0
        at += 8 + n_bytes + n_bytes % 2
    return 0


def _is_mpeg4(head: bytes) -> bool:
    """Whether a file begins as ISO/IEC 14496-12 (m4a, mp4, 3gp) or as the ADTS frames of 13818-7 (raw aac) do."""
    return head[4:8] == b"ftyp" or (head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xF6 == 0xF0)


def _refuse_compressed_sphere(head: bytes, name: str) -> None:
    for words in map(str.split, head.decode("ascii", "replace").splitlines()):
        if words[:1] == ["sample_coding"] and "embedded" in words[-1]:
            raise UserError(f"{name}: SPHERE compressed as {words[-1]}, which is not read here; in wav.scp put "
                            '"sph2pipe -f wav FILE |" in place of FILE, or convert it to flac')


def _unreadable(name: str, reason: str) -> UserError:
    return UserError(f"{name}: not readable as audio ({reason}); convert it to wav or flac, or leave it out")
