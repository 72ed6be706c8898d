"""Text tables, files that appear whole, and records."""

import errno
import json
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from conftest import environment

from pyspk.errors import UserError
from pyspk.tables.archive import ArchiveWriter
from pyspk.tables.atomic import atomic_write, await_files
from pyspk.tables.records import State, begin, fingerprint
from pyspk.tables.text import read_table, read_text, write_table


@pytest.mark.parametrize(("text", "said"), [
    ("a 1\nb 2", "no newline"), ("a 1\n\nb 2\n", ":2: an empty line"), ("a 1\nb\n", ':2: "b" has no value'),
    ("a 1\na 2\n", ':2: "a" comes twice'), ("b 1\na 2\n", 'not sorted: "a" comes after "b".*LC_ALL=C sort'),
])
def test_a_malformed_table_is_named_with_its_line(tmp_path, text, said):
    (tmp_path / "t").write_text(text)
    with pytest.raises(UserError, match=said):
        read_table(tmp_path / "t")


def test_missing_and_binary_tables_are_named(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_table(tmp_path / "t")
    (tmp_path / "t").write_bytes(b"a \xff\xfe\n")
    with pytest.raises(UserError, match="not UTF-8"):
        read_table(tmp_path / "t")


def test_a_byte_order_mark_is_no_part_of_a_text_and_a_fault_of_a_table(tmp_path):
    (tmp_path / "t").write_bytes(b"\xef\xbb\xbfa 1\r\nb \xef\xbb\xbf\n")
    assert read_text(tmp_path / "t") == "a 1\nb \ufeff\n"
    with pytest.raises(UserError, match=r"t:1: a byte-order mark stands before .*; and 1 more"):
        read_table(tmp_path / "t")


def test_the_command_that_takes_a_byte_order_mark_away_does(tmp_path):
    (tmp_path / "t").write_text("\ufeffa 1\nb 2\n")
    with pytest.raises(UserError) as fault:
        read_table(tmp_path / "t")
    subprocess.run(str(fault.value).rpartition("with: ")[2], shell=True, check=True)
    assert read_table(tmp_path / "t") == {"a": "1", "b": "2"}


def test_tables_are_written_sorted_and_read_back(tmp_path):
    write_table(tmp_path / "t", {"b": 2, "a-1": "x y", "B": 0.5})
    assert (tmp_path / "t").read_text() == "B 0.5\na-1 x y\nb 2\n"
    assert read_table(tmp_path / "t") == {"B": "0.5", "a-1": "x y", "b": "2"}


def test_tabs_separate_too(tmp_path):
    (tmp_path / "t").write_text("a\tx y\nb  z\n")
    assert read_table(tmp_path / "t") == {"a": "x y", "b": "z"}


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    (tmp_path / "t").write_text("old\n")
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "t") as file:
        file.write("new")
        raise RuntimeError
    assert (tmp_path / "t").read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "t"]


def test_a_full_disk_is_named_with_the_file_that_was_to_be_written(tmp_path):
    with pytest.raises(OSError, match="No space left on device: '.*/t'"), atomic_write(tmp_path / "t"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(FileNotFoundError, match="Errno 2. gone$"), atomic_write(tmp_path / "t"):
        raise FileNotFoundError(errno.ENOENT, "gone")
    assert not list(tmp_path.iterdir())


def test_a_killed_write_leaves_the_old_file(tmp_path):
    (tmp_path / "t").write_text("old\n")
    code = ("import os, signal, sys; from pyspk.tables.atomic import atomic_write, await_files\n"
            "with atomic_write(sys.argv[1]) as f:\n f.write('new'); f.flush(); os.kill(os.getpid(), signal.SIGKILL)")
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "t")], env=environment())
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "t").read_text() == "old\n"


def test_records_tell_current_begun_and_changed(tmp_path):
    out, source = tmp_path / "out", tmp_path / "in"
    source.write_text("1")
    assert begin(out, {"bins": 40}, {"in": source}) is State.NEW
    assert begin(out, {"bins": 40}, {"in": source}) is State.BEGUN
    out.write_text("made")
    assert begin(out, {"bins": 40}, {"in": source}) is State.CURRENT
    with pytest.raises(UserError, match="bins was 40, is 80"):
        begin(out, {"bins": 80}, {"in": source})
    source.write_text("22")
    with pytest.raises(UserError, match="its input in has changed"):
        begin(out, {"bins": 40}, {"in": source})
    assert out.read_text() == "made"
    assert begin(out, {"bins": 40}, {"in": source}, overwrite=True) is State.NEW
    assert not out.exists()


