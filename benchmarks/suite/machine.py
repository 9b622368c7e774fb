"""What a run ran on: machine, versions, BLAS, commit.  No host or user name, no paths."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .threads import usable_cores

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "faiss-cpu", "av", "opencv-contrib-python")


def machine() -> dict[str, Any]:
    """Return CPU model, cores, memory, operating system and Python."""
    return {
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "ram_gib": _ram_gib(),
        "os": f"{platform.system()} {platform.release()} {platform.machine()}".strip(),
        "python": platform.python_version(),
    }


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.processor() or platform.machine() or "unknown"


def _ram_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def versions() -> dict[str, str | None]:
    """Return package → version of what is installed, None where it is not."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def blas() -> list[dict[str, Any]]:
    """Return the linear algebra libraries in use: those that threadpoolctl sees, and torch's own.

    torch and faiss are imported for it, since a library that is not loaded can't be seen.
    """
    import numpy  # noqa: F401
    import torch
    from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

    with suppress(ImportError):
        import faiss  # noqa: F401
    found = [
        {
            "library": str(each.get("internal_api")),
            "version": each.get("version"),
            "threads": each.get("num_threads"),
            "architecture": each.get("architecture"),
            "of": _owner(str(each.get("filepath", ""))),
        }
        for each in threadpool_info()
        if each.get("user_api") == "blas"
    ]
    # torch's wheels have MKL linked in statically, where threadpoolctl does not see it
    mkl = re.search(r"Math Kernel Library Version (\S+)", torch.__config__.show())
    if mkl:
        found.append(
            {
                "library": "mkl",
                "version": mkl.group(1),
                "threads": torch.get_num_threads(),
                "architecture": None,
                "of": "torch",
            }
        )
    return found


def _owner(path: str) -> str:
    """Return which package a library's file belongs to, from its folder: ``numpy.libs`` → ``numpy``."""
    folder = Path(path).parent.name
    return folder.removesuffix(".libs") if folder.endswith(".libs") else Path(path).name.split(".")[0]


def commit() -> dict[str, Any] | None:
    """Return ``{"commit", "modified"}`` of this checkout, or None where it is none or git is absent."""
    try:
        head = _git("rev-parse", "HEAD")
        return {"commit": head, "modified": bool(_git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*words: str) -> str:
    done = subprocess.run(  # noqa: S603 - fixed words, no shell, this repository
        ["git", "-C", str(REPOSITORY), *words],  # noqa: S607 - git is where PATH says
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    return done.stdout.strip()
