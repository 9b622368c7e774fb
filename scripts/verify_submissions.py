"""Verify the submissions that differ from another revision: what a pull request's check runs.

    python scripts/verify_submissions.py origin/main

Prints the report of ``openood-mm leaderboard verify`` and exits with 1 if it refuses anything.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from openood_multimodal.cli import main as openood_mm

SUBMISSIONS = "leaderboard/submissions"


def changed(base: str, repository: Path) -> list[str]:
    """Return the folders in `SUBMISSIONS` that differ from where HEAD left ``base``, and that are still there."""
    command = ["git", "diff", "--name-only", "-z", "--no-renames", f"{base}...HEAD", "--", SUBMISSIONS]
    done = subprocess.run(command, cwd=repository, check=True, stdout=subprocess.PIPE)  # noqa: S603 - no shell
    names = done.stdout.decode().split("\0")
    folders = {"/".join(name.split("/")[:3]) for name in names}
    return sorted(
        name for name in folders if (repository / name).is_dir() and name.startswith(f"{SUBMISSIONS}/")
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Verify what changed; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", help="a revision, e.g. origin/main")
    parser.add_argument(
        "--in", dest="repository", type=Path, default=Path(), help="a checkout (default: this folder)"
    )
    options = parser.parse_args(argv)
    folders = changed(options.base, options.repository)
    if not folders:
        print(f"No submission below {SUBMISSIONS} differs from {options.base}.")
        return 0
    os.chdir(options.repository)
    return openood_mm(["leaderboard", "verify", *folders])


if __name__ == "__main__":
    raise SystemExit(main())