def test_records_guard_parts_and_files_made_elsewhere(tmp_path):
    part = tmp_path / "last.pt"
    begin(tmp_path / "final.pt", {"lr": 1}, {})
    part.write_text("days of work")
    with pytest.raises(UserError, match=r"last\.pt exists, but lr was 1, is 2"):
        begin(tmp_path / "final.pt", {"lr": 2}, {}, parts=[part])
    assert part.exists()
    (tmp_path / "feats.scp").write_text("made by Kaldi")
    with pytest.raises(UserError, match="not made by this step"):
        begin(tmp_path / "feats.scp", {}, {})


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_input_is_no_output(tmp_path, overwrite):
    source = tmp_path / "scores"
    source.write_text("hours of work")
    (tmp_path / "link").symlink_to(source)
    for output, parts in ((source, []), (tmp_path / "link", []), (tmp_path / "out", [source])):
        with pytest.raises(UserError, match=r"scores: is to be written, and is read as well \(scores 1\)"):
            begin(output, {}, {"scores 1": source}, overwrite, parts)
    assert source.read_text() == "hours of work"


def test_an_output_that_lacks_what_belongs_to_it_is_made_again(tmp_path):
    out, beside = tmp_path / "plda", tmp_path / "mean.vec"
    begin(out, {}, {}, along=[beside])
    for path in (out, beside):
        path.touch()
    assert begin(out, {}, {}, along=[beside]) is State.CURRENT
    beside.unlink()
    assert begin(out, {}, {}, along=[beside]) is State.BEGUN and not out.exists()


def test_scraps_go_before_the_record_changes_and_stay_for_going_on(tmp_path):
    out, shard = tmp_path / "feats.scp", tmp_path / "feats.1.ark"
    begin(out, {"bins": 40}, {})
    shard.write_text("of 40 bins")
    assert begin(out, {"bins": 40}, {}, scraps=[shard]) is State.BEGUN and shard.exists()
    assert begin(out, {"bins": 80}, {}, scraps=[shard]) is State.NEW and not shard.exists()


def test_an_output_that_another_process_makes_is_left_to_it(tmp_path):
    code = ("import sys, time; from pyspk.tables.records import begin\n"
            "begin(sys.argv[1], {}, {}); print('begun', flush=True); time.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "out")], env=environment(), text=True,
                          stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == "begun\n"
        with pytest.raises(UserError, match=r"process \d+ on .* is making .*out at this moment"):
            begin(tmp_path / "out", {}, {})
        other.kill()
    assert begin(tmp_path / "out", {}, {}) is State.BEGUN               # the dead hold nothing


def test_a_damaged_record_is_named(tmp_path):
    begin(tmp_path / "out", {}, {})
    (tmp_path / ".made" / "out.json").write_text("")
    with pytest.raises(UserError, match=r"out\.json: damaged; remove it"):
        begin(tmp_path / "out", {}, {})


def test_an_archive_written_anew_under_the_same_scp_counts_as_changed(tmp_path):
    for seed in (0, 1):
        with ArchiveWriter(tmp_path / "a.ark", tmp_path / "a.scp") as writer:
            writer.write("u", np.full((3, 2), seed))
        if seed == 0:
            before = fingerprint(tmp_path / "a.scp")
            assert fingerprint(tmp_path / "a.scp") == before
    assert fingerprint(tmp_path / "a.scp") != before


def test_an_input_remade_with_other_settings_counts_as_changed(tmp_path):
    feats_scp, out = tmp_path / "feats.scp", tmp_path / "xvector.scp"
    begin(feats_scp, {"bins": 40}, {})
    feats_scp.write_text("u a.ark:2\n")
    begin(out, {}, {"feats.scp": feats_scp})
    out.write_text("made")
    begin(feats_scp, {"bins": 80}, {}, overwrite=True)
    feats_scp.write_text("u a.ark:2\n")                                # the same text, other features
    with pytest.raises(UserError, match=r"feats\.scp has changed"):
        begin(out, {}, {"feats.scp": feats_scp})
    assert json.loads((tmp_path / ".made" / "feats.scp.json").read_text())["settings"] == {"bins": 80}


def test_files_that_a_network_file_system_shows_late_are_awaited(tmp_path):
    threading.Timer(0.3, (tmp_path / "late").touch).start()
    await_files([tmp_path / "late"])
    assert (tmp_path / "late").exists()
    began = time.monotonic()
    await_files([tmp_path / "late", tmp_path / "nowhere" / "never"], patience_s=0.2)
    assert 0.2 <= time.monotonic() - began < 5
