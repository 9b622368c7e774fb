"""The one place that knows mmaction2: a backbone's configuration → a plain torch module."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

from ...errors import MissingPackageError

INSTALL = 'pip install "openood-multimodal[video]"'


def build_backbone(config: Mapping[str, Any]) -> nn.Module:
    """Build a backbone of mmaction2, with random weights; nothing is downloaded.

    Args:
        config: as mmaction2 writes it, with ``type``.

    Raises:
        MissingPackageError: when mmaction2 is not installed, or its models can't be imported.
    """
    with _quiet():
        try:
            import mmaction.models  # noqa: F401 - fills the registry
            from mmaction.registry import MODELS
        except ImportError as error:
            raise MissingPackageError(
                f"networks of clips are built by mmaction2, which can't be imported ({error}). Run: {INSTALL}"
            ) from error
        backbone = MODELS.build({"pretrained": None, **config})
        backbone.init_weights()
    return backbone


@contextmanager
def _quiet() -> Iterator[None]:
    """Without mmaction2's warnings of operators that nothing here uses, and its page of text for every weight."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.INFO))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
