"""Imported first by every executable: with it the library is in reach wherever one is started, path.sh or not.

A Python package that is not installed ends in one line that says what to do, in place of a traceback.
"""

import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]


def _name_what_is_missing(kind, fault, trace):
    name = fault.name or "" if issubclass(kind, ModuleNotFoundError) else ""
    if (_ROOT / name.partition(".")[0]).exists():      # another fault, or a module of ours: then it is our own bug
        sys.__excepthook__(kind, fault, trace)
    else:
        sys.stderr.write(f"{Path(sys.argv[0]).name}: error: {sys.executable} lacks the package {name}; in {_ROOT} run: "
                         ". ./path.sh, if make has installed what is needed there, else: pip install -e .\n")


sys.path.insert(1, str(_ROOT))
if Path(sys.path[0]).name == "cluster":      # whose queue.py is not Python's own
    del sys.path[0]
sys.excepthook = _name_what_is_missing
