"""What a step will need before it begins: known from the data's own size, and a short measurement.

    amounts.py   how much audio, and how many frames, a data directory holds
    sizes.py     bytes of what is written: features, embeddings, checkpoints, scores, tables
    machine.py   what there is: room on a disk, memory; and how long a few utterances take
    checks.py    what each step calls: what it needs is said, and refused when the disk cannot hold it
"""
