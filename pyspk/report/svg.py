"""Charts as inline SVG: small, in the page's colours, with a title and a description for those who hear the page."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pyspk.report.html import Markup, join, tag

_LEFT, _TOP, _RIGHT, _BOTTOM = 46, 10, 12, 40      # room around the field, in the chart's own units
_N_COLOURS = 6                                     # style.py has as many
_DASHES = (None, "7 3", "2 3", "9 3 2 3")


@dataclass(frozen=True)
class Axis:
    """From low to high in the values' own scale; `place` turns values into what is linear on paper."""

    label: str
    low: float
    high: float
    ticks: Mapping[float, str]
    place: Callable[[np.ndarray], np.ndarray] = np.asarray

    def share(self, values: np.ndarray | float) -> np.ndarray:
        """Where values lie between low (0) and high (1), at most a field outside."""
        low, high = self.place(np.array([self.low, self.high], dtype=float))
        return np.clip((self.place(np.asarray(values, dtype=float)) - low) / (high - low), -1.0, 2.0)


@dataclass(frozen=True)
class Style:
    """Colour and dashes of a line, of which each repeats: number 0, 1, ..."""

    colour: int
    dash: int = 0

    @property
    def attributes(self) -> dict[str, str | None]:
        """As attributes of a line."""
        return {"class_": f"line c{self.colour % _N_COLOURS}", "stroke_dasharray": _DASHES[self.dash % len(_DASHES)]}


@dataclass(frozen=True)
class Series:
    """x and y (n,) in the axes' values. kind: "line", "area" (steps down to the axis), "dots" or "mark" (upright)."""

    x: np.ndarray
    y: np.ndarray
    style: Style
    kind: str = "line"


def chart(name: str, title: str, description: str, axes: tuple[Axis, Axis], series: Sequence[Series],
          size: tuple[int, int] = (360, 280)) -> Markup:
    """An svg element. name: unique on the page; axes: x and y; size: width and height, the unit about a pixel."""
    width, height = size
    field = (_LEFT, _TOP, width - _LEFT - _RIGHT, height - _TOP - _BOTTOM)
    return tag("svg", tag("title", title, id=f"{name}-title"), tag("desc", description, id=f"{name}-desc"),
               tag("clipPath", tag("rect", **dict(zip(("x", "y", "width", "height"), field, strict=True))),
                   id=f"{name}-field"),
               _frame(axes, field),
               tag("g", *(_draw(one, axes, field) for one in series), clip_path=f"url(#{name}-field)"),
               class_="chart", role="img", viewBox=f"0 0 {width} {height}",
               aria_labelledby=f"{name}-title", aria_describedby=f"{name}-desc")


def swatch(style: Style, kind: str = "line") -> Markup:
    """The sample of a line or an area for a legend."""
    sample = (tag("rect", x=1, y=1, width=22, height=8, class_=f"area c{style.colour % _N_COLOURS}")
              if kind == "area" else tag("path", d="M0 5H24", **style.attributes))
    return tag("svg", sample, class_="swatch", viewBox="0 0 24 10", aria_hidden="true")


def nice_ticks(low: float, high: float, about: int = 5) -> dict[float, str]:
    """Round values from low to high, 1, 2 or 5 times a power of ten apart, with how they are written."""
    if not high > low:
        return {low: f"{low:g}"}
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return {number * step: f"{number * step:.10g}" for number in range(first, last + 1)}


def _frame(axes: tuple[Axis, Axis], field: tuple[int, int, int, int]) -> Markup:
    """Grid, numbers and labels."""
    left, top, width, height = field
    x_axis, y_axis = axes
    parts = []
    for value, text in x_axis.ticks.items():
        x = left + width * float(x_axis.share(value))
        parts += [tag("path", d=f"M{x:.1f} {top}v{height}", class_="grid-line"),
                  tag("text", text, x=f"{x:.1f}", y=top + height + 15, text_anchor="middle")]
    for value, text in y_axis.ticks.items():
        y = top + height * (1 - float(y_axis.share(value)))
        parts += [tag("path", d=f"M{left} {y:.1f}h{width}", class_="grid-line"),
                  tag("text", text, x=left - 6, y=f"{y + 4:.1f}", text_anchor="end")]
    middle = top + height / 2
    parts += [tag("text", x_axis.label, x=left + width / 2, y=top + height + 33, text_anchor="middle", class_="label"),
              tag("text", y_axis.label, x=12, y=middle, text_anchor="middle", class_="label",
                  transform=f"rotate(-90 12 {middle:g})") if y_axis.label else None]
    return tag("g", *parts, aria_hidden="true")


def _draw(series: Series, axes: tuple[Axis, Axis], field: tuple[int, int, int, int]) -> Markup:
    left, top, width, height = field
    x = left + width * axes[0].share(series.x)
    y = top + height * (1 - axes[1].share(series.y))
    colour = f"c{series.style.colour % _N_COLOURS}"
    if series.kind == "dots":
        return join(*(tag("circle", cx=f"{one:.1f}", cy=f"{other:.1f}", r=3.5, class_=f"dot {colour}")
                      for one, other in zip(x, y, strict=True)))
    if series.kind == "mark":
        return tag("path", d="".join(f"M{one:.1f} {top}v{height}" for one in x), class_="mark")
    points = "L".join(f"{one:.1f} {other:.1f}" for one, other in zip(x, y, strict=True))
    if series.kind == "area":
        floor = top + height
        return tag("path", d=f"M{x[0]:.1f} {floor}L{points}L{x[-1]:.1f} {floor}Z", class_=f"area {colour}")
    return tag("path", d=f"M{points}", **series.style.attributes)
