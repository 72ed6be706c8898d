#!/usr/bin/env python3
"""Stage 0 of egs/mini: fetch recorded voices from the Debian archive."""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.pool import ThreadPool
from pathlib import Path

import bootstrap
import click
from debian_voices.clips import CLIP_RULES, Made, clip_name, digest_of, make_voice
from debian_voices.sources import LEFT_OUT, PACKAGES, SOURCES, Source, group_voices, source_of
from tqdm import tqdm

from pyspk.console import run
from pyspk.errors import UserError
from pyspk.tables.atomic import not_through_links, usual_mode
from pyspk.tables.records import begin, difference
from pyspk.tables.text import write_lines, write_table

AUDIO = {".wav", ".gsm", ".ogg", ".opus", ".mp3", ".flac"}
MIN_VOICE_S = 60
MIN_CAP_S = MIN_VOICE_S + 12    # a cap may cost an utterance of 6 s in each of two sources
OWN_RECORDINGS = "egs/mini/run.sh --corpus-dir DIR works on recordings of your own"

log = logging.getLogger("pyspk")


@click.command()
@click.option("--max-seconds-per-voice", default=240.0, show_default=True, type=click.FloatRange(MIN_CAP_S),
              help="use no more of a voice, so that all weigh alike")
@click.option("--min-voices", default=40, show_default=True, type=click.IntRange(1),
              help=f"how many voices of {MIN_VOICE_S} s there must be")
@click.option("--packages-dir", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="take the .deb files that lie here and download nothing")
@click.option("--overwrite", is_flag=True, help="make the corpus anew when it was made with other settings")
@click.argument("corpus_dir", type=Path)
def main(max_seconds_per_voice, min_voices, packages_dir, overwrite, corpus_dir):
    """Write CORPUS_DIR/SPEAKER/SPEAKER-NNNN.wav (16 kHz, 16 bit), groups, sources.tsv and left_out.

    CORPUS_DIR appears when all of it is complete; while it is made, it takes 1 GB of disk beside it.
    """
    corpus_dir = corpus_dir.absolute()
    settings = {"max_seconds_per_voice": max_seconds_per_voice,
                "rules": hashlib.sha256(repr((SOURCES, LEFT_OUT, CLIP_RULES)).encode()).hexdigest()[:12]}
    with only_run(corpus_dir):
        if is_current(corpus_dir, settings, overwrite):
            return log.info("%s is current", corpus_dir)
        downloads = corpus_dir.with_name(f"{corpus_dir.name}.packages")
        packages = find_packages(packages_dir) if packages_dir else download(downloads)
        building = corpus_dir.with_name(f".{corpus_dir.name}.tmp")
        shutil.rmtree(building, ignore_errors=True)          # what a run left that was stopped
        building.mkdir(0o700)
        begin(building / "sources.tsv", settings, {})
        try:
            n_voices = build(packages, building, max_seconds_per_voice, min_voices)
        except UserError:
            shutil.rmtree(building)
            raise
        os.sync()
        shutil.rmtree(corpus_dir, ignore_errors=True)
        building.chmod(usual_mode(0o777))
        building.rename(corpus_dir)
        shutil.rmtree(downloads, ignore_errors=True)
    log.info("wrote %d voices to %s", n_voices, corpus_dir)


@contextmanager
def only_run(corpus_dir: Path) -> Iterator[None]:
    """While the block runs, another run that wants to make the same corpus waits."""
    corpus_dir.parent.mkdir(parents=True, exist_ok=True)
    with open(corpus_dir.with_name(f".{corpus_dir.name}.lock"), "w", opener=not_through_links) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another run is making %s; waiting for it", corpus_dir)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_current(corpus_dir: Path, settings: dict, overwrite: bool) -> bool:
    """Whether the corpus is there, made with these settings. Raises UserError when the folder holds something else."""
    if not corpus_dir.exists() or not any(corpus_dir.iterdir()):
        return False
    if not (corpus_dir / ".made" / "sources.tsv.json").exists():
        raise UserError(f"{corpus_dir} holds something else already; name another folder for the corpus")
    record = json.loads((corpus_dir / ".made" / "sources.tsv.json").read_text())
    if record["settings"] != settings and not overwrite:
        raise UserError(f"{corpus_dir} exists, but {difference(record, {**record, 'settings': settings})}; --overwrite "
                        "makes it anew, or name another folder")
    return record["settings"] == settings


