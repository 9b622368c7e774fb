"""OpenOOD's postprocessors as data: which class, which network around ours, which inputs; and users' own classes.

The classes stay OpenOOD's, and their parameters are read from its YAML files.  What is here is what OpenOOD leaves to
its reader: that ReAct wants a ``ReactNet``, that GRAM listens to ReLUs, that AdaSCALE perturbs something with pixels.
`UNSUITABLE` says of the rest why it can't run on embeddings.  Importing this module imports neither OpenOOD nor torch.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import read_yaml
from ..naming import did_you_mean
from ..registry import PREFIX, Registry
from .host import VARIABLE, find_openood, importable

OPENOOD_POSTPROCESSORS = Registry(
    "OpenOOD postprocessor", f"{PREFIX}openood_postprocessors", ("setup", "postprocess", "inference")
)
"""Postprocessors that users wrote for OpenOOD, under names of their own; their classes need not know this package.

A class is registered by decorator (``@OPENOOD_POSTPROCESSORS.register("margin")``) or by an entry point in the group
``openood_multimodal.openood_postprocessors``.  It is then a ``postprocessor.name`` inside OpenOOD, and one of
``engine: openood``.  It is constructed with OpenOOD's config, and may declare ``postprocessor_args`` and
``postprocessor_sweep`` (its defaults, as in OpenOOD's YAML files) and ``reads``, the in-distribution splits that its
``setup`` iterates over."""


@dataclass(frozen=True)
class Recipe:
    """How one of OpenOOD's postprocessors is run.

    Attributes:
        class_name: its class in ``openood.postprocessors``.
        reads: the splits that its ``setup`` iterates over.
        wrapper: which of OpenOOD's networks goes around ours: a key of `wrappers.WRAPPERS`, or None.
        shape: ``"plain"``; ``"image"`` where it asks for ``[B, D, 1, 1]``; ``"relu"`` where it listens to
            ReLU modules, of which a linear head has none.
        perturbs: whether it adds a gradient step to the network's input.
        needs_classes: whether training labels must be classes, with at least one row each.
        apply_args: whether parameters take effect through ``set_hyperparam`` only.
        config_file: its file under OpenOOD's ``configs/postprocessors/``; None: the name and ``.yml``.
        since_main: a name in its class's module that v1.5 lacks, and why that version's can't run; empty where it can.
        no_network: why it can't run on a network with several inputs; empty where it can.
        kind: a user's own class; None: OpenOOD's.
        note: what a reader of its results on embeddings has to know.
        network_note: likewise on a network; None: the same.
    """

    class_name: str
    reads: tuple[str, ...] = ()
    wrapper: str | None = None
    shape: str = "plain"
    perturbs: bool = False
    needs_classes: bool = False
    apply_args: bool = False
    config_file: str | None = None
    since_main: tuple[str, str] = ("", "")
    no_network: str = ""
    kind: Any = None
    note: str = ""
    network_note: str | None = None

    @property
    def wants_network(self) -> bool:
        """Whether it reads the input or inner layers, and can: on a head alone it gives other scores."""
        return (self.perturbs or self.shape == "relu") and not self.no_network


def _adascale(wrapper: str) -> Recipe:
    return Recipe(
        "AdaScalePostprocessor", reads=("val",), wrapper=wrapper, shape="image", perturbs=True, apply_args=True,
        no_network=_PIXELS, note="perturbs the embedding, which stands in for the image",
    )  # fmt: skip


_PIXELS = "perturbs the pixels of one image tensor [B, C, H, W]; a batch of several inputs is not one"
_TRAIN, _VAL = ("train",), ("val",)

RECIPES: Mapping[str, Recipe] = {
    "msp": Recipe("BasePostprocessor"),
    "ebo": Recipe("EBOPostprocessor"),
    "mls": Recipe("MaxLogitPostprocessor"),
    "gen": Recipe("GENPostprocessor"),
    "mds": Recipe("MDSPostprocessor", reads=_TRAIN, needs_classes=True),
    "knn": Recipe("KNNPostprocessor", reads=_TRAIN),
    "vim": Recipe("VIMPostprocessor", reads=_TRAIN),
    "react": Recipe("ReactPostprocessor", reads=_VAL, wrapper="react"),
    "ash": Recipe("ASHPostprocessor", wrapper="ash"),
    "scale": Recipe("ScalePostprocessor", wrapper="scale"),
    "adascale_a": _adascale("adascale_a"),
    "adascale_l": _adascale("adascale_l"),
    "odin": Recipe(
        "ODINPostprocessor", perturbs=True,
        note="perturbs the embedding, without the division by image deviations",
        network_note="perturbs every input of the network, without the division by image deviations",
    ),
    "iodin": Recipe(
        "IODINPostprocessor", shape="image", perturbs=True, no_network=_PIXELS,
        note="perturbs the one column of the embedding with the largest gradient",
    ),
    "rmds": Recipe("RMDSPostprocessor", reads=_TRAIN, needs_classes=True),
    "residual": Recipe(
        "ResidualPostprocessor", reads=("val", "test"),
        note="OpenOOD estimates its subspace from the validation set, not from the training set",
    ),
    "klm": Recipe("KLMatchingPostprocessor", reads=_VAL),
    "she": Recipe("SHEPostprocessor", reads=_TRAIN, needs_classes=True),
    "dice": Recipe(
        "DICEPostprocessor", reads=_TRAIN, note="a sweep over p changes nothing: OpenOOD keeps the first mask"
    ),
    "gradnorm": Recipe("GradNormPostprocessor"),
    "gram": Recipe(
        "GRAMPostprocessor", reads=_TRAIN, shape="relu", needs_classes=True,
        since_main=("FeatureExtractor", "at v1.5 it asks for the feature maps of five convolutional layers"),
        note="sees the positive part of the embedding", network_note="sees every ReLU of the network",
    ),
    "nci": Recipe("NCIPostprocessor", reads=_TRAIN),
    "fdbd": Recipe("fDBDPostprocessor", reads=_TRAIN),
    "nnguide": Recipe(
        "NNGuidePostprocessor", reads=_TRAIN,
        note="its bank is whole batches until alpha of the training set is passed, so it depends on batch_size",
    ),
    "relation": Recipe("RelationPostprocessor", reads=_TRAIN),
    "openmax": Recipe(
        "OpenMax", reads=_TRAIN, needs_classes=True,
        note="predicts the last class for samples that it takes as unknown",
    ),
    "vra": Recipe("VRAPostprocessor", reads=_VAL),
    "cfood": Recipe(
        "CFOODPostprocessor", reads=_TRAIN,
        note="few distinct values, so many ties; OpenOOD's sweep can't be set by its own set_hyperparam",
    ),
    "dropout": Recipe(
        "DropoutPostProcessor", wrapper="dropout",
        note="dropout on the embedding, which the network wasn't trained with",
    ),
    "temperature_scaling": Recipe(
        "TemperatureScalingPostprocessor", reads=_VAL, config_file="temp_scaling.yml"
    ),
    "mcm": Recipe(
        "MCMPostprocessor",
        note="meant for CLIP's similarities; on logits it is MSP at temperature tau",
    ),
}  # fmt: skip
"""Name, as in OpenOOD's configs → recipe, of everything that can run on stored embeddings."""

_BLOCKS = "asks for inner convolutional blocks (intermediate_forward)"
_TRAINED = "scores with a head that only its own training makes"
_ANOMALY = "image anomaly detection with its own networks and pipeline"

UNSUITABLE: Mapping[str, str] = {
    "rankfeat": f"{_BLOCKS} [B, C, H, W]; a feature vector has rank 1 and nothing is left without it",
    "mds_ensemble": "asks for data_aux batches and inner convolutional blocks; on one layer it is mds",
    "gmm": "asks for data_aux batches, inner convolutional blocks and CUDA tensor types",
    "ssd": "asks for data_aux batches; its confidence is msp's",
    "grood": f"{_BLOCKS}, image noise and CUDA",
    "cider": f"{_TRAINED}: a projection head trained with CIDER",
    "npos": f"{_TRAINED}: a projection head trained with NPOS",
    "reweightood": f"{_TRAINED}: a projection head trained with ReweightOOD",
    "conf_branch": f"{_TRAINED}: a confidence branch",
    "godin": f"{_TRAINED}: G-ODIN's dividing head",
    "mcd": f"{_TRAINED}: two classifier heads",
    "rotpred": f"{_TRAINED}: a head that predicts image rotations",
    "t2fnorm": f"{_TRAINED}: on features normalised in training; with other heads it is msp",
    "rts": f"{_TRAINED}: a branch that predicts a variance",
    "mos": f"{_TRAINED}: groups of classes with an 'others' class each",
    "opengan": f"{_TRAINED}: a discriminator",
    "dsvdd": "one-class training with its own network and pipeline",
    "ensemble": "asks for several checkpoints of one network",
    "patchcore": _ANOMALY,
    "draem": _ANOMALY,
    "cutpaste": _ANOMALY,
    "rd4ad": _ANOMALY,
}
"""Name → why it doesn't run on embeddings or on networks with several inputs."""


def missing_in(name: str, kind: type) -> str:
    """Return why the class ``kind``, this OpenOOD's ``name``, can't run; empty where it can."""
    attribute, reason = RECIPES[name].since_main if name in RECIPES else ("", "")
    return reason if attribute and not hasattr(sys.modules[kind.__module__], attribute) else ""


def recipe_of(name: str) -> Recipe:
    """Return the recipe called ``name``.

    Raises:
        UserError: when OpenOOD has no such postprocessor, or it can't run here; the message says why.
    """
    if name in UNSUITABLE:
        raise UserError(f"OpenOOD's '{name}' can't run on embeddings: it {_as_verb(UNSUITABLE[name])}.")
    found = find_recipe(name)
    if found is None:
        known = [*RECIPES, *OPENOOD_POSTPROCESSORS.names()]
        raise UserError(f"the engine openood has no postprocessor '{name}'.{did_you_mean(name, known)}")
    return found


def find_recipe(name: str) -> Recipe | None:
    """Return the recipe of OpenOOD's postprocessor ``name``, or of a user's own class, or None."""
    if name in RECIPES or name not in OPENOOD_POSTPROCESSORS:
        return RECIPES.get(name)
    with importable("openood.postprocessors"):
        kind: Any = OPENOOD_POSTPROCESSORS.get(name)
    return Recipe(kind.__name__, reads=tuple(getattr(kind, "reads", ("train", "val"))), kind=kind)


def postprocessor_config(name: str) -> Path | None:
    """Return OpenOOD's own YAML file of the postprocessor ``name``; None where it has none."""
    recipe = RECIPES.get(name)
    path = find_openood() / "configs" / "postprocessors" / ((recipe and recipe.config_file) or f"{name}.yml")
    return path if path.is_file() else None


def openood_defaults(name: str) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Return ``postprocessor_args`` and ``postprocessor_sweep`` of OpenOOD's YAML for ``name``, or of a user's class.

    Raises:
        UserError: as `recipe_of`; when OpenOOD was installed without its configs, or has none for ``name``.
    """
    kind, path = recipe_of(name).kind, postprocessor_config(name)
    if kind is not None:
        section = {key: getattr(kind, key, None) for key in ("postprocessor_args", "postprocessor_sweep")}
    elif path is None:
        raise UserError(
            f"the parameters of OpenOOD's '{name}' are in its configs/postprocessors/, and {find_openood()} has no "
            f"such file; name a checkout that has it: {VARIABLE}=/path/to/OpenOOD."
        )
    else:
        section = read_yaml(path, "a config of OpenOOD's")["postprocessor"]
    sweep = section.get("postprocessor_sweep") or {}
    return dict(section.get("postprocessor_args") or {}), {key: list(each) for key, each in sweep.items()}


def _as_verb(reason: str) -> str:
    return reason if reason.split()[0] in ("asks", "scores") else f"is {reason}"
