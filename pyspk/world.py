"""The processes that train together, as one of them sees them, and what they tell each other.

One process needs no set-up: a World of its own is alone, and each method then gives back what it was given. All
processes must call the methods in the same order with tensors of the same shape.
"""

import gc
import os
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from pyspk.errors import UserError

_PLACE = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
_MEETING_POINT = ("MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class World:
    """Process `rank` of `size`, the local_rank-th on its machine, computing on `device`."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and the log."""
        return self.rank == 0

    def gather_rows(self, rows: Tensor) -> Tensor:
        """(size * B, ...): the rows (B, ...) of all processes in the order of their ranks. Carries no gradient."""
        if self.size == 1:
            return rows
        everyones = rows.new_empty(self.size * len(rows), *rows.shape[1:])
        dist.all_gather(list(everyones.chunk(self.size)), rows.contiguous())
        return everyones

    def sum_rows(self, rows: Tensor) -> Tensor:
        """(B, ...): of the sum over all processes of rows (size * B, ...), those that gather_rows had from here.

        It is the gradient of gather_rows. `rows` may hold anything afterwards; carries no gradient itself.
        """
        if self.size == 1:
            return rows
        if self.device.type == "cuda":
            ours = rows.new_empty(len(rows) // self.size, *rows.shape[1:])
            dist.reduce_scatter(ours, list(rows.chunk(self.size)))
            return ours
        dist.all_reduce(rows)                              # gloo has no reduce-scatter in every version of torch
        return rows.chunk(self.size)[self.rank]

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes of `values` (...), which it replaces; to the bit the same everywhere."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true in some process; returns when all have asked."""
        if self.size == 1:
            return flag                                    # without waiting for a GPU
        return self.sum(torch.tensor(float(flag), device=self.device)).item() > 0

    def require_same(self, what: str, numbers: Sequence[int]) -> None:
        """Raises UserError in all processes, naming `what`, unless all give the same numbers, as many of them."""
        everyones = self.gather_rows(torch.tensor([numbers], device=self.device))      # (size, n)
        other = (everyones != everyones[0]).any(dim=1).nonzero()
        if len(other):
            rank = other[0].item()
            raise UserError(f"process {rank + 1} of {self.size} found {what} other than the first did "
                            f"({everyones[rank].tolist()}, not {everyones[0].tolist()}); all machines need the same "
                            "data and, on a disk that they share, the same EXP_DIR")

    def rows_here(self, n_rows: int) -> slice:
        """Which of n_rows, such as one weight a speaker, this process holds: about n_rows / size in a run."""
        return _rows_of(self.rank, self.size, n_rows)

    def whole_rows(self, rows: Tensor, n_rows: int) -> Tensor | None:
        """(n_rows, ...) on the CPU of the first process, when each gives the `rows` it holds; None for the others.

        One process's rows at a time go over the wire, so that no device holds more than two shares.
        """
        rows = rows.detach().contiguous()
        if self.size == 1:
            return rows.cpu()
        if not self.is_first:
            if len(rows):
                dist.send(rows, dst=0)
            return None
        whole = torch.empty(n_rows, *rows.shape[1:], dtype=rows.dtype)
        whole[self.rows_here(n_rows)] = rows
        for rank in range(1, self.size):
            theirs = whole[_rows_of(rank, self.size, n_rows)]
            if len(theirs):
                share = torch.empty_like(theirs, device=rows.device)
                dist.recv(share, src=rank)
                theirs.copy_(share)
        return whole


def started_as_one_of_several() -> bool:
    """Whether torchrun, or `launch` in its manner, started this process."""
    return "RANK" in os.environ


@contextmanager
def joined(device: torch.device, timeout_s: float = 1800.0) -> Iterator[World]:
    """While the block runs, the world that torchrun's environment describes; without it, this process alone.

    device: "cuda" stands for the GPU with the number of the local rank. A process that waits timeout_s for the others
    gives up, so the block of one must not keep the others waiting longer. After a block without an exception, a process
    waits for the others to come to the end of theirs: none should leave by sys.exit.

    Raises UserError for an environment that makes no sense, for more processes than GPUs, for a first process that
    cannot be reached, and when another process is gone in the middle of the block.
    """
    if not started_as_one_of_several():
        yield World(device=device)
        return
    rank, local_rank, size = _place()
    check_gpus(local_rank + 1, device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", local_rank)
    world = World(rank, size, local_rank, device)
    if size == 1:
        yield world
        return
    _connect(world, timeout_s)
    try:
        yield world
        world.any(False)
    except BaseException as fault:
        _let_go_of_what_it_holds(fault)
        if not (isinstance(fault, RuntimeError) and _is_of_the_network(fault)):
            raise
        raise UserError(f"process {world.rank + 1} of {world.size} lost another one ({_first_line(fault)}); what ended "
                        "that one stands above, or in its machine's log") from None
    finally:
        gc.collect()
        dist.destroy_process_group()


def _let_go_of_what_it_holds(fault: BaseException) -> None:
    """Forget the local variables of the frames that `fault` and those before it came through and that have ended.

    A DistributedDataParallel among them would outlive the group of processes and, when it goes, wait for ever: for a
    thread of the group that waits for Python's lock, which is held then (torch 2.13, gloo).
    """
    while fault:
        traceback.clear_frames(fault.__traceback__)
        fault = fault.__cause__ or fault.__context__


def check_gpus(n_processes: int, device: torch.device) -> None:
    """Raises UserError when several processes on this machine want one GPU, or one each of fewer GPUs than they are."""
    if device.type != "cuda" or n_processes == 1:
        return
    if device.index is not None:
        raise UserError(f"--device {device}: several processes cannot share a GPU; --device cuda gives each its own")
    if n_processes > torch.cuda.device_count():
        raise UserError(f"{n_processes} processes want a GPU each and this machine has {torch.cuda.device_count()}; "
                        "start as many as there are GPUs")


def _rows_of(rank: int, size: int, n_rows: int) -> slice:
    return slice(n_rows * rank // size, n_rows * (rank + 1) // size)


def _place() -> tuple[int, int, int]:
    """(rank, local rank, size) from the environment."""
    missing = [name for name in (*_PLACE, *_MEETING_POINT) if not os.environ.get(name)]
    if missing:
        raise UserError(f"RANK is set in the environment and {', '.join(missing)} is not; start with torchrun, or "
                        "unset RANK to train in one process")
    numbers = []
    for name in _PLACE:
        if not os.environ[name].isdecimal():
            raise UserError(f"{name}={os.environ[name]} in the environment: it must be a whole number; start with "
                            "torchrun")
        numbers.append(int(os.environ[name]))
    rank, local_rank, size = numbers
    if not local_rank <= rank < size:
        raise UserError(f"RANK={rank}, LOCAL_RANK={local_rank}, WORLD_SIZE={size} in the environment: LOCAL_RANK is at "
                        "most RANK, which is below WORLD_SIZE; start with torchrun")
    return rank, local_rank, size


def _connect(world: World, timeout_s: float) -> None:
    if world.device.type == "cuda":
        torch.cuda.set_device(world.device)                # NCCL, and what is made without a device, go by this
    address = ":".join(os.environ[name] for name in _MEETING_POINT)
    try:
        dist.init_process_group("nccl" if world.device.type == "cuda" else "gloo", timeout=timedelta(seconds=timeout_s))
    except (RuntimeError, ValueError) as fault:            # torch's errors of the network are RuntimeErrors
        raise UserError(f"process {world.rank} of {world.size} found no connection to the first, at {address} "
                        f"({_first_line(fault)}); MASTER_ADDR and MASTER_PORT must be its machine and a free "
                        "port there") from None


def _is_of_the_network(fault: RuntimeError) -> bool:
    """Whether torch says that an exchange failed: NCCL has classes of its own for it, gloo its name in the text."""
    return isinstance(fault, dist.DistError) or "gloo" in str(fault)


def _first_line(fault: Exception) -> str:
    return str(fault).strip().partition("\n")[0]
