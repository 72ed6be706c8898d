"""Damaged files of every kind: an answer or one clear line, whatever the bytes are."""

from datetime import timedelta

import pytest
from fuzz.targets import TARGETS, attempt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TELLING = [b"\n", b" ", b"\t", b"\r\n", b"\0", b"\xff", b"\xef\xbb\xbf", b"|", b"nan", b"inf", b"-1", b"1e999", b"[",
           b"]", b"99999999999999999999", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"=", b"\xc3\x28", b"../../x", b"true",
           b"{", b"#"]
PLACE = st.floats(0, 1)
CHANGE = st.tuples(PLACE, st.integers(0, 12), st.sampled_from(TELLING) | st.binary(max_size=8), st.integers(1, 3))


def changed(content: bytes, changes: list) -> bytes:
    """`content` after each change: so many bytes at a place are replaced by others, so many times repeated."""
    for place, n_bytes, new, times in changes:
        at = int(place * len(content))
        content = content[:at] + new * times + content[at + n_bytes:]
    return content


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files(name):
    target = TARGETS[name]

    @settings(max_examples=60, deadline=timedelta(seconds=20), derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(target.good), st.lists(CHANGE, max_size=4), st.floats(0, 1) | st.just(1.0))
    def damage(good, changes, share):
        content = changed(good, changes)
        attempt(target, content[:round(share * len(content))])

    damage()


@pytest.mark.parametrize("name", sorted(TARGETS.keys() - {"model"}))      # whose good file is one of another network
def test_good_files(name):
    for good in TARGETS[name].good:
        assert attempt(TARGETS[name], good) is None
