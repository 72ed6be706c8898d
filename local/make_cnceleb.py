#!/usr/bin/env python3
"""Stage 1 for CN-Celeb: a data directory of its training speakers, one of its evaluation, and the trials."""

import logging
import re
from collections.abc import Iterator, Set
from pathlib import Path, PurePosixPath

import bootstrap
import click
from corpora.data_dirs import is_current, write_data_dir, write_left_out
from corpora.packed import Archive, lettered, refuse_packed
from corpora.scan import corpus_root, folder_names, list_files

from pyspk.console import run
from pyspk.errors import UserError, first_few
from pyspk.tables.records import State, begin
from pyspk.tables.text import read_text, write_lines

SPEAKER = re.compile(r"id\d{5}")
LABELS = {"1": "target", "0": "nontarget"}
TRAIN_LAYOUT, EVAL_LAYOUT = "data/idNNNNN/GENRE-NN-NNN.flac", "eval/{enroll/idNNNNN-enroll,test/idNNNNN-*}.flac"

log = logging.getLogger("pyspk")


@click.command()
@click.option("--cnceleb2", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="train on the speakers of CN-Celeb2 too")
@click.option("--prefix", default="", help="put before speakers and utterances, e.g. cn-: without it their ids are "
              "also VoxCeleb's, of other people")
