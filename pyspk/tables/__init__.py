"""Kaldi tables: text tables (utt2spk, wav.scp, trials) and archives (ark/scp), read and written.

    atomic.py    files that appear whole or not at all
    text.py      "key value" tables
    archive.py   binary matrices and vectors; rows of a matrix read without the rest of it
    records.py   what a step made its output from, so that a rerun knows whether it is current
"""
