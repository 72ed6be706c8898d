"""Machines that train together, each with its own `launch`: how they find each other.

torchrun's rendezvous wants an address that is known beforehand. In a queue nobody knows where the first job will run,
so it opens the meeting point (c10d's TCPStore, as torchrun's) on a free port and says where in a file that all see.
"""

import socket
import time
from pathlib import Path
from typing import NamedTuple

import torch.distributed as dist

from pyspk.errors import UserError
from pyspk.tables.atomic import atomic_write

_HERE = "127.0.0.1"
_LOOK_EVERY_S = 1.0


class Nodes(NamedTuple):
    """This machine is number `this` of `count`; in the file `meeting` the first of several says where it is."""

    this: int = 1
    count: int = 1
    meeting: Path | None = None

    def meet(self, n_processes: int, patience_s: float = 1800.0) -> tuple[str, int, dist.TCPStore | None]:
        """(host, port) of the meeting point of n_processes on each machine, and itself where this is the first.

        It is held from the beginning: a free port looked up for later may be taken by then.
        Raises UserError when the first has not come in patience_s.
        """
        if self.this == 1:
            host = _HERE if self.count == 1 else socket.gethostname()
            store = dist.TCPStore(host, 0, self.count * n_processes, is_master=True, wait_for_workers=False)
            if self.meeting:
                with atomic_write(self.meeting) as file:
                    file.write(f"{host} {store.port}\n")
            return host, store.port, store
        give_up = time.monotonic() + patience_s
        while not self.meeting.exists():
            if time.monotonic() > give_up:
                raise UserError(f"machine {self.this} of {self.count} has waited {patience_s:.0f} s for the first, "
                                f"which has not begun (it writes {self.meeting}): no place for all at once?")
            list(self.meeting.parent.iterdir())      # has a network file system ask anew
            time.sleep(_LOOK_EVERY_S)
        host, port = self.meeting.read_text().split()
        return host, int(port), None


ALONE = Nodes()
