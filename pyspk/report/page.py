"""The page: what it says first, and then where to look."""

import base64
import hashlib
from collections.abc import Sequence

from pyspk.report.charts import det_chart, histogram_chart, training_charts
from pyspk.report.content import Content
from pyspk.report.html import Markup, join, name_of, tag
from pyspk.report.style import CSS
from pyspk.report.svg import Style, swatch
from pyspk.report.tables import (
    MEANING,
    det_table,
    group_table,
    label_of,
    metrics_table,
    mistake_cards,
    percent,
    quantile_table,
    settings_table,
    table,
    training_table,
)
from pyspk.report.verdict import verdict
from pyspk.training.curves import FIELDS

_MOST_GROUPS = 12


def page(content: Content) -> str:
    """The whole page: HTML without a script, whose policy forbids every request."""
    sections = {"measures": ("Measures", _measures(content)), "curves": ("Errors at every threshold", _det(content)),
                "scores": ("Scores", _histograms(content)), "groups": ("By group", _groups(content)),
                "mistakes": ("Worst mistakes, to listen to", _mistakes(content)),
                "training": ("Training", _training(content)), "made": ("Settings and versions", _made(content))}
    title = f"{' and '.join(content.close)}: speaker verification report"
    body = tag("body", tag("a", "Skip to the measures", href="#measures", class_="skip"),
               tag("header", tag("h1", title), *verdict(content)),
               tag("nav", tag("ul", *(tag("li", tag("a", heading, href=f"#{name}"))
                                      for name, (heading, _) in sections.items())), aria_label="On this page"),
               tag("main", *(tag("section", tag("h2", heading, id=f"{name}-heading"), told, id=name,
                                 aria_labelledby=f"{name}-heading") for name, (heading, told) in sections.items())),
               tag("footer", tag("p", f"Made by pyspk. Scores written {content.made['scores written']}. This page "
                                      "needs no network and no script.", class_="soft")))
    return f"<!DOCTYPE html>\n{tag('html', _head(title), body, lang='en')}\n"


def _head(title: str) -> Markup:
    hashed = base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{hashed}'; img-src data:; media-src data:; base-uri 'none'"
    return tag("head", tag("meta", charset="utf-8"),
               tag("meta", http_equiv="Content-Security-Policy", content=policy),
               tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
               tag("meta", name="color-scheme", content="light dark"), tag("link", rel="icon", href="data:,"),
               tag("title", title), tag("style", Markup(CSS)))


def _styles(content: Content) -> dict[tuple[str, str], Style]:
    """(experiment, kind) -> how its line looks: each kind its colour or, in a comparison, each experiment."""
    kinds = list(dict.fromkeys(one.kind for one in content.findings))
    names = list(content.close)
    return {(one.experiment, one.kind): Style(names.index(one.experiment), kinds.index(one.kind)) if content.several
            else Style(kinds.index(one.kind), kinds.index(one.kind)) for one in content.findings}


def _legend(items: Sequence[tuple[Markup, object]]) -> Markup:
    return tag("ul", *(tag("li", sample, tag("span", text)) for sample, text in items), class_="legend")


def _numbers(content: Markup) -> Markup:
    return tag("details", tag("summary", "The same as a table"), content)


def _measures(content: Content) -> Markup:
    chosen = {name: close.finding.kind for name, close in content.close.items()}
    meaning = tag("dl", *(join(tag("dt", name), tag("dd", text)) for name, text in MEANING.items()))
    return join(metrics_table(content.findings, chosen),
                tag("details", tag("summary", "What do these measures mean?"), meaning))


def _det(content: Content) -> Markup:
    styles = _styles(content)
    curves = [(styles[one.experiment, one.kind], *one.det, one.eer) for one in content.findings]
    said = "; ".join(f"{one.experiment} {one.kind}: equal error rate {percent(one.eer)}" for one in content.findings)
    items = [(swatch(styles[one.experiment, one.kind]),
              join(label_of(one, content.several), f", EER {percent(one.eer)}")) for one in content.findings]
    return tag("figure", tag("figcaption", "DET curves: each point is a threshold; nearer to the lower left is better. "
                                           "The dots mark the equal error rate."),
               tag("div", det_chart(curves, said),
                   tag("div", _legend(items), det_table(content.findings, content.several)), class_="beside"))


