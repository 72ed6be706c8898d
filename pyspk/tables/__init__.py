"""Kaldi tables: text tables (utt2spk, wav.scp, trials) and archives (ark/scp), read and written.

    atomic.py      files that appear whole or not at all
    text.py        "key value" tables
    matrix.py      the bytes of a matrix or vector, compressed ones too: decoded in part, encoded whole
    stream.py      values one after the other, from files, pipes and the standard input, binary and text
    archive.py     values anywhere in archives; rows of a matrix read without the rest of it
    alike.py       many vectors of one dimension in a few large reads
    specifiers.py  tables by Kaldi's names for them, ark:FILE, scp:FILE
    records.py     what a step made its output from, so that a rerun knows whether it is current
"""
