"""What a report can tell about: an experiment's score files, their trials, the data, the training log, the settings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path

from pyspk.errors import UserError, first_few
from pyspk.training.curves import LOG

CONFIG, UTT2SPK, WAV = "config.toml", "utt2spk", "wav.scp"
CALIBRATED = ("calibrated", "fused")      # these are log-likelihood ratios
_KINDS = ("cosine", "plda", "asnorm", *CALIBRATED)      # in the order in which they are made
_SPK2GENDER = "spk2gender"
_DURATION, _FRAMES = "duration in s", "length in frames"
_AUDIO = (WAV, "segments")
_TITLES = {"lang": "language", "dur": _DURATION, "num_frames": _FRAMES}
_NO_GROUPS = {UTT2SPK, "utt2uniq", "utt2aug", "utt2warp"}


@dataclass(frozen=True)
class Experiment:
    """exp/NAME as stages 3 to 6 leave it. scores: kind -> file, such as cosine -> exp/NAME/scores/eval.cosine."""

    name: str
    folder: Path
    trials: Path
    scores: dict[str, Path]

    def kind(self, wanted: str | None) -> str:
        """The scores to look at closely: `wanted`, or the last that the recipe makes. Raises UserError for unknown."""
        if wanted is not None and wanted not in self.scores:
            raise UserError(f'{self.folder}/scores: there are no scores "{wanted}" on {self.trials.name}; there are '
                            f"{', '.join(self.scores)}")
        return wanted or list(self.scores)[-1]


@dataclass(frozen=True)
class TrialData:
    """The trials that all experiments of a report share, and what is known about their utterances.

    utt2spk, data: None when not known. found, given: what to group by, title -> file, in the data or by the user.
    """

    trials: Path
    data: Path | None
    utt2spk: Path | None
    found: dict[str, Path]
    given: dict[str, Path]


def find_experiments(folders: Sequence[Path], trials: Path | None = None) -> list[Experiment]:
    """The experiments in `folders`, all on the same trials: `trials`, else where the recipe has them.

    Raises UserError when scores or trials are missing, and when the trials are not the same.
    """
    short = [folder.resolve().name for folder in folders]
    names = short if len(set(short)) == len(short) else [str(folder) for folder in folders]
    if len(set(names)) < len(names):
        raise UserError(f"{first_few(sorted({name for name in names if names.count(name) > 1}))}: given twice; "
                        "name each experiment once")
    found = [_find(name, folder, trials) for name, folder in zip(names, folders, strict=True)]
    for one in found[1:]:
        if not cmp(found[0].trials, one.trials, shallow=False):
            raise UserError(f"{one.trials} holds other trials than {found[0].trials}; experiments are compared on the "
                            "same ones (--trials FILE)")
    return found


def find_trial_data(experiment: Experiment, data: Path | None = None, tables: Iterable[Path] = ()) -> TrialData:
    """What is known about the trials of `experiment`, in `data`, else where the recipe has it, and in more `tables`.

    Raises UserError for a data directory that was named and is none, and for two tables of one name.
    """
    if data is not None and not (data / UTT2SPK).exists():
        raise UserError(f"{data / UTT2SPK}: no such file; --data is the data directory of the trials' utterances")
    usual = _work(experiment.folder) / "data" / experiment.trials.name
    data = data or (usual if (usual / UTT2SPK).exists() else None)
    there = sorted(data.glob("utt2*")) if data else []
    found = {_title(path): path for path in there if path.name not in _NO_GROUPS and path.suffix != ".tmp"}
    if data and _DURATION in found:
        found.pop(_FRAMES, None)
    if data and (data / _SPK2GENDER).exists():
        found.setdefault(_title(data / _SPK2GENDER), data / _SPK2GENDER)
    given: dict[str, Path] = {}
    for path in tables:
        if _title(path) in given:
            raise UserError(f"{path}: there are two tables called {_title(path)}; rename one of them")
        given[_title(path)] = path
    return TrialData(experiment.trials, data, data / UTT2SPK if data else None,
                     {title: path for title, path in found.items() if title not in given}, given)


def inputs_of(experiments: Sequence[Experiment], trial_data: TrialData) -> dict[str, Path]:
    """name -> file: all that the report is made from, for its record."""
    used = {"trials": trial_data.trials, **trial_data.found, **trial_data.given}
    if trial_data.data:
        for name in (UTT2SPK, *_AUDIO):
            if (trial_data.data / name).exists():
                used[name] = trial_data.data / name
    for one in experiments:
        used |= {f"{one.name} {kind}": path for kind, path in one.scores.items()}
        used |= {f"{one.name} {name}": one.folder / name for name in (CONFIG, LOG) if (one.folder / name).exists()}
    return used


def _title(path: Path) -> str:
    """utt2lang -> language."""
    name = path.name.removeprefix("utt2").removeprefix("spk2")
    return _TITLES.get(name, name)


def _work(folder: Path) -> Path:
    """The work folder of WORK/exp/NAME."""
    return folder.resolve().parent.parent


def _find(name: str, folder: Path, trials: Path | None) -> Experiment:
    by_list = _score_files(folder / "scores")
    if trials is None:
        there = [path for stem in sorted(by_list) if (path := _work(folder) / "data" / "trials" / stem).exists()]
        if len(there) != 1:
            raise UserError(f"{folder}/scores: there are scores on {first_few(sorted(by_list))}, and {len(there)} of "
                            f"these lists in {_work(folder)}/data/trials; say which with --trials FILE")
        trials, = there
    if not trials.exists():
        raise UserError(f"{trials}: no such file")
    if trials.name not in by_list:
        raise UserError(f"{folder}/scores: there are no scores on {trials.name}, only on {first_few(sorted(by_list))}; "
                        f"their names begin as the trial list's, {trials.name}.cosine")
    return Experiment(name, folder, trials, by_list[trials.name])


def _score_files(folder: Path) -> dict[str, dict[str, Path]]:
    """Trial list -> kind -> score file, the kinds in the order in which they are made."""
    by_list: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob("[!.]*.*"), key=_when_made):
        kind = path.suffix.removeprefix(".")
        if path.is_file() and _holds_scores(path):
            by_list.setdefault(path.stem, {})[kind] = path
        elif kind in _KINDS:
            raise UserError(f"{path}: its first line is no score; make it again, or take it away")
    if not by_list:
        raise UserError(f"{folder}: there are no score files; scoring (stage 5) writes TRIALS.cosine there")
    return by_list


def _when_made(path: Path) -> tuple[float, str]:
    """Other kinds come before the calibrated ones."""
    kind = path.suffix.removeprefix(".")
    return (_KINDS.index(kind) if kind in _KINDS else _KINDS.index(CALIBRATED[0]) - 0.5, path.name)


def _holds_scores(path: Path) -> bool:
    """Whether the first line of the file is a score's, "ENROLL TEST SCORE"; other results lie beside them."""
    with path.open("rb") as file:
        fields = file.readline(10000).split()
    try:
        return len(fields) == 3 and fields[1] != b"=" and float(fields[2]) is not None
    except ValueError:
        return False
