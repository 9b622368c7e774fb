"""OpenOOD's postprocessors as data: which class, which network around ours, which inputs, whose defaults.

The classes themselves stay OpenOOD's.  What stands here is what OpenOOD leaves to its YAML files and its
reader: that ReAct wants a ``ReactNet``, that GRAM listens to ReLUs, that AdaSCALE perturbs something with
pixels.  `UNSUITABLE` says of the rest why it can't run on embeddings.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import UserError
from ..naming import did_you_mean
from ..postprocessors.params import ScoreInfo
from .own import OPENOOD_POSTPROCESSORS, own_recipe

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Recipe:
    """How one of OpenOOD's postprocessors is run.

    Attributes:
        class_name: its class in ``openood.postprocessors``.
        args: ``postprocessor_args`` of OpenOOD's YAML, for where there is no checkout to read it from.
        sweep: ``postprocessor_sweep`` of OpenOOD's YAML, likewise.
        paper: where it comes from; None for the nine scores that are native too, and where OpenOOD names none.
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
    args: Values = field(default_factory=dict)
    sweep: Values = field(default_factory=dict)
    paper: ScoreInfo | None = None
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


def _paper(title: str, authors: str, venue: str, year: int, url: str) -> ScoreInfo:
    return ScoreInfo(title=title, authors=authors, venue=venue, year=year, url=url)


_ADASCALE_ARGS = {"num_samples": 5000, "percentile": [75, 85], "k1": 5, "k2": 1, "lmbda": 10, "o": 0.05}
_ADASCALE_SWEEP = {
    "percentile_list": [
        [low, high]
        for low in (60, 65, 70, 75, 80, 85, 90, 95)
        for high in (65, 70, 75, 80, 85, 90, 95, 99)
        if high > low
    ],
    "k1_list": [5],
    "k2_list": [1],
    "lmbda_list": [10],
    "o_list": [0.05],
}
_ADASCALE = _paper(
    "AdaSCALE: Adaptive Scaling for OOD Detection", "Sudarshan Regmi", "arXiv", 2025,
    "https://github.com/sudarshanregmi/adascale",
)  # fmt: skip
_PIXELS = "perturbs the pixels of one image tensor [B, C, H, W]; a batch of several inputs is not one"

