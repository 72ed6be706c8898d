"""What a report was made with and when its scores were, without a clock: the same inputs give the same words."""

import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pyspk

_ROOT = Path(pyspk.__file__).parents[1]
_PACKAGES = ("numpy", "scipy", "torch", "soundfile")


def versions() -> dict[str, str]:
    """Program -> version, this one's commit among them where it runs from a clone."""
    found = {"pyspk": pyspk.__version__}
    if commit := _git("rev-parse", "--short=12", "HEAD"):
        changed = ", with changes" if _git("status", "--porcelain", "--untracked-files=no") else ""
        found["commit"] = commit + changed
    found["Python"] = platform.python_version()
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def last_written(paths: Iterable[Path]) -> str:
    """When the newest of the files was written, in UTC to the minute."""
    newest = max(path.stat().st_mtime for path in paths)
    return f"{datetime.fromtimestamp(newest, UTC):%Y-%m-%d %H:%M} UTC"


def _git(*words: str) -> str:
    """What git says about the clone that this library lies in; nothing where there is none."""
    if not (_ROOT / ".git").exists():
        return ""
    try:
        done = subprocess.run(["git", "-C", _ROOT, *words], capture_output=True, text=True, timeout=10)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
