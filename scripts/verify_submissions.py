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
from openood_multimodal.pipelines.submission import SUMS

SUBMISSIONS = "leaderboard/submissions"


def changed(base: str, repository: Path) -> list[str]:
    """Return the folders in `SUBMISSIONS` that differ from where HEAD left ``base``, and that are still there."""
    command = ["git", "diff", "--name-only", "-z", "--no-renames", f"{base}...HEAD", "--", SUBMISSIONS]
    done = subprocess.run(command, cwd=repository, check=False, stdout=subprocess.PIPE)  # noqa: S603 - no shell
    if done.returncode:
        raise SystemExit(
            f"HEAD can't be compared with {base}: name a revision that it comes from, and fetch it."
        )
    names = done.stdout.decode().split("\0")
    root = repository.resolve()
    if links := [name for name in names if name and (root / name).resolve() != root / name]:
        raise SystemExit(f"{links[0]} is, or is behind, a symbolic link; a submission has plain files only.")
    folders = sorted({"/".join(name.split("/")[:3]) for name in names if name.startswith(f"{SUBMISSIONS}/")})
    folders = [name for name in folders if (root / name).is_dir()]
    if without := [name for name in folders if not (root / name / SUMS).is_file()]:
        raise SystemExit(f"{without[0]} has no {SUMS}; write submissions with openood-mm leaderboard submit.")
    return folders


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