@click.option("--overwrite", is_flag=True, help="make anew what was made from other files or settings")
@click.argument("cnceleb", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("data_dir", type=Path)
def main(cnceleb2, prefix, overwrite, cnceleb, data_dir):
    """Write DATA_DIR/{cnceleb_train,cnceleb_eval}/{wav.scp,utt2spk,spk2utt,left_out} and DATA_DIR/trials/cnceleb.

    CNCELEB is CN-Celeb_flac, or the folder that it lies in: data/idNNNNN/*.flac of the speakers in dev/dev.lst is for
    training, eval/enroll and eval/test are for evaluation. Where the files are wav, they are taken as well.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.-]*", prefix):
        raise UserError(f'--prefix "{prefix}": letters, digits, "_", "." and "-" only')
    root = corpus_root(cnceleb, "CN-Celeb_flac")
    if absent := [name for name in ("data", "dev/dev.lst", "eval/enroll", "eval/test", "eval/lists/trials.lst")
                  if not (root / name).exists()]:
        refuse_packed(root, [Archive("cn-celeb_v2.tar.gz")])
        raise UserError(f"{root}: without {', '.join(absent)}; give the folder CN-Celeb_flac, with data, dev and eval")
    evaluated, eval_odd = find_eval(root)
    held_out = {PurePosixPath(file).name[:7] for file in evaluated.values()}
    trained, train_odd = find_train(root, train_speakers(root, held_out))
    if cnceleb2:
        root2 = corpus_root(cnceleb2, "CN-Celeb2_flac")
        more, more_odd = find_train(root2, train_speakers2(root2, held_out))
        trained, train_odd = trained | more, train_odd + more_odd
    for name, files, odd, layout in (("cnceleb_train", trained, train_odd, TRAIN_LAYOUT),
                                     ("cnceleb_eval", evaluated, eval_odd, EVAL_LAYOUT)):
        write_part(data_dir / name, files, odd, layout, prefix, overwrite)
    write_trials(root / "eval/lists/trials.lst", evaluated.keys(), prefix, data_dir / "trials/cnceleb", overwrite)


def train_speakers(root: Path, held_out: Set[str]) -> list[str]:
    """The speakers of dev/dev.lst that have a folder in data. Those in data beyond the list are left out, and counted.

    Raises UserError for a line without a speaker, and when one of them is `held_out` for evaluation.
    """
    path, speakers = root / "dev/dev.lst", set()
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        found = SPEAKER.search(line)
        if not found:
            raise UserError(f'{path}:{number}: "{line}" names no speaker idNNNNN; unpack the corpus again')
        speakers.add(found[0])
    refuse_overlap(path, speakers, held_out)
    there = set(folder_names(root / "data", SPEAKER))
    if beyond := sorted(there - speakers):
        log.info("%s: %d speakers are not for training by dev.lst (%s), %d of them are in the evaluation",
                 root / "data", len(beyond), first_few(beyond), len(held_out.intersection(beyond)))
    if absent := sorted(speakers - there):
        log.warning("%s: %d of %d speakers have no folder in data (%s); is it whole?", path, len(absent), len(speakers),
                    first_few(absent))
    return sorted(speakers & there)


def train_speakers2(root: Path, held_out: Set[str]) -> list[str]:
    """The speakers of CN-Celeb2, all for training. Raises UserError when there is none, or one is `held_out`."""
    speakers = folder_names(root / "data", SPEAKER)
    if not speakers:
        refuse_packed(root, [Archive("cn-celeb2_v2.tar.gz", lettered("cn-celeb2_v2.tar.gza", "c"))])
        raise UserError(f"{root}: without data/idNNNNN; give the folder CN-Celeb2_flac with --cnceleb2")
    refuse_overlap(root / "data", set(speakers), held_out)
    return speakers


def refuse_overlap(where: Path, speakers: Set[str], held_out: Set[str]) -> None:
    """Raise UserError when `speakers`, those for training in `where`, have some of the evaluation among them."""
    if both := sorted(speakers & held_out):
        raise UserError(f"{where}: {len(both)} speakers for training are in the evaluation ({first_few(both)}); take "
                        "them out, for who trains on them measures nothing")


def find_train(root: Path, speakers: list[str]) -> tuple[dict[str, str], list[str]]:
    """Utterance idNNNNN-GENRE-NN-NNN -> its file, and the files that do not fit, of `speakers` in root/data."""
    return sort_files(root / "data", list_files(root / "data", speakers, depth=0),
                      re.compile(r"(id\d{5}/[a-z_]+-\d+-\d+)\.(flac|wav)"))


def find_eval(root: Path) -> tuple[dict[str, str], list[str]]:
    """Utterance idNNNNN-enroll or idNNNNN-GENRE-NN-NNN -> its file, and the files that do not fit, of root/eval."""
    return sort_files(root / "eval", list_files(root / "eval", ["enroll", "test"], depth=0),
                      re.compile(r"(?:enroll/(?=id\d{5}-enroll\.)|test/)(id\d{5}-[a-z_]+(?:-\d+)*)\.(flac|wav)"))


def sort_files(folder: Path, names: Iterator[str], layout: re.Pattern) -> tuple[dict[str, str], list[str]]:
    """Utterance, group 1 of `layout` -> file in `folder`, flac before wav; and the files that do not fit."""
    files: dict[str, str] = {}
    odd = []
    for name in names:
        if not (fit := layout.fullmatch(name)):
            odd.append(f"{folder}/{name}")
        elif (utt := fit[1].replace("/", "-")) not in files or fit[2] == "flac":
            files[utt] = f"{folder}/{name}"
    return files, odd


def write_part(folder: Path, files: dict[str, str], odd: list[str], layout: str, prefix: str, overwrite: bool) -> None:
    """Write the data directory of `files`. Raises UserError when there are none."""
    if not files:
        raise UserError(f"{folder}: no file of the corpus is {layout}; unpack the corpus again")
    named = {f"{prefix}{utt}": file for utt, file in files.items()}
    if not is_current(folder, named, {}, {}, overwrite):
        write_left_out(folder, odd, layout)
        length = len(prefix) + len("id00800")
        write_data_dir(folder, named, str, lambda utt: utt[:length], {})


def write_trials(trial_list: Path, utts: Set[str], prefix: str, trials: Path, overwrite: bool) -> None:
    """Write trials.lst, lines "id00800-enroll test/id00800-singing-01-005.wav 1", in Kaldi's form.

    Raises UserError for another line, a label that the two speakers contradict, and utterances that are not in `utts`.
    """
    inputs = {"list": trial_list, "eval": trials.parents[1] / "cnceleb_eval/utt2spk"}
    if begin(trials, {"prefix": prefix}, inputs, overwrite) is State.CURRENT:
        return log.info("%s is current", trials)
    n_of = dict.fromkeys(LABELS.values(), 0)

    def lines() -> Iterator[str]:
        for enroll, test, label in read_trials(trial_list, utts):
            n_of[label] += 1
            yield f"{prefix}{enroll} {prefix}{test} {label}"

    write_lines(trials, lines())
    log.info("wrote %d target and %d nontarget trials to %s", n_of["target"], n_of["nontarget"], trials)


def read_trials(path: Path, utts: Set[str]) -> Iterator[tuple[str, str, str]]:
    """(enroll, test, label) of each line, one at a time, for there are millions. Raises as write_trials()."""
    utt_of: dict[str, str] = {}           # the lists say wav, where the files are flac
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            fields = line.split()
            if len(fields) != 3 or fields[2] not in LABELS:
                raise UserError(f'{path}:{number}: "{line.strip()}" is no trial "ENROLL TEST 1" or 0; unpack the '
                                "corpus again")
            for name in fields[:2]:
                if name not in utt_of:
                    utt_of[name] = PurePosixPath(name).name.partition(".")[0]
            enroll, test = utt_of[fields[0]], utt_of[fields[1]]
            label = LABELS[fields[2]]
            if (enroll[:7] == test[:7]) != (label == "target"):
                raise UserError(f'{path}:{number}: "{line.strip()}": the label does not agree with the speakers; '
                                "unpack the corpus again")
            yield enroll, test, label
    if missing := [utt for utt in utt_of.values() if utt not in utts]:
        raise UserError(f"{path}: {len(missing)} of the {len(utt_of)} utterances that it tries are not there "
                        f"({first_few(missing)}); unpack the corpus again")


if __name__ == "__main__":
    run(main)
