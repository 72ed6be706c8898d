"""What a whole run needs, for one machine and for many: disk, memory and hours of each stage.

    corpus.py    how large the corpus is, and what is made of it
    measure.py   how fast this machine is at a little of everything
    stages.py    what each stage needs, by the one and the other
    table.py     that, in lines
"""
