"""What every executable does alike: how it ends."""

import errno
import sys

import click
import pytest

from pyspk.console import run


@pytest.mark.parametrize(("fault", "said"), [
    (OSError(errno.ENOSPC, "No space left on device", "a/b"),
     "a/b: No space left on device; make room; the same command goes on from here"),
    (OSError(errno.EROFS, "Read-only file system", "a"), "a: Read-only file system; choose another place"),
    (PermissionError(errno.EACCES, "Permission denied", "a"),
     "a: Permission denied; get the right to it, or choose another place"),
    (OSError(errno.EIO, "Input/output error"), "Input/output error"), (OSError("odd\nindeed"), "odd indeed"),
])
def test_what_the_system_refuses_ends_with_one_line(monkeypatch, caplog, fault, said):
    @click.command()
    def main():
        raise fault

    monkeypatch.setattr(sys, "argv", ["step.py"])
    with pytest.raises(SystemExit) as leave:
        run(main)
    assert (leave.value.code, caplog.messages[-1]) == (1, f"error: {said}")
