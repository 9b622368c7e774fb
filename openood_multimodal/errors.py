"""The one error that a user is meant to read.

Every message says what is wrong, where, and what to do about it.  The command line prints the message
without a traceback and exits with code 2.
"""


class UserError(ValueError):
    """Bad input: a file, a configuration key, an array, a name.  The message holds the remedy."""


class MissingPackageError(UserError, ImportError):
    """An optional package is needed and absent.  The message holds the command that installs it."""