RECIPES: Mapping[str, Recipe] = {
    "msp": Recipe("BasePostprocessor"),
    "ebo": Recipe("EBOPostprocessor", {"temperature": 1}, {"temperature_list": [1]}),
    "mls": Recipe("MaxLogitPostprocessor"),
    "gen": Recipe(
        "GENPostprocessor", {"gamma": 0.1, "M": 100},
        {"gamma_list": [0.01, 0.1, 0.5, 1, 2, 5, 10], "M_list": [10, 50, 100, 200, 500, 1000]},
    ),
    "mds": Recipe("MDSPostprocessor", reads=("train",), needs_classes=True),
    "knn": Recipe(
        "KNNPostprocessor", {"K": 50}, {"K_list": [50, 100, 200, 500, 1000]}, reads=("train",)
    ),
    "vim": Recipe("VIMPostprocessor", {"dim": 256}, {"dim_list": [256, 1000]}, reads=("train",)),
    "react": Recipe(
        "ReactPostprocessor", {"percentile": 90}, {"percentile_list": [85, 90, 95, 99]},
        reads=("val",), wrapper="react",
    ),
    "ash": Recipe(
        "ASHPostprocessor", {"percentile": 90}, {"percentile_list": [65, 70, 75, 80, 85, 90, 95]},
        wrapper="ash",
    ),
    "scale": Recipe(
        "ScalePostprocessor", {"percentile": 85}, {"percentile_list": [65, 70, 75, 80, 85, 90, 95]},
        _paper(
            "Scaling for Training Time and Post-hoc Out-of-distribution Detection Enhancement",
            "Kai Xu et al.", "ICLR", 2024, "https://github.com/kai422/SCALE",
        ),
        wrapper="scale",
    ),
    "adascale_a": Recipe(
        "AdaScalePostprocessor", _ADASCALE_ARGS, _ADASCALE_SWEEP, _ADASCALE, reads=("val",),
        wrapper="adascale_a", shape="image", perturbs=True, apply_args=True, no_network=_PIXELS,
        note="perturbs the embedding, which stands in for the image",
    ),
    "adascale_l": Recipe(
        "AdaScalePostprocessor", _ADASCALE_ARGS, _ADASCALE_SWEEP, _ADASCALE, reads=("val",),
        wrapper="adascale_l", shape="image", perturbs=True, apply_args=True, no_network=_PIXELS,
        note="perturbs the embedding, which stands in for the image",
    ),
    "odin": Recipe(
        "ODINPostprocessor", {"temperature": 1000, "noise": 0.0014},
        {"temperature": [1, 10, 100, 1000], "noise": [0.0014, 0.0028]},
        _paper(
            "Enhancing The Reliability of Out-of-distribution Image Detection in Neural Networks",
            "Shiyu Liang, Yixuan Li, R. Srikant", "ICLR", 2018, "https://openreview.net/forum?id=H1VGkIxRZ",
        ),
        perturbs=True,
        note="perturbs the embedding, without the division by image deviations",
        network_note="perturbs every input of the network, without the division by image deviations",
    ),
    "iodin": Recipe(
        "IODINPostprocessor", {"temperature": 1000, "noise": 0.0014},
        {"temperature": [1, 10, 100, 1000], "noise": [0.0014, 0.0028]},
        _paper(
            "Going Beyond Conventional OOD Detection", "Sudarshan Regmi", "arXiv", 2024,
            "https://github.com/sudarshanregmi/ASCOOD",
        ),
        shape="image", perturbs=True, no_network=_PIXELS,
        note="perturbs the one column of the embedding with the largest gradient",
    ),
    "rmds": Recipe(
        "RMDSPostprocessor",
        paper=_paper(
            "A Simple Fix to Mahalanobis Distance for Improving Near-OOD Detection", "Jie Ren et al.",
            "arXiv", 2021, "https://arxiv.org/abs/2106.09022",
        ),
        reads=("train",), needs_classes=True,
    ),
    "residual": Recipe(
        "ResidualPostprocessor", {"dim": 512},
        paper=_paper(
            "ViM: Out-Of-Distribution with Virtual-logit Matching", "Haoqi Wang et al.", "CVPR", 2022,
            "https://arxiv.org/abs/2203.10807",
        ),
        reads=("val", "test"),
        note="OpenOOD estimates its subspace from the validation set, not from the training set",
    ),
    "klm": Recipe(
        "KLMatchingPostprocessor",
        paper=_paper(
            "Scaling Out-of-Distribution Detection for Real-World Settings", "Dan Hendrycks et al.", "ICML",
            2022, "https://arxiv.org/abs/1911.11132",
        ),
        reads=("val",),
    ),
    "she": Recipe(
        "SHEPostprocessor", {"metric": "inner_product"},
        paper=_paper(
            "Out-of-Distribution Detection based on In-Distribution Data Patterns Memorization with Modern "
            "Hopfield Energy", "Jinsong Zhang et al.", "ICLR", 2023, "https://github.com/zjs975584714/SHE",
        ),
        reads=("train",), needs_classes=True,
    ),
    "dice": Recipe(
        "DICEPostprocessor", {"p": 90}, {"p_list": [90]},
        _paper(
            "DICE: Leveraging Sparsification for Out-of-Distribution Detection", "Yiyou Sun, Yixuan Li",
            "ECCV", 2022, "https://github.com/deeplearning-wisc/dice",
        ),
        reads=("train",),
        note="a sweep over p changes nothing: OpenOOD keeps the first mask",
    ),
    "gradnorm": Recipe(
        "GradNormPostprocessor",
        paper=_paper(
            "On the Importance of Gradients for Detecting Distributional Shifts in the Wild",
            "Rui Huang, Andrew Geng, Yixuan Li", "NeurIPS", 2021,
            "https://github.com/deeplearning-wisc/gradnorm_ood",
        ),
    ),
    "gram": Recipe(
        "GRAMPostprocessor", {"powers": [1, 2, 3, 4, 5]}, {"powers_list": [[1, 2, 3, 4, 5]]},
        _paper(
            "Detecting Out-of-Distribution Examples with Gram Matrices",
            "Chandramouli Shama Sastry, Sageev Oore", "ICML", 2020,
            "https://github.com/VectorInstitute/gram-ood-detection",
        ),
        reads=("train",), shape="relu", needs_classes=True,
        since_main=("FeatureExtractor", "at v1.5 it asks for the feature maps of five convolutional layers"),
        note="sees the positive part of the embedding",
        network_note="sees every ReLU of the network",
    ),
    "nci": Recipe(
        "NCIPostprocessor", {"alpha": 0.0001}, {"alpha_list": [0.0001, 0.001, 0.01, 0.1]},
        _paper(
            "Detecting Out-of-Distribution Through the Lens of Neural Collapse", "Litian Liu, Yao Qin",
            "CVPR", 2025, "https://arxiv.org/abs/2311.01479",
        ),
        reads=("train",),
    ),
    "fdbd": Recipe(
        "fDBDPostprocessor", {"distance_as_normalizer": True}, {"distance_as_normalizer_list": [True, False]},
        _paper(
            "Fast Decision Boundary based Out-of-Distribution Detector", "Litian Liu, Yao Qin", "ICML", 2024,
            "https://github.com/litianliu/fDBD-OOD",
        ),
        reads=("train",),
    ),
    "nnguide": Recipe(
        "NNGuidePostprocessor", {"alpha": 0.01, "K": 100}, {"K_list": [100], "alpha_list": [0.01]},
        _paper(
            "Nearest Neighbor Guidance for Out-of-Distribution Detection", "Jaewoo Park et al.", "ICCV", 2023,
            "https://arxiv.org/abs/2309.14888",
        ),
        reads=("train",),
        note="its bank is whole batches until alpha of the training set is passed, so it depends on batch_size",
    ),
    "relation": Recipe(
        "RelationPostprocessor", {"pow": 1}, {"pow_list": [1, 2, 4, 6, 8]},
        _paper(
            "Neural Relation Graph: A Unified Framework for Identifying Label Noise and Outlier Data",
            "Jang-Hyun Kim et al.", "NeurIPS", 2023, "https://arxiv.org/abs/2301.12321",
        ),
        reads=("train",),
    ),
    "openmax": Recipe(
        "OpenMax",
        paper=_paper(
            "Towards Open Set Deep Networks", "Abhijit Bendale, Terrance Boult", "CVPR", 2016,
            "https://arxiv.org/abs/1511.06233",
        ),
        reads=("train",), needs_classes=True,
        note="predicts the last class for samples that it takes as unknown",
    ),
    "vra": Recipe(
        "VRAPostprocessor", {"percentile_high": 90, "percentile_low": 10},
        {"percentile_high_list": [85, 90, 95, 99], "percentile_low_list": [1, 5, 10, 15]},
        _paper(
            "VRA: Variational Rectified Activation for Out-of-distribution Detection", "Mingyu Xu et al.",
            "NeurIPS", 2023, "https://github.com/zeroQiaoba/VRA",
        ),
        reads=("val",),
    ),
    "cfood": Recipe(
        "CFOODPostprocessor", {"alpha": 0.1, "k": 0.01, "avg_topk": False},
        {"list": [[alpha, k] for alpha in (0.1, 0.5, 1) for k in (0.001, 0.005, 0.01, 0.05)]},
        reads=("train",),
        note="few distinct values, so many ties; OpenOOD's sweep can't be set by its own set_hyperparam",
    ),
    "dropout": Recipe(
        "DropoutPostProcessor", {"dropout_p": 0.5, "dropout_times": 5},
        paper=_paper(
            "Dropout as a Bayesian Approximation: Representing Model Uncertainty in Deep Learning",
            "Yarin Gal, Zoubin Ghahramani", "ICML", 2016, "https://arxiv.org/abs/1506.02142",
        ),
        wrapper="dropout",
        note="dropout on the embedding, which the network wasn't trained with",
    ),
    "temperature_scaling": Recipe(
        "TemperatureScalingPostprocessor",
        paper=_paper(
            "On Calibration of Modern Neural Networks", "Chuan Guo et al.", "ICML", 2017,
            "https://proceedings.mlr.press/v70/guo17a.html",
        ),
        reads=("val",), config_file="temp_scaling.yml",
    ),
    "mcm": Recipe(
        "MCMPostprocessor", {"tau": 1}, {"tau_list": [0.01, 1, 10]},
        _paper(
            "Delving into Out-of-Distribution Detection with Vision-Language Representations",
            "Yifei Ming et al.", "NeurIPS", 2022, "https://arxiv.org/abs/2211.13445",
        ),
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
    return own_recipe(name)


def _as_verb(reason: str) -> str:
    return reason if reason.split()[0] in ("asks", "scores") else f"is {reason}"
