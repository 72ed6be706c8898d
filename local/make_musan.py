#!/usr/bin/env python3
"""Stage 1 for MUSAN, the noises of augmentation: a data directory each of noise, music and speech."""

import logging
import re
from pathlib import Path

import bootstrap
import click
from corpora.packed import Archive, refuse_packed
from corpora.scan import corpus_root, folder_names, list_files
from corpora.sounds import make_sound_dir

from pyspk.console import run
from pyspk.errors import UserError

N_FILES = {"noise": 930, "music": 660, "speech": 426}      # Snyder, Chen, Povey, MUSAN, 2015
FILE = re.compile(r"[^/]+/(?P<name>[A-Za-z0-9_.-]+)\.wav")
NOT_SOUNDS = {"ANNOTATIONS", "LICENSE", "README"}

log = logging.getLogger("pyspk")


@click.command()
@click.option("--overwrite", is_flag=True, help="make anew what was made from other files")
@click.argument("musan", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("data_dir", type=Path)
def main(overwrite, musan, data_dir):
    """Write DATA_DIR/musan_{noise,music,speech}/{wav.scp,utt2spk,spk2utt,utt2dur,reco2dur,reco2num_channels,left_out}.

    MUSAN holds {noise,music,speech}/SOURCE/NAME.wav, or the folder musan that does. A recording is an utterance of its
    own speaker.
    """
    root = corpus_root(musan, "musan")
    if absent := [kind for kind in N_FILES if not (root / kind).is_dir()]:
        refuse_packed(root, [Archive("musan.tar.gz")])
        raise UserError(f"{root}: without {', '.join(absent)}; give the folder musan, where all three are")
    for kind, published in N_FILES.items():
        files, odd = {}, []
        for name in list_files(root / kind, folder_names(root / kind, re.compile(r".*")), depth=0):
            if (fit := FILE.fullmatch(name)) and fit["name"] not in files:
                files[fit["name"]] = f"{kind}/{name}"
            elif name.rpartition("/")[2] not in NOT_SOUNDS:
                odd.append(f"{kind}/{name}")
        if len(files) != published:
            log.warning("%s: %d recordings, but MUSAN has %d; is it whole?", root / kind, len(files), published)
        make_sound_dir(data_dir / f"musan_{kind}", root, files, odd, f"{kind}/SOURCE/NAME.wav", {}, overwrite)


if __name__ == "__main__":
    run(main)
