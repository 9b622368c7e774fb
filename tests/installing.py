"""Packages as pip leaves them: modules and a dist-info folder, on ``sys.path`` and known to importlib.metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def install(
    folder: Path, package: str, modules: Mapping[str, str], entry_points: Mapping[str, Mapping[str, str]]
) -> Path:
    """Write ``modules`` (name → source) and the dist-info of ``package`` into ``folder``, and return it.

    Args:
        folder: to be put on ``sys.path``.
        package: name of the distribution.
        modules: name → source.
        entry_points: kind, as in ``registry.ALL``, → name → ``"module:attribute"``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source)
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = []
    for kind, points in entry_points.items():
        lines += [f"[openood_multimodal.{kind}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder
