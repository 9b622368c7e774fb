"""Authors' released code for tests: where the clones are, and definitions or statements taken out of them."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

REPOSITORIES = {
    "MULTIOOD_ROOT": "donghao51/MultiOOD",
    "DPU_ROOT": "lili0415/DPU-OOD-Detection",
    "ACR_ROOT": "mona4399/ACR",
    "VOS_ROOT": "deeplearning-wisc/vos",
    "NPOS_ROOT": "deeplearning-wisc/npos",
    "SIMMMDG_ROOT": "donghao51/SimMMDG",
    "OE_ROOT": "hendrycks/outlier-exposure",
    "ENERGY_ROOT": "wetliu/energy_ood",
    "MIXOE_ROOT": "zjysteven/MixOE",
    "DKD_ROOT": "megvii-research/mdistiller",
    "CONJNORM_ROOT": "60pen9/ConjNorm-Tractable-Density-Estimation-for-Out-of-Distribution-Detection",
    "DTE_ROOT": "vicliv/DTE",
    "FDBD_ROOT": "litianliu/fDBD-OOD",
    "HEAT_ROOT": "MarcLafon/heatood",
    "IGEOOD_ROOT": "igeood/Igeood",
    "LTS_ROOT": "andrijazz/lts",
    "NAC_ROOT": "BierOne/ood_coverage",
    "NECO_ROOT": "sgchr273/PSOD",
    "NNGUIDE_ROOT": "roomo7time/nnguide",
    "OPENOOD_ROOT": "Jingkang50/OpenOOD",
    "OPTFS_ROOT": "Qinyu-Allen-Zhao/OptFSOOD",
    "PNML_ROOT": "kobybibas/pnml_ood_detection",
    "RANKFEAT_ROOT": "KingJamesSong/RankFeat",
    "RELATION_ROOT": "snu-mllab/Neural-Relation-Graph",
    "SCALE_ROOT": "kai422/SCALE",
    "VRA_ROOT": "zeroQiaoba/VRA",
    "WDISCOOD_ROOT": "ivalab/WDiscOOD",
}


def clone(variable: str, file: str) -> Path:
    """Return ``file`` of the clone that ``variable`` names; skip without one."""
    root = os.environ.get(variable)
    if not root:
        pytest.skip(f"{variable} isn't set: a clone of github.com/{REPOSITORIES[variable]}")
    assert (Path(root) / file).is_file(), f"{root} has no {file}: no clone of {REPOSITORIES[variable]}?"
    return Path(root) / file


def definitions(script: Path, *names: str, **stand_ins: Any) -> dict[str, Any]:
    """Run the named definitions of ``script``, with ``stand_ins`` as further globals; return these globals."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    wanted = [node for node in tree.body if getattr(node, "name", None) in names]
    assert len(wanted) == len(names)
    found = {"torch": torch, "np": np, "nn": torch.nn, "F": F, **stand_ins, "__name__": script.stem}
    exec(compile(ast.Module(wanted, []), str(script), "exec"), found)
    return found


def run_lines(
    script: Path, names: dict[str, Any], *beginnings: str, constants: dict[Any, Any] | None = None
) -> dict[str, Any]:
    """Run the first statement of ``script`` that begins with each text, as ``ast.unparse`` writes it, on ``names``.

    ``constants``: a number in these statements → what takes its place.
    """
    lines = [
        node for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))) if isinstance(node, ast.stmt)
    ]
    names |= {"torch": torch, "F": F, "np": np}
    for text in beginnings:
        line = next(each for each in lines if ast.unparse(each).startswith(text))
        for node in ast.walk(line):
            if isinstance(node, ast.Constant) and isinstance(node.value, int) and constants:
                node.value = constants.get(node.value, node.value)
        exec(compile(ast.Module([line], []), str(script), "exec"), names)
    return names
