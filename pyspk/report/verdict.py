"""The first words of a report: how good the system is, and where it fails."""

import numpy as np

from pyspk.report.content import Content
from pyspk.report.findings import EER, Close, Finding
from pyspk.report.html import Markup, join, name_of, tag
from pyspk.report.tables import percent, who
from pyspk.scoring.comparison import Measured


def verdict(content: Content) -> list[Markup]:
    """A paragraph that says how good the system, or the best of several, is, and one that says where it fails."""
    ranked = sorted(content.close.values(), key=lambda close: close.finding.eer)
    best = ranked[0]
    return [tag("p", _how_good(best.finding, content), _better_scores(best.finding, content), _ahead_of(ranked),
                class_="verdict"),
            tag("p", *_where_it_fails(best, content))]


def _how_good(best: Finding, content: Content) -> Markup:
    value, low, high = best.values[EER]
    targets, nontargets = content.n_trials
    right = f"{100 * (1 - value):.{3 if value >= 0.005 else 4}g}"      # 99.96 is not 100
    return join(tag("strong", name_of(best.experiment), f" decides {right} of 100 trials rightly"),
                f": its equal error rate is {percent(value)} (95% interval {percent(low)} to {percent(high)}), with ",
                name_of(best.kind), f" scores on {targets + nontargets:,} trials of {content.n_speakers:,} speakers.")


def _better_scores(best: Finding, content: Content) -> Markup | None:
    """That other scores of the experiment make fewer errors; nothing when none do."""
    other = min((one for one in content.findings if one.experiment == best.experiment), key=lambda one: one.eer)
    if other.eer == best.eer:
        return None
    return join(" Its ", name_of(other.kind), f" scores do better: {percent(other.eer)}.")


def _ahead_of(ranked: list[Close]) -> Markup | None:
    """How the best stands to the next, the same speakers drawn for both; nothing without a next."""
    if len(ranked) == 1:
        return None
    first, second = (Measured(np.array([close.finding.eer]), close.finding.replicates) for close in ranked[:2])
    ratio, low, high = first.ratio_to(second)
    if np.isnan(low):
        return join(" Next is ", name_of(ranked[1].finding.experiment), f" with {percent(ranked[1].finding.eer)}.")
    sure = "" if high < 1 else "; the interval reaches 1, so it may be chance"
    return join(f" That is {ratio:.2f} times the rate of the next, ", name_of(ranked[1].finding.experiment),
                f" (95% interval {low:.2f} to {high:.2f}{sure}).")


def _where_it_fails(best: Close, content: Content) -> list[Markup | str]:
    if not best.false_alarms.n_wrong and not best.misses.n_wrong:
        return ["It makes no error on these trials."]
    said: list[Markup | str] = []
    if (pair := best.false_alarms.commonest).n_wrong:
        said += ["Most often it takes ", who(pair, "false", content.speaker_of),
                 f" for one speaker ({pair.n_wrong:,} of their {pair.n_trials:,} trials, "
                 f"{percent(pair.n_wrong / best.false_alarms.n_wrong)} of all false alarms). "]
    if (speaker := best.misses.commonest).n_wrong:
        said += ["Most often it fails to recognise ", who(speaker, "miss", content.speaker_of),
                 f" ({speaker.n_wrong:,} of {speaker.n_trials:,} trials, "
                 f"{percent(speaker.n_wrong / best.misses.n_wrong)} of all misses). "]
    worse = [(title, group) for title, groups in best.groups.items() for group in groups
             if best.finding.is_exceeded_by(group)]
    if worse:
        title, group = max(worse, key=lambda one: one[1].interval[0])
        low, high = group.interval
        said += ["It is worse where ", name_of(title), " is ", name_of(group.name),
                 f": {percent(group.eer)} (95% interval {percent(low)} to {percent(high)})."]
    return said
