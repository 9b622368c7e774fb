"""What the pages share: OpenOOD's ``main.py`` with its output caught, a process of its own, Markdown tables."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from openood_multimodal.errors import UserError
from openood_multimodal.plugin.__main__ import main as run_script
from openood_multimodal.plugin.host import VARIABLE, find_openood

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = "python scripts/openood_pages"


def table(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> list[str]:
    """Return the lines of a Markdown table; whatever is in a cell stays in it."""
    return [_line(header), f"|{'---|' * len(header)}", *map(_line, rows)]


def _line(cells: Iterable[Any]) -> str:
    return f"| {' | '.join(' '.join(str(cell).split()).replace('|', chr(92) + '|') for cell in cells)} |"


def run_main(words: Sequence[str]) -> tuple[str, str]:
    """Run OpenOOD's main.py in this process, as ``python -m openood_multimodal.plugin`` does.

    Args:
        words: what follows ``main.py``.

    Returns:
        The message of a refusal, or the exception that OpenOOD raised (empty: it ran); and what was printed.
    """
    said, errors = io.StringIO(), io.StringIO()
    with streams(said, errors), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            code = run_script([str(find_openood() / "main.py"), *words])
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


def ask_process(words: Sequence[str], root: str | os.PathLike[str]) -> dict[str, Any]:
    """Run a Python file in a process of its own, which imports the OpenOOD in ``root``, on one thread.

    Args:
        words: the file and its arguments.
        root: OpenOOD's folder.

    Returns:
        The JSON object in the last line of its output.

    Raises:
        UserError: when it fails.
    """
    done = subprocess.run(  # noqa: S603 - this interpreter, our own files
        [sys.executable, *words],
        env={
            **os.environ,
            VARIABLE: str(root),
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *filter(None, sys.path)]),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UserError(f"{Path(words[0]).name} failed with the OpenOOD in {root}:\n{done.stderr[-3000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
