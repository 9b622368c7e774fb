"""Where OpenOOD's own evaluators write: a folder a postprocessor, as ours do, and a run replaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..evaluators.outputs import ID_NAME, SetScores, write_scores
from ..files.paths import file_name, remove

CSV = "ood.csv"


def file_by_postprocessor(evaluator: Any, postprocessor: str, id_name: str) -> None:
    """Let one of OpenOOD's OOD evaluators write ``<postprocessor>/ood.csv`` and ``scores/<postprocessor>/``.

    OpenOOD appends to one ``ood.csv`` a folder, which doesn't say whose results it holds, and overwrites ``scores/``.

    Args:
        evaluator: OpenOOD's, just made; changed in place.
        postprocessor: its name in the config.
        id_name: the in-distribution dataset's name.
    """
    config = evaluator.config
    folder = Path(config["output_dir"])
    own = folder / file_name(postprocessor, "postprocessor")
    evaluator.config = type(config)(config)
    evaluator.config["output_dir"] = str(own)
    save_csv = evaluator._save_csv
    started = False

    def replacing(*args: Any, **kwargs: Any) -> Any:
        nonlocal started
        if not started:
            own.mkdir(parents=True, exist_ok=True)
            remove(own, CSV)
            started = True
        return save_csv(*args, **kwargs)

    def save_scores(pred: Any, conf: Any, label: Any, name: str) -> None:
        write_scores(
            folder, postprocessor, ID_NAME if name == id_name else name, SetScores(pred, conf, label)
        )

    evaluator._save_csv, evaluator._save_scores = replacing, save_scores
