"""pyspk: speaker verification on Kaldi data directories. The rooms are listed in README.md."""

__version__ = "0.1.0"
