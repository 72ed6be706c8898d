"""Trees of up to millions of files, listed in parallel: a network file system answers late, but many questions at once.

Names and kinds come from the folders alone; no file is looked at.
"""

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from pyspk.errors import UserError

THREADS = 32        # they wait for the file system and take no processor meanwhile


def folder_names(folder: Path, pattern: re.Pattern) -> list[str]:
    """The sorted names of the folders in `folder` that `pattern` matches; none when there is no such folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if pattern.fullmatch(entry.name) and entry.is_dir())


def list_files(root: Path, folders: Sequence[str], depth: int) -> Iterator[str]:
    """The files below root/FOLDER for each of `folders`, as paths relative to `root`, folder by folder, else unsorted.

    depth: how many folders there are below FOLDER on the way to a file. A folder that lies deeper is not entered, but
    comes among the files, with "/" at its end: so that it can be named, and a link to above is no endless walk.
    Raises OSError for a folder that cannot be read.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        listings = pool.map(lambda folder: _walk(root / folder, f"{folder}/", depth), folders)
        for listing in tqdm(listings, "folders", len(folders), disable=None):
            yield from listing


def _walk(folder: str | Path, prefix: str, depth: int) -> list[str]:
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir():
                found.append(f"{prefix}{entry.name}")
            elif depth:
                found += _walk(entry.path, f"{prefix}{entry.name}/", depth - 1)
            else:
                found.append(f"{prefix}{entry.name}/")
    return found


def corpus_root(root: Path, name: str) -> Path:
    """root/NAME when it is there, as after unpacking in `root`; else `root` itself. Absolute, for tables name it.

    Raises UserError for a path that no table can hold.
    """
    root = root.absolute()
    if not str(root).isprintable():
        raise UserError(f"{str(root)!a}: a path with unprintable characters; rename it, or make a link to it")
    return root / name if (root / name).is_dir() else root
