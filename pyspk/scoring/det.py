"""A picture of the DET curves of several systems."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.special import ndtri

from pyspk.metrics import Evaluation
from pyspk.pictures import picture, picture_kind
from pyspk.scoring.table import systems_of
from pyspk.scoring.trials import read_trials

_TICKS = (0.0001, 0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 20, 40, 60)      # in %
_GREATEST = 0.6                          # what has more errors is not drawn


def plot_det(trials: str | Path, score_files: Sequence[str | Path], path: str | Path) -> None:
    """Draw the DET curve of each score file to `path`, .png, .svg or .pdf, on axes of normal deviates.

    Martin et al. 1997, "The DET curve in assessment of detection task performance" (Eurospeech): Gaussian scores give
    straight lines. Raises UserError for another ending, and as read_trials, read_scores, match and Evaluation do.
    """
    picture_kind(path)
    listed = read_trials(trials)
    systems = []
    for name, score in systems_of(listed, trials, score_files):
        system = Evaluation(score[listed.is_target], score[~listed.is_target])
        systems.append((f"{name}, EER {100 * system.eer():.2f}%", *system.det()))
    curves = [np.stack(rates) for _, *rates in systems]             # (2, points) each
    shown = [rates[(rates > 0) & (rates.max(axis=0) <= _GREATEST)] for rates in curves]
    ends = np.array([np.concatenate(shown).min(initial=0.1) / 2, _GREATEST])
    with picture(path, 5.5, 5.5) as figure:
        axes = figure.add_axes((0, 0, 1, 1))
        for label, p_miss, p_fa in systems:
            y, x = (ndtri(np.clip(rate, ends[0] / 2, 1 - ends[0])) for rate in (p_miss, p_fa))
            axes.plot(x, y, label=label, linewidth=1.5)
        axes.plot(ndtri(ends), ndtri(ends), color="0.7", linewidth=0.8, linestyle=":")
        for set_ticks, set_ends in ((axes.set_xticks, axes.set_xlim), (axes.set_yticks, axes.set_ylim)):
            set_ticks([ndtri(tick / 100) for tick in _TICKS], [f"{tick:g}" for tick in _TICKS])
            set_ends(ndtri(ends))
        axes.set_xlabel("P fa: nontarget trials accepted, in %")
        axes.set_ylabel("P miss: target trials rejected, in %")
        axes.grid(alpha=0.3)
        axes.legend()
