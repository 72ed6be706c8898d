#!/usr/bin/env python3
"""Stage 1 for RIRS_NOISES, the rooms of augmentation: a data directory for each kind of impulse response and noise."""

import re
from collections.abc import Container, Iterable
from pathlib import Path

import bootstrap
import click
from corpora.packed import Archive, refuse_packed
from corpora.scan import corpus_root, folder_names, list_files
from corpora.sounds import make_sound_dir

from pyspk.console import run
from pyspk.errors import UserError, first_few
from pyspk.tables.text import read_text

SIZES = ("smallroom", "mediumroom", "largeroom")
FOLDERS = ("simulated_rirs", "real_rirs_isotropic_noises", "pointsource_noises")
ROOM = re.compile(r"Room\d+")


@click.command()
@click.option("--overwrite", is_flag=True, help="make anew what was made from other files")
@click.argument("rirs_noises", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("data_dir", type=Path)
def main(overwrite, rirs_noises, data_dir):
    """Write a data directory DATA_DIR/KIND with utt2dur, reco2dur, reco2num_channels and utt2room for each kind.

    The kinds are rirs_smallroom, rirs_mediumroom, rirs_largeroom (simulated), rirs_real, and the noises
    rirs_isotropic_noise (the noise of the real rooms) and rirs_pointsource_noise (without rooms). RIRS_NOISES is the
    folder of this name, or the one that it lies in. A recording is an utterance of its own speaker.
    """
    root = corpus_root(rirs_noises, "RIRS_NOISES")
    if absent := [folder for folder in FOLDERS if not (root / folder).is_dir()]:
        refuse_packed(root, [Archive("rirs_noises.zip")])
        raise UserError(f"{root}: without {', '.join(absent)}; give the folder RIRS_NOISES, with "
                        f"{', '.join(FOLDERS)} in it")
    for size in SIZES:
        files, rooms, odd = simulated(root, size)
        make_sound_dir(data_dir / f"rirs_{size}", root, files, odd, "RoomNNN/RoomNNN-NNNNN.wav", rooms, overwrite)
    for kind, (files, rooms, odd) in measured(root).items():
        make_sound_dir(data_dir / f"rirs_{kind}", root, files, odd, "named in rir_list or noise_list", rooms, overwrite)
    files, odd = point_sources(root)
    make_sound_dir(data_dir / "rirs_pointsource_noise", root, files, odd, "NAME.wav", {}, overwrite)


def simulated(root: Path, size: str) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Utterance -> file, utterance -> room, and the files that do not fit, of the simulated rooms of a size.

    The sizes have rooms of the same names: they are put before, as small-Room001-00001.
    Raises UserError when rir_list, where it is there, names files that are not.
    """
    folder, files, rooms, odd = f"simulated_rirs/{size}", {}, {}, []
    for name in list_files(root / folder, folder_names(root / folder, ROOM), depth=0):
        room, _, file = name.partition("/")
        if re.fullmatch(rf"{room}-\d+\.wav", file):
            utt = f"{size.removesuffix('room')}-{file.removesuffix('.wav')}"
            files[utt], rooms[utt] = f"{folder}/{name}", f"{size.removesuffix('room')}-{room}"
        else:
            odd.append(f"{folder}/{name}")
    listing = root / folder / "rir_list"
    if listing.exists():
        refuse_missing(listing, read_list(listing), set(files.values()))
    return files, rooms, odd


def measured(root: Path) -> dict[str, tuple[dict[str, str], dict[str, str], list[str]]]:
    """Kind, real or isotropic_noise -> utterance -> file, utterance -> room, and files that neither list names.

    Only the lists tell responses from noises. Raises UserError when one is missing, or names files that are not there.
    """
    folder = "real_rirs_isotropic_noises"
    unlisted = {name for name in list_files(root, [folder], depth=0) if name.endswith(".wav")}
    there, kinds = frozenset(unlisted), {}
    for kind, listing in (("real", root / folder / "rir_list"), ("isotropic_noise", root / folder / "noise_list")):
        room_of = read_list(listing)
        refuse_missing(listing, room_of, there)
        unlisted -= room_of.keys()
        kinds[kind] = ({Path(file).stem: file for file in room_of},
                       {Path(file).stem: room for file, room in room_of.items()}, [])
    kinds["real"][2].extend(unlisted)
    return kinds


def point_sources(root: Path) -> tuple[dict[str, str], list[str]]:
    """Utterance -> file, and the recordings that do not fit, of the noises from one point."""
    files, odd = {}, []
    for name in list_files(root, ["pointsource_noises"], depth=0):
        if re.fullmatch(r"[^/]+/[A-Za-z0-9_.-]+\.wav", name):
            files[Path(name).stem] = name
        elif name.endswith((".wav", "/")):           # the lists and notes that lie beside are no recordings
            odd.append(name)
    return files, odd


def read_list(path: Path) -> dict[str, str]:
    """File, relative to RIRS_NOISES -> room, of rir_list or noise_list: "--KEY VALUE ... RIRS_NOISES/FOLDER/NAME.wav".

    The room is the value of --room-id or --room-linkage. Raises UserError, naming file and line, for another line.
    """
    room_of = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        *options, location = line.split() or [""]
        values = dict(zip(options[::2], options[1::2], strict=False))
        room = values.get("--room-id") or values.get("--room-linkage")
        if not room or not location.endswith(".wav"):
            raise UserError(f'{path}:{number}: "{line.strip()}" does not say --room-id or --room-linkage and, last, a '
                            "wav file; unpack the corpus again")
        room_of[location.rpartition("RIRS_NOISES/")[2]] = room
    return room_of


def refuse_missing(listing: Path, files: Iterable[str], there: Container[str]) -> None:
    """Raise UserError when `listing` names files that are not `there`."""
    if missing := [file for file in files if file not in there]:
        raise UserError(f"{listing}: {len(missing)} of the files that it names are not there ({first_few(missing)}); "
                        "unpack the corpus again")


if __name__ == "__main__":
    run(main)
