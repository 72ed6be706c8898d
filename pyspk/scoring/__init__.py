"""From embeddings to scores, and from scores to a table of error rates.

    blocks.py       work on millions of trials in several threads
    columns.py      files of three words a line, read and written fast
    trials.py       trial lists and score files, read, matched and written
    vectors.py      the vectors that trials name, of utterances and of models of several
    cosine.py       cosine scores of a trial list
    cohort.py       mean and deviation of scores against a cohort
    norms.py        z-, t-, s-norm and adaptive s-norm of a score file
    plda.py         the PLDA model: log likelihood ratios, Kaldi's file
    plda_em.py      PLDA trained by expectation maximisation
    folder.py       the files of a PLDA back end
    backend.py      the folder of mean, LDA or whitening, and PLDA: trained, read, scored with
    adaptation.py   a back end fitted to another domain
    table.py        EER with its interval and minDCF, a row for each score file
    groups.py       the same for the trials of each pair of groups, such as gender
    det.py          a picture of the DET curves of several score files
    comparison.py   systems beside each other over several seeds: a table and a picture
"""
