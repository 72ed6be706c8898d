"""Augmentation of speech: noise, music, babble, reverberation and speed, from the waveform.

    effects.py       what each does to samples
    description.py   what is done to one utterance, as a value and as the text that utt2aug holds
    config.py        how often, how loud, and from which data directories: one TOML file
    sources.py       the recordings that are added or convolved with
    augmenter.py     draws a description and applies one: for offline copies and for training alike
    batched.py       what effects.py does, for a batch of utterances on a GPU
    copies.py        a data directory of augmented copies, and the reader that makes their samples
"""
