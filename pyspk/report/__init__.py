"""report.html: one page, without a script or a request, that shows how good a system is and where it fails.

    experiment.py   what there is: the scores, trials, data and log of an experiment
    findings.py     what each score file tells: measures, curves, worst trials
    clips.py        the audible trials: short pieces of sound, until the page is full
    html.py         elements whose text is escaped
    svg.py          a chart that follows the page's colours and can be read aloud
    charts.py       DET, histogram and training curves
    tables.py       tables and lists, with the words around them
    verdict.py      the first words
    page.py         all of it, put together; content.py is what it needs
    style.py        how it looks
    make.py         from the files to the page; made.py: versions and dates
"""