def download(folder: Path) -> dict[str, Path]:
    """package -> its .deb in `folder`, fetched by apt-get, which goes on with what a killed run left there."""
    need_tools("apt-get", "apt-cache", "dpkg-deb")
    offered = offered_packages()
    if not offered and os.geteuid() == 0:
        log.info("apt has no package lists yet: apt-get update")
        stdout_of("apt-get", "-q", "update")
        offered = offered_packages()
    if not offered:
        raise UserError("apt has no package lists, or none that names the packages with voices; type: sudo apt-get "
                        f"update, and see that it ends without a warning. Or {OWN_RECORDINGS}")
    if lacking := set(PACKAGES) - set(offered):
        log.warning("this release lacks %s; going on without", ", ".join(sorted(lacking)))
    folder.mkdir(exist_ok=True)
    log.info("downloading %d packages, about 290 MB; the corpus itself takes 200 MB", len(offered))
    for package in tqdm(offered, "packages", disable=None):
        try:
            stdout_of("apt-get", "-q", "-o", "Acquire::Retries=2", "download", package, cwd=folder)
        except UserError as fault:
            with suppress(OSError):
                folder.rmdir()          # nothing came
            raise UserError(f"{fault}. Is there a network? Are the package lists of today (sudo apt-get update)? The "
                            "same command then goes on from here; --packages-dir DIR takes .deb files from elsewhere, "
                            f"and {OWN_RECORDINGS}") from None
    return find_packages(folder)


def offered_packages() -> list[str]:
    """Those of PACKAGES that apt's package lists name, sorted."""
    return sorted(set(PACKAGES) & set(stdout_of("apt-cache", "pkgnames").split()))


def find_packages(folder: Path) -> dict[str, Path]:
    """package -> the newest of its .deb files in `folder`. Raises UserError when there is none of any."""
    need_tools("dpkg-deb")
    debs = {package: sorted(folder.glob(f"{package}_*.deb"), key=lambda deb: deb.stat().st_mtime)
            for package in PACKAGES}
    lacking = [package for package in PACKAGES if not debs[package]]
    if len(lacking) == len(PACKAGES):
        raise UserError(f"{folder}: no package with voices lies here, such as {PACKAGES[0]}_VERSION_all.deb")
    if lacking:
        log.warning("%s lacks %s; going on without", folder, ", ".join(lacking))
    return {package: files[-1] for package, files in debs.items() if files}


def need_tools(*tools: str) -> None:
    """Raise UserError when one of Debian's tools is not here."""
    if lacking := [tool for tool in tools if not shutil.which(tool)]:
        raise UserError(f"no {' and no '.join(lacking)} here, and the voices are Debian packages; {OWN_RECORDINGS}")


