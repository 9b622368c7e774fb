"""pytorch-ood's detectors on stored features, with the parameters of this package's preset ``openood``.

Its outlier scores get the other sign.  A detector reads logits, features, feature maps (features of size 1 x 1) or,
where it takes gradients, the input of a network, which here is the linear head.  Left out are ``gmm``, which has a
covariance for each class where ours has one for all, and ``rankfeat``, which takes the largest of the singular values
of each feature map, and of a vector has nothing left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .methods import Problem


class Detector(NamedTuple):
    """How a detector is made and used.

    Attributes:
        make: the module ``pytorch_ood.detector``, the problem, the head → detector.
        reads: ``"logits"``, ``"features"``, ``"maps"`` or ``"input"``.
        fit: the set that it is fitted to: ``"train"``, ``"val"`` or none.
    """

    make: Callable[[Any, Problem, Any], Any]
    reads: str
    fit: str = ""


def _last_layer(head: Any) -> tuple[Any, list[Any]]:
    """Return a network whose only layer before the head is the identity, and that layer."""
    from torch import nn

    layer = nn.Identity()
    return nn.Sequential(layer, head), [layer]


def _of_maps(head: Any) -> Callable[[Any], Any]:
    return lambda maps: head(maps.flatten(1))


DETECTORS: Mapping[str, Detector] = {
    "msp": Detector(lambda d, p, head: d.MaxSoftmax(None), "logits"),
    "ebo": Detector(lambda d, p, head: d.EnergyBased(None), "logits"),
    "mls": Detector(lambda d, p, head: d.MaxLogit(None), "logits"),
    "gen": Detector(lambda d, p, head: d.GEN(None, gamma=0.1, M=100), "logits"),
    "entropy": Detector(lambda d, p, head: d.Entropy(None), "logits"),
    "klm": Detector(lambda d, p, head: d.KLMatching(None), "logits", "val"),
    "temperature_scaling": Detector(lambda d, p, head: d.TemperatureScaling(None), "logits", "val"),
    "mds": Detector(lambda d, p, head: d.Mahalanobis(None), "features", "train"),
    "rmds": Detector(lambda d, p, head: d.RMD(None), "features", "train"),
    "knn": Detector(lambda d, p, head: d.KNN(None, k=p.neighbours), "features", "train"),
    "vim": Detector(
        lambda d, p, head: d.ViM(None, d=p.vim_dim, w=head.weight, b=head.bias), "features", "train"
    ),
    "dice": Detector(lambda d, p, head: d.DICE(None, head.weight, head.bias, p=0.9), "features", "train"),
    "fdbd": Detector(lambda d, p, head: d.fDBD(None, head), "features", "train"),
    "lts": Detector(lambda d, p, head: d.LTS(None, head), "features"),
    "nci": Detector(lambda d, p, head: d.NCI(None, head, alpha=0.0001), "features", "train"),
    "nnguide": Detector(lambda d, p, head: d.NNGuide(None, head, k=p.neighbours), "features", "train"),
    "pnml": Detector(lambda d, p, head: d.PNML(None, head), "features", "train"),
    "she": Detector(lambda d, p, head: d.SHE(None, head), "features", "train"),
    "react": Detector(lambda d, p, head: d.ReAct(None, head, percentile=0.9), "maps", "val"),
    "vra": Detector(lambda d, p, head: d.VRA(None, head, 0.1, 0.9), "maps", "val"),
    "ash": Detector(lambda d, p, head: d.ASH(None, _of_maps(head), "ash-b", 0.9), "maps"),
    "ash_p": Detector(lambda d, p, head: d.ASH(None, _of_maps(head), "ash-p", 0.9), "maps"),
    "ash_s": Detector(lambda d, p, head: d.ASH(None, _of_maps(head), "ash-s", 0.9), "maps"),
    "scale": Detector(lambda d, p, head: d.SCALE(None, _of_maps(head), percentile=0.85), "maps"),
    "gradnorm": Detector(lambda d, p, head: d.GradNorm(head, lambda name: name == "weight"), "input"),
    "odin": Detector(lambda d, p, head: d.ODIN(head), "input"),
    "nac": Detector(lambda d, p, head: d.NACUE(*_last_layer(head)), "input", "train"),
}
"""Our name of a score → pytorch-ood's detector."""
