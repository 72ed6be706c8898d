"""Training: settings, schedules, checkpoints and the loop, in this order.

    config.py       one TOML file and --set key=value, checked
    split.py        speakers to train on and speakers to validate with
    schedule.py     rate and margin as functions of the samples seen
    checkpoint.py   everything a run needs to go on
    loop.py         the loop itself
"""
