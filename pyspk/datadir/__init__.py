"""Kaldi data directories: read, checked, mended, and made into others.

    layout.py      what each table is: its key, its values; every other module works from it
    directory.py   DataDir, what the steps read; each table is checked when it is read
    validate.py    all faults of all tables
    fix.py         sorted, cleaned, and cut to what all tables share; what was there is kept
    parts.py       directories of some of the utterances of another, written
    subset.py      which utterances a subset has
    split.py       which utterances each of N parts has
    combine.py     several directories as one
"""

from pyspk.datadir.directory import DataDir
from pyspk.datadir.layout import MAX_OVERSHOOT_S

__all__ = ["MAX_OVERSHOOT_S", "DataDir"]
