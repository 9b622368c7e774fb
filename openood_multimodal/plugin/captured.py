"""OpenOOD's ``main.py`` in this process, with what it prints caught: for the generated pages."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Iterator, Sequence

from .finding import find_openood


def run_main(words: Sequence[str]) -> tuple[str, str]:
    """Run OpenOOD's main.py as ``python -m openood_multimodal.plugin`` does.

    Args:
        words: what follows ``main.py``.

    Returns:
        The message of a refusal, or the exception that OpenOOD raised (empty: it ran); and what was printed.
    """
    from .__main__ import main

    said, errors = io.StringIO(), io.StringIO()
    with streams(said, errors), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            code = main([str(find_openood() / "main.py"), *words])
        except Exception as error:  # the page says what OpenOOD raises, whatever it is
            return f"{type(error).__name__}: {error}", said.getvalue()
    refused = errors.getvalue().strip().rpartition("\n")[2].removeprefix("openood-multimodal: ")
    return (refused if code else ""), said.getvalue()


@contextlib.contextmanager
def streams(out: io.StringIO, errors: io.StringIO) -> Iterator[None]:
    """Catch what is printed; OpenOOD's logger replaces ``sys.stdout``, and closes it in the end."""
    held = sys.stdout, sys.stderr, sys.argv, list(sys.path)
    sys.stdout, sys.stderr = out, errors
    out.close = errors.close = lambda: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        sys.stdout, sys.stderr, sys.argv, sys.path[:] = held
