"""The one error that a user is meant to read.

Every message says what is wrong, where, and what to do about it.  The command line prints the message
without a traceback and exits with code 2.
"""

from __future__ import annotations

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


class ArgumentError(UserError):
    """An argument has a value that it can't have.

    Attributes:
        argument: the name of the Python argument, with which the message begins; the command line puts its option's
            name there.
        fault: the rest of the message.
    """

    def __init__(self, argument: str, fault: str) -> None:
        super().__init__(f"{argument} {fault}")
        self.argument, self.fault = argument, fault

    def __reduce__(self) -> tuple[type[ArgumentError], tuple[str, str]]:
        return ArgumentError, (self.argument, self.fault)


class MissingPackageError(UserError, ImportError):
    """An optional package is needed and absent.  The message holds the command that installs it."""


def out_of_memory(error: BaseException) -> UserError | None:
    """Return what to tell a user whose memory ran out, a GPU's or this host's; None for any other error."""
    gpu = type(error).__name__ == "OutOfMemoryError"  # torch's, which isn't imported for this
    if not gpu and not isinstance(error, MemoryError) and "can't allocate memory" not in str(error):
        return None
    if gpu:
        return UserError(
            "a GPU's memory ran out. Lower dataset.<split>.batch_size (--training.accumulate N keeps the effective "
            "size), or set training.precision to bfloat16."
        )
    return UserError(
        "this host's memory ran out. Lower dataset.<split>.batch_size or num_workers; for scores, --chunk-rows."
    )
