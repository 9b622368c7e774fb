"""What every score shares: parameters and presets, fitting, scoring in blocks, OpenOOD's protocol on top.

A score is one small class: it names its paper, declares its parameters, and writes `score_rows` (one block
of rows → predictions and confidences) and, where it learns from data, `estimate`; or `learn`, where it shares
with others what it reads off the training embeddings (see `Shared`).
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ..arrays import Embeddings, LinearHead, Scores
from ..errors import UserError
from ..linalg.threads import computing
from ..naming import did_you_mean
from .inputs import NO_HEAD, check_modality_logits, check_width, require_slices
from .options import ScoringOptions
from .params import NoParams, ScoreInfo, known_parameters, replace_params
from .rows import Rows, nothing_around, score_blocks
from .shared import Shared

if TYPE_CHECKING:
    from torch import Tensor

Preset = Mapping[str, Any]
OPENOOD_DEFAULTS: Preset = MappingProxyType({})


class Postprocessor(ABC):
    """One score.

    Class attributes:
        name: OpenOOD's name for it.
        info: its paper.
        Params: frozen dataclass of its parameters, with OpenOOD's names and defaults.
        presets: preset → parameters that differ from the defaults.
        needs: what `fit` estimates from, of ``{"train", "val"}``.  Where ``"val"`` is needed and absent, a
            score may take the training set, and says so in ``notes``.
        fit_reads_params: whether what `fit` learns depends on the parameters.
        reads_features: whether scoring reads features (else logits are enough).
        reads_modality_logits: whether it reads the logits of each modality's own head.
        needs_head: whether it asks the fusion head for new logits, so that stored ones don't do.
        needs_slices: whether it has to know which columns belong to which modality.
        grows: what its memory holds of the training rows, where that grows with their number; empty for flat memory:
            statistics, some numbers a row (its norm, its label) and buffers of a fixed size.
        sweep: OpenOOD's ``postprocessor_sweep``: ``<parameter>_list`` → values.

    Instance attributes:
        params: the parameters in force.
        args_dict: the sweep in force, under OpenOOD's name; may be replaced.
        fitted: whether `fit` has run.
        notes: what a reader of the results has to know, written by `fit`.
        fit_on: the split that `setup` takes for the training set: ``"train"``, or ``"val"`` (the MultiOOD
            authors' choice where the in-distribution set is Kinetics-600).
        chunk_rows: rows a block, or None to let the width decide.
        setup_flag: as OpenOOD's: True once `setup` has run; it then does nothing.

    Args:
        params: all parameters, or None for the defaults.
        overrides: single parameters.

    Raises:
        UserError: for an unknown parameter, or a value outside its range.
    """

    name: str  # what follows may depend on an instance's parameters, or on the scores that it combines
    info: ClassVar[ScoreInfo]
    presets: ClassVar[Mapping[str, Preset]] = MappingProxyType(
        {"openood": OPENOOD_DEFAULTS, "multiood": OPENOOD_DEFAULTS}
    )
    needs: frozenset[str] = frozenset()
    fit_reads_params: bool = False
    reads_features: bool = True
    reads_modality_logits: bool = False
    needs_head: bool = False
    grows: ClassVar[str] = ""
    sweep: ClassVar[Mapping[str, Sequence[Any]]] = MappingProxyType({})

    @dataclasses.dataclass(frozen=True)
    class Params(NoParams):
        """No parameters."""

    params: Params

    def __init__(self, params: Params | None = None, **overrides: Any) -> None:
        self.params = replace_params(self.name, self.Params() if params is None else params, overrides)
        self.args_dict: dict[str, list[Any]] = {key: list(values) for key, values in self.sweep.items()}
        self.notes: list[str] = []
        self.fit_on = "train"
        self.chunk_rows: int | None = None
        self.setup_flag = False
        self.head: LinearHead | None = None
        self.fitted = False
        self._fitted_with: tuple[Embeddings | None, Embeddings | None, LinearHead | None] = (None, None, None)

    @classmethod
    def from_preset(cls, preset: str, **overrides: Any) -> Self:
        """Return the score with the parameters of a preset (``"openood"``, ``"multiood"``), then overrides.

        Raises:
            UserError: for an unknown preset or parameter; the message names the nearest one.
        """
        if preset not in cls.presets:
            raise UserError(f"there is no preset called '{preset}'.{did_you_mean(preset, cls.presets)}")
        return cls(**{**cls.presets[preset], **overrides})

    @property
    def needs_slices(self) -> bool:
        """Whether the score has to know which columns belong to which modality."""
        return bool(getattr(self.params, "per_modality", False))

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters in force, as a plain dictionary (for records)."""
        return dataclasses.asdict(self.params)

    @property
    def limits(self) -> dict[str, int]:
        """Parameter → the largest value that goes with what the score was fitted to, where there is one."""
        return {}

    def __repr__(self) -> str:
        inside = ", ".join(f"{key}={value!r}" for key, value in self.parameters.items())
        return f"{type(self).__name__}({inside})"

    # --- to be written by a score

    @abstractmethod
    def score_rows(self, rows: Rows) -> Scores:
        """Score one block of rows: return its predictions and confidences, ``[B]`` each."""

    def learn(self, shared: Shared) -> None:  # noqa: B027  (most scores learn nothing)
        """Learn what `score_rows` needs, from what is shared.  What ``needs`` names is there and widths agree."""

    def estimate(self, train: Embeddings | None, val: Embeddings | None, head: LinearHead | None) -> None:
        """Learn what `score_rows` needs by oneself, in place of `learn`."""
        self.learn(Shared([self], train, val, head))

    # --- arrays in, arrays out

    def fit(
        self,
        train: Embeddings | None = None,
        val: Embeddings | None = None,
        head: LinearHead | None = None,
    ) -> Self:
        """Estimate what the score needs, and remember the head.

        Args:
            train: in-distribution training embeddings, features ``[N, D]``, labels ``[N]``.
            val: in-distribution validation embeddings.
            head: fusion head, ``[C, D]`` and ``[C]``; may be left out where all sets carry logits and the
                score reads nothing else.

        Raises:
            UserError: when a set that the score needs is missing or empty, or widths disagree.
        """
        with computing(None):
            self.fit_shared(Shared([self], train, val, head, ScoringOptions(chunk_rows=self.chunk_rows)))
        return self

    def fit_shared(self, shared: Shared) -> None:
        """Do what `fit` does, with what other scores have computed already; `plan.fit_all` calls it.

        Raises:
            UserError: as `fit`.
        """
        train, val, head = shared.train, shared.val, shared.head
        for wanted, given in (("train", train), ("val", val)):
            fallback = wanted == "val" and train is not None
            if wanted in self.needs and given is None and not fallback:
                raise UserError(f"the postprocessor '{self.name}' needs {wanted} embeddings to fit on.")
        for label, each in (("train", train), ("val", val)):
            if each is not None:
                if label in self.needs and not len(each):
                    raise UserError(f"the {label} embeddings are empty; '{self.name}' needs them to fit on.")
                self.check_inputs(each, head, f"{label} ")
        if self.needs_head and head is None:
            raise UserError(f"{self.name} {NO_HEAD}.")
        self.fitted = False  # a fit that fails leaves nothing half-made to score with
        self.notes = []
        self.head = head
        if type(self).estimate is Postprocessor.estimate:
            self.learn(shared)
        else:
            self.estimate(train, val, head)
        if self.fit_reads_params:  # to fit again when they change; else the arrays are let go
            self._fitted_with = (train, val, head)
        self.fitted = True

    def score(self, embeddings: Embeddings) -> Scores:
        """Score a set: pred int64 ``[N]`` and conf float64 ``[N]``, higher = more ID.

        Inputs may be read-only memory maps; they are read a block at a time and never written to.

        Raises:
            UserError: before `fit`, for a wrong width, for NaN or infinite values.
        """
        with computing(None):
            options = ScoringOptions(chunk_rows=self.chunk_rows)
            return score_blocks([self], embeddings, options, nothing_around)[0]

    def confidences_of_shards(self, features: NDArray[Any], options: ScoringOptions) -> NDArray[Any] | None:
        """Return the confidences of rows ``[N, D]``, where workers don't compute them a shard of these rows at a time.

        Workers are then sent `predictor` in place of the score.
        """
        return None

    def predictor(self) -> Postprocessor:
        """Return what workers score shards of rows with: the score, unless `confidences_of_shards` does more."""
        return self

    def sent_state(self) -> dict[str, Any]:
        """Return the attributes that another process needs to score with: not what `fit` was given."""
        return {**vars(self), "_fitted_with": (None, None, None)}

    def check_ready(self, embeddings: Embeddings) -> None:
        """Raise `UserError` unless the score is fitted, and to embeddings of this width."""
        if not self.fitted:
            raise UserError(f"the postprocessor '{self.name}' was asked to score before fit().")
        self.check_inputs(embeddings, self.head, "")

    def block_width(self, embeddings: Embeddings) -> int:
        """Return the widest row that scoring makes, for the size of a block."""
        classes = self.head.num_classes if self.head is not None else 1
        classes = classes if embeddings.logits is None else embeddings.logits.shape[1]
        return max(
            embeddings.dim, classes * (len(embeddings.modalities) if self.reads_modality_logits else 1)
        )

    def check_inputs(self, embeddings: Embeddings, head: LinearHead | None, label: str = "") -> None:
        """Check that a set carries what the score reads, and that it goes with the head.

        Args:
            embeddings: the set.
            head: the fusion head, or None.
            label: what the set is, for messages: ``"train "``, or nothing.

        Raises:
            UserError: naming the score, the input that is missing or doesn't fit, and how to provide it.
        """
        if self.reads_modality_logits:
            check_modality_logits(embeddings, head, self.name, label)
        if self.needs_slices:
            require_slices(embeddings, self.name)
        if head is None:
            return
        if self.reads_features or embeddings.logits is None:
            check_width(embeddings, head.dim, label)
        if embeddings.logits is not None and embeddings.logits.shape[1:] != (head.num_classes,):
            raise UserError(
                f"the {label}logits have shape {embeddings.logits.shape}, "
                f"the head has {head.num_classes} classes."
            )

    # --- OpenOOD's protocol

    def set_hyperparam(self, hyperparam: Sequence[Any], shared: Shared | None = None) -> None:
        """Set the swept parameters, in the order of ``args_dict``; what was fitted is brought up to date.

        Args:
            hyperparam: a value each.
            shared: what the score was fitted to, where that is kept, so that nothing in it is computed again.
        """
        names = self._swept()
        if len(hyperparam) != len(names):
            raise UserError(
                f"'{self.name}' sweeps {len(names)} parameters ({', '.join(names) or 'none'}), "
                f"got {len(hyperparam)} values."
            )
        self.params = replace_params(self.name, self.params, dict(zip(names, hyperparam, strict=True)))
        if self.fit_reads_params and self.fitted:
            if shared is not None:
                self.fit_shared(shared)
            else:
                self.fit(*self._fitted_with)

    def get_hyperparam(self) -> Any:
        """Return the swept parameter's value, or a list where there are several (as OpenOOD does)."""
        values = [getattr(self.params, name) for name in self._swept()]
        return values[0] if len(values) == 1 else values

    def _swept(self) -> list[str]:
        names = [key.removesuffix("_list") for key in self.args_dict]
        known = known_parameters(self.Params)
        for name in names:
            if name not in known:
                raise UserError(
                    f"the sweep of '{self.name}' names '{name}_list'; "
                    f"there is no such parameter.{did_you_mean(name, known)}"
                )
        return names

    def setup(self, net: Any, id_loader_dict: Mapping[str, Any], ood_loader_dict: Any = None) -> None:
        """Collect what `fit` needs through the network, and fit; does nothing a second time.

        Args:
            net: network (or embedding head) with ``net(data, return_feature=True) → (logits, features)``
                and ``get_fc() → (weight, bias)``.
            id_loader_dict: split → loader of ``{"data", "label"}`` batches; a loader with an attribute
                ``embeddings`` (`arrays.Embeddings`) is not iterated.
            ood_loader_dict: not used; no score here sees OOD data.

        Raises:
            UserError: when a split that the score needs is missing.
        """
        if self.setup_flag:
            return
        from . import protocol

        net.eval()
        self.fit(*protocol.fit_inputs(self, net, id_loader_dict))
        self.setup_flag = True

    def postprocess(self, net: Any, data: Any) -> tuple[Tensor, Tensor]:
        """Score one batch: returns CPU tensors pred int64 ``[B]`` and conf ``[B]``."""
        from . import protocol

        protocol.make_ready(self, net)
        return protocol.score_batch(self, net, data)

    def inference(
        self, net: Any, data_loader: Any, progress: bool = True
    ) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[np.int64]]:
        """Score a loader: returns pred ``[N]``, conf ``[N]``, label ``[N]``.

        A loader with an attribute ``embeddings`` (`arrays.Embeddings`) is scored at once, without batches.
        """
        from . import protocol

        protocol.make_ready(self, net)
        return protocol.score_loader(self, net, data_loader, progress)
