"""Systems beside each other on the same trials: mean and spread over seeds, intervals over speakers, ratios."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path

import numpy as np

from pyspk import metrics
from pyspk.errors import UserError
from pyspk.pictures import picture
from pyspk.scoring.table import aligned, speakers_of
from pyspk.scoring.trials import match, read_scores, read_trials

_INTERVAL = (0.025, 0.975)


@dataclass(frozen=True)
class System:
    """What one system came to, an entry a seed."""

    eers: np.ndarray             # (seeds,), in [0, 1]
    min_dcfs: np.ndarray         # (seeds,)
    replicates: np.ndarray       # (resamples,): the mean over seeds of the EER, speakers resampled

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the mean EER over speakers."""
        low, high = np.quantile(self.replicates, _INTERVAL)
        return float(low), float(high)

    def ratio_to(self, other: "System") -> tuple[float, float, float]:
        """(ratio of the mean EERs, its 95% interval low, high), the same speakers drawn for both.

        NaN where there would be a division by zero: the ratio when `other` makes no error, the interval when any of its
        replicates makes none.
        """
        ratio = self.eers.mean() / other.eers.mean() if other.eers.any() else nan
        has_interval = other.replicates.all()
        low, high = np.quantile(self.replicates / other.replicates, _INTERVAL) if has_interval else (nan, nan)
        return float(ratio), float(low), float(high)


def measure_systems(trials: str | Path, scores: Mapping[str, Sequence[str | Path]], utt2spk: str | Path | None = None,
                    p_target: float = 0.01, n_resamples: int = 1000) -> dict[str, System]:
    """name -> System, of name -> score files, one for each seed, on the same trials.

    Without utt2spk the speakers are those that speakers_from_trials finds. Raises UserError as read_trials,
    read_scores, match and the metrics do.
    """
    listed = read_trials(trials)
    speakers = speakers_of(listed, utt2spk)
    systems = {}
    for name, paths in scores.items():
        eers, min_dcfs, replicates = [], [], []
        for path in paths:
            score = match(listed, read_scores(path), trials, path)
            sides = score[listed.is_target], score[~listed.is_target]
            eers.append(metrics.eer(*sides))
            min_dcfs.append(metrics.min_dcf(*sides, p_target=p_target))
            replicates.append(metrics.eer_replicates(score, listed.is_target, *speakers, n_resamples))
        systems[name] = System(np.array(eers), np.array(min_dcfs), np.mean(replicates, axis=0))
    return systems


def comparison_table(systems: Mapping[str, System], reference: str | None = None, p_target: float = 0.01) -> list[str]:
    """A header, then a line for each system in the order given; with `reference`, EERs as a ratio to that system's.

    A ratio or interval that would divide by zero is "-". Raises UserError as check_reference does.
    """
    check_reference(reference, systems)
    rows = [["system", "seeds", "EER %", "sd", "95% interval", f"minDCF({p_target:g})", "sd",
             *([f"/ {reference}", "95% interval"] if reference else [])]]
    for name, system in systems.items():
        low, high = system.interval
        row = [name, str(len(system.eers)), f"{100 * system.eers.mean():.2f}", f"{100 * _sd(system.eers):.2f}",
               f"{100 * low:.2f}-{100 * high:.2f}", f"{system.min_dcfs.mean():.3f}", f"{_sd(system.min_dcfs):.3f}"]
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
    """Write a picture to `path`, .png, .svg or .pdf: a row for each system, the best on top.

    A dot a seed, a bar for the mean, a line for its interval over speakers. The same systems and title give the same
    bytes. Raises UserError for another ending.
    """
    ranked = sorted(systems.items(), key=lambda item: item[1].eers.mean())
    with picture(path, 6.5, 0.3 + 0.27 * len(ranked)) as figure:
        axes = figure.add_axes((0, 0, 1, 1))                         # "tight" adds the room that names and title need
        for row, (_, system) in enumerate(ranked):
            axes.plot([100 * rate for rate in system.interval], [row, row], color="0.7", linewidth=1.5, zorder=1)
            axes.scatter([100 * system.eers.mean()], [row], marker="|", s=160, color="black", zorder=2)
            axes.scatter(100 * system.eers, [row] * len(system.eers), s=14, color="tab:blue", alpha=0.7, zorder=3)
        axes.set_yticks(range(len(ranked)), [name for name, _ in ranked])
        axes.set_ylim(len(ranked) - 0.5, -0.5)
        axes.set_xlabel("EER in %: a dot each seed, a bar their mean, a line its 95% interval over speakers")
        axes.set_title(title)
        axes.grid(axis="x", alpha=0.3)


def _sd(values: np.ndarray) -> float:
    """Standard deviation of a sample; 0 of a single value."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0
