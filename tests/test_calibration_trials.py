"""Trials among speakers that a network was not trained on: who, which pairs, and who is left as a cohort."""

import pytest

from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.training.config import TrainConfig
from pyspk.training.split import split_speakers
from pyspk.training.trials import choose_speakers, write_cohort, write_trials


def data_dir(folder, utt2spk):
    folder.mkdir()
    (folder / "utt2spk").write_text("".join(f"{utt} {utt2spk[utt]}\n" for utt in sorted(utt2spk)))
    return DataDir(folder)


def speakers(n, n_utts=3, prefix=""):
    return {f"{prefix}s{spk:02d}-{utt}": f"{prefix}s{spk:02d}" for spk in range(n) for utt in range(n_utts)}


def spk2id(folder, names):
    path = folder / "spk2id"
    path.write_text("".join(f"{name} {number}\n" for number, name in enumerate(sorted(names))))
    return path


def test_the_speakers_that_training_holds_out_are_taken(tmp_path, caplog):
    utts = speakers(40)
    split = split_speakers(utts, TrainConfig(valid_speakers=12), tmp_path)
    chosen = choose_speakers(data_dir(tmp_path / "data", utts), spk2id(tmp_path, split.spk2id))
    assert chosen == split.valid and len(chosen) == 12 and not caplog.text


def test_copies_and_single_utterances_are_left_out(tmp_path):
    utts = speakers(6) | speakers(6, prefix="sp0.9-") | {"s00-0-aug1": "s00", "t-0": "t"}
    chosen = choose_speakers(data_dir(tmp_path / "data", utts), spk2id(tmp_path, ["s03", "s04", "s05"]), fewest=3)
    assert chosen == {f"s0{spk}": [f"s0{spk}-{utt}" for utt in range(3)] for spk in range(3)}


def test_too_few_unseen_speakers_make_every_second_and_a_warning(tmp_path, caplog):
    chosen = choose_speakers(data_dir(tmp_path / "data", speakers(9)), spk2id(tmp_path, ["s00", "s01", "s02", "s03"]))
    assert list(chosen) == ["s00", "s02", "s04", "s06", "s08"]
    assert "only 5 speakers with two utterances were not trained on, fewer than 10; the trials are of 5" in caplog.text


def test_three_speakers_are_all_taken(tmp_path):
    chosen = choose_speakers(data_dir(tmp_path / "data", speakers(3)), spk2id(tmp_path, ["s00"]))
    assert list(chosen) == ["s00", "s01", "s02"]


def test_a_single_speaker_makes_no_trials(tmp_path):
    data = data_dir(tmp_path / "data", speakers(1) | {"t-0": "t"})
    with pytest.raises(UserError, match="data: 1 speakers with two utterances or more; trials need at least 2"):
        choose_speakers(data, spk2id(tmp_path, ["s00"]))


def test_many_utterances_are_thinned_evenly(tmp_path):
    data = data_dir(tmp_path / "data", {f"{spk}-{utt:02d}": spk for spk in "ab" for utt in range(12)})
    chosen = choose_speakers(data, spk2id(tmp_path, []), utts_per_speaker=3, fewest=2)
    assert chosen["a"] == ["a-02", "a-06", "a-10"]


def trials_of(path):
    return [tuple(line.split()) for line in path.read_text().splitlines()]


def test_all_pairs_are_trials_where_they_are_not_too_many(tmp_path):
    utts = {"a": ["a1", "a2", "a3"], "b": ["b1", "b2"], "c": ["c1", "c2"]}
    assert write_trials(tmp_path / "trials", utts) == (5, 16)
    names = [utt for of_spk in utts.values() for utt in of_spk]
    assert sorted(trials_of(tmp_path / "trials")) == sorted(
        (one, other, "target" if one[0] == other[0] else "nontarget")
        for i, one in enumerate(names) for other in names[i + 1:])


def test_too_many_nontargets_are_thinned_and_cover_all(tmp_path):
    utts = {f"s{spk:02d}": [f"s{spk:02d}-{utt}" for utt in range(5)] for spk in range(30)}
    n_target, n_nontarget = write_trials(tmp_path / "trials", utts, most_nontargets=1000)
    trials = trials_of(tmp_path / "trials")
    assert n_target == 30 * 10 and 900 < n_nontarget <= 1000 and len(trials) == n_target + n_nontarget
    assert len({frozenset(pair[:2]) for pair in trials}) == len(trials)
    nontargets = [pair for pair in trials if pair[2] == "nontarget"]
    assert all(one[:3] != other[:3] for one, other, _ in nontargets)
    assert {utt for pair in nontargets for utt in pair[:2]} == {utt for of_spk in utts.values() for utt in of_spk}
    write_trials(tmp_path / "again", utts, most_nontargets=1000)
    assert (tmp_path / "again").read_text() == (tmp_path / "trials").read_text()


def test_the_cohort_is_who_is_in_no_trial(tmp_path, caplog):
    scp = tmp_path / "spk_xvector.scp"
    scp.write_text("".join(f"{spk} x.ark:{number}\n" for number, spk in enumerate("abcd")))
    assert write_cohort(scp, {"a": [], "c": []}, tmp_path / "out") == 2
    assert (tmp_path / "out").read_text() == "b x.ark:1\nd x.ark:3\n" and not caplog.text
    assert write_cohort(scp, {"a": [], "b": [], "c": []}, tmp_path / "out") == 4
    assert (tmp_path / "out").read_text() == scp.read_text()
    assert "only 1 speakers are in no trial, too few for a cohort: all are kept" in caplog.text
