"""Suites: training methods x partitions x seeds, each cell a run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from ..config import Config, bind
from ..errors import UserError
from ..evaluators.metrics import more_metrics
from ..files import file_sha256
from ..files.paths import file_name, remove
from ..resources import benchmark_splits_dir
from ..version import __version__
from .digest import effective_config
from .run import TRAINING, Command, Run, words_of
from .state import FILE
from .tables import TableRow, flat

SHARED_SECTIONS = (
    "data_root",
    "clip_cache",
    "dataset",
    "ood_dataset",
    "network",
    "preprocessor",
    "num_gpus",
    "num_workers",
)
"""Settings of these keys hold in a suite's trainings and in their tests."""

VARIED = {"dataset.partition": "--partitions", "seed": "--seeds", "dataset.modalities": "--modalities"}
"""Keys that are no settings of a suite, and the option that varies them."""

STATE_SECONDS = 60.0
"""A training of a suite keeps a state to resume from at most this often: many are over in less."""


@dataclass(frozen=True, eq=False)
class SuiteRun(Run):
    """One cell of a suite.

    Attributes:
        benchmark: config of the benchmark below ``datasets/``, without ``.yml``: ``htad/htad_4_3``.
        training: a trainer's config below ``pipelines/train/``, without ``.yml``.
        partition: class partition.
        variant: tells runs of the same training config apart; part of their folder.
        modalities: in the order of the concatenated embedding; empty for the benchmark's own choice.
        network: config of the network below ``networks/``.
        evaluator: ``near_ood`` or ``far_ood``; or both with a comma, from one extraction.
        postprocessors: names.
        preset: of the postprocessors' parameters.
        postprocessor_args: postprocessor → parameters that differ from the preset's.
        settings: overrides of the training config, dotted key → text.
        output: folder of the suite's outputs.
        keep_checkpoints: whether the trained networks are kept.
        keep_embeddings: whether the embedding stores are kept; those that several evaluators share always are.
        metrics: other metrics that are asked for, of `vocabulary.MORE_METRICS`.
        keep_scores: whether every sample's scores and the split are kept, from which others can verify the results.
    """

    benchmark: str
    training: str
    partition: int
    modalities: tuple[str, ...] = ()
    variant: str = ""
    network: str = "mlp_fusion"
    evaluator: str = "near_ood"
    postprocessors: tuple[str, ...] = ("msp", "ebo", "mls")
    preset: str = "openood"
    postprocessor_args: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    overrides: Mapping[str, str] = field(default_factory=dict)
    output: str = ""
    keep_checkpoints: bool = False
    keep_embeddings: bool = False
    keep_scores: bool = False

    replaces_other_settings: ClassVar[bool] = True

    @property
    def evaluators(self) -> tuple[str, ...]:
        """The evaluators, in order."""
        return tuple(part.strip() for part in self.evaluator.split(",") if part.strip())

    @property
    def method(self) -> str:
        """``<training>``, or ``<training>-<variant>``."""
        return "-".join(filter(None, (self.training, self.variant)))

    @property
    def name(self) -> str:
        """``<benchmark>/<modalities>/<method>/p<partition>``."""
        return f"{self._cell.as_posix()}/p{self.partition}"

    @property
    def folder(self) -> Path:
        """``<output>/<benchmark>/<modalities>/<method>/p<partition>_s<seed>``."""
        return Path(self.output, self._cell, f"p{self.partition}_s{self.seed}")

    @property
    def tests(self) -> tuple[str, ...]:
        """Folders of the tests' outputs below `folder`, one an evaluator."""
        return self.evaluators if len(self.evaluators) > 1 else ("test",)

    @property
    def embeddings(self) -> Path:
        """Where the embedding stores and ``head.npz`` are, if they are kept."""
        return self.folder / "embeddings"

    def is_done(self) -> bool:
        """Whether the folder holds the finished records of these settings, and what is to be kept beside them."""
        kept = [self.embeddings / "head.npz"] if self.keep_embeddings else []
        kept += [self.folder / test / "scores" for test in self.tests] if self.keep_scores else []
        return super().is_done() and all(path.exists() for path in kept)

    @property
    def _cell(self) -> Path:
        which = "+".join(self.modalities) or "default"
        names = {self.benchmark.rpartition("/")[2]: "benchmark", which: "modalities"}
        names |= dict.fromkeys(self.method.split("/"), "training")
        return Path(*(file_name(*each) for each in names.items()))

    def training_command(self) -> Command:
        """Return the training; its states are rare, and nothing is printed."""
        recorder = {
            "quiet": True,
            "tensorboard": False,
            "state_interval": 10**9,
            "state_seconds": STATE_SECONDS,
        }
        words = [*self._common(TRAINING), "--recorder", json.dumps(recorder), *words_of(self.overrides)]
        return Command([*self._files(), f"pipelines/train/{self.training}.yml"], words, "multimodal_train")

    def test_commands(self) -> list[Command]:
        """Return a test for each evaluator; several share one folder of embedding stores, a single one needs none."""
        # the network and its data are the training's, whatever was overridden there
        alike = {
            key: value for key, value in self.overrides.items() if key.partition(".")[0] in SHARED_SECTIONS
        }
        chosen = {name: args for name, args in self.postprocessor_args.items() if name in self.postprocessors}
        keep = len(self.evaluators) > 1 or self.keep_embeddings
        recorder = {
            **{"quiet": True, "save_csv": True, "save_scores": self.keep_scores, "save_embeddings": keep},
            "embeddings": str(self.embeddings) if keep else "",
        }
        return [
            Command(
                [*self._files(), f"pipelines/test/{evaluator}.yml"],
                [
                    *(*self._common(folder), *words_of(alike)),
                    *("--network.checkpoint", str(self.checkpoint), "--preset", self.preset),
                    *("--postprocessors", *self.postprocessors),
                    *(("--postprocessor_args", json.dumps(chosen)) if chosen else ()),
                    *(("--metrics", *self.metrics) if self.metrics else ()),
                    *("--recorder", json.dumps(recorder)),
                ],
            )
            for evaluator, folder in zip(self.evaluators, self.tests, strict=False)
        ]

    def settings(self) -> list[Any]:
        """Return the run's own fields, this package's version, and the content of configs, benchmark and manifests."""
        training, *tests = [each.config() for each in self.commands()]
        effective = [effective_config(each) for each in (training, *tests)]
        for each in effective[1:]:
            each["network"]["checkpoint"] = f"{TRAINING}/best.ckpt"  # wherever the run's folder is
        digests = [_benchmark_digest(training), *_manifest_digests(tests[0])]
        return [__version__, self.about(), *effective, *digests]

    def training_settings(self) -> list[Any]:
        """Return this package's version, and the content of the training's configs, its benchmark and manifests."""
        training = self.training_command().config()
        return [
            __version__,
            effective_config(training),
            _benchmark_digest(training),
            *_manifest_digests(training),
        ]

    def about(self) -> dict[str, Any]:
        """Return the fields, but for those that don't decide the results."""
        fields = asdict(self)
        for name in ("output", "keep_checkpoints", "keep_embeddings", "keep_scores"):
            del fields[name]
        fields["settings"] = fields.pop("overrides")  # as marks have always called them
        for name in (
            "variant",
            "metrics",
        ):  # nor, where empty, in the marks of runs made before there were any
            if not fields[name]:
                del fields[name]
        return fields

    def check(self) -> None:
        """Check the configs, and that no setting is what the suite varies."""
        for key in VARIED.keys() & self.overrides.keys():
            raise UserError(f"--{key} is what {VARIED[key]} varies; give {VARIED[key]} alone.")
        if not self.evaluators:
            raise UserError("evaluator is empty; set near_ood, far_ood, or both: near_ood,far_ood.")
        super().check()

    def tidy(self) -> None:
        """Remove the training's state and, unless they are to be kept, the networks."""
        training = self.folder / TRAINING
        remove(training, FILE)
        for path in () if self.keep_checkpoints else training.glob("*.ckpt"):
            remove(training, path.name)

    def _files(self) -> list[str]:
        data = f"datasets/{self.benchmark}"
        return [f"{data}.yml", f"{data}_ood.yml", f"networks/{self.network}.yml"]

    def _common(self, exp_name: str) -> list[str]:
        words = ["--dataset.partition", str(self.partition), "--seed", str(self.seed)]
        words += ["--dataset.modalities", *self.modalities] if self.modalities else []
        return [*words, "--output_dir", str(self.folder), "--exp_name", exp_name]

    def __str__(self) -> str:
        return str(self._cell / self.folder.name)