def _histograms(content: Content) -> Markup:
    legend = _legend([(swatch(Style(0), "area"), "targets: one speaker"),
                      (swatch(Style(1), "area"), "nontargets: two speakers")])
    figures = []
    shown = [close.finding for close in content.close.values()] if content.several else content.findings
    for number, one in enumerate(shown):
        label = label_of(one, content.several)
        middle = len(one.quantiles[0]) // 2
        said = (f"half of the targets score above {one.quantiles[0][middle]:.4g}, half of the nontargets above "
                f"{one.quantiles[1][middle]:.4g}; the threshold of equal errors is {one.threshold:.4g}")
        drawn = histogram_chart(f"histogram-{number}", f"Scores of {one.experiment} {one.kind}", said, one.edges,
                                one.shares, one.threshold)
        figures.append(tag("figure", tag("h3", label), drawn, _numbers(quantile_table(one))))
    return join(tag("p", "The less the two hills overlap, the better. The dashed line is the threshold at which both "
                         "sorts of errors are equally frequent."), legend, tag("div", *figures, class_="grid"))


def _groups(content: Content) -> Markup:
    parts = []
    for name, close in content.close.items():
        for title, groups in close.groups.items():
            experiment = name if content.several else None
            parts.append(group_table(experiment, close.finding, title, groups[:_MOST_GROUPS]))
            if len(groups) > _MOST_GROUPS:
                parts.append(tag("details", tag("summary", f"The other {len(groups) - _MOST_GROUPS} groups"),
                                 group_table(experiment, close.finding, title, groups[_MOST_GROUPS:])))
    said = tag("p", "A trial whose two sides differ stands under both names. Misses and false alarms are those at the "
                    "threshold of all trials. In bold, rates above the interval of all, and intervals above their rate."
               if parts else
               "Nothing to group by was found. A file utt2gender, utt2lang, utt2dur or any other utt2x in the data "
               "directory, or one named with --groups, makes a table here.")
    return join(said, *parts, *(tag("p", "Left out: ", name_of(fault), ".") for fault in content.left_out))


def _mistakes(content: Content) -> Markup:
    parts = []
    for name, close in content.close.items():
        for kind, heading, found, said in (
                ("false", "Taken for one speaker, but two (false alarms)", close.false_alarms,
                 "the highest score of each pair of speakers"),
                ("miss", "Taken for two speakers, but one (misses)", close.misses, "the lowest score of each speaker")):
            where = join(" of ", name_of(name)) if content.several else None
            parts += [tag("h3", heading, where),
                      tag("p", f"{found.n_wrong:,} of {found.n_trials:,} trials are on the wrong side of the threshold "
                                f"{close.finding.threshold:.4g} (", name_of(close.finding.kind), f"). Here is {said}.",
                          class_="soft"),
                      mistake_cards(found, kind, content.clips, content.speaker_of, close.finding.threshold)]
    silent = None if content.clips else tag(
        "p", "The recordings are not on this page: no wav.scp was found for these trials, or --audio-mb left them out.")
    return join(silent, *parts)


def _training(content: Content) -> Markup:
    if not content.runs:
        return tag("p", "There is no training log: log/train.jsonl of the experiment is not there.")
    legend = _legend([(swatch(Style(number)), name_of(run)) for number, run in enumerate(content.runs)])
    figures = [tag("figure", tag("h3", title), drawn) for title, drawn in training_charts(content.runs)]
    return join(legend if len(content.runs) > 1 else None, tag("div", *figures, class_="grid"),
                _numbers(training_table(content.runs, FIELDS)))


def _made(content: Content) -> Markup:
    made = table("What this page was made from and with", ["", "value"], list(content.made.items()),
                 "What this page was made from and with", text_columns=True)
    return join(made, *(tag("details", tag("summary", "Training settings of ", name_of(name)),
                            settings_table(name, settings)) for name, settings in content.settings.items()))
