"""The networks, by the name that a configuration gives: `net = "resnet"`. Features (B, T, F) to embeddings (B, D).

    resnet.py    ResNet-P (activation="prelu") and the ReLU ResNet it is compared with
    pooling.py   frames to one vector
"""

from pyspk.nets.resnet import ResNet

NETS = {"resnet": ResNet}

__all__ = ["NETS", "ResNet"]
