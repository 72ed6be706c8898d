"""The exceptions that executables expect: "a person can mend this", and "start me again"."""


class UserError(Exception):
    """A user's mistake, in one line: what is wrong, where (file:line, utterance), what to do.

    Steps print it and exit 1; a traceback is kept for our own bugs.
    """


INTERRUPTED, START_AGAIN = 130, 99      # exit codes: of Ctrl-C, and what has Grid Engine start a job again


class StartAgainError(Exception):
    """A scheduler asked the program to end; all is saved, and the same command goes on. Steps exit START_AGAIN."""


def first_few(names, limit: int = 3) -> str:
    """The first `limit` of `names`, comma-separated, with "..." when there are more."""
    names = list(names)
    return ", ".join(map(str, names[:limit])) + (", ..." if len(names) > limit else "")
