"""What log/train.jsonl says, read and drawn."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pyspk.errors import UserError
from pyspk.pictures import picture
from pyspk.tables.text import read_text

LOG = Path("log") / "train.jsonl"
# What is drawn, each in its own field, from top left: (what a report calls it, title, factor)
FIELDS = (("loss", "loss", 1), ("valid_eer", "validation EER in %", 100), ("grad_norm", "gradient norm", 1),
           ("lr", "learning rate", 1), ("margin", "margin", 1), ("b", "bias b of SphereSpeaker", 1),
           ("samples_per_s", "samples a second", 1), ("waited_share", "time waiting for data in %", 100))
_COLUMNS, _FIELD_IN = 2, (4.4, 2.1)
_PARTS = {"positive": ":", "negative": "--"}


def read_reports(folder: str | Path) -> list[dict]:
    """The reports of the epochs of the run in `folder`, by name. Raises UserError for a missing or damaged log."""
    path = Path(folder) / LOG
    if not path.exists():
        raise UserError(f"{path}: no such file; training (stage 3) writes it after its first epoch")
    reports = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        try:
            reports.append(json.loads(line))
        except ValueError:
            reports.append(None)
        if not isinstance(reports[-1], dict) or not isinstance(reports[-1].get("epoch"), int | float):
            raise UserError(f"{path}:{number}: not a JSON object with an epoch; train again, or remove the line")
    if not reports:
        raise UserError(f"{path}: empty; training (stage 3) writes a line after each epoch")
    return reports


def plot_runs(runs: Mapping[str, Sequence[dict]], path: str | Path) -> None:
    """Draw the curves of all runs, name -> reports, over the epochs, and write them to `path`.

    Only what some run has is drawn; the parts of a SphereSpeaker loss, weighted as they are, are dotted (positive) and
    dashed (negative). Raises UserError for another ending than .png, .svg or .pdf.
    """
    reports = [done for run in runs.values() for done in run]
    fields = [field for field in FIELDS if any(done.get(field[0]) is not None for done in reports)]
    n_rows = -(-len(fields) // _COLUMNS)
    with picture(path, _COLUMNS * _FIELD_IN[0], n_rows * _FIELD_IN[1]) as figure:
        grid = figure.subplots(n_rows, _COLUMNS, squeeze=False)
        for axes, (name, title, factor) in zip(grid.flat, fields, strict=False):
            for number, (run_name, run) in enumerate(runs.items()):
                style = {"color": f"C{number}", "linewidth": 1.4}
                _draw(axes, run, name, factor, label=run_name, marker="." if len(run) < 30 else None, **style)
                for part, line in _PARTS.items() if name == "loss" else ():
                    _draw(axes, run, part, factor, linestyle=line, **style)
            axes.set_title(title, fontsize=9)
            axes.tick_params(labelsize=8)
            axes.grid(alpha=0.3)
            if name == "lr":
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter("{x:g}")      # the usual one writes formulas
        for axes in grid.flat[len(fields):]:
            axes.set_axis_off()
        for axes in grid[-1]:
            axes.set_xlabel("epoch", fontsize=8)
        grid[0, 0].legend(fontsize=7)
        figure.tight_layout()


def _draw(axes, run: Sequence[dict], name: str, factor: float, **style) -> None:
    """One line of what the reports have under `name`."""
    points = [(done["epoch"], factor * done[name]) for done in run if done.get(name) is not None]
    if points:
        axes.plot(*zip(*points, strict=True), **style)