def stdout_of(*command: str, cwd: Path | None = None) -> str:
    """What `command` writes to stdout. Raises UserError with its first error line when it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, errors="replace",
                          env=os.environ | {"LC_ALL": "C"})
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        errors = [line for line in lines if line.startswith("E: ")]
        raise UserError(f"{' '.join(command)}: {(errors or lines)[0]}")
    return done.stdout


def build(packages: dict[str, Path], building: Path, max_seconds: float, min_voices: int) -> int:
    """Write all of the corpus to `building`; the number of voices. Raises UserError when they are too few."""
    unpacked = building / "unpacked"
    voices, left_out = find_clips(packages, unpacked)
    kept: dict[str, Made] = {}
    short: list[str] = []
    seen: set[bytes] = set()
    with ThreadPool(2) as pool:                # decoding and resampling let go of Python's lock
        work = pool.imap(lambda voice: make_voice(voices[voice], unpacked, building / voice, max_seconds), voices)
        for voice, made in zip(voices, tqdm(work, "voices", len(voices), disable=None), strict=True):
            if made.digests & seen:            # a clip that an earlier voice has too: this one does without
                made = make_voice(voices[voice], unpacked, building / voice, max_seconds, seen)
            left_out |= made.left_out
            if sum(made.seconds.values()) >= MIN_VOICE_S:
                kept[voice] = made
                seen |= made.digests
            else:
                short.append(voice)
                shutil.rmtree(building / voice)
    shutil.rmtree(unpacked)
    reasons = Counter(reason.partition(":")[0] for reason in left_out.values())
    log.info("left out %d clips: %s", len(left_out), ", ".join(f"{n} {why}" for why, n in sorted(reasons.items())))
    log.info("left out %d voices of less than %d s: %s", len(short), MIN_VOICE_S, ", ".join(short) or "none")
    log.info("%.0f s were left over, too short for an utterance", sum(made.rest_s for made in kept.values()))
    if len(kept) < min_voices:
        raise UserError(f"only {len(kept)} voices of {MIN_VOICE_S} s came together, {min_voices} are wanted; get the "
                        f"packages that are lacking, lower --min-voices, or {OWN_RECORDINGS}")
    write_lines(building / "left_out", (f"{clip}\t{reason}" for clip, reason in sorted(left_out.items())))
    write_lists(building, kept, packages)
    return len(kept)


def find_clips(packages: dict[str, Path], unpacked: Path) -> tuple[dict[str, dict[Source, list[Path]]], dict[str, str]]:
    """voice -> source -> its clips below `unpacked`, and clip -> reason of those left out.

    Clips are in the order of a hash of their names, so that whatever is used of a voice is a fair sample of it.
    """
    with ThreadPool(2) as pool:
        pool.starmap(unpack, [(deb, unpacked / package) for package, deb in packages.items()])
    voices: dict[str, dict[Source, list[Path]]] = {}
    left_out: dict[str, str] = {}
    for package in packages:
        clips = [path for path in (unpacked / package).rglob("*") if path.suffix in AUDIO]
        for clip in sorted(clips, key=lambda clip: digest_of(clip_name(clip, unpacked).encode())):
            source = source_of(package, clip_name(clip, unpacked))
            if isinstance(source, str):
                left_out[clip_name(clip, unpacked)] = source
            else:
                voices.setdefault(source.voice, {}).setdefault(source, []).append(clip)
    return dict(sorted(voices.items())), left_out


def unpack(deb: Path, folder: Path) -> None:
    """Write the audio files in a package below `folder`. Raises UserError when the package is damaged.

    Written by this process, which dpkg-deb -x would outlive: killed, it leaves nobody who writes into the next run.
    """
    folder.mkdir(parents=True)
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as dpkg:
        with suppress(tarfile.ReadError), tarfile.open(fileobj=dpkg.stdout, mode="r|") as archive:
            for member in archive:
                file = folder / member.name
                inside = file.is_relative_to(folder) and ".." not in file.parts
                if member.isfile() and file.suffix in AUDIO and inside:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(archive.extractfile(member).read())
        dpkg.stdout.read()                     # the padding after the last file: dpkg-deb wants to get rid of it
        fault = dpkg.stderr.read().decode(errors="replace").strip()
    if dpkg.returncode != 0:
        raise UserError(f"{deb}: {fault.rpartition('dpkg-deb: ')[2] or 'not a package'}; remove it and fetch it again")


def write_lists(corpus_dir: Path, made: dict[str, Made], packages: dict[str, Path]) -> None:
    """Write groups (voice -> group) and sources.tsv (a line for each voice, package and language)."""
    write_table(corpus_dir / "groups", group_voices({voice: {source.language for source in of.seconds}
                                                     for voice, of in made.items()}))
    versions = {package: stdout_of("dpkg-deb", "-f", str(deb), "Version").strip() for package, deb in packages.items()}
    rows = [(voice, source.package, versions[source.package], source.language, source.licence, f"{seconds:.1f}")
            for voice, of in made.items() for source, seconds in of.seconds.items()]
    header = ("voice", "package", "version", "language", "licence", "seconds")
    write_lines(corpus_dir / "sources.tsv", map("\t".join, [header, *rows]))


if __name__ == "__main__":
    run(main)
