"""VoxCeleb's own tables of speakers, vox1_meta.csv and vox2_meta.csv."""

from pathlib import Path
from typing import NamedTuple

from pyspk.errors import UserError
from pyspk.tables.text import read_text


class Speaker(NamedTuple):
    """What the table says of a speaker."""

    gender: str       # m, f
    part: str         # dev, test


def read_meta(path: Path) -> dict[str, Speaker]:
    """Speaker id -> what the table says. Columns are found by their names.

    vox1_meta.csv is separated by tabs; vox2_meta.csv by commas, with blanks around them and a byte-order mark before.
    Raises UserError, naming file and line, for another header and for a line that lacks gender or set.
    """
    head, *lines = read_text(path).splitlines() or [""]
    separator = "\t" if "\t" in head else ","
    columns = [column.strip() for column in head.split(separator)]
    if not {"Gender", "Set"} < set(columns):
        raise UserError(f'{path}:1: the columns are "{", ".join(columns)}", without Gender or Set; this is no table of '
                        "VoxCeleb's speakers, download it again")
    gender, part = columns.index("Gender"), columns.index("Set")
    speakers = {}
    for number, line in enumerate(lines, start=2):
        fields = [field.strip() for field in line.split(separator)]
        if len(fields) < len(columns) or fields[gender] not in ("m", "f") or fields[part] not in ("dev", "test"):
            raise UserError(f'{path}:{number}: "{line.strip()}" does not give {", ".join(columns)}, with m or f and '
                            "dev or test; download the file again")
        speakers[fields[0]] = Speaker(fields[gender], fields[part])
    return speakers
