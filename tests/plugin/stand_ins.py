"""Small stand-ins for OpenOOD's classes, and embeddings to fit them to."""

import random
import types
from typing import Any

import numpy as np
import torch
from torch import nn

from openood_multimodal.arrays import Embeddings, LinearHead
from openood_multimodal.datasets.batch import ModalityBatch
from openood_multimodal.networks import MLPFusionNet
from openood_multimodal.plugin.adapters import OpenOODPostprocessor

NUM_CLASSES: dict[str, int] = {"cifar10": 10}
DEVIATIONS: dict[str, Any] = {}


class Attributes(dict):
    """As OpenOOD's Config: what is missing is None."""

    def __getattr__(self, name: str) -> Any:
        value = self.get(name)
        return Attributes(value) if isinstance(value, dict) else value


class StandIn:
    """The shape of OpenOOD's BasePostprocessor."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.args = config.postprocessor.postprocessor_args
        self.classes = NUM_CLASSES[config.dataset.name]
        self.input_std = DEVIATIONS[config.dataset.name][1]
        self.seen: list[str] = []

    def setup(self, net: Any, id_loader_dict: Any, ood_loader_dict: Any) -> None:
        self.seen = sorted(id_loader_dict)

    @torch.no_grad()
    def postprocess(self, net: Any, data: Any) -> Any:
        conf, pred = torch.softmax(net(data), dim=1).max(dim=1)
        return pred, conf

    def inference(self, net: Any, data_loader: Any, progress: bool = True) -> Any:
        print("chatter")
        preds, confs, labels = [], [], []
        for batch in data_loader:
            pred, conf = self.postprocess(net, batch["data"].cuda())
            preds.append(pred)
            confs.append(conf)
            labels.append(batch["label"].cuda())
        return (torch.cat(each).numpy() for each in (preds, confs, labels))


class Swept(StandIn):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.temperature = self.args["temperature"]
        self.args_dict = config.postprocessor.postprocessor_sweep

    def set_hyperparam(self, values: list[Any]) -> None:
        self.temperature = values[0]

    def get_hyperparam(self) -> Any:
        return self.temperature


class Writes(StandIn):
    """As ASH: writes into what it is given."""

    @torch.no_grad()
    def postprocess(self, net: Any, data: Any) -> Any:
        logits, feature = net(data, return_feature=True)
        feature.zero_()
        data.zero_()
        return logits.argmax(1), logits.logsumexp(1)


class NotANumber(StandIn):
    def postprocess(self, net: Any, data: Any) -> Any:
        pred, conf = super().postprocess(net, data)
        conf[0] = float("nan")
        return pred, conf


class Literal(StandIn):
    """As temperature scaling: spells the device out."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.temperature = nn.Parameter(torch.ones(1, device="cuda") * 2)


class Perturbs(StandIn):
    """ODIN's steps, as OpenOOD writes them."""

    def postprocess(self, net: Any, data: Any) -> Any:
        data.requires_grad = True
        output = net(data) / 2.0
        nn.CrossEntropyLoss()(output, output.detach().argmax(axis=1)).backward()
        gradient = (torch.ge(data.grad.detach(), 0).float() - 0.5) * 2
        for channel in range(3):
            gradient[:, channel] = (gradient[:, channel]) / self.input_std[channel]
        moved = torch.add(data.detach(), gradient, alpha=-0.1)
        conf, pred = (net(moved) / 2.0).softmax(dim=1).max(dim=1)
        return pred, conf.detach()


class Draws(StandIn):
    def postprocess(self, net: Any, data: Any) -> Any:
        noise = torch.rand(len(data)) + random.random() + float(np.random.rand())  # noqa: NPY002
        return net(data).argmax(1), noise


FeatureExtractor = object  # what tells a GRAM that runs from v1.5's


class Column(StandIn):
    """As GRAM: [B, 1]."""

    def postprocess(self, net: Any, data: Any) -> Any:
        pred, conf = super().postprocess(net, data)
        return pred, conf[:, None]


class Neighbours(StandIn):
    def setup(self, net: Any, id_loader_dict: Any, ood_loader_dict: Any) -> None:
        rows = sum(len(batch["label"]) for batch in id_loader_dict["train"])
        self.index, self.K = types.SimpleNamespace(ntotal=rows), self.args["K"]


class NeverRuns(StandIn):
    def setup(self, net: Any, id_loader_dict: Any, ood_loader_dict: Any) -> None:
        raise AssertionError("it ran")


class Shapes(nn.Module):
    """The shape of OpenOOD's ASHNet."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Any, return_feature: bool = False, return_feature_list: bool = False) -> Any:
        return self.backbone(x, return_feature, return_feature_list)


STAND_INS = {
    "msp": StandIn,
    "ebo": Swept,
    "mls": Writes,
    "gen": NotANumber,
    "temperature_scaling": Literal,
    "odin": Perturbs,
    "iodin": Perturbs,
    "cfood": Draws,
    "gram": Column,
    "knn": Neighbours,
    "vim": NeverRuns,
    "residual": NeverRuns,
    "ash": StandIn,
}


PARAMETERS: dict[str, dict[str, Any]] = {  # in the stand-in's YAML files, of those that take any
    "ebo": {"args": {"temperature": 1}, "sweep": {"temperature_list": [1]}},
    "gen": {"args": {"gamma": 0.1, "M": 100}},
    "odin": {"args": {"temperature": 1000, "noise": 0.0014}},
    "iodin": {"args": {"temperature": 1000, "noise": 0.0014}},
    "cfood": {"args": {"alpha": 0.1}},
    "knn": {"args": {"K": 50}, "sweep": {"K_list": [50, 100]}},
    "vim": {"args": {"dim": 256}, "sweep": {"dim_list": [256, 1000]}},
    "residual": {"args": {"dim": 512}},
    "ash": {"args": {"percentile": 90}, "sweep": {"percentile_list": [65, 90]}},
}


class Sets:
    def __init__(self, dim: int = 12, classes: int = 3) -> None:
        rng = np.random.default_rng(0)
        self.head = LinearHead(
            rng.normal(size=(classes, dim)).astype(np.float32), rng.normal(size=classes).astype(np.float32)
        )

        def make(rows: int) -> Embeddings:
            features = np.abs(rng.normal(size=(rows, dim))).astype(np.float32)
            features.setflags(write=False)
            return Embeddings(features, np.arange(rows, dtype=np.int64) % classes)

        self.train, self.val, self.test = make(60), make(40), make(30)

    def fitted(self, name: str, args: Any = None, **more: Any) -> OpenOODPostprocessor:
        return OpenOODPostprocessor(name, args, **more).fit(self.train, self.val, self.head)


def small_net() -> MLPFusionNet:
    torch.manual_seed(0)
    return MLPFusionNet(3, ["audio", "video"], {"audio": 2, "video": 5}, 6, 4).eval()


def small_batch(rows: int = 8) -> ModalityBatch:
    generator = torch.Generator().manual_seed(1)
    widths = {"audio": 2, "video": 5}
    return ModalityBatch((name, torch.randn(rows, w, generator=generator)) for name, w in widths.items())
