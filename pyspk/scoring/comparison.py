"""Systems beside each other on the same trials: mean and spread over seeds, intervals over speakers, ratios."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path

import numpy as np

from pyspk import metrics
from pyspk.errors import UserError
from pyspk.metrics import Cost, Evaluation
from pyspk.pictures import picture
from pyspk.scoring.table import aligned, speakers_of
from pyspk.scoring.trials import match, read_scores, read_trials


@dataclass(frozen=True)
class System:
    """What one system came to, an entry a seed."""

    eers: np.ndarray             # (seeds,), in [0, 1]
    min_dcfs: np.ndarray         # (seeds,)
    replicates: np.ndarray       # (resamples, 2): the means over seeds of EER and minDCF, speakers resampled

    @property
    def intervals(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """95% intervals over speakers of the mean EER and the mean minDCF."""
        return metrics.interval(self.replicates[:, 0]), metrics.interval(self.replicates[:, 1])

    def ratio_to(self, other: "System") -> tuple[float, float, float]:
        """(ratio of the mean EERs, its 95% interval low, high), the same speakers drawn for both.

        NaN where there would be a division by zero: the ratio when `other` makes no error, the interval when any of its
        replicates makes none.
        """
        ratio = self.eers.mean() / other.eers.mean() if other.eers.any() else nan
        drawn, others = self.replicates[:, 0], other.replicates[:, 0]
        return float(ratio), *(metrics.interval(drawn / others) if others.all() else (nan, nan))


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
        systems[name] = System(*np.array(values).T, np.mean(replicates, axis=0))
    return systems


def comparison_table(systems: Mapping[str, System], reference: str | None = None, p_target: float = 0.01) -> list[str]:
    """A header, then a line for each system in the order given; with `reference`, EERs as a ratio to that system's.

    A ratio or interval that would divide by zero is "-". Raises UserError as check_reference does.
    """
    check_reference(reference, systems)
    rows = [["system", "seeds", "EER %", "sd", "95% interval", f"minDCF({p_target:g})", "sd", "95% interval",
             *([f"/ {reference}", "95% interval"] if reference else [])]]
    for name, system in systems.items():
        (low, high), (least, most) = system.intervals
        row = [name, str(len(system.eers)), f"{100 * system.eers.mean():.2f}", f"{100 * _sd(system.eers):.2f}",
               f"{100 * low:.2f}-{100 * high:.2f}", f"{system.min_dcfs.mean():.3f}", f"{_sd(system.min_dcfs):.3f}",
               f"{least:.3f}-{most:.3f}"]
        if reference:
            ratio, low, high = system.ratio_to(systems[reference])
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
    ranked = sorted(systems.items(), key=lambda item: item[1].eers.mean())
    with picture(path, 8.5, 0.3 + 0.27 * len(ranked)) as figure:
        left = figure.add_axes((0, 0, 0.48, 1))                      # "tight" adds the room that names and title need
        right = figure.add_axes((0.52, 0, 0.48, 1), sharey=left)
        for row, (_, system) in enumerate(ranked):
            for axes, values, ends in zip((left, right), (100 * system.eers, system.min_dcfs),
                                          (100 * np.array(system.intervals[0]), system.intervals[1]), strict=True):
                axes.plot(ends, [row, row], color="0.7", linewidth=1.5, zorder=1)
                axes.scatter([values.mean()], [row], marker="|", s=160, color="black", zorder=2)
                axes.scatter(values, [row] * len(values), s=14, color="tab:blue", alpha=0.7, zorder=3)
        left.set_yticks(range(len(ranked)), [name for name, _ in ranked])
        left.set_ylim(len(ranked) - 0.5, -0.5)
        right.tick_params(axis="y", labelleft=False)
        left.set_title(title, loc="left")
        left.set_xlabel("EER in %: a dot each seed, a bar their mean")
        right.set_xlabel("minDCF; lines: 95% intervals over speakers")
        for axes in (left, right):
            axes.grid(axis="x", alpha=0.3)


def _sd(values: np.ndarray) -> float:
    """Standard deviation of a sample; 0 of a single value."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0
