"""Fast reading and writing: the same as line by line, whatever is in the file."""

import os
import threading

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pyspk.errors import UserError
from pyspk.scoring import columns, trials
from pyspk.scoring.columns import read_columns

PIECES = ["a", "b", "é", "1", "0", "0.5", "-2e-9", "+3", "1_0", "0x10", "nan", "inf", "NULL", "target", "nontarget",
          " ", " ", " ", "  ", "\t", "\n", "\n", "\r", "\r\n", '"', "'", "\\", "#", ",", "\0", "\ufeff", "\u00a0",
          "\x1c", "\x85"]
LINES = st.lists(st.sampled_from(["a b target\n", "b a nontarget\n", "1 a b\n", "0 b c\n", "a b 0.5\n", "c a nan\n"]))
TEXTS = st.builds("".join, st.tuples(LINES.map("".join), st.lists(st.sampled_from(PIECES)).map("".join),
                                     LINES.map("".join)))


def outcome(read, path):
    """What `read` gives, as lists, or the words of its error."""
    try:
        return [list(column) for column in read(path)]
    except UserError as fault:
        return str(fault)


@pytest.mark.parametrize("read", [trials.read_trials, trials.read_scores])
@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
@example("a b target\n")
@example("1 a b\n0 c a\n")
@example("a b 0.5\nc a 1e3\n")
@example("\ufeffa b target\n")
@example("a  0.5\n")
@example("a b 0.5\n\n")
def test_fast_reading_gives_what_reading_line_by_line_does(tmp_path_factory, read, text):
    path = tmp_path_factory.getbasetemp() / "file"
    path.write_bytes(text.encode())
    fast = outcome(read, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trials, "read_columns", lambda *_args, **_options: None)
        slow = outcome(read, path)
    assert repr(fast) == repr(slow)              # NaN equals NaN


def test_a_good_file_of_many_blocks_is_read_fast(tmp_path, monkeypatch):
    monkeypatch.setattr(columns, "_BLOCK_BYTES", 64)
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, 30, (200, 2)).tolist()
    (tmp_path / "scores").write_text("".join(f"u{e:02d} u{t:02d} {n}\n" for n, (e, t) in enumerate(pairs)))
    found = read_columns(tmp_path / "scores", ("enroll", "test", "beside"), is_number=True)
    assert [[found.names[e], found.names[t]] for e, t in zip(found.enroll, found.test, strict=True)] == [
        [f"u{e:02d}", f"u{t:02d}"] for e, t in pairs]
    assert found.beside.to_numpy().tolist() == list(range(200))
    assert found.names == list(dict.fromkeys(f"u{n:02d}" for pair in pairs for n in pair))


@pytest.mark.parametrize("n_threads", ["1", "3"])
def test_what_is_written_has_seven_digits_and_the_order_given(tmp_path, monkeypatch, n_threads):
    monkeypatch.setenv("OMP_NUM_THREADS", n_threads)
    monkeypatch.setattr(trials, "_BLOCK_LINES", 10)
    rng = np.random.default_rng(0)
    score = np.concatenate([rng.normal(size=300) * 10.0 ** rng.integers(-40, 40, 300),
                            [0.0, 1.0, -1.0, 99999995.0]])
    enroll, test = rng.integers(0, 4, (2, len(score))).astype(np.int32)
    names = ["a", "é", "id1/x/1.wav", "d"]
    trials.write_scores(tmp_path / "s", trials.Scores(names, enroll, test, score))
    rows = [line.split(" ") for line in (tmp_path / "s").read_text().splitlines()]
    assert [row[:2] for row in rows] == [[names[e], names[t]] for e, t in zip(enroll, test, strict=True)]
    assert [float(row[2]) for row in rows] == [float(f"{value:.7g}") for value in score]
    assert max(len(row[2]) for row in rows) <= len("-0.0000001234567")


def test_a_trial_list_may_come_through_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    text = "".join(f"u{n} u{n + 1} target\n" for n in range(1000))
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=(text,))
    writer.start()
    assert len(trials.read_trials(tmp_path / "pipe").enroll) == 1000
    writer.join()
