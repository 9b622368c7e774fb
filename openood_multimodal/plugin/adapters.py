"""OpenOOD's postprocessors as postprocessors of ours, and ours as OpenOOD's.

`OpenOODPostprocessor` runs one of OpenOOD's classes, unchanged, on embeddings (``fit``, ``score``) or on a
network (``setup``, ``inference``): the engine ``openood``.  `openood_postprocessors` hands our scores to
OpenOOD as ``mm_<name>``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ..arrays import Embeddings, LinearHead, Scores, check_labels, empty_classes, without_empty_classes
from ..datasets.loaders import EmbeddingLoader
from ..errors import UserError
from ..naming import did_you_mean
from ..networks import EmbeddingHead
from ..postprocessors.inputs import NO_HEAD, check_width
from ..postprocessors.params import ScoreInfo
from ..registry import POSTPROCESSORS
from .batches import ConvertedLoader, as_image, as_it_is
from .host import describe_openood, openood_class, openood_module, tables_with
from .native import openood_postprocessors
from .recipes import Recipe, missing_in, openood_defaults, recipe_of
from .several_inputs import BELOW_WIDTH, accept_several_inputs, limits_of
from .surroundings import OnCpu, seeded, silent, undisturbed_network
from .wrappers import ImageShapedHead, RectifiedHead, wrap

__all__ = ["OpenOODPostprocessor", "openood_defaults", "openood_postprocessors"]

_DATASET = "openood_multimodal"  # the name that OpenOOD's tables are asked under


class OpenOODPostprocessor:
    """One of OpenOOD's postprocessors on embeddings, or on a network.

    Attributes:
        name: as results have it; OpenOOD's name.
        info: its paper, where the score is native, too; else None.
        engine: ``{"name": "openood", "version": <OpenOOD's commit or version>}``.
        inner: the object of OpenOOD's class.
        args_dict: the sweep, for the automatic parameter search; {} where it has none.
        needs: the splits that fitting reads, of ``{"train", "val"}``.
        needs_head: True; all of them ask the network for logits.
        wants_network: whether it reads inputs or inner layers: on a network it gives other scores than on
            stored embeddings, which then stand in for the input.
        batch_size, seed, fit_on: see the arguments; the split that `setup` takes for the training set.
        notes: what a reader of the results has to know, written by `fit` and `setup`.

    Args:
        name: OpenOOD's name for it, as in its configs.
        args: ``postprocessor_args`` that differ from the defaults.
        sweep: ``postprocessor_sweep`` in place of the default one.
        batch_size: rows of stored embeddings a batch.
        seed: of scores that draw random numbers.

    Raises:
        UserError: for a postprocessor that OpenOOD lacks or that can't run on embeddings, an unknown
            parameter, or when OpenOOD can't be imported.
    """

    preset = "openood"
    needs_head = True
    reads_features = True
    fit_on = "train"

    def __init__(
        self,
        name: str,
        args: Mapping[str, Any] | None = None,
        sweep: Mapping[str, Sequence[Any]] | None = None,
        *,
        batch_size: int = 1024,
        seed: int = 0,
    ) -> None:
        self.recipe: Recipe = recipe_of(name)
        self.name = self.openood_name = name
        self.info: ScoreInfo | None = POSTPROCESSORS.get(name).info if name in POSTPROCESSORS else None
        self.engine = {"name": "openood", "version": describe_openood()}
        self._kind: Any = self.recipe.kind or openood_class("postprocessors", self.recipe.class_name)
        default_args, default_sweep = openood_defaults(name)
        self._searched = [key.removesuffix("_list") for key in default_sweep]
        for key in args or {}:
            if key not in default_args:
                raise UserError(
                    f"OpenOOD's '{name}' has no parameter '{key}'.{did_you_mean(key, default_args)}"
                )
        self._args = {**default_args, **(args or {})}
        self._sweep = {key: [*each] for key, each in (default_sweep if sweep is None else sweep).items()}
        self.batch_size = batch_size
        self.seed = seed
        self.notes: list[str] = []
        self.needs = frozenset("val" if split == "test" else split for split in self.recipe.reads)
        self._num_classes = 1  # until a head is seen
        self._dim: int | None = None
        self._net: nn.Module | None = None
        self._wrapped: tuple[Any, Any] = (None, None)
        self.setup_flag = False
        self.inner = self._make()

    def _make(self) -> Any:
        """Return a fresh object of OpenOOD's class, with its tables asked for this number of classes."""
        missing = missing_in(self.openood_name, self._kind)
        if missing:
            raise UserError(
                f"this OpenOOD's '{self.openood_name}' can't run here: {missing}. Use OpenOOD's main."
            )
        config = openood_module("utils.config").Config(
            {
                "dataset": {"name": _DATASET, "num_classes": self._num_classes},
                "postprocessor": {
                    "name": self.openood_name,
                    "postprocessor_args": dict(self._args),
                    "postprocessor_sweep": {key: list(values) for key, values in self._sweep.items()},
                },
            }
        )
        with tables_with(_DATASET, self._num_classes), OnCpu(), silent(), seeded(self.seed):
            inner = self._kind(config)
        accept_several_inputs(inner, self.openood_name, self.seed)
        return inner

    @property
    def wants_network(self) -> bool:
        """See the class."""
        return self.recipe.wants_network

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters in force, as a plain dictionary (for records)."""
        return dict(self._args)

    @property
    def args_dict(self) -> dict[str, list[Any]]:
        """OpenOOD's ``args_dict``: swept parameter → values; {} where its class has none."""
        return self._sweep if hasattr(self.inner, "args_dict") else {}

    @args_dict.setter
    def args_dict(self, sweep: Mapping[str, Sequence[Any]]) -> None:
        self._sweep = {key: list(values) for key, values in sweep.items()}
        self.inner.args_dict = self._sweep

    def __repr__(self) -> str:
        inside = "".join(f", {key}={value!r}" for key, value in self._args.items())
        return f"OpenOODPostprocessor({self.openood_name!r}{inside})"

    # --- arrays in, arrays out

    def fit(
        self,
        train: Embeddings | None = None,
        val: Embeddings | None = None,
        head: LinearHead | None = None,
    ) -> Self:
        """Run OpenOOD's ``setup`` on stored embeddings; these are never written to.

        Args:
            train: in-distribution training embeddings ``[N, D]`` with labels.
            val: in-distribution validation embeddings; the training set takes their place where absent.
            head: fusion head, ``[C, D]`` and ``[C]``.

        Raises:
            UserError: without a head, without a set that it reads, for a label that is no class, or for
                parameters that don't go with the embeddings' width or number.
        """
        if head is None:
            raise UserError(f"OpenOOD's '{self.openood_name}' {NO_HEAD}.")
        self._start(head.num_classes)
        sets = {"train": train, "val": val}
        if "val" in self.needs and val is None and train is not None:
            sets["val"] = train
            self.notes.append(f"{self.name}: without a validation set, it was set up on the training set")
        for split in sorted(self.needs):
            each = sets[split]
            if each is None or not len(each):
                raise UserError(f"OpenOOD's '{self.openood_name}' needs {split} embeddings to fit on.")
            check_width(each, head.dim, f"{split} ")
        self._check_dim(head.dim)
        if self.recipe.needs_classes and train is not None:
            _check_classes(train.labels, head.num_classes, self.openood_name)
        with seeded(self.seed):  # a layer draws its first weights from the global stream
            net = EmbeddingHead(head.weight, head.bias).eval()
        loaders = {
            key: EmbeddingLoader(each, self.batch_size) for key, each in sets.items() if each is not None
        }
        self._setup(net, loaders, {})
        self._net = net
        return self

    def score(self, embeddings: Embeddings) -> Scores:
        """Score a set: pred int64 ``[N]`` and conf ``[N]`` as OpenOOD computes them, higher = more ID.

        Raises:
            UserError: before `fit`, for a wrong width, when OpenOOD gives NaN.
        """
        if self._net is None:
            raise UserError(f"the postprocessor '{self.name}' was asked to score before fit().")
        check_width(embeddings, self._net.feature_size)  # type: ignore[arg-type]
        if not len(embeddings):
            return Scores(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
        pred, conf, _ = self.inference(
            self._net, EmbeddingLoader(embeddings, self.batch_size), progress=False
        )
        return Scores(pred, conf)

    # --- OpenOOD's protocol

    def setup(
        self,
        net: nn.Module,
        id_loader_dict: Mapping[str, Any],
        ood_loader_dict: Mapping[str, Any] | None = None,
    ) -> None:
        """Run OpenOOD's ``setup`` on a network and loaders; does nothing a second time.

        Raises:
            UserError: when a split is missing, or the parameters don't go with the network.
        """
        if self.setup_flag:
            return
        weight, bias = net.get_fc()  # type: ignore[operator]
        self._start(len(bias), self.recipe.network_note)
        loaders = dict(id_loader_dict)
        if self.fit_on != "train" and self.fit_on in loaders:
            loaders["train"] = loaders[self.fit_on]
        missing = [split for split in sorted(self.needs) if split not in loaders]
        if missing:
            raise UserError(
                f"OpenOOD's '{self.openood_name}' needs the split '{missing[0]}' to fit on."
                + did_you_mean(missing[0], loaders)
            )
        self._check_dim(weight.shape[1])
        net.eval()
        self._setup(net, loaders, dict(ood_loader_dict or {}))

    def postprocess(self, net: nn.Module, data: Any) -> tuple[Tensor, Tensor]:
        """Score one batch: tensors pred ``[B]`` and conf ``[B]``."""
        net, convert = self._prepared(net)
        with undisturbed_network(net), seeded(self.seed):
            pred, conf = self.inner.postprocess(net, convert(data))
        return pred.cpu(), conf.cpu().reshape(len(pred), -1)[:, 0]

    def inference(
        self, net: nn.Module, data_loader: Any, progress: bool = True
    ) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[np.int64]]:
        """Score a loader with OpenOOD's ``inference``: pred ``[N]``, conf ``[N]``, label ``[N]``.

        Raises:
            UserError: when OpenOOD gives NaN, or confidences of a wrong shape.
        """
        net, convert = self._prepared(net)
        with undisturbed_network(net):
            answer = self.inner.inference(net, ConvertedLoader(data_loader, convert), progress)
        pred, conf, label = (np.asarray(each) for each in answer)
        return pred.astype(np.int64), conf, label.astype(np.int64)

    def set_hyperparam(self, hyperparam: Sequence[Any]) -> None:
        """Set the swept parameters, in the order of ``args_dict``.

        Raises:
            UserError: for another number of values, or values that don't go with the embeddings.
        """
        names = [key.removesuffix("_list") for key in self.args_dict]
        if len(hyperparam) != len(names):
            raise UserError(
                f"OpenOOD's '{self.openood_name}' sweeps {len(names)} parameters "
                f"({', '.join(names) or 'none'}), got {len(hyperparam)} values."
            )
        self._args.update(zip(names, hyperparam, strict=True))
        if self._dim is not None:
            self._check_dim(self._dim)
        with silent():
            self.inner.set_hyperparam(list(hyperparam))

    def get_hyperparam(self) -> Any:
        """Return OpenOOD's ``get_hyperparam()``."""
        return self.inner.get_hyperparam()

    # --- around OpenOOD

    def _start(self, num_classes: int, note: str | None = None) -> None:
        note = self.recipe.note if note is None else note
        self.notes = [f"{self.name}: {note}"] if note else []
        self._net = None
        self.setup_flag = False
        self._num_classes = num_classes
        self._wrapped = (None, None)
        self.inner = self._make()  # OpenOOD's setup would do nothing a second time

    def _setup(self, net: nn.Module, loaders: dict[str, Any], ood_loaders: dict[str, Any]) -> None:
        if "test" in self.recipe.reads:
            # read for a value that nothing uses
            loaders = {**loaders, "test": loaders["val"]}
        net, convert = self._prepared(net)
        converted = {split: ConvertedLoader(each, convert) for split, each in loaders.items()}
        with undisturbed_network(net):
            self.inner.setup(net, converted, ood_loaders)
            if self.recipe.apply_args:
                self.inner.set_hyperparam([self._args[name] for name in self._searched])
        self.notes += self.inner.notes
        self.setup_flag = True

    def _prepared(self, net: nn.Module) -> tuple[nn.Module, Any]:
        """Return the network as the postprocessor wants it, and how a batch is to be converted for it."""
        if self._wrapped[0] is not net:
            self._wrapped = (net, self._wrap(net))
        return self._wrapped[1], as_image if self.recipe.shape == "image" else as_it_is

    def _wrap(self, net: nn.Module) -> nn.Module:
        recipe = self.recipe
        wrapped = net
        if isinstance(net, EmbeddingHead):
            kind = {"image": ImageShapedHead, "relu": RectifiedHead}.get(recipe.shape)
            with seeded(self.seed):
                wrapped = kind(*net.get_fc()).eval() if kind else net
        elif recipe.no_network:
            raise UserError(
                f"OpenOOD's '{self.openood_name}' can't run on this network: it {recipe.no_network}. "
                "Run it on stored embeddings."
            )
        if recipe.wrapper is None:
            return wrapped
        extra = {"dropout_p": self._args["dropout_p"]} if recipe.wrapper == "dropout" else {}
        return wrap(wrapped, recipe.wrapper, **extra).eval()

    def _check_dim(self, width: int) -> None:
        self._dim = width
        if self.openood_name in BELOW_WIDTH and not 1 <= int(self._args["dim"]) < width:
            raise UserError(
                f"OpenOOD's '{self.openood_name}': dim={self._args['dim']} must be at least 1 and below the "
                f"embeddings' {width} columns; set a smaller {self.openood_name}.dim."
            )

    @property
    def limits(self) -> dict[str, int]:
        """Parameter → the largest value that goes with what it was fitted to, where there is one."""
        return limits_of(self.inner, self.openood_name, self._dim)


def _check_classes(labels: NDArray[np.int64], num_classes: int, name: str) -> None:
    check_labels(labels, num_classes, "the training set")
    if lacking := empty_classes(labels, num_classes):
        raise UserError(
            f"OpenOOD's '{name}' needs training samples of every class; {lacking} none; "
            f"{without_empty_classes(labels, 'samples')}."
        )
