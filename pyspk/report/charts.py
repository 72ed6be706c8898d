"""The charts of a report: DET curves, scores of both kinds of trials, training curves."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import ndtri

from pyspk.report.html import Markup
from pyspk.report.svg import Axis, Series, Style, chart, nice_ticks
from pyspk.training.curves import FIELDS

_RATES = (0.00001, 0.0001, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
_SMALL = (320, 190)


def det_chart(curves: Sequence[tuple[Style, np.ndarray, np.ndarray, float]], description: str) -> Markup:
    """DET curves (Martin et al. 1997): rates on normal deviate axes, a dot where they are equal.

    curves: (style, P_miss (k,), P_fa (k,), EER) each.
    """
    eers = [eer for *_, eer in curves]
    low = max((rate for rate in _RATES if rate <= min(eers) / 4), default=_RATES[0])
    high = next((rate for rate in _RATES if rate >= max(0.4, 1.5 * max(eers))), _RATES[-1])
    ticks = {rate: f"{100 * rate:g}" for rate in _RATES if low <= rate <= high}
    axes = tuple(Axis(label, low, high, ticks, _deviate) for label in ("false alarms in %", "misses in %"))
    drawn = []
    for style, p_miss, p_fa, eer in curves:
        drawn += [Series(p_fa, p_miss, style), Series(np.array([eer]), np.array([eer]), style, "dots")]
    return chart("det", "DET curves", description, axes, drawn, (360, 350))


def histogram_chart(name: str, title: str, description: str, edges: np.ndarray, shares: Sequence[np.ndarray],
                    threshold: float | None) -> Markup:
    """Shares in % of targets and of nontargets, (k,) each, between edges (k + 1,); a line at the threshold."""
    axes = (Axis("score", edges[0], edges[-1], nice_ticks(edges[0], edges[-1])),
            Axis("share of trials in %", 0.0, *_up_to(max(map(np.max, shares)))))
    steps = np.repeat(edges, 2)[1:-1]
    series = [Series(steps, np.repeat(share, 2), Style(number), "area") for number, share in enumerate(shares)]
    if threshold is not None:
        series.append(Series(np.array([threshold]), np.zeros(1), Style(0), "mark"))
    return chart(name, title, description, axes, series, (360, 220))


def training_charts(runs: Mapping[str, Sequence[dict]]) -> list[tuple[str, Markup]]:
    """(title, chart) of each thing that some run reports, over its epochs. runs: name -> reports of its epochs."""
    charts = []
    for name, title, factor in FIELDS:
        lines = {run: np.array([(done["epoch"], factor * done[name]) for done in reports if done.get(name) is not None])
                 for run, reports in runs.items()}
        lines = {run: points for run, points in lines.items() if len(points)}
        if lines:
            charts.append((title, _training_chart(name, title, lines, list(runs))))
    return charts


def _training_chart(name: str, title: str, lines: Mapping[str, np.ndarray], runs: list[str]) -> Markup:
    every = np.concatenate(list(lines.values()))                                        # (n, 2)
    first, last = every[:, 0].min(), every[:, 0].max()
    ticks = {value: text for value, text in nice_ticks(first, last).items() if value == round(value)}
    values = every[:, 1]
    if name == "lr" and values.min() > 0:
        powers = range(int(np.floor(np.log10(values.min()))), int(np.ceil(np.log10(values.max()))) + 1)
        vertical = Axis("", 10.0 ** powers[0], 10.0 ** powers[-1], {10.0 ** p: f"{10.0 ** p:g}" for p in powers},
                        np.log10)
    else:
        low = 0.0 if values.min() >= 0 else values.min()
        vertical = Axis("", low, *_up_to(values.max(), low))
    said = "; ".join(f"{run}: from {points[0, 1]:.4g} to {points[-1, 1]:.4g}, lowest {points[:, 1].min():.4g} after "
                     f"epoch {points[points[:, 1].argmin(), 0]:g}" for run, points in lines.items())
    series = [Series(points[:, 0], points[:, 1], Style(runs.index(run)), "line" if len(points) > 1 else "dots")
              for run, points in lines.items()]
    horizontal = Axis("epoch", first, last if last > first else first + 1, ticks)
    return chart(f"training-{name}", title, said, (horizontal, vertical), series, _SMALL)


def _deviate(rate: np.ndarray) -> np.ndarray:
    """The normal deviate of a rate, finite for 0 and 1 too."""
    return ndtri(np.clip(rate, 1e-9, 1 - 1e-9))


def _up_to(highest: float, low: float = 0.0) -> tuple[float, dict[float, str]]:
    """(end, ticks) of an axis from `low` to just above `highest`."""
    end = highest if highest > low else low + 1.0
    ticks = nice_ticks(low, end * 1.0, 4)
    return end + 0.04 * (end - low), ticks
