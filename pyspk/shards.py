"""An scp made in shards by a job array: each job writes its share, the shards are joined, nothing is lost between.

A shard that is whole stays: a killed or failed array, started again, computes what is missing.
"""

import contextlib
import glob
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyspk.errors import UserError, first_few
from pyspk.jobs import JOB, run_array
from pyspk.tables.archive import ArchiveReader, ArchiveWriter, read_scp
from pyspk.tables.matrix import AUTOMATIC
from pyspk.tables.records import State, begin

log = logging.getLogger("pyspk")


@dataclass(frozen=True)
class Shards:
    """The shards FOLDER/PREFIX.J.{ark,scp} of the values of `keys`, made by n_jobs jobs of the runner `cmd`."""

    prefix: str
    folder: Path
    log_folder: Path
    keys: Sequence[str]
    n_jobs: int
    cmd: str

    def write(self, job: int, compute: Callable[[str], np.ndarray], compress: bool = False) -> None:
        """What one job does: write compute(key) for each key of its share. A shard that is there is left as it is.

        Raises UserError, after all keys were tried, when some failed; each is logged with its reason, and there is no
        shard then.
        """
        keys = list(self.keys[(job - 1) * len(self.keys) // self.n_jobs:job * len(self.keys) // self.n_jobs])
        ark, scp = self._paths(job)
        if self._is_whole(job, keys):
            log.info("%s is current", scp)
            return
        scp.unlink(missing_ok=True)
        failed = []
        with ArchiveWriter(ark, scp, AUTOMATIC if compress else None) as writer:
            for key in keys:
                try:
                    writer.write(key, compute(key))
                except UserError as fault:
                    log.error('utterance "%s": %s', key, fault)
                    failed.append(key)
            if failed:
                raise UserError(f"{len(failed)} of {len(keys)} utterances failed ({first_few(failed)}); "
                                "each is named above with its reason")
        log.info("wrote %d values to %s", len(keys), scp)

    def make(self, out: Path, settings: Mapping[str, object], inputs: Mapping[str, Path], overwrite: bool,
             argv: Sequence[str]) -> dict[str, str] | None:
        """What the step that starts the jobs does: key -> rxfilename, for `out`; None if that is current.

        Arguments and errors are those of records.begin and `run`. Shards of other settings or inputs are removed.
        """
        if begin(out, settings, inputs, overwrite, scraps=self._files(beyond=0)) is State.CURRENT:
            log.info("%s is current", out)
            return None
        return self.run(argv)

    def run(self, argv: Sequence[str]) -> dict[str, str]:
        """Start the jobs and join what they wrote: key -> rxfilename, in the order of `keys`.

        argv: the command line of this step; each job runs it with --nj and --job added.
        Raises UserError when a job fails, naming its log, and when the shards do not hold exactly `keys`.
        """
        log_pattern = self.log_folder / f"{self.prefix}.{JOB}.log"
        log.info("%d utterances in %d jobs, logs in %s", len(self.keys), self.n_jobs,
                 str(log_pattern).replace(JOB, "*"))
        run_array(self.cmd.split(), self.n_jobs, log_pattern, [*argv, "--nj", str(self.n_jobs), "--job", JOB],
                  job_name=JOB)
        table: dict[str, str] = {}
        for job in range(1, self.n_jobs + 1):
            table |= read_scp(self._paths(job)[1])
        if missing := [key for key in self.keys if key not in table]:
            raise UserError(f"{len(missing)} utterances are in no shard ({first_few(missing)}), although all jobs "
                            f"ended well: remove {self.folder}/{self.prefix}.*.scp and run again")
        for path in self._files(beyond=self.n_jobs):
            path.unlink()
        return {key: table[key] for key in self.keys}

    def _paths(self, job: int) -> tuple[Path, Path]:
        return self.folder / f"{self.prefix}.{job}.ark", self.folder / f"{self.prefix}.{job}.scp"

    def _is_whole(self, job: int, keys: list[str]) -> bool:
        """Whether the job's shard holds exactly `keys` and its archive is not cut short."""
        scp = self._paths(job)[1]
        table = read_scp(scp) if scp.exists() else {}
        if list(table) != keys:
            return False
        with contextlib.suppress(UserError):
            ArchiveReader().value(table[keys[-1]])
            return True
        return False

    def _files(self, beyond: int) -> list[Path]:
        """The shards of jobs above `beyond`, and files that a kill left unfinished."""
        prefix, found = glob.escape(self.prefix), []
        for suffix in ("scp", "ark"):
            for path in self.folder.glob(f"{prefix}.*.{suffix}"):
                job = path.name.removeprefix(f"{self.prefix}.").removesuffix(f".{suffix}")
                if job.isdigit() and int(job) > beyond:
                    found.append(path)
        return found + list(self.folder.glob(f".{prefix}.*.tmp"))
