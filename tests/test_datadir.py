"""Data directories: what is read, and what each fault says."""

import pytest

from pyspk.datadir import DataDir
from pyspk.errors import UserError


def make(folder, **files):
    for name, text in {"utt2spk": "a-1 a\na-2 a\nb-1 b\n", **files}.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_speakers_and_tables(tmp_path):
    data = DataDir(make(tmp_path / "", feats__scp="a-1 f.ark:3\na-2 f.ark:9\nb-1 f.ark:20\n"))
    assert data.spk2utt == {"a": ["a-1", "a-2"], "b": ["b-1"]}
    assert data.table("feats.scp")["a-2"] == "f.ark:9"
    assert data.has("feats.scp") and not data.has("vad.scp")


def test_recordings_and_segments(tmp_path):
    make(tmp_path, wav__scp="r1 /x/1.flac\nr2 sox y - |\n", segments="a-1 r1 0 1.5\na-2 r1 1.5 3\nb-1 r2 0.25 2\n")
    assert DataDir(tmp_path).utterances() == {
        "a-1": ("/x/1.flac", 0.0, 1.5), "a-2": ("/x/1.flac", 1.5, 3.0), "b-1": ("sox y - |", 0.25, 2.0)}
    (tmp_path / "segments").unlink()
    make(tmp_path, wav__scp="a-1 1.wav\na-2 2.wav\nb-1 3.wav\n")
    assert DataDir(tmp_path).utterances()["a-2"] == ("2.wav", None, None)


@pytest.mark.parametrize(("segments", "said"), [
    ("a-1 r1 0\n", ":1: .*is not \"utterance recording start end\""), ("a-1 r1 0 x\n", "is not"),
    ("a-1 r9 0 1\n", 'recording "r9" is not in'), ("a-1 r1 2 2\n", "has no length"), ("a-1 r1 -1 2\n", "has no length"),
])
def test_a_malformed_segment_is_named(tmp_path, segments, said):
    make(tmp_path, utt2spk="a-1 a\n", wav__scp="r1 x.wav\n", segments=segments)
    with pytest.raises(UserError, match=said):
        DataDir(tmp_path).utterances()


def test_a_table_with_other_utterances_is_refused_with_counts(tmp_path):
    make(tmp_path, feats__scp="a-1 f.ark:3\nz-1 f.ark:9\n")
    said = r"2 utterances of utt2spk are missing \(a-2, b-1\) and 1 are not in utt2spk \(z-1\)"
    with pytest.raises(UserError, match=said):
        DataDir(tmp_path).table("feats.scp")


def test_missing_empty_and_malformed_directories(tmp_path):
    with pytest.raises(UserError, match="no such data directory"):
        DataDir(tmp_path / "nowhere")
    with pytest.raises(UserError, match="utt2spk: no such file"):
        DataDir(tmp_path)
    with pytest.raises(UserError, match="utt2spk: empty"):
        DataDir(make(tmp_path, utt2spk=""))
    with pytest.raises(UserError, match="utt2spk:1: .*more than two columns"):
        DataDir(make(tmp_path, utt2spk="a-1 a b\n"))
