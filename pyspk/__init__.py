"""pyspk: speaker verification on Kaldi data directories. The rooms are listed in README.md."""

__version__ = "0.1.0"


def __getattr__(name: str):
    """`from pyspk import Verifier`; loaded when asked for, since it needs torch."""
    if name == "Verifier":
        from pyspk.verifier import Verifier
        return Verifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
