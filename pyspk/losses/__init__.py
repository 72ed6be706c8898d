"""The losses, by the name that a configuration gives: `loss = "sphere_speaker"`.

    sphere_speaker.py   binary classification with three angular margins: the heart of this project
"""

from pyspk.losses.sphere_speaker import SphereSpeaker

LOSSES = {"sphere_speaker": SphereSpeaker}

__all__ = ["LOSSES", "SphereSpeaker"]
