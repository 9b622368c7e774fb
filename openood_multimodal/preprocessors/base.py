"""The contract of a preprocessor, and the one that changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..config import bind
from ..datasets.batch import ModalityBatch
from ..registry import PREPROCESSORS


@PREPROCESSORS.register("multimodal_base")
class MultimodalPreprocessor:
    """Leaves features as they are; the base class of the others.

    A preprocessor is called with a whole batch.  Whatever it draws at random is a function of the seed, the
    epoch and a sample's index alone, so that neither the batch, its order nor the worker matters.

    Args:
        config: the whole config; its section ``preprocessor`` holds the parameters, ``seed`` the seed (0).
        split: ``train``, ``val``, ``test``, or an OOD group.

    Attributes:
        seed: what the dataset passes to the call.
        split: as given.
        params: the bound parameters.
    """

    handles_modalities: ClassVar[bool] = True
    """Marks preprocessors that take a ModalityBatch; datasets ignore those without it (OpenOOD's, for
    images)."""

    @dataclass(frozen=True)
    class Params:
        """No parameters."""

    def __init__(self, config: Mapping[str, Any], split: str) -> None:
        self.split = split
        self.seed = int(config.get("seed") or 0)
        section = config.get("preprocessor") or {}
        self.params: Any = bind(section, self.Params, "preprocessor", ignore=("name",))

    def __call__(self, data: ModalityBatch, seed: int, epoch: int, indices: Sequence[int]) -> ModalityBatch:
        """Return the batch to be used in place of ``data``, which is not changed.

        Args:
            data: modality → float32 ``[B, ...]``.
            seed: seed of the run.
            epoch: counted from 1 in training; 0 before.
            indices: the B samples' places in the dataset.
        """
        return data
