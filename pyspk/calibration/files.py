"""Calibrations of score files: fitted, applied, and what their thresholds cost."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pyspk.calibration.model import Calibration
from pyspk.calibration.quality import symmetric_names, trial_qualities
from pyspk.errors import UserError, first_few
from pyspk.metrics import Cost, Evaluation
from pyspk.scoring.table import aligned, speakers_of
from pyspk.scoring.trials import Scores, Trials, match, read_scores, read_trials, write_scores

log = logging.getLogger(__name__)


def fit_files(trials: str | Path, score_files: Sequence[str | Path], p_target: float, costs: Sequence[Cost],
              quality_files: Sequence[str | Path] = (),
              utt2spk: str | Path | None = None) -> tuple[Calibration, list[str]]:
    """(calibration of the score files on these trials, the lines of expected_costs).

    Systems and quality measures are called what column_name says of their files.
    Raises UserError for files with one ending, and as read_trials, read_scores, match, trial_qualities and
    Calibration.fit do.
    """
    for files in (score_files, quality_files):
        if len({column_name(path) for path in files}) < len(files):
            raise UserError(f"{first_few(files)}: files are told apart by their endings, which must differ; give each "
                            "an ending of its own, a.resnet and b.ecapa (links will do)")
    listed = read_trials(trials)
    scores = np.stack([match(listed, read_scores(path), trials, path) for path in score_files], axis=1)
    qualities = trial_qualities(listed, quality_files)
    systems, names = list(map(column_name, score_files)), symmetric_names([*map(column_name, quality_files)])
    speakers = speakers_of(listed, utt2spk)
    n_target = int(np.count_nonzero(listed.is_target))
    trained_on = {"trials": str(trials), "targets": n_target, "nontargets": len(scores) - n_target,
                  "speakers": len(np.unique(speakers))}

    def fit(some: np.ndarray) -> Calibration:
        return Calibration.fit(scores[some], listed.is_target[some], systems, p_target, qualities[some], names,
                               trained_on)

    calibration = fit(np.ones(len(scores), dtype=bool))
    held_out = _held_out(fit, scores, qualities, listed.is_target, *speakers)
    if held_out is None:
        log.warning("%s: too few speakers to fit on some and measure on others; the costs are those of the very trials "
                    "fitted on, and too low", trials)
        held_out = calibration.apply(scores, qualities), listed.is_target
    llr, is_target = held_out
    return calibration, expected_costs(calibration, Evaluation(llr[is_target], llr[~is_target]), costs)


def expected_costs(calibration: Calibration, held_out: Evaluation, costs: Sequence[Cost]) -> list[str]:
    """A header, then a line for each cost: its threshold, error rates there, actDCF and minDCF, of held-out ratios.

    threshold: of the log-likelihood ratio; of a single system without quality measures, of its score as well.
    """
    system, scale = next(iter(calibration.systems.items()))
    is_plain = len(calibration.systems) == 1 and not calibration.qualities and scale > 0
    rows = [["P target", "C miss", "C fa", "threshold", *([system] if is_plain else []), "P miss %", "P fa %", "actDCF",
             "minDCF"]]
    for cost in costs:
        p_miss, p_fa = held_out.rates(cost.threshold)
        of_score = [f"{(cost.threshold - calibration.offset) / scale:.4f}"] if is_plain else []
        rows.append([f"{cost.p_target:g}", f"{cost.c_miss:g}", f"{cost.c_fa:g}", f"{cost.threshold:.4f}", *of_score,
                     f"{100 * p_miss:.3f}", f"{100 * p_fa:.3f}", f"{held_out.act_dcf(cost):.4f}",
                     f"{held_out.min_dcf(cost):.4f}"])
    return aligned(rows)


def apply_files(calibration: Calibration, score_files: Sequence[str | Path], out: str | Path,
                quality_files: Sequence[str | Path] = ()) -> int:
    """Write the log-likelihood ratio of each trial to `out`, in the order of the first score file; returns how many.

    Raises UserError as read_scores, match, trial_qualities and Calibration.apply do, and for other systems or quality
    measures than those of the calibration, or another order.
    """
    _check_names("score files", list(calibration.systems), list(map(column_name, score_files)))
    _check_names("quality measures", list(calibration.qualities),
                 symmetric_names([*map(column_name, quality_files)]))
    first = read_scores(score_files[0])
    pairs = Trials(first.names, first.enroll, first.test, np.zeros(len(first.score), dtype=bool))
    columns = [first.score, *(match(pairs, read_scores(path), score_files[0], path) for path in score_files[1:])]
    llr = calibration.apply(np.stack(columns, axis=1), trial_qualities(first, quality_files))
    write_scores(out, Scores(first.names, first.enroll, first.test, llr))
    return len(llr)


def column_name(path: str | Path) -> str:
    """What a file's column is called in a Calibration: the file's ending, cosine of eval.cosine, or else its name."""
    return Path(path).suffix.removeprefix(".") or Path(path).name


def in_words(calibration: Calibration) -> str:
    """The sum that it is."""
    terms = [f"{weight:.5g} {name}" for name, weight in [*calibration.systems.items(), *calibration.qualities.items()]]
    return f"llr = {' + '.join([*terms, f'{calibration.offset:.5g}'])}".replace("+ -", "- ")


def _held_out(fit: Callable[[np.ndarray], Calibration], scores: np.ndarray, qualities: np.ndarray,
              is_target: np.ndarray, enroll_spk: np.ndarray,
              test_spk: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """(llr, is_target) of the trials within each half of the speakers, by a calibration fitted on the other half.

    Trials between the halves are left out. None when a half lacks targets, nontargets, or scores that differ.
    """
    halves = [(enroll_spk % 2 == number) & (test_spk % 2 == number) for number in (0, 1)]
    if not all(is_target[one].any() and not is_target[one].all() and np.ptp(scores[one]) for one in halves):
        return None
    llr = [fit(other).apply(scores[one], qualities[one]) for one, other in (halves, halves[::-1])]
    return np.concatenate(llr), np.concatenate([is_target[one] for one in halves])


def _check_names(what: str, expected: list[str], given: list[str]) -> None:
    if expected != given:
        raise UserError(f"the calibration is of the {what} {', '.join(expected) or 'none'}, in this order, not "
                        f"{', '.join(given) or 'none'}")
