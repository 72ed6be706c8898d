"""The losses, by the name that a configuration gives: `loss = "sphere_speaker"`.

    sphere_speaker.py   binary classification with three angular margins: the heart of this project
    softmax.py          what it is compared with: softmax, and softmax with a margin
    angle.py            cosines of sums of angles, directions of vectors
    weights.py          the first weights, whoever holds them

A loss is made with the embedding's dimension, the number of speakers and its own settings, and is called with
embeddings (B, D) and speakers (B,). Its margin `m` may be set while training; `no_margin` is the m that is none.
"""

from pyspk.losses.softmax import AAMSoftmax, AMSoftmax, InterTopKAAM, Softmax, SubCenterAAM
from pyspk.losses.sphere_speaker import SphereSpeaker

LOSSES = {"sphere_speaker": SphereSpeaker, "softmax": Softmax, "am_softmax": AMSoftmax, "aam_softmax": AAMSoftmax,
          "subcenter_aam": SubCenterAAM, "intertopk_aam": InterTopKAAM}

__all__ = ["LOSSES", "AAMSoftmax", "AMSoftmax", "InterTopKAAM", "Softmax", "SphereSpeaker", "SubCenterAAM"]
