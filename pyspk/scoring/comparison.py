"""Systems beside each other on the same trials: mean and spread over seeds, intervals over speakers, ratios."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pyspk import metrics
from pyspk.errors import UserError
from pyspk.metrics import Cost, Evaluation
from pyspk.pictures import picture
from pyspk.scoring.table import aligned, speakers_of
from pyspk.scoring.trials import match, read_scores, read_trials


@dataclass(frozen=True)
class Measured:
    """What one measure of a system came to."""

    values: np.ndarray           # (seeds,)
    replicates: np.ndarray       # (resamples,): the mean over seeds, speakers resampled

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(self.values.mean())

    @property
    def sd(self) -> float:
        """Standard deviation of a sample of seeds; 0 of a single one."""
        return float(self.values.std(ddof=1)) if len(self.values) > 1 else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the mean over speakers."""
        return metrics.interval(self.replicates)

    def ratio_to(self, other: "Measured") -> tuple[float, float, float]:
        """(ratio of the means, its 95% interval low, high), the same speakers drawn for both.

        NaN where there would be a division by zero: the ratio when `other` is 0, the interval when any of its
        replicates is.
        """
        ratio = self.mean / other.mean if other.mean else nan
        drawn = metrics.interval(self.replicates / other.replicates) if other.replicates.all() else (nan, nan)
        return ratio, *drawn


class System(NamedTuple):
    """A system's measures: the EER in [0, 1], and minDCF."""

    eer: Measured
    min_dcf: Measured


def measure_systems(trials: str | Path, scores: Mapping[str, Sequence[str | Path]], utt2spk: str | Path | None = None,
                    p_target: float = 0.01, n_resamples: int = 1000) -> dict[str, System]:
    """name -> System, of name -> score files, one for each seed, on the same trials.

    Without utt2spk the speakers are those that speakers_from_trials finds. Raises UserError as read_trials,
    read_scores, match and the metrics do.
    """
    listed = read_trials(trials)
    speakers, cost = speakers_of(listed, utt2spk), Cost(p_target)
    measures = (Evaluation.eer, lambda one: one.min_dcf(cost))
    systems = {}
    for name, paths in scores.items():
        values, replicates = [], []
        for path in paths:
            score = match(listed, read_scores(path), trials, path)
            whole = Evaluation(score[listed.is_target], score[~listed.is_target])
            values.append([measure(whole) for measure in measures])
            replicates.append(metrics.replicates(score, listed.is_target, *speakers, measures, n_resamples))
        systems[name] = System(*map(Measured, np.transpose(values), np.mean(replicates, axis=0).T))
    return systems


def comparison_table(systems: Mapping[str, System], reference: str | None = None, p_target: float = 0.01) -> list[str]:
    """A header, then a line for each system in the order given; with `reference`, EERs as a ratio to that system's.

    A ratio or interval that would divide by zero is "-". Raises UserError as check_reference does.
    """
    check_reference(reference, systems)
    rows = [["system", "seeds", "EER %", "sd", "95% interval", f"minDCF({p_target:g})", "sd", "95% interval",
             *([f"/ {reference}", "95% interval"] if reference else [])]]
    for name, system in systems.items():
        (low, high), (least, most) = system.eer.interval, system.min_dcf.interval
        row = [name, str(len(system.eer.values)), f"{100 * system.eer.mean:.2f}", f"{100 * system.eer.sd:.2f}",
               f"{100 * low:.2f}-{100 * high:.2f}", f"{system.min_dcf.mean:.3f}", f"{system.min_dcf.sd:.3f}",
               f"{least:.3f}-{most:.3f}"]
        if reference:
            ratio, low, high = system.eer.ratio_to(systems[reference].eer)
            row += ["-" if isnan(ratio) else f"{ratio:.3f}", "-" if isnan(low) else f"{low:.3f}-{high:.3f}"]
        rows.append(row)
    return aligned(rows)


def check_reference(reference: str | None, systems: Iterable[str]) -> None:
    """Raise UserError, naming the systems, when the reference is none of them."""
    if reference is not None and reference not in systems:
        raise UserError(f'reference "{reference}": the systems are {", ".join(systems)}')


def plot_comparison(systems: Mapping[str, System], title: str, path: str | Path) -> None:
    """Write a picture to `path`, .png, .svg or .pdf: a row for each system, that of the lowest EER on top.

    EER on the left, minDCF on the right; a dot a seed, a bar for the mean, a line for its interval over speakers. The
    same systems and title give the same bytes. Raises UserError for another ending.
    """
    ranked = sorted(systems.items(), key=lambda item: item[1].eer.mean)
    with picture(path, 8.5, 0.3 + 0.27 * len(ranked)) as figure:
        left = figure.add_axes((0, 0, 0.48, 1))                      # "tight" adds the room that names and title need
        right = figure.add_axes((0.52, 0, 0.48, 1), sharey=left)
        for row, (_, system) in enumerate(ranked):
            for axes, measured, scale in ((left, system.eer, 100), (right, system.min_dcf, 1)):
                axes.plot(scale * np.array(measured.interval), [row, row], color="0.7", linewidth=1.5, zorder=1)
                axes.scatter([scale * measured.mean], [row], marker="|", s=160, color="black", zorder=2)
                axes.scatter(scale * measured.values, [row] * len(measured.values), s=14, color="tab:blue", alpha=0.7,
                             zorder=3)
        left.set_yticks(range(len(ranked)), [name for name, _ in ranked])
        left.set_ylim(len(ranked) - 0.5, -0.5)
        right.tick_params(axis="y", labelleft=False)
        left.set_title(title, loc="left")
        left.set_xlabel("EER in %: a dot each seed, a bar their mean")
        right.set_xlabel("minDCF; lines: 95% intervals over speakers")
        for axes in (left, right):
            axes.grid(axis="x", alpha=0.3)
