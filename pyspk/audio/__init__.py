"""Audio: any file, pipe or part of one to samples on the int16 scale, as Kaldi's feature programs expect them.

    decoders.py     wav, flac, ogg, mp3, sph and more through libsndfile; m4a and aac through FFmpeg
    recording.py    an open recording and the parts of it; pipes
    utterance.py    one channel, one sampling rate, by wav.scp and segments
"""

from pyspk.audio.recording import Recording, load
from pyspk.audio.utterance import as_wanted, read_utterance, refuse_silent, resample, to_mono, utterance_reader

__all__ = ["Recording", "as_wanted", "load", "read_utterance", "refuse_silent", "resample", "to_mono",
           "utterance_reader"]
