"""All that a report holds, before a word of it is written."""

from dataclasses import dataclass

from pyspk.report.clips import Clip
from pyspk.report.findings import Close, Finding


@dataclass(frozen=True)
class Content:
    """All that a report holds.

    close: experiment -> the close look at its chosen scores; clips: name in the trials -> what is played;
    speaker_of: name in the trials -> speaker, empty when not known; n_trials: targets, nontargets; left_out: why tables
    of groups are not there; runs: experiment ->
    the reports of its epochs; settings: experiment -> config.toml; made: what from and with.
    """

    findings: list[Finding]
    close: dict[str, Close]
    clips: dict[str, Clip]
    speaker_of: dict[str, str]
    n_trials: tuple[int, int]
    n_speakers: int
    left_out: list[str]
    runs: dict[str, list[dict]]
    settings: dict[str, dict]
    made: dict[str, str]

    @property
    def several(self) -> bool:
        """Whether this is a comparison."""
        return len(self.close) > 1
