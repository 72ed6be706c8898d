"""The house stands: imports go downwards or to the left, and each executable can be run and explains itself."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# README.md's table. A module may import from a lower floor and from further left on its own.
FLOORS = [
    ["errors", "console"],
    ["tables", "jobs", "shards", "pictures", "metrics", "world", "nets", "losses"],
    ["datadir", "audio", "scoring", "calibration"],
    ["needs", "features", "model", "published"],
    ["augment", "embeddings"],
    ["chunks", "waves", "frontend"],
    ["training", "plan"],
    ["report", "verifier", "__main__"],
]
PLACE = {module: (floor, place) for floor, row in enumerate(FLOORS) for place, module in enumerate(row)}
MAY_SPEAK_CLICK = {"console", "__main__"}
FRONT_DOOR = {"verifier"}      # what `from pyspk import ...` gives, loaded when asked for
OTHER_ROOMS = {"steps", "local", "egs", "tests"}


def imports(path: Path, package: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of each import in `path`, those within functions and relative ones included."""
    above = [package.name, *path.relative_to(package).parent.parts]        # where a relative import begins
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = above[:len(above) - node.level + 1] if node.level else []
            start = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            yield from ((node.lineno, f"{start}.{alias.name}") for alias in node.names)


def faults(package: Path) -> list[str]:
    """What in `package` (a folder called pyspk) breaks the rules of the house."""
    found = []
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package)
        here = inside.parts[0].removesuffix(".py")
        if here not in PLACE and here != "__init__":
            found.append(f"{inside}: {here} is on no floor of the house")
            continue
        for line, name in imports(path, package):
            top, _, rest = name.partition(".")
            there = rest.split(".")[0]
            if top in OTHER_ROOMS:
                found.append(f"{inside}:{line}: the library uses {top}/")
            elif top == "click" and here not in MAY_SPEAK_CLICK:
                found.append(f"{inside}:{line}: {here} imports click")
            elif here == "__init__" and there in FRONT_DOOR:
                continue
            elif top == package.name and there in PLACE and there != here and not PLACE[there] < PLACE.get(here, ()):
                found.append(f"{inside}:{line}: {here} imports {there}, which is not below it or to its left")
    return found


def test_the_library_imports_downwards():
    assert faults(ROOT / "pyspk") == []


ABOVE = ", which is not below it or to its left"


@pytest.mark.parametrize(("file", "text", "fault"), [
    ("jobs.py", "import os\nfrom pyspk.datadir import read", f"jobs.py:2: jobs imports datadir{ABOVE}"),
    ("tables/ark.py", "def f():\n    from pyspk import jobs", f"tables/ark.py:2: tables imports jobs{ABOVE}"),
    ("tables/ark.py", "from ..metrics import eer", f"tables/ark.py:1: tables imports metrics{ABOVE}"),
    ("audio.py", "import pyspk.features", f"audio.py:1: audio imports features{ABOVE}"),
    ("__init__.py", "from pyspk.losses import SphereSpeaker", f"__init__.py:1: __init__ imports losses{ABOVE}"),
    ("model.py", "import click.testing", "model.py:1: model imports click"),
    ("report.py", "from steps import train", "report.py:1: the library uses steps/"),
    ("helpers.py", "", "helpers.py: helpers is on no floor of the house"),
])
def test_a_breach_is_found(tmp_path, file, text, fault):
    path = tmp_path / "pyspk" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert faults(tmp_path / "pyspk") == [fault]


@pytest.mark.parametrize(("file", "text"), [
    ("jobs.py", "from pyspk.errors import UserError\nfrom pyspk.tables import text"),
    ("tables/ark.py", "from pyspk.tables.atomic import commit\nfrom .text import read\nfrom . import atomic"),
    ("features.py", "from pyspk.audio import load\nimport pyspk.datadir\nimport clicks\nfrom pyspk import __version__"),
    ("__main__.py", "import click\nfrom pyspk import console, report"),
    ("__init__.py", "def __getattr__(name):\n    from pyspk.verifier import Verifier"),
])
def test_what_is_allowed_is_no_breach(tmp_path, file, text):
    path = tmp_path / "pyspk" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert faults(tmp_path / "pyspk") == []


# ---- the executables

EXECUTABLES = sorted(path for folder in ("steps", "steps/cluster", "local") for path in (ROOT / folder).glob("*.py")
                     if path.name != "bootstrap.py")
# One interpreter for all of them: what they import together, torch above all, is loaded once.
ASK_EACH_FOR_HELP = """
import contextlib, io, json, runpy, sys
from pathlib import Path
answers = {}
for path in sys.argv[1:]:
    sys.argv, sys.path[0], said = [path, "--help"], str(Path(path).parent), io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            runpy.run_path(path, run_name="__main__")
        code = 0
    except SystemExit as leave:
        code = leave.code or 0
    except Exception as fault:
        code = repr(fault)
    answers[path] = [code, bool(said.getvalue().strip())]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers():
    """path -> (exit code of --help, whether it said anything)."""
    done = subprocess.run([sys.executable, "-c", ASK_EACH_FOR_HELP, *EXECUTABLES], capture_output=True, text=True,
                          timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("path", EXECUTABLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_executable_runs_and_explains_itself(path, answers):
    assert os.access(path, os.X_OK), f"chmod +x {path}"
    assert path.read_text().startswith("#!/usr/bin/env python3\n")
    assert answers[str(path)] == [0, True]


@pytest.mark.parametrize("path", EXECUTABLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_executable_says_what_to_do_where_nothing_is_installed(path):
    done = subprocess.run([sys.executable, "-S", "-E", path, "x"], capture_output=True, text=True, cwd="/")
    assert (done.returncode, done.stderr) == (1, f"{path.name}: error: {sys.executable} lacks the package click; in "
                                              f"{ROOT} run: . ./path.sh, if make has installed what is needed there, "
                                              "else: pip install -e .\n")


@pytest.mark.parametrize("bug", ["import pyspk.nothing", "raise ModuleNotFoundError", "[][0]"])
def test_a_bug_of_our_own_keeps_its_traceback(bug):
    done = subprocess.run([sys.executable, "-c", f"import bootstrap\n{bug}"], capture_output=True, text=True,
                          cwd=ROOT / "steps")
    assert done.returncode == 1 and done.stderr.startswith("Traceback") and "lacks the package" not in done.stderr
