"""The words of a report: the sentence at its head, tables of measures and groups, lists of mistakes, settings."""

from collections.abc import Iterable, Mapping, Sequence

from pyspk.report.clips import Clip
from pyspk.report.findings import EER, QUANTILES, Finding, Mistake, Mistakes
from pyspk.report.html import Markup, join, name_of, tag
from pyspk.scoring.groups import GroupResult

MEANING = {
    "EER": "equal error rate: the share of wrong decisions at the threshold where as large a share of targets is "
           "missed as of nontargets is accepted.",
    "minDCF(P)": "the least cost of decisions when a share P of trials is of one speaker; 1 is what refusing "
                 "everybody costs.",
    "actDCF(P)": "the same at the threshold that calibrated scores promise; close to minDCF when the promise holds.",
    "Cllr": "how much the scores, read as log-likelihood ratios, cost over all priors, in bits; min Cllr is what "
            "perfect calibration would leave.",
}


def percent(rate: float) -> str:
    """0.11735 -> 11.7%, with three digits."""
    return f"{100 * rate:.3g}%"


def table(caption: object, head: Sequence[object], rows: Iterable[Sequence[object]], label: str,
          row_classes: Sequence[str | None] = (), text_columns: bool = False) -> Markup:
    """A table that scrolls by itself where it is too wide; the first cell of a row is its head."""
    cell_class = "text" if text_columns else None
    body = []
    for number, (first, *others) in enumerate(rows):
        body.append(tag("tr", tag("th", first, scope="row"), *(tag("td", one, class_=cell_class) for one in others),
                        class_=row_classes[number] if number < len(row_classes) else None))
    names = (tag("th", one, scope="col", class_=cell_class) for one in head)
    drawn = tag("table", tag("caption", tag("span", caption)), tag("thead", tag("tr", *names)), tag("tbody", *body))
    return tag("div", drawn, class_="scroll", role="region", aria_label=label, tabindex=0)


def metrics_table(findings: Sequence[Finding], chosen: Mapping[str, str]) -> Markup:
    """A row for each score file; the one that the rest of the page looks at in bold."""
    measures = max((list(one.values) for one in findings), key=len)
    several = len({one.experiment for one in findings}) > 1
    rows, classes = [], []
    for one in findings:
        rows.append([label_of(one, several), *(_with_interval(one.values.get(measure), measure)
                                               for measure in measures)])
        classes.append("chosen" if chosen[one.experiment] == one.kind else None)
    caption = ("Lower is better. Below each value its 95% interval, from 1,000 draws of the speakers. "
               "In bold, what the rest of this page looks at.")
    return table(caption, ["scores", *measures], rows, "Measures of each score file", classes)


def label_of(finding: Finding, several: bool) -> Markup:
    """What a score file is called on the page: its kind, with the experiment where there are several."""
    return join(name_of(finding.experiment), " ", finding.kind) if several else name_of(finding.kind)


def _with_interval(value: tuple[float, float, float] | None, measure: str) -> Markup:
    if value is None:
        return Markup("–")
    factor, form = (100, ".2f") if measure == EER else (1, ".3f")
    middle, low, high = (format(factor * one, form) for one in value)
    return join(middle, tag("small", f"{low} to {high}"))


def quantile_table(finding: Finding) -> Markup:
    """The histogram for those who do not see it."""
    rows = [[f"{percent(share)} score at most", *(f"{side[place]:.4g}" for side in finding.quantiles)]
            for place, share in enumerate(QUANTILES)]
    return table("Scores below which a share of the trials lies", ["share", "targets", "nontargets"], rows,
                 "Scores of targets and nontargets")


def det_table(findings: Sequence[Finding], several: bool) -> Markup:
    """The DET curves for those who do not see them: misses at some rates of false alarms."""
    rates = (0.001, 0.01, 0.05, 0.1, 0.2)
    rows = []
    for one in findings:
        p_miss, p_fa = one.det
        rows.append([label_of(one, several), *(percent(p_miss[p_fa <= rate].min()) for rate in rates)])
    return table("Share of targets missed when at most so many nontargets are accepted",
                 ["scores", *map(percent, rates)], rows, "Misses at some rates of false alarms")


