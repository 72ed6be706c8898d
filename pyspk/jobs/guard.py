"""Commands of which none outlives the process that starts them."""

import os
import subprocess

_LOOK_EVERY_S = 0.02


class Guard:
    """Starts commands, each in a process group of its own, none of which outlives this process.

    A small bash process, in a session of its own where no Ctrl-C reaches it, reads a pipe whose other end is
    here: "PID" for a group that began, "-PID" for one that ended. The pipe ends when this process leaves the
    `with` block or dies, kill -9 included; then what is left gets SIGTERM and, GRACE_S later, SIGKILL.
    PR_SET_PDEATHSIG would reach a job's first process only, not the parts of its pipe.
    """

    GRACE_S = 10
    SCRIPT = r"""
        trap '' HUP INT TERM
        while read -r line; do
          case $line in -*) unset "alive[${line#-}]" ;; *) alive[line]=1 ;; esac
        done
        send() {
          for group in "${!alive[@]}"; do kill -s "$1" -- "-$group" || unset "alive[$group]"; done
          [ "${#alive[@]}" -gt 0 ]
        }
        send TERM
        for ((tick = 0; tick < 10 * $1; tick++)); do send 0 || exit 0; sleep 0.1; done
        send KILL
    """
    # The command itself tells its number before it begins, so that no kill can fall between the two.
    BEGIN = 'fd=$0; echo "$$" >&"$fd"; exec "$@" {fd}>&-'

    def __enter__(self) -> "Guard":
        self._bash = subprocess.Popen(["bash", "-c", self.SCRIPT, "guard", str(self.GRACE_S)],
                                      stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL, start_new_session=True)
        self._pipe = self._bash.stdin.fileno()
        self._started: dict[int, subprocess.Popen] = {}
        return self

    def start(self, argv: list[str], **streams) -> subprocess.Popen:
        """Begin `argv`; streams: Popen's stdin, stdout and stderr."""
        process = subprocess.Popen(["bash", "-c", self.BEGIN, str(self._pipe), *argv], pass_fds=[self._pipe],
                                   start_new_session=True, **streams)
        self._started[process.pid] = process
        return process

    def forget(self, process: subprocess.Popen) -> None:
        """`process` has been waited for: its number may soon be another's."""
        del self._started[process.pid]
        os.write(self._pipe, b"-%d\n" % process.pid)

    def __exit__(self, *_) -> None:
        for process in list(self._started.values()):
            if process.poll() is not None:
                self.forget(process)
        self._bash.stdin.close()
        while True:
            try:
                self._bash.wait(timeout=_LOOK_EVERY_S)
                return
            except subprocess.TimeoutExpired:
                for process in self._started.values():
                    process.poll()            # a dead child that nobody waits for keeps its group alive
