"""Error rates of groups of trials: by gender, language, duration, or whatever a table says of the utterances."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyspk.errors import UserError
from pyspk.metrics import Cost, Evaluation, eer_interval
from pyspk.metrics.groups import group_labels, pair_groups
from pyspk.scoring.table import aligned, cost_titles, count_speakers, speakers_of, systems_of
from pyspk.scoring.trials import Trials, look_up, read_trials
from pyspk.tables.text import read_table


@dataclass(frozen=True)
class GroupResult:
    """What a group of trials came to; None where it has no targets or no nontargets."""

    name: str
    n_speakers: int
    n_targets: int
    n_nontargets: int
    eer: float | None
    interval: tuple[float, float] | None     # of the EER, 95%, over speakers
    min_dcfs: list[float] | None             # one for each cost
    p_miss: float | None                     # at one threshold for all groups
    p_fa: float | None


def measure_groups(score: np.ndarray, is_target: np.ndarray, speakers: tuple[np.ndarray, np.ndarray],
                   names: Sequence[str], group: np.ndarray, costs: Sequence[Cost] = ()) -> list[GroupResult]:
    """A result for each of the groups `names`, in their order.

    score (n,), is_target (n,) bool, speakers: enroll and test side (n,) each, group (n,): place in names. p_miss and
    p_fa are those at the EER threshold of all trials, so that they say whom it treats worse.
    Raises UserError as Evaluation and eer_interval do.
    """
    threshold = Evaluation(score[is_target], score[~is_target]).eer_threshold()
    results = []
    for number, name in enumerate(names):
        own = group == number
        targets, nontargets = score[own & is_target], score[own & ~is_target]
        ours = speakers[0][own], speakers[1][own]
        system = Evaluation(targets, nontargets) if len(targets) and len(nontargets) else None
        results.append(GroupResult(
            name, count_speakers(*ours), len(targets), len(nontargets), system and system.eer(),
            system and eer_interval(score[own], is_target[own], *ours),
            system and [system.min_dcf(cost) for cost in costs],
            float((targets <= threshold).mean()) if len(targets) else None,
            float((nontargets > threshold).mean()) if len(nontargets) else None))
    return results


def groups_of(trials: Trials, groups: str | Path, utt2spk: str | Path | None = None) -> tuple[list[str], np.ndarray]:
    """(names of the groups that occur, the group of each trial (n,)), of a table utterance -> group.

    With utt2spk it may be a table speaker -> group, such as spk2gender. Raises UserError for utterances without a
    group, and as group_labels does.
    """
    group_of = read_table(groups)
    if utt2spk is not None:
        group_of = {utt: group_of[spk] for utt, spk in read_table(utt2spk).items() if spk in group_of} | group_of
    try:
        labels, place = group_labels(look_up(group_of, trials.names, groups))
    except UserError as fault:
        raise UserError(str(fault) if str(groups) in str(fault) else f"{groups}: {fault}") from None
    return pair_groups(labels, place[trials.enroll], place[trials.test])


def groups_table(trials: str | Path, score_files: Sequence[str | Path], groups: str | Path,
                 p_targets: Sequence[float] = (0.01, 0.05), utt2spk: str | Path | None = None, c_miss: float = 1.0,
                 c_fa: float = 1.0) -> list[str]:
    """A header, then a line for each score file and group of trials, as measure_groups gives it; "-" for None.

    Raises UserError as read_trials, read_scores, match, groups_of and measure_groups do.
    """
    listed = read_trials(trials)
    speakers, (names, group) = speakers_of(listed, utt2spk), groups_of(listed, groups, utt2spk)
    costs = [Cost(p, c_miss, c_fa) for p in p_targets]
    rows = [["scores", Path(groups).name, "speakers", "targets", "nontargets", "EER %", "95% interval",
             *cost_titles("minDCF", costs), "P miss %", "P fa %"]]
    for system, score in systems_of(listed, trials, score_files):
        rows += [_row(system, one, len(costs))
                 for one in measure_groups(score, listed.is_target, speakers, names, group, costs)]
    return aligned(rows)


def _row(system: str, one: GroupResult, n_costs: int) -> list[str]:
    eer, p_miss, p_fa = ("-" if rate is None else f"{100 * rate:.3f}" for rate in (one.eer, one.p_miss, one.p_fa))
    interval = "-" if one.interval is None else "-".join(f"{100 * end:.3f}" for end in one.interval)
    dcfs = ["-"] * n_costs if one.min_dcfs is None else [f"{dcf:.4f}" for dcf in one.min_dcfs]
    return [system, one.name, str(one.n_speakers), str(one.n_targets), str(one.n_nontargets), eer, interval, *dcfs,
            p_miss, p_fa]