def mistake_cards(found: Mistakes, kind: str, clips: Mapping[str, Clip | None], speaker_of: Mapping[str, str],
                  threshold: float) -> Markup:
    """A list of trials to listen to. kind: "false" for false alarms, "miss" for misses."""
    return tag("ul", *(_card(one, kind, clips, speaker_of, threshold) for one in found.worst), class_="cards grid wide")


def _card(one: Mistake, kind: str, clips: Mapping[str, Clip | None], speaker_of: Mapping[str, str],
          threshold: float) -> Markup:
    head = who(one, kind, speaker_of)
    counts = f"{one.n_wrong:,} of {one.n_trials:,} trials of {'these two' if kind == 'false' else 'this speaker'} wrong"
    return tag("li", tag("h4", head), tag("p", f"score {one.score:.4g}, threshold {threshold:.4g}; {counts}",
                                          class_="soft"),
               _sound("enroll", one.enroll, clips), _sound("test", one.test, clips))


def who(one: Mistake, kind: str, speaker_of: Mapping[str, str]) -> Markup:
    """The speakers of a mistake: two for a false alarm, one for a miss."""
    first, second = (speaker_of.get(name) for name in (one.enroll, one.test))
    if first is None or second is None:
        return join(name_of(one.enroll), " and ", name_of(one.test))
    return join(name_of(first), " and ", name_of(second)) if kind == "false" else name_of(first)


def _sound(side: str, name: str, clips: Mapping[str, Clip | None]) -> Markup:
    clip = clips.get(name)
    if clip is None:
        return tag("div", tag("span", f"{side}: ", name_of(name), class_="soft"), class_="sound")
    piece = ("" if clip.seconds >= clip.total_s else
             f", {clip.start_s:.1f} s to {clip.start_s + clip.seconds:.1f} s of {clip.total_s:.1f} s")
    return tag("div", tag("span", f"{side}: ", name_of(name), piece, class_="soft"),
               tag("audio", src=clip.uri, controls=True, preload="metadata", aria_label=f"{side}: {name}{piece}"),
               class_="sound")


def settings_table(experiment: str, settings: Mapping[str, object]) -> Markup:
    """What config.toml says."""
    return table(join("Training settings of ", name_of(experiment)), ["setting", "value"],
                 [[key, str(value)] for key, value in settings.items()], f"Training settings of {experiment}",
                 text_columns=True)


def training_table(runs: Mapping[str, Sequence[dict]], fields: Sequence[tuple[str, str, float]]) -> Markup:
    """The training curves for those who do not see them: a row an epoch."""
    there = [field for field in fields if any(done.get(field[0]) is not None for run in runs.values() for done in run)]
    rows = []
    for run, reports in runs.items():
        for done in reports:
            values = [done.get(name) for name, _, _ in there]
            rows.append([join(name_of(run), " ", done["epoch"]) if len(runs) > 1 else done["epoch"],
                         *("–" if value is None else f"{factor * value:.4g}"
                           for value, (_, _, factor) in zip(values, there, strict=True))])
    return table("What each epoch of training came to", ["epoch", *(title for _, title, _ in there)], rows,
                 "Training, epoch by epoch")


def group_table(experiment: str | None, finding: Finding, title: str, groups: Sequence[GroupResult]) -> Markup:
    """A row a group, in bold as is_exceeded_by says. experiment: named in the caption when given."""
    rows = [[name_of(one.name), _with_interval(one.interval and (one.eer, *one.interval), EER),
             *("–" if rate is None else f"{100 * rate:.2f}" for rate in (one.p_miss, one.p_fa)),
             *(f"{count:,}" for count in (one.n_targets, one.n_nontargets, one.n_speakers))] for one in groups]
    worse = ["chosen" if finding.is_exceeded_by(one) else None for one in groups]
    caption = join("By ", name_of(title), *([" of ", name_of(experiment)] if experiment else []),
                   " (", name_of(finding.kind), " scores)")
    head = [name_of(title), EER, "misses %", "false alarms %", "targets", "nontargets", "speakers"]
    return table(caption, head, rows, f"Error rates by {title}", worse)
