"""OpenOOD's own wrapper networks around ours: what makes ASH shape and ReAct clip.

OpenOOD's ``get_network`` knows ``react_net`` and ``dropout_net`` only, and its ``forward_threshold`` means a
clipping threshold in one wrapper and a percentile in another, so an ``ash`` config on an unwrapped network
would silently score energies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from ..errors import UserError
from ..networks import EmbeddingHead, load_checkpoint
from .host import openood_class, openood_module

WRAPPERS: Mapping[str, tuple[str, str]] = {
    "react": ("networks.react_net", "ReactNet"),
    "ash": ("networks.ash_net", "ASHNet"),
    "scale": ("networks.scale_net", "ScaleNet"),
    "adascale_a": ("networks.adascale_net", "AdaScaleANet"),
    "adascale_l": ("networks.adascale_net", "AdaScaleLNet"),
    "dropout": ("networks.dropout_net", "DropoutNet"),
}
"""Key in recipes → module under ``openood`` and class."""

INJECTED: Mapping[str, str] = {
    "ash_net": "ash",
    "scale_net": "scale",
    "adascale_net": "adascale_a",
    "adascale_a_net": "adascale_a",
    "adascale_l_net": "adascale_l",
}
"""``network.name`` that OpenOOD's ``get_network`` lacks → key of `WRAPPERS`."""


def wrap(net: nn.Module, wrapper: str, **arguments: Any) -> nn.Module:
    """Return OpenOOD's wrapper network around ``net``; ``net`` itself where it is wrapped so already.

    Args:
        net: answers the network protocol (see `networks.MultimodalNetwork`).
        wrapper: a key of `WRAPPERS`.
        arguments: what that class takes besides, for instance ``dropout_p``.

    Raises:
        UserError: when this version of OpenOOD lacks the class.
    """
    kind = openood_class(*WRAPPERS[wrapper])
    wrapped: nn.Module = net if type(net) is kind else kind(net, **arguments)
    return wrapped


def wrapped_networks(
    build: Callable[[Any], nn.Module] | None = None,
) -> dict[str, Callable[[Any], nn.Module]]:
    """Return ``network.name`` → a function of the network config, for the wrappers that OpenOOD can't name.

    Such a config is shaped as OpenOOD's ``react_net.yml``: the network that is wrapped is, whole, under
    ``network.backbone``.  ``pretrained`` and ``checkpoint`` may stand there or one level up; the file is the
    one that training the plain network wrote.

    Args:
        build: makes the backbone from its config; None: OpenOOD's ``get_network``, as it is when called.
    """

    def builder(wrapper: str) -> Callable[[Any], nn.Module]:
        def make(network_config: Any) -> nn.Module:
            return _build_wrapped(network_config, wrapper, build)

        make.__name__ = make.__qualname__ = f"{wrapper}_net"
        return make

    return {name: builder(wrapper) for name, wrapper in INJECTED.items()}


def _build_wrapped(config: Any, wrapper: str, build: Callable[[Any], nn.Module] | None) -> nn.Module:
    backbone = config.get("backbone")
    if not isinstance(backbone, Mapping) or not backbone.get("name"):
        raise UserError(
            f"network.name: {config['name']} goes around another network: put that network's whole config "
            "under network.backbone (name, num_classes, modalities, checkpoint, ...)."
        )
    if build is None:
        build = openood_module("networks.utils").get_network
    net = build(backbone)
    checkpoint = config.get("checkpoint")
    if config.get("pretrained") and checkpoint and checkpoint != "none":
        load_checkpoint(net, checkpoint)
    return wrap(net, wrapper)


class ImageShapedHead(EmbeddingHead):
    """An `EmbeddingHead` for embeddings that are shaped as images of one pixel, ``[B, D, 1, 1]``."""

    def forward(self, data: Tensor, return_feature: bool = False, return_feature_list: bool = False) -> Any:
        """As `EmbeddingHead.forward`."""
        return super().forward(data.flatten(1), return_feature, return_feature_list)


class RectifiedHead(EmbeddingHead):
    """An `EmbeddingHead` with a ReLU on the side, for methods that listen to ReLUs; logits don't pass it."""

    def __init__(self, weight: Any, bias: Any) -> None:
        super().__init__(weight, bias)
        self.rectified = nn.ReLU()

    def forward(self, data: Tensor, return_feature: bool = False, return_feature_list: bool = False) -> Any:
        """As `EmbeddingHead.forward`."""
        self.rectified(data)
        return super().forward(data, return_feature, return_feature_list)