def _benchmark_digest(config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the benchmark's own file, or ``""`` where the config names none."""
    name = str(config["dataset"].get("benchmark") or "")
    path = Path(name) if name.endswith((".yml", ".yaml")) else benchmark_splits_dir() / f"{name}.yml"
    return file_sha256(path) if path.is_file() else ""


def _manifest_digests(config: Mapping[str, Any]) -> list[str]:
    """Return the SHA-256 of the manifest files that a config names, where they exist: clips can be prepared again."""
    return [
        f"{key} {file_sha256(str(value))}"
        for section in (config["dataset"], config.get("ood_dataset") or {})
        for key, value in Config(section).leaves()
        if key.endswith("imglist_pth.manifest") and Path(str(value)).is_file()
    ]


@dataclass(frozen=True)
class SuiteEntry:
    """One entry of a suite's ``runs``: every training on every set of modalities.

    A training is the name of a config, or a `TableRow`: with a variant, settings or postprocessors of its own.  What
    else an entry names takes the place of the suite's; its ``settings`` hold beside the suite's, which win.
    """

    benchmark: str
    trainings: list[str | TableRow]
    modalities: list[list[str]] = field(default_factory=list)
    settings: Mapping[str, Any] = field(default_factory=dict)
    partitions: int | None = None
    seeds: int | None = None
    network: str | None = None
    evaluator: str | list[str] | None = None
    postprocessors: list[str] | None = None
    postprocessor_args: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Suite:
    """Runs x partitions x seeds; the attributes are those of `SuiteRun`, in common to all."""

    runs: list[SuiteEntry]
    partitions: int
    seeds: int
    network: str = "mlp_fusion"
    evaluator: str | list[str] = "near_ood"
    postprocessors: list[str] = field(default_factory=lambda: ["msp", "ebo", "mls"])
    postprocessor_args: Mapping[str, Any] = field(default_factory=dict)
    preset: str = "openood"
    metrics: list[str] = field(default_factory=list)
    settings: Mapping[str, Any] = field(default_factory=dict)
    keep_embeddings: bool = False
    keep_scores: bool = False
    description: str = ""

    def runs_of(self, entry: SuiteEntry, output: str, keep_checkpoints: bool) -> list[SuiteRun]:
        """Return the runs of one entry."""
        own = {name: value for name in REPLACED if (value := getattr(entry, name)) not in (None, [])}
        plan = replace(self, **own)
        evaluator = plan.evaluator if isinstance(plan.evaluator, str) else ",".join(plan.evaluator)
        rows = [TableRow(each) if isinstance(each, str) else each for each in entry.trainings]
        return [
            SuiteRun(
                benchmark=entry.benchmark,
                training=row.training,
                variant=row.variant,
                partition=partition,
                seed=seed,
                modalities=tuple(modalities),
                network=plan.network,
                evaluator=evaluator,
                postprocessors=tuple(row.postprocessors or plan.postprocessors),
                preset=plan.preset,
                postprocessor_args=plan.postprocessor_args,
                metrics=more_metrics(plan.metrics),
                overrides={**flat(entry.settings), **flat(row.settings), **flat(plan.settings)},
                output=output,
                keep_checkpoints=keep_checkpoints,
                keep_embeddings=plan.keep_embeddings,
                keep_scores=plan.keep_scores,
            )
            for partition in range(plan.partitions)
            for seed in range(plan.seeds)
            for modalities in entry.modalities or [[]]
            for row in rows
        ]


REPLACED = ("partitions", "seeds", "network", "evaluator", "postprocessors", "postprocessor_args")
"""Fields of a suite that an entry may replace."""


def plan_suite(
    suite: Mapping[str, Any], output: str | Path = "", keep_checkpoints: bool = False
) -> list[SuiteRun]:
    """Return a suite's runs, ordered so that every setting fills evenly.

    Args:
        suite: the fields of `Suite`; those that have a default may be left out.
        output: folder of the outputs.
        keep_checkpoints: whether the trained networks are kept.

    Raises:
        UserError: for a key that is unknown or missing, a value of the wrong kind, a run that is asked for twice, or
            when there is nothing to run.
    """
    plan = bind(suite, Suite, where="suite", ignore=())
    runs = [run for entry in plan.runs for run in plan.runs_of(entry, str(output), keep_checkpoints)]
    runs.sort(key=lambda run: (run.partition, run.seed))
    if not runs:
        raise UserError("nothing to run: no training methods, partitions or seeds.")
    twice = next((run for run, count in Counter(map(str, runs)).items() if count > 1), None)
    if twice is not None:
        raise UserError(
            f"the run {twice} is asked for twice; name each benchmark, training and set of modalities once, or give a "
            "training a variant."
        )
    return runs


def settings_of(words: Sequence[str]) -> dict[str, str]:
    """Turn ``--key value`` words into settings; the values are typed later, by the config that they change.

    Raises:
        UserError: when the first word is no key.
    """
    if words and not words[0].startswith("--"):
        raise UserError(
            f"'{words[0]}' is no option; overrides are written --key value, e.g. --optimizer.lr 0.001"
        )
    settings: dict[str, str] = {}
    key = ""
    for word in words:
        name, equals, value = word.partition("=")
        if word.startswith("--") and equals:
            settings[name[2:]], key = value, ""
        elif word.startswith("--"):
            key = word[2:]
            settings[key] = ""
        elif key:
            settings[key] = f"{settings[key]},{word}" if settings[key] else word
    return settings
