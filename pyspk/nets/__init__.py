"""The networks, by the name that a configuration gives: `net = "resnet"`.

Each is called as net(feats (B, T, F), n_frames (B,) int64 or None) -> (B, D); n_frames says how many frames of each
utterance are its own, and None that all are.

    resnet.py       ResNet-P (activation="prelu") and the ReLU ResNet it is compared with
    xvector.py      the x-vector TDNN
    ecapa.py        ECAPA-TDNN
    pooling.py      frames to one vector: statistics, attentive, multi_head
    activation.py   ReLU and PReLU
    normalisation.py  batch normalisation over the batches of all processes
    padding.py      utterances of unequal length in one batch
"""

from pyspk.nets.ecapa import EcapaTdnn
from pyspk.nets.resnet import ResNet
from pyspk.nets.xvector import XVector

NETS = {"resnet": ResNet, "xvector": XVector, "ecapa": EcapaTdnn}

__all__ = ["NETS", "EcapaTdnn", "ResNet", "XVector"]
