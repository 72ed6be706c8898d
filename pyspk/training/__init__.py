"""Training: settings, schedules, checkpoints and the loop, in this order.

    config.py         one TOML file and --set key=value, checked
    cost.py           what a run holds, saves and computes, counted
    split.py          speakers to train on and speakers to validate with
    schedule.py       rate and margin as functions of the samples seen
    steps.py          one step: forward, backward, update
    report.py         what an epoch came to
    validation.py     EER of held-out speakers
    average.py        the networks that final.pt is the mean of
    checkpoint.py     everything a run needs to go on
    shared.py         loss and optimizer of several processes, saved as one process would
    interruption.py   Ctrl-C, and a scheduler's signals
    launch.py         several processes on this machine, started and ended together
    nodes.py          several machines that do so, and how they meet
    submitted.py      training as jobs of a runner, submitted again after a time limit
    loop.py           the loop itself
    curves.py         its log, read and drawn
    trials.py         trials among speakers that were not trained on
"""
