"""What the steps that write features do alike: each job its share, what failed, and the tables beside feats.scp."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from pyspk.datadir import DataDir
from pyspk.datadir.layout import FEATS
from pyspk.errors import UserError, first_few
from pyspk.features.spectral import Fbank, Mfcc
from pyspk.needs.checks import check_features, say_pace
from pyspk.shards import Shards
from pyspk.tables.archive import ArchiveReader
from pyspk.tables.text import read_table, write_lines, write_table

log = logging.getLogger("pyspk")
FAILED = "failed_utts"
AUDIO_TABLES = ["segments", "utt2aug", "augment.toml"]      # beside wav.scp, what the samples of an utterance rest on


def make_feats(extract: Fbank | Mfcc, samples_of: Callable[[str], np.ndarray], settings: Mapping[str, object],
               data: DataDir, shards: Shards, job: int | None, overwrite: bool, force: bool, allow_failures: int,
               argv: Sequence[str]) -> None:
    """Write feats.scp, utt2num_frames and frame_shift of `data`; with a `job`, nothing but that job's shard.

    samples_of: utterance -> samples (S,) at extract.rate_hz. settings: what decides the content, "compress" among it.
    Up to allow_failures utterances that fail are left out of the tables, and listed with their reasons in failed_utts.
    Raises what Shards.write and Shards.run raise, and UserError when the disk has not the space, unless `force`.
    """
    def feats_of(utt: str) -> np.ndarray:
        return extract(samples_of(utt), utt)

    if job is not None:
        shards.write(job, feats_of, settings["compress"], allow_failures)
        return
    out = data.path / FEATS
    inputs = data.inputs("utt2spk", "wav.scp", optional=AUDIO_TABLES)
    if feats_are_current(data.path, shards, settings, inputs, overwrite, allow_failures):
        return
    check_features(shards.folder, data, extract.frame_shift_ms, extract.dim, settings["compress"], shards.size_bytes(),
                   force)
    say_pace(feats_of, shards.keys, shards.n_jobs)
    table = run_shards(data.path, shards, argv, allow_failures)
    write_lines(data.path / "frame_shift", [f"{extract.frame_shift_ms / 1000:g}"])
    write_table(out, table)
    log.info("wrote features of %d utterances to %s", len(table), out)


def feats_are_current(folder: Path, shards: Shards, settings: Mapping[str, object], inputs: Mapping[str, Path],
                      overwrite: bool, allow_failures: int) -> bool:
    """Whether folder/feats.scp is there and made from the same; if not, run_shards goes on with it.

    Raises what Shards.is_current raises, and UserError when it lacks more utterances that failed than may fail now.
    """
    if not shards.is_current(folder / FEATS, settings, inputs, overwrite):
        return False
    path = folder / FAILED
    failed = read_table(path) if path.exists() else {}
    if len(failed) > allow_failures:
        raise UserError(f"{folder / FEATS} lacks {len(failed)} utterances that failed (see {path}), "
                        f"{allow_failures} may; mend them and make it anew with --overwrite, or --allow-failures more")
    return True


def run_shards(folder: Path, shards: Shards, argv: Sequence[str], allow_failures: int) -> dict[str, str]:
    """The lines of feats.scp, once the jobs have made the features; folder/utt2num_frames and failed_utts are written.

    Raises what Shards.run raises.
    """
    table = shards.run(argv, allow_failures)
    _write_failed(folder, shards.failed())
    reader = ArchiveReader()
    write_table(folder / "utt2num_frames", {utt: reader.shape(place)[0] for utt, place in table.items()})
    return table


def _write_failed(folder: Path, failed: Mapping[str, str]) -> None:
    path = folder / FAILED
    if not failed:
        path.unlink(missing_ok=True)
        return
    write_table(path, failed)
    log.warning("%d utterances failed (%s) and are not in feats.scp, but still in utt2spk; their reasons are in %s. "
                "Take them out of every table with: steps/fix_data_dir.py %s", len(failed), first_few(failed), path,
                folder)
