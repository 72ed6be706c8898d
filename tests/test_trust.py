"""Whom the toolkit trusts: files of others run no code, names stay names, unfinished files are nobody else's."""

import io
import os
import re
import stat
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT

from pyspk.errors import UserError
from pyspk.jobs import parse_call, run_jobs
from pyspk.tables import records
from pyspk.tables.archive import ArchiveWriter
from pyspk.tables.atomic import atomic_write, open_private, temporary_path
from pyspk.tables.records import begin
from pyspk.training.checkpoint import Checkpoints, Progress
from pyspk.world import World


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o022, 0o007])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


# ---- unfinished files

def test_a_file_is_private_until_it_has_its_name(tmp_path, umask):
    with atomic_write(tmp_path / "t") as file:
        file.write("x")
        assert mode_of(tmp_path / ".t.tmp") == 0o600
    with ArchiveWriter(tmp_path / "a.ark", tmp_path / "a.scp") as writer:
        writer.write("u", np.ones(2, np.float32))
        assert mode_of(tmp_path / ".a.ark.tmp") == 0o600
    assert {mode_of(tmp_path / name) for name in ("t", "a.ark", "a.scp")} == {0o666 & ~umask}


def test_a_checkpoint_is_private_until_it_has_its_name(tmp_path, umask, monkeypatch):
    seen = []
    plain = torch.save
    monkeypatch.setattr(torch, "save", lambda value, file: (plain(value, file), seen.append(mode_of(Path(file.name)))))
    checkpoints = Checkpoints(tmp_path, 2, World())
    for _ in range(2):
        checkpoints.save(Progress(), {}, {})
    assert seen == [0o600, 0o600] and {mode_of(path) for path in tmp_path.iterdir()} == {0o666 & ~umask}
    assert {path.name for path in tmp_path.iterdir()} == {"last.pt", "last.1.pt"}


def test_a_link_in_place_of_an_unfinished_file_is_not_followed(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / ".t.tmp").symlink_to(precious)
    (tmp_path / "t").symlink_to(precious)
    with atomic_write(tmp_path / "t") as file:
        file.write("new")
    assert precious.read_text() == "mine" and (tmp_path / "t").read_text() == "new"
    assert not (tmp_path / "t").is_symlink() and not (tmp_path / ".t.tmp").exists()


def test_who_puts_a_link_there_just_then_gets_nothing_written(tmp_path, monkeypatch):
    precious, target = tmp_path / "precious", temporary_path(tmp_path / "t")
    precious.write_text("mine")
    target.symlink_to(precious)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)      # as if it came right after
    with pytest.raises(FileExistsError):
        open_private(target)
    assert precious.read_text() == "mine"


def test_locks_and_logs_are_not_written_through_links(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "_held", {})
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / ".made").mkdir()
    (tmp_path / ".made" / ".out.lock").symlink_to(precious)
    with pytest.raises(OSError, match="symbolic links"):
        begin(tmp_path / "out", {}, {})
    (tmp_path / "x.log").symlink_to(precious)
    with pytest.raises(UserError, match=r"x\.log: this job cannot begin: .*symbolic links"):
        run_jobs(parse_call([str(tmp_path / "x.log"), "true"]))
    assert precious.read_text() == "mine"


def test_a_link_is_named_with_what_to_do(tmp_path, step):
    (tmp_path / "trials").write_text("a b target\n")
    (tmp_path / "scores").write_text("a b 1\n")
    (tmp_path / ".made").mkdir()
    (tmp_path / ".made" / ".out.lock").symlink_to(tmp_path / "precious")
    said = step("compute_metrics.py", "--output", tmp_path / "out", tmp_path / "trials", tmp_path / "scores", code=1)
    assert said.endswith("a symbolic link, through which nothing is written here; remove it\n")
    assert f"{tmp_path}/.made/.out.lock: " in said


def test_records_are_not_written_into_a_folder_of_somebody_else(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "_held", {})
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".made").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"\.made: a symbolic link, and could lead .*choose a folder of your own"):
        begin(tmp_path / "out", {}, {})
    assert not list((tmp_path / "elsewhere").iterdir())
    (tmp_path / ".made").unlink()
    tmp_path.chmod(0o1777)      # as /tmp is
    begin(tmp_path / "mine", {}, {})
    if os.geteuid() == 0:      # whose folders everybody trusts
        os.chown(tmp_path / ".made", 12345, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(UserError, match=r"\.made: of user \d+, and could lead .*choose a folder of your own"):
        begin(tmp_path / "out", {}, {})
    tmp_path.chmod(0o777)      # a folder that a group shares
    begin(tmp_path / "out", {}, {})


def test_a_package_writes_nothing_outside_of_its_folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "local")
    import fetch_debian_voices as fetch

    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in ("./usr/good.wav", "../up.wav", f"{tmp_path}/absolute.wav", "./usr/../../up.wav"):
            member = tarfile.TarInfo(name)
            member.size = 3
            archive.addfile(member, io.BytesIO(b"RIF"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "dpkg-deb").write_text(f"#!/bin/sh\ncat {tmp_path}/tar\n")
    (tmp_path / "bin" / "dpkg-deb").chmod(0o755)
    (tmp_path / "tar").write_bytes(content.getvalue())
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    fetch.unpack(tmp_path / "x.deb", tmp_path / "deep" / "package")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.wav")] == ["deep/package/usr/good.wav"]
