#!/usr/bin/env python3
"""Looks for bytes that a reader of targets.py cannot stand, guided by the code that they reach.

    PYTHONPATH=. tests/fuzz/run.py TARGET [-max_total_time=600] [-other_option=of_libFuzzer] [FOLDER]
    PYTHONPATH=. tests/fuzz/run.py                     # names the targets

FOLDER keeps what reached new code, to go on from. Needs the package atheris. Exit: 0 nothing found in the given time;
else the traceback, and the bytes in a file crash-*. What is found becomes a test.
"""

import sys
import tempfile
from pathlib import Path

try:
    import atheris
except ImportError:
    sys.exit("run.py: error: it needs the package atheris: pip install atheris")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
with atheris.instrument_imports(include=["pyspk"]):
    from fuzz.targets import TARGETS, attempt


def main(argv: list[str]) -> None:
    """Fuzz the target that argv names; does not return."""
    if len(argv) < 2 or argv[1] not in TARGETS:
        sys.exit(f"{__doc__}\ntargets: {', '.join(TARGETS)}")
    target = TARGETS[argv[1]]
    with tempfile.TemporaryDirectory() as seeds:
        for i, good in enumerate(target.good):
            (Path(seeds) / str(i)).write_bytes(good)
        folders = [word for word in argv[2:] if not word.startswith("-")] or [tempfile.mkdtemp()]
        options = [word for word in argv[2:] if word.startswith("-")]
        atheris.Setup([argv[0], *options, *folders, seeds], lambda content: attempt(target, content))
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
