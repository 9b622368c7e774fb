"""Published weights → our encoders: key layouts, what matched, and an error where nothing did.

Files are read with ``weights_only=True``: tensors and plain values, never code.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ...errors import UserError
from ...files.tensors import read_tensors
from .ast import read_folder
from .encoder import ClipEncoder

State = Mapping[str, Tensor]

_WRAPPERS = ("state_dict", "model_state_dict")
_HEADS = ("cls_head.", "fc.", "fc_.", "audnet.fc.", "audnet.fc_.", "data_preprocessor.")
_LEAST = 0.5
"""With fewer of an encoder's weights found, the file is another network's."""


@dataclass(frozen=True)
class WeightsReport:
    """What a file's weights did for an encoder.

    Attributes:
        matched: entries of the encoder that were filled.
        missing: entries that the file lacks; they keep their random values.
        unexpected: entries of the file that the encoder doesn't have (classification heads apart).
        differing: entries whose shapes differ, with both.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    differing: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every weight of the encoder came from the file, and all of the file's are used."""
        return not (self.missing or self.unexpected or self.differing)

    def text(self) -> str:
        """Return one line for people."""
        parts = [f"{len(self.matched)} weights matched"]
        for what in ("missing", "unexpected", "differing"):
            names = getattr(self, what)
            if names:
                shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
                parts.append(f"{len(names)} {what} ({shown})")
        return "; ".join(parts)


def load_encoder(
    encoder: nn.Module, name: str, path: str | os.PathLike[str], random_stages: int = 0
) -> WeightsReport:
    """Load published weights into an encoder.

    Args:
        encoder: one of the catalogue, or another module, which takes a plain state dict of its own.
        name: its name in ``registry.ENCODERS``.
        path: a file of OpenMMLab's, VGGSound's, or a plain state dict with the same names; for ``ast`` a folder that
            transformers wrote.
        random_stages: how many of the last stages keep their random weights.

    Returns:
        What matched; the classification head of the file is not an encoder's business.

    Raises:
        UserError: when the file is missing, damaged, holds more than tensors and plain values, or fits less than half
            of the encoder.
    """
    path = Path(path)
    if isinstance(encoder, ClipEncoder) and name == "ast":
        return _load_ast(encoder, path)  # its stages are layers that are read together
    if not path.is_file():
        raise UserError(
            f"there are no weights at {path}. `openood-mm weights` says where they are published; or leave "
            "the encoder's checkpoint empty to start from random weights."
        )
    raw = read_tensors(
        path,
        "Download it again; a file that holds more than tensors has to be saved again with its state_dict only.",
    )
    if not isinstance(encoder, ClipEncoder):
        if random_stages:
            raise UserError(f"random_stages is {random_stages}, and the encoder {name} has no stages.")
        return fill(encoder, _state_of(raw, path), f"{path} (encoder {name})")
    given = rename(_state_of(raw, path), name)
    random = tuple(f"{each}." for each in encoder.last_stages(random_stages))
    return fill(encoder.backbone, given, f"{path} (encoder {name})", random)


def _load_ast(encoder: ClipEncoder, path: Path) -> WeightsReport:
    backbone, said = read_folder(path)
    loaded = backbone.state_dict()
    missing = tuple(f"model.{key}" for key in sorted(said.get("missing_keys", ())))
    report = WeightsReport(
        matched=tuple(key for key in loaded if key not in missing),
        missing=missing,
        unexpected=tuple(
            key for key in sorted(said.get("unexpected_keys", ())) if not key.startswith("classifier.")
        ),
        differing=tuple(str(key) for key in said.get("mismatched_keys", ())),
    )
    if len(report.matched) < _LEAST * len(loaded):
        raise UserError(f"{path} (encoder ast): these are another network's weights: {report.text()}.")
    gradients = {key: value.requires_grad for key, value in encoder.backbone.named_parameters()}
    encoder.backbone = backbone
    for key, value in backbone.named_parameters():
        value.requires_grad_(gradients[key])
    return report


def fill(module: nn.Module, given: State, where: str, random: tuple[str, ...] = ()) -> WeightsReport:
    """Copy ``given`` into ``module`` where names and shapes agree; see `load_encoder`.

    Args:
        module: filled in place.
        given: name → tensor.
        where: the file, for messages.
        random: beginnings of the names that are left as they are.
    """
    given = {key: value for key, value in given.items() if not (random and key.startswith(random))}
    own = {
        key: value for key, value in module.state_dict().items() if not (random and key.startswith(random))
    }
    counted = [key for key in own if not key.endswith("num_batches_tracked")]
    differing = [key for key in own if key in given and given[key].shape != own[key].shape]
    matched = [key for key in own if key in given and key not in differing]
    report = WeightsReport(
        matched=tuple(matched),
        missing=tuple(key for key in counted if key not in given),
        unexpected=tuple(key for key in given if key not in own),
        differing=tuple(f"{key} {tuple(given[key].shape)} for {tuple(own[key].shape)}" for key in differing),
    )
    if sum(key in matched for key in counted) < _LEAST * len(counted):
        raise UserError(f"{where}: these are another network's weights: {report.text()}.")
    module.load_state_dict({key: given[key] for key in matched}, strict=False)
    return report


def _state_of(raw: Any, path: Path) -> State:
    for wrapper in _WRAPPERS:
        if isinstance(raw, Mapping) and isinstance(raw.get(wrapper), Mapping):
            raw = raw[wrapper]
    if not is_state(raw):
        raise UserError(
            f"{path} holds no state dict (name → tensor), on its own or under {' or '.join(_WRAPPERS)}."
        )
    return {key.removeprefix("module."): value for key, value in raw.items()}


def is_state(value: Any) -> bool:
    """Whether ``value`` maps names to tensors."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(key, str) and isinstance(each, Tensor) for key, each in value.items())
    )


def rename(state: State, name: str) -> dict[str, Tensor]:
    """Return a published state dict under the names of our encoder's backbone, without classification heads."""
    kept = {key: value for key, value in state.items() if not key.startswith(_HEADS)}
    if name == "audio_resnet18":
        return dict(audio_names(kept))
    inner = "net." if name == "tsn_r50_flow" else ""
    return {inner + key.removeprefix("backbone.").removeprefix("net."): value for key, value in kept.items()}


_AUDIO = (
    (re.compile(r"\bconv(\d)\.(weight)$"), r"conv\1.conv.\2"),
    (re.compile(r"\bbn(\d)\."), r"conv\1.bn."),
    (re.compile(r"\bdownsample\.0\."), "downsample.conv."),
    (re.compile(r"\bdownsample\.1\."), "downsample.bn."),
)


def audio_names(state: State) -> Iterable[tuple[str, Tensor]]:
    """Yield torchvision's names of a ResNet (VGGSound's, with or without ``audnet.``) as our backbone's."""
    for key, value in state.items():
        if key.startswith("net."):
            yield key, value
            continue
        new = key.removeprefix("audnet.").removeprefix("backbone.")
        for pattern, replacement in _AUDIO:
            new = pattern.sub(replacement, new)
        yield f"net.{new}", value
