"""A trained model put to use on recordings: embeddings, one speaker or two, who of those enrolled.

    folder.py       the model folder: network, how its features are made, mean, calibration; whole or refused
    recordings.py   a file, or samples and their rate, to what the network hears
    verify.py       Verifier: embed, verify, enroll, identify
    voices.py       enrolled speakers in a folder
    onnx.py         the network as an ONNX file
"""

from pyspk.verifier.verify import Answer, Verifier, Voice

__all__ = ["Answer", "Verifier", "Voice"]
