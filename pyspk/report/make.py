"""All that a report holds, gathered and written."""

import logging
import tomllib
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np

from pyspk.errors import UserError
from pyspk.report.clips import Clip, make_clips
from pyspk.report.content import Content
from pyspk.report.experiment import CONFIG, WAV, Experiment, TrialData
from pyspk.report.findings import Close, false_alarms, measure, misses
from pyspk.report.made import last_written, versions
from pyspk.report.page import page
from pyspk.scoring.groups import groups_of, measure_groups
from pyspk.scoring.table import count_speakers, speakers_of
from pyspk.scoring.trials import Trials, look_up, read_trials
from pyspk.tables.atomic import atomic_write
from pyspk.tables.text import read_table, read_text
from pyspk.training.curves import LOG, read_reports

log = logging.getLogger(__name__)

_WORST = 8               # trials of each sort on the page, shared among the experiments


def make_report(experiments: Sequence[Experiment], trial_data: TrialData, out: Path, kind: str | None = None,
                p_targets: Sequence[float] = (0.01, 0.05), audio_mb: float = 6.0, no_pipes: bool = False) -> int:
    """Write the page about `experiments` to `out`; returns how many recordings can be played on it.

    kind: the scores to look at closely, else each experiment's last; audio_mb: at most so many 10^6 bytes of sound.
    no_pipes: a command in wav.scp is an error. Raises UserError for whatever cannot be read, and when scores and trials
    do not fit.
    """
    trials = read_trials(trial_data.trials)
    speakers = speakers_of(trials, trial_data.utt2spk)
    groups, left_out = _groups(trials, trial_data)
    findings, close = [], {}
    for one in experiments:
        chosen = one.kind(kind)
        for each, path in one.scores.items():
            log.info("measuring %s", path)
            finding, score = measure(one, each, trials, speakers, p_targets)
            findings.append(finding)
            if each == chosen:
                close[one.name] = Close(
                    finding, *(find(trials, score, speakers, finding.threshold, -(-_WORST // len(experiments)))
                               for find in (false_alarms, misses)),
                    {title: measure_groups(score, trials.is_target, speakers, *found)
                     for title, found in groups.items()})
    clips = _clips(close.values(), trial_data.data, audio_mb, no_pipes)
    files = [path for one in experiments for path in one.scores.values()]
    content = Content(
        findings, close, clips, _speaker_names(trials, trial_data.utt2spk),
        n_trials=(int(trials.is_target.sum()), int((~trials.is_target).sum())),
        n_speakers=count_speakers(*speakers), left_out=left_out,
        runs={one.name: read_reports(one.folder) for one in experiments if (one.folder / LOG).exists()},
        settings={one.name: _settings(one.folder / CONFIG) for one in experiments if (one.folder / CONFIG).exists()},
        made={"trials": str(trial_data.trials), "data": str(trial_data.data or "not known"),
              **{f"scores of {one.name}": ", ".join(map(str, one.scores.values())) for one in experiments},
              "scores written": last_written(files), **versions()})
    with atomic_write(out) as file:
        file.write(page(content))
    return len(clips)


def _groups(trials: Trials, trial_data: TrialData) -> tuple[dict[str, tuple[list[str], np.ndarray]], list[str]]:
    """(title -> names of the groups and the group of each trial, why tables that lay in the data make none)."""
    groups, left_out = {}, []
    for title, path in (trial_data.found | trial_data.given).items():
        try:
            names, group = groups_of(trials, path, trial_data.utt2spk)
        except UserError as fault:
            if title in trial_data.given:
                raise
            left_out.append(str(fault))
            log.warning("not on the page: %s", fault)
            continue
        if len(names) > 1:
            groups[title] = names, group
    return groups, left_out


def _clips(close: Iterable[Close], data: Path | None, limit_mb: float, no_pipes: bool) -> dict[str, Clip]:
    """Name in the trials -> what can be played of it; the worst of each sort come first where room is short."""
    lists = [found.worst for one in close for found in (one.false_alarms, one.misses)]
    names = [name for rank in zip_longest(*lists) for one in rank if one for name in (one.enroll, one.test)]
    if data is None or not (data / WAV).exists() or limit_mb == 0:
        return {}
    return make_clips(data, names, limit_mb, no_pipes)


def _speaker_names(trials: Trials, utt2spk: Path | None) -> dict[str, str]:
    """Name in the trials -> its speaker; empty where that is not known."""
    if utt2spk is None:
        return {}
    table = read_table(utt2spk)
    table = {spk: spk for spk in table.values()} | table            # trials may enroll a whole speaker
    return dict(zip(trials.names, look_up(table, trials.names, utt2spk), strict=True))


def _settings(path: Path) -> dict:
    try:
        return tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as fault:
        raise UserError(f"{path}: not TOML ({fault}); training (stage 3) writes it") from None
