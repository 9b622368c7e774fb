"""What of a machine can change a result's last digits: BLAS, torch, their CPU kernels and threads."""

from __future__ import annotations

import sys
from typing import Any

from threadpoolctl import threadpool_info  # type: ignore[import-untyped]


def describe_machine() -> dict[str, str]:
    """Return ``blas`` (NumPy's) and, where it is loaded, ``torch``: version, CPU capability, threads."""
    found = {}
    for library in threadpool_info():
        if library["user_api"] == "blas" and "blas" not in found:
            found["blas"] = _text(
                library["internal_api"],
                library.get("version"),
                library.get("architecture"),
                library["num_threads"],
            )
    torch = sys.modules.get("torch")
    if torch is not None:
        found["torch"] = _text(
            "torch", torch.__version__, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
        )
    return found


def _text(name: str, version: Any, capability: Any, threads: int) -> str:
    parts = [name, *(str(each) for each in (version, capability) if each)]
    return f"{' '.join(parts)}, {threads} thread{'' if threads == 1 else 's'}"
