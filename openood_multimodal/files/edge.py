"""The edge between this package and whatever reads a file for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import UserError

_LONGEST = 200


@contextmanager
def reading(path: str | os.PathLike[str], what: str, remedy: str = "Get the file again.") -> Iterator[None]:
    """Turn whatever a reader raises in the block into one `UserError` that begins with the file's name.

    Damaged bytes make readers (JSON, YAML, zip, NumPy, torch, codecs) raise nearly anything, so every `Exception` is
    turned.  Keep the block to the reader's own call: a mistake of ours would be taken for a damaged file.

    Args:
        path: the file.
        what: what it should be, with its article: ``"an embedding store's meta.json"``.
        remedy: one sentence, what to do about it.

    Raises:
        UserError: for any exception in the block; a `UserError` passes, its message begins with the file's name.
    """
    try:
        yield
    except UserError as error:
        if str(path) in str(error):
            raise
        raise UserError(f"{path}: {error}") from error
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file.") from error
    except OSError as error:
        if error.errno is None:  # PIL's and torch's own
            raise UserError(f"{path} is damaged, or not {what} ({reason_of(error)}). {remedy}") from error
        raise UserError(f"{path} can't be read: {error.strerror}.") from error
    except MemoryError as error:
        raise UserError(f"{path}: not enough memory to read it as {what}. {remedy}") from error
    except RecursionError as error:
        raise UserError(f"{path}: nested too deeply for {what}. {remedy}") from error
    except Exception as error:
        raise UserError(f"{path} is damaged, or not {what} ({reason_of(error)}). {remedy}") from error


def reason_of(error: BaseException) -> str:
    """Return an exception's message on one line, shortened; its type's name where it has none."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(error)).split()).rstrip(".")
    if isinstance(error, KeyError):
        text = f"{text} is missing"
    if not text:
        return type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
