"""Features as Kaldi defines them, with the options of Kaldi's own conf files.

    conf.py         conf files, and options turned into values
    spectral.py     samples to fbank or MFCC, and the log energy of each frame
    batched.py      the same fbank for a batch of waves on a GPU
    vad.py          log energies to voice activity decisions
    transforms.py   deltas, sliding-window and per-utterance CMVN
    normalised.py   the features of a data directory, normalised
    voiced.py       what a network reads of any samples, by the settings that its model folder keeps
    make.py         what steps/make_fbank.py and steps/make_mfcc.py do alike
"""

from pyspk.features.conf import configured, read_conf
from pyspk.features.spectral import Fbank, Mfcc
from pyspk.features.transforms import add_deltas, sliding_cmvn, utterance_cmvn
from pyspk.features.vad import EnergyVad
from pyspk.features.voiced import FeatureSettings, VoicedFeatures

__all__ = ["EnergyVad", "Fbank", "FeatureSettings", "Mfcc", "VoicedFeatures", "add_deltas", "configured", "read_conf",
           "sliding_cmvn", "utterance_cmvn"]
