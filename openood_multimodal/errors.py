"""The one error that a user is meant to read.

Every message says what is wrong, where, and what to do about it.  The command line prints the message
without a traceback and exits with code 2.
"""

_LONGEST = 2500
_END = 500


class UserError(ValueError):
    """Bad input: a file, a configuration key, an array, a name.  The message holds the remedy.

    A message of more than 2500 characters, which some name or value in a file has made so long, loses its middle.
    """

    def __init__(self, *args: object) -> None:
        if args and isinstance(args[0], str) and len(args[0]) > _LONGEST:
            text = args[0]
            args = (f"{text[: _LONGEST - _END - 10]} [...] {text[-_END:]}", *args[1:])
        super().__init__(*args)


class MissingPackageError(UserError, ImportError):
    """An optional package is needed and absent.  The message holds the command that installs it."""
