"""From embeddings to scores, and from scores to a table of error rates.

    trials.py       trial lists and score files, read, matched and written
    cosine.py       cosine scores of a trial list
    asnorm.py       adaptive s-norm of a score file
    table.py        EER with its interval and minDCF, a row for each score file
    groups.py       the same for the trials of each pair of groups, such as gender
    det.py          a picture of the DET curves of several score files
    comparison.py   systems beside each other over several seeds: a table and a picture
"""
