"""The one exception that means "a person can mend this"."""


class UserError(Exception):
    """A user's mistake, in one line: what is wrong, where (file:line, utterance), what to do.

    Steps print it and exit 1; a traceback is kept for our own bugs.
    """


def first_few(names, limit: int = 3) -> str:
    """The first `limit` of `names`, comma-separated, with "..." when there are more."""
    names = list(names)
    return ", ".join(map(str, names[:limit])) + (", ..." if len(names) > limit else "")
