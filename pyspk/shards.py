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
from pyspk.tables.atomic import await_files
from pyspk.tables.matrix import AUTOMATIC
from pyspk.tables.records import State, begin
from pyspk.tables.text import read_table, write_table

log = logging.getLogger("pyspk")
_SUFFIXES = ("ark", "scp", "failed")


@dataclass(frozen=True)
class Shards:
    """The shards FOLDER/PREFIX.J.{ark,scp} of the values of `keys`, made by at most nj jobs of the runner `cmd`.

    In a job, `keys` are those of its share alone: DataDir(..., share=(job, nj)).
    """

    prefix: str
    folder: Path
    log_folder: Path
    keys: Sequence[str]
    nj: int
    cmd: str

    @property
    def n_jobs(self) -> int:
        """How many jobs there are: none has nothing to do."""
        return min(self.nj, len(self.keys))

    def write(self, job: int, compute: Callable[[str], np.ndarray], compress: bool = False,
              allow_failures: int = 0) -> None:
        """What one job does: write compute(key) for each key. A shard that is there is left as it is.

        A UserError of compute is that key's failure, logged with its reason. Up to allow_failures of them are left out
        of the shard and listed beside it. Raises UserError, after all keys were tried, when there are more; there is no
        shard then.
        """
        keys = list(self.keys)
        ark, scp, failed_list = self._paths(job)
        if self._is_whole(job, keys):
            log.info("%s is current", scp)
            return
        scp.unlink(missing_ok=True)
        failed_list.unlink(missing_ok=True)
        failed: dict[str, str] = {}
        with ArchiveWriter(ark, scp, AUTOMATIC if compress else None) as writer:
            for key in keys:
                try:
                    writer.write(key, compute(key))
                except UserError as fault:
                    named = f'utterance "{key}": '
                    log.error("%s%s", named, str(fault).removeprefix(named))
                    failed[key] = str(fault)
            if len(failed) > allow_failures:
                raise UserError(f"{len(failed)} of {len(keys)} utterances failed ({first_few(failed)}); "
                                "each is named above with its reason")
            if failed:
                write_table(failed_list, failed)
        log.info("wrote %d values to %s", len(keys) - len(failed), scp)

    def is_current(self, out: Path, settings: Mapping[str, object], inputs: Mapping[str, Path],
                   overwrite: bool) -> bool:
        """Whether `out` is there and made from the same; if not, the work has begun, and `run` goes on with it.

        Arguments and errors are those of records.begin. Shards of other settings or inputs are removed.
        """
        if begin(out, settings, inputs, overwrite, scraps=self._files(beyond=0)) is State.CURRENT:
            log.info("%s is current", out)
            return True
        return False

    def run(self, argv: Sequence[str], allow_failures: int = 0) -> dict[str, str]:
        """Start the jobs and join what they wrote: key -> rxfilename, in the order of `keys`.

        argv: the command line of this step; each job runs it with --nj and --job added. allow_failures: so many keys
        may be missing because they failed; `failed` gives them.
        Raises UserError when a job fails, naming its log, when more than allow_failures failed in all jobs together,
        when none is left, and when the shards do not hold exactly the others of `keys`.
        """
        log_pattern = self.log_folder / f"{self.prefix}.{JOB}.log"
        logs = str(log_pattern).replace(JOB, "*")
        log.info("%d utterances in %d jobs, logs in %s", len(self.keys), self.n_jobs, logs)
        run_array(self.cmd.split(), self.n_jobs, log_pattern, [*argv, "--nj", str(self.n_jobs), "--job", JOB],
                  job_name=JOB)
        await_files([path for job in range(1, self.n_jobs + 1) for path in self._paths(job)[:2]])
        table: dict[str, str] = {}
        for job in range(1, self.n_jobs + 1):
            table |= read_scp(self._paths(job)[1])
        failed = self.failed()
        if len(failed) > allow_failures or not table:
            limit = f"{allow_failures} may" if table else "and none is left"
            raise UserError(f"{len(failed)} of {len(self.keys)} utterances failed ({first_few(failed)}), {limit}; "
                            f"{logs} name each with its reason")
        if missing := [key for key in self.keys if key not in table and key not in failed]:
            raise UserError(f"{len(missing)} utterances are in no shard ({first_few(missing)}), although all jobs "
                            f"ended well: remove {self.folder}/{self.prefix}.*.scp and run again")
        for path in self._files(beyond=self.n_jobs):
            path.unlink()
        return {key: table[key] for key in self.keys if key in table}

    def failed(self) -> dict[str, str]:
        """Key -> reason of what the jobs left out because it failed."""
        lists = [self._paths(job)[2] for job in range(1, self.n_jobs + 1)]
        return {key: reason for path in lists if path.exists() for key, reason in read_table(path).items()}

    def size_bytes(self) -> int:
        """Bytes of the archives that are there by now."""
        return sum(path.stat().st_size for path in self._files(beyond=0) if path.suffix == ".ark")

    def _paths(self, job: int) -> tuple[Path, Path, Path]:
        """The job's archive, its scp, and the list of what failed."""
        ark, scp, failed = (self.folder / f"{self.prefix}.{job}.{suffix}" for suffix in _SUFFIXES)
        return ark, scp, failed

    def _is_whole(self, job: int, keys: list[str]) -> bool:
        """Whether the job's shard holds exactly `keys` and its archive is not cut short."""
        _, scp, _ = self._paths(job)
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
        for suffix in _SUFFIXES:
            for path in self.folder.glob(f"{prefix}.*.{suffix}"):
                job = path.name.removeprefix(f"{self.prefix}.").removesuffix(f".{suffix}")
                if job.isdigit() and int(job) > beyond:
                    found.append(path)
        return found + list(self.folder.glob(f".{prefix}.*.tmp"))
