"""Checkpoints of MultiOOD's authors → our network's state dict.

Their training saves one file with a state dict a part (each may carry DataParallel's ``module.``):
``model_state_dict`` (video) and ``model_flow_state_dict``: mmaction's recognisers; ``audio_model_state_dict``: the
VGGSound network, whose trunk is used; ``audio_cls_model_state_dict``: its last stage and the audio head;
``mlp_cls_state_dict``: the fusion head on [video, flow] or [video, audio, flow].

Of a recogniser's head only ``fc_cls`` is used: SlowFast's in their HMDB51, UCF101 and Kinetics scripts always has a
layer ``fc_reduce``, which their forward pass skips.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .weights import State, audio_names, is_state

FUSION = "mlp_cls_state_dict"
RECOGNISERS = {"video": "model_state_dict", "flow": "model_flow_state_dict"}
AUDIO_TRUNK, AUDIO_STAGE = "audio_model_state_dict", "audio_cls_model_state_dict"


def is_authors(content: Any) -> bool:
    """Whether ``content`` is a checkpoint of the authors' training scripts."""
    parts = (*RECOGNISERS.values(), AUDIO_TRUNK, AUDIO_STAGE, FUSION)
    return (
        isinstance(content, Mapping)
        and is_state(content.get(FUSION))
        and any(key in content for key in RECOGNISERS.values())
        and all(is_state(content[key]) for key in parts if key in content)
    )


def convert(content: Mapping[str, State]) -> dict[str, Tensor]:
    """Return the state dict of a `ClipFusionNet` with the same weights.

    Its encoders are in the order of their concatenated embedding: video, audio, flow.
    """
    state = _recogniser("video", content)
    for key, value in audio_names(_plain(content.get(AUDIO_TRUNK, {}))):
        if not key.startswith(("net.fc", "net.layer4")):
            state[f"encoders.audio.backbone.{key}"] = value
    for key, value in audio_names(_plain(content.get(AUDIO_STAGE, {}))):
        if key.startswith("net.fc."):
            state[f"heads.audio.{key.removeprefix('net.fc.')}"] = value
        else:
            state[f"encoders.audio.backbone.{key}"] = value
    state |= _recogniser("flow", content)
    for key, value in _plain(content[FUSION]).items():
        state[f"fc.{key.removeprefix('enc_net.')}"] = value
    return state


def _recogniser(modality: str, content: Mapping[str, State]) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for name, value in _plain(content.get(RECOGNISERS[modality], {})).items():
        if name.startswith("cls_head.fc_cls."):
            state[f"heads.{modality}.{name.removeprefix('cls_head.fc_cls.')}"] = value
        elif not name.startswith("cls_head."):
            state[f"encoders.{modality}.{name}"] = value
    return state


def _plain(state: State) -> State:
    return {key.removeprefix("module."): value for key, value in state.items()}
