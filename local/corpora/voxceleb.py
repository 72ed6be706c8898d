"""VoxCeleb1 and 2 on disk: idNNNNN/VIDEO/NNNNN.wav or .m4a below one of the folders that people unpack them in.

Sizes: Nagrani et al., VoxCeleb: large-scale speaker verification in the wild, 2020, tables 2 and 3.
"""

import logging
import re
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from corpora.data_dirs import is_current, write_data_dir, write_left_out
from corpora.meta import read_meta
from corpora.packed import Archive, lettered, refuse_packed
from corpora.scan import corpus_root, folder_names, list_files
from pyspk.errors import UserError, first_few

PARTS = ("dev", "test")
META_URL = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/meta"
LAYOUT = "idNNNNN/VIDEO/NNNNN.wav or .m4a"
ID_LENGTH = len("id10270")
_SPEAKER = re.compile(r"id\d{5}")
_FILE = re.compile(r"(id\d{5}/[A-Za-z0-9_-]+/\d+)\.(wav|m4a)")
_FORM_FOLDERS = (".", "wav", "aac", "m4a")

log = logging.getLogger("pyspk")


class Corpus(NamedTuple):
    """What is known of a VoxCeleb."""

    number: int
    speakers: re.Pattern                            # the two have no id in common
    archives: Mapping[str, Sequence[Archive]]       # by part
    n_utts: Mapping[str, int]                       # by part, as published; where speakers are as many as in the table
    parts: Mapping[str, str]                        # speaker -> part, where no table is needed to tell

    @property
    def meta(self) -> str:
        """The name of its table of speakers."""
        return f"vox{self.number}_meta.csv"

    def own_folders(self, part: str) -> list[str]:
        """Where the speakers of `part` alone may lie."""
        tops = (part, f"{part}/{part}", f"vox{self.number}_{part}_wav", f"vox{self.number}_{part}_aac")
        return [Path(top, form).as_posix() for top in tops for form in _FORM_FOLDERS]


VOXCELEB1 = Corpus(1, re.compile(r"id1\d{4}"), {
    "dev": [Archive("vox1_dev_wav.zip", lettered("vox1_dev_wav_parta", "d"), "dev")],
    "test": [Archive("vox1_test_wav.zip", folder="test")]}, {"dev": 148_642, "test": 4_874, "all": 153_516},
    {f"id{number}": "test" if 10270 <= number <= 10309 else "dev" for number in range(10001, 11252)})
VOXCELEB2 = Corpus(2, re.compile(r"id0\d{4}"), {
    "dev": [Archive("vox2_aac.zip", lettered("vox2_dev_aac_parta", "h")), Archive("vox2_dev_aac.zip")],
    "test": [Archive("vox2_test_aac.zip", folder="test")]}, {"dev": 1_092_009}, {})


def prepare(corpus: Corpus, root: Path, part: str, data_dir: Path, meta: Path | None, m4a_pipe: bool,
            overwrite: bool) -> None:
    """Write the data directory of `part`: dev, test or all. spk2gender only when there is a table of speakers.

    root: where the corpus lies; meta: its table of speakers, else root/voxN_meta.csv; m4a_pipe: have ffmpeg decode m4a.
    Raises UserError for a corpus that is not there, still packed, of the other number, or with speakers of one part
    among those of the other; and as is_current() does.
    """
    root = corpus_root(root, ".")
    meta = meta or (root / corpus.meta if (root / corpus.meta).exists() else None)
    speakers = read_meta(meta) if meta else {}
    parts = {name: speaker.part for name, speaker in speakers.items()} if meta else corpus.parts
    trees = find_speakers(corpus, root, part, parts)
    files, odd = find_files(root, trees)
    if not files:
        raise UserError(f"{root}: {sum(map(len, trees.values()))} speakers in {first_few(trees)}, but no file that is "
                        f"{LAYOUT} ({first_few(odd)}); unpack the archives again")
    inputs = {"meta": meta} if meta else {}
    settings = {"root": str(root), "part": part, "m4a_pipe": m4a_pipe}
    if is_current(data_dir, files, settings, inputs, overwrite):
        return
    write_left_out(data_dir, odd, LAYOUT)
    published = corpus.n_utts.get(part, len(files))
    if len(files) != published:
        log.warning("%s: %d utterances, but VoxCeleb%d %s has %d as published; is it whole?", root, len(files),
                    corpus.number, part, published)
    if not meta:
        log.warning("%s: no %s, so no spk2gender; download it from %s/", root, corpus.meta, META_URL)
    found = {utt[:ID_LENGTH] for utt in files}
    genders = {"spk2gender": {speaker: speakers[speaker].gender for speaker in found}} if meta else {}
    write_data_dir(data_dir, files, partial(rxfilename, root, m4a_pipe), lambda utt: utt[:ID_LENGTH], genders)


