"""Pictures written to files: png, svg or pdf, the same bytes for the same drawing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pyspk.errors import UserError
from pyspk.tables.atomic import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KINDS = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}      # kind -> what keeps the date out


def picture_kind(path: str | Path) -> str:
    """png, svg or pdf, as the ending of `path` says. Raises UserError for another."""
    kind = Path(path).suffix.removeprefix(".")
    if kind not in _KINDS:
        raise UserError(f"{path}: a picture's name ends with .{', .'.join(_KINDS)}")
    return kind


@contextmanager
def picture(path: str | Path, width_in: float, height_in: float) -> Iterator["Figure"]:
    """A figure of this size to draw in, which is `path` when the block ends. Raises UserError as picture_kind does."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure  # not pyplot, which looks for a display

    kind = picture_kind(path)
    # A salt for the ids in an svg, which are random without; names and titles are no formulas, whatever "$" they have.
    with rc_context({"svg.hashsalt": "pyspk", "text.parse_math": False}):
        figure = Figure(figsize=(width_in, height_in))
        yield figure
        with atomic_write(path, "wb") as file:
            figure.savefig(file, format=kind, dpi=120, bbox_inches="tight", metadata=_KINDS[kind])