def find_speakers(corpus: Corpus, root: Path, part: str, parts: Mapping[str, str]) -> dict[str, list[str]]:
    """Folder relative to `root` -> the speakers of `part` in it.

    parts: speaker -> dev or test, of all; empty when that is not known. Raises UserError as prepare().
    """
    shared = {form: names for form in _FORM_FOLDERS if (names := folder_names(root / form, corpus.speakers))}
    if shared and part != "all" and not parts:
        raise UserError(f"{root / next(iter(shared))}: dev and test may both lie here, and {corpus.meta} tells them "
                        f"apart; download it from {META_URL}/ to {root}, or name it with --meta FILE")
    _check_parts(shared, root, parts)
    trees: dict[str, list[str]] = {}
    for each in PARTS if part == "all" else (part,):
        own = {folder: names for folder in corpus.own_folders(each)
               if (names := folder_names(root / folder, corpus.speakers))}
        _check_parts(own, root, parts, each)
        for folder, names in shared.items():
            chosen = [name for name in names if parts.get(name, each) == each]
            own |= {folder: chosen} if chosen else {}
        if not own:
            refuse_packed(root, corpus.archives[each])
            raise UserError(f"{root}: no speakers of VoxCeleb{corpus.number} {each}; expected {LAYOUT}, in {each}/wav, "
                            f"{each}/aac or vox{corpus.number}_{each}_wav/wav, or all together in wav or aac")
        for folder, names in own.items():
            trees[folder] = sorted({*trees.get(folder, []), *names})
    return trees


def _check_parts(trees: Mapping[str, list[str]], root: Path, parts: Mapping[str, str], part: str | None = None) -> None:
    """Refuse speakers that `parts` does not know and, where `part` is given, those that it gives to the other."""
    for folder, names in trees.items() if parts else ():
        if unknown := [name for name in names if name not in parts]:
            raise UserError(f"{root / folder}: {len(unknown)} speakers are not in the corpus's table "
                            f"({first_few(unknown)}); is it another corpus, or another's table of speakers?")
        if wrong := [name for name in names if part and parts[name] != part]:
            raise UserError(f"{root / folder}: {len(wrong)} speakers ({first_few(wrong)}) belong to "
                            f"{parts[wrong[0]]}; move them out, for who trains on speakers of the evaluation measures "
                            "nothing")


def find_files(root: Path, trees: Mapping[str, list[str]]) -> tuple[dict[str, str], list[str]]:
    """Utterance idNNNNN-VIDEO-NNNNN -> its file relative to `root`, wav before m4a; and files that do not fit.

    trees: folder -> speakers. Raises UserError when an utterance is there twice in one form.
    """
    files: dict[str, str] = {}
    odd, n_both = [], 0
    for folder, speakers in trees.items():
        prefix = "" if folder == "." else f"{folder}/"
        if Path(folder).name in _FORM_FOLDERS:          # elsewhere archives and lists may lie beside the speakers
            odd += [f"{prefix}{path.name}" for path in (root / folder).iterdir() if not _SPEAKER.fullmatch(path.name)]
        for name in list_files(root / folder, speakers, depth=1):
            fit = _FILE.fullmatch(name)
            if not fit:
                odd.append(prefix + name)
                continue
            utt = fit[1].replace("/", "-")
            if other := files.get(utt):
                n_both += 1
                if other.endswith(f".{fit[2]}"):
                    raise UserError(f"{root}: {other} and {prefix}{name} are the same utterance; keep one of them")
            if not other or fit[2] == "wav":
                files[utt] = prefix + name
    n_m4a = sum(name.endswith(".m4a") for name in files.values())
    if n_both:
        log.info("%d utterances are there as wav and as m4a: the wav is taken", n_both)
    if 0 < n_m4a < len(files):
        log.warning("%d utterances as wav, but %d only as m4a: were all converted?", len(files) - n_m4a, n_m4a)
    return files, odd


def rxfilename(root: Path, m4a_pipe: bool, file: str) -> str:
    """What wav.scp says of `file`: its path, or with `m4a_pipe` for m4a a command that decodes it to 16 kHz mono."""
    path = f"{root}/{file}"
    if m4a_pipe and file.endswith(".m4a"):
        return f"ffmpeg -v error -nostdin -i {shlex.quote(path)} -f wav -ac 1 -ar 16000 - |"
    return path
