"""One cell of a benchmark: train one network, test it, keep the records.

A job is plain data, so that it travels to a worker process, and its folder says whether it is done.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..config import Config, bind, load_config
from ..datasets.benchmarks import load_benchmark
from ..errors import UserError
from ..files import file_sha256, holding, read_json, text_sha256
from ..files.atomic import write_text
from ..files.paths import file_name, remove, remove_tree
from ..registry import EVALUATORS, TRAINERS
from ..resources import benchmark_splits_dir
from ..version import __version__
from .digest import effective_config

SHARED_SECTIONS = (
    "data_root",
    "dataset",
    "ood_dataset",
    "network",
    "preprocessor",
    "num_gpus",
    "num_workers",
)
"""Settings of these keys hold in a job's training and in its tests."""


@dataclass(frozen=True)
class Job:
    """A training and its test.

    Attributes:
        benchmark: config of the benchmark below ``datasets/``, without ``.yml``: ``htad/htad_4_3``.
        modalities: in the order of the concatenated embedding; empty for the benchmark's own choice.
        training: a trainer's config below ``pipelines/train/``, without ``.yml``.
        partition: class partition.
        seed: of the training (and, where the split depends on it, of the split).
        network: config of the network below ``networks/``.
        evaluator: ``near_ood`` or ``far_ood``; or both with a comma, from one extraction.
        postprocessors: scores.
        preset: of the scores' parameters.
        postprocessor_args: score → parameters that differ from the preset's.
        settings: overrides of the training config, dotted key → text.
    """

    benchmark: str
    training: str
    partition: int
    seed: int
    modalities: tuple[str, ...] = ()
    network: str = "mlp_fusion"
    evaluator: str = "near_ood"
    postprocessors: tuple[str, ...] = ("msp", "ebo", "mls")
    preset: str = "openood"
    postprocessor_args: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def evaluators(self) -> tuple[str, ...]:
        """The evaluators, in order."""
        return tuple(part.strip() for part in self.evaluator.split(",") if part.strip())

    @property
    def folder(self) -> Path:
        """The job's own folder, relative to the benchmark's output folder."""
        which = "+".join(self.modalities) or "default"
        names = {self.benchmark.rpartition("/")[2]: "benchmark", which: "modalities"}
        names |= dict.fromkeys(self.training.split("/"), "training")
        return Path(*(file_name(*each) for each in names.items()), f"p{self.partition}_s{self.seed}")

    def digest(self) -> str:
        """SHA-256 of all that decides the job's result: the content of its configs, this package's version."""
        training, *tests = job_configs(self, Path())
        content = [*(effective_config(each) for each in (training, *tests)), _benchmark_digest(training)]
        content += _manifest_digests(tests[0])
        text = json.dumps([__version__, asdict(self), *content], sort_keys=True, default=str)
        return text_sha256(text)

    def __str__(self) -> str:
        return str(self.folder)


@dataclass(frozen=True)
class Run:
    """One entry of a suite's ``runs``; as in `Job`, with lists of trainings and of sets of modalities.

    Its ``postprocessors`` take the place of the suite's; its ``settings`` hold beside the suite's, which win.
    """

    benchmark: str
    trainings: list[str]
    modalities: list[list[str]] = field(default_factory=list)
    postprocessors: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)


def check_jobs(jobs: Sequence[Job]) -> None:
    """Check what every job names, so that a mistake doesn't show after hours.

    Raises:
        UserError: for a partition that the benchmark lacks, a config, trainer, score, parameter or key that doesn't
            exist, or a setting that the plan itself varies.
    """
    from .options import TestOptions

    varied = {"dataset.partition": "--partitions", "seed": "--seeds", "dataset.modalities": "--modalities"}
    seen = set()
    for job in jobs:
        where = (job.benchmark, job.modalities, job.training, job.postprocessors)
        for key in varied.keys() & job.settings.keys():
            raise UserError(f"--{key} is what {varied[key]} varies; give {varied[key]} alone.")
        if not job.evaluators:
            raise UserError("evaluator is empty; set near_ood, far_ood, or both: near_ood,far_ood.")
        training, *tests = job_configs(job, Path())
        name = str(training["dataset"].get("benchmark") or "")
        if name:
            load_benchmark(name).partition(job.partition)
        if where not in seen:
            seen.add(where)
            TRAINERS.get(training["trainer"]["name"])
            for test in tests:
                EVALUATORS.get(test["evaluator"]["name"])
                TestOptions.from_config(test).build_postprocessors()


def is_done(job: Job, output_dir: Path) -> bool:
    """Whether the folder of ``job`` holds its finished records."""
    mark = output_dir / job.folder / "done.json"
    if not mark.is_file():
        return False
    with contextlib.suppress(UserError):  # then the run is made again
        content = read_json(mark)
        return isinstance(content, dict) and content.get("job") == job.digest()
    return False


def _benchmark_digest(config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the benchmark's own file, or ``""`` where the config names none."""
    name = str(config["dataset"].get("benchmark") or "")
    path = Path(name) if name.endswith((".yml", ".yaml")) else benchmark_splits_dir() / f"{name}.yml"
    return file_sha256(path) if path.is_file() else ""


def _manifest_digests(config: Mapping[str, Any]) -> list[str]:
    """Return the SHA-256 of the manifest files that a config names, where they are; clips can be prepared anew."""
    found: list[str] = []
    for section in (config["dataset"], config.get("ood_dataset") or {}):
        for key, value in Config(section).leaves():
            if key.endswith("imglist_pth.manifest") and Path(str(value)).is_file():
                found.append(f"{key} {file_sha256(str(value))}")
    return found


def job_configs(job: Job, folder: Path) -> tuple[Config, ...]:
    """Return the training's config, and a test's for each evaluator, of a job whose outputs go to ``folder``.

    Several evaluators share one folder of embedding stores; a single one keeps none.

    Raises:
        UserError: for a config, key or value that doesn't exist.
    """
    data = [
        f"datasets/{job.benchmark}.yml",
        f"datasets/{job.benchmark}_ood.yml",
        f"networks/{job.network}.yml",
    ]
    common = ["--dataset.partition", str(job.partition), "--seed", str(job.seed), "--output_dir", str(folder)]
    if job.modalities:
        common += ["--dataset.modalities", *job.modalities]

    overrides = [word for key, value in job.settings.items() for word in (f"--{key}", value)]
    training = load_config(
        [*data, f"pipelines/train/{job.training}.yml"], [*common, "--exp_name", "training", *overrides]
    )
    training["recorder"] = {"quiet": True, "state_interval": 0, "tensorboard": False}
    checkpoint = folder / "training" / "best.ckpt"

    # the network and its data are the training's, whatever was overridden there
    alike = [
        word
        for key, value in job.settings.items()
        if key.partition(".")[0] in SHARED_SECTIONS
        for word in (f"--{key}", value)
    ]
    shared = len(job.evaluators) > 1
    tests = []
    for evaluator in job.evaluators:
        test = load_config(
            [*data, f"pipelines/test/{evaluator}.yml"],
            [
                *(*common, *alike, "--exp_name", evaluator if shared else "test"),
                *("--network.checkpoint", str(checkpoint), "--preset", job.preset),
                *("--postprocessors", *job.postprocessors),
            ],
        )
        chosen = {name: args for name, args in job.postprocessor_args.items() if name in job.postprocessors}
        test["postprocessor_args"] = {**(test.get("postprocessor_args") or {}), **chosen}
        test["recorder"] = {"quiet": True, "save_scores": False, "save_csv": True, "save_embeddings": shared}
        if shared:
            test["recorder"]["embeddings"] = str(folder / "embeddings")
        tests.append(test)
    return training, *tests


def run_job(job: Job, output_dir: Path, keep_checkpoints: bool = False) -> None:
    """Train and test one cell; its folder is started anew and marked as done at the end."""
    from .test import TestPipeline
    from .train import TrainPipeline

    folder = output_dir / job.folder
    with holding(folder.parent, f".{folder.name}.lock"):  # not in it, as it is made anew
        if is_done(job, output_dir):  # another process has been at it
            return
        training, *tests = job_configs(job, folder)
        remove_tree(output_dir, job.folder.as_posix())
        TrainPipeline(training).run()
        for test in tests:
            TestPipeline(test).run()
        if not keep_checkpoints:
            for path in (folder / "training").glob("*.ckpt"):
                remove(path.parent, path.name)
        write_text(folder / "done.json", json.dumps({"job": job.digest(), **asdict(job)}, indent=2) + "\n")


def job_settings(words: list[str]) -> dict[str, str]:
    """Turn ``--key value`` words into settings; the values are typed later, by the config that they change."""
    settings: dict[str, str] = {}
    key: str | None = None
    for word in words:
        name, equals, value = word.partition("=")
        if word.startswith("--") and equals:
            settings[name[2:]], key = value, None
        elif word.startswith("--"):
            key = word[2:]
            settings[key] = ""
        elif key is not None:
            settings[key] = f"{settings[key]},{word}" if settings[key] else word
    return settings


def _comma_list(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def plan_from_mapping(suite: Mapping[str, Any]) -> list[Job]:
    """Return the jobs of a suite: ``runs`` x ``partitions`` x ``seeds``, ordered so that every setting fills evenly.

    Keys of a suite: ``runs`` (each ``benchmark``, ``trainings`` and optionally ``modalities``, a list of lists),
    ``partitions``, ``seeds``, and optionally ``network``, ``evaluator`` (one, or a list), ``postprocessors``,
    ``postprocessor_args``, ``preset``, ``settings``.

    Raises:
        UserError: when a run names no benchmark or no list of trainings, has an unknown key, or a count is none.
    """
    for key in ("partitions", "seeds"):
        if not isinstance(suite[key], int) or isinstance(suite[key], bool):
            raise UserError(f"a suite's {key} must be a whole number, got {suite[key]!r}.")
    if not isinstance(suite["runs"], list):
        raise UserError(f"a suite's runs must be a list of sections, got {suite['runs']!r}.")
    runs = [bind(run, Run, where=f"runs[{i}]", ignore=()) for i, run in enumerate(suite["runs"])]
    shared = {
        "network": suite.get("network", "mlp_fusion"),
        "evaluator": _comma_list(suite.get("evaluator", "near_ood")),
        "preset": suite.get("preset", "openood"),
        "postprocessor_args": suite.get("postprocessor_args") or {},
    }
    scores = suite.get("postprocessors", ("msp", "ebo", "mls"))
    settings = suite.get("settings") or {}
    jobs = [
        Job(
            benchmark=run.benchmark,
            training=training,
            partition=partition,
            seed=seed,
            modalities=tuple(modalities),
            postprocessors=tuple(run.postprocessors or scores),
            settings={
                key: _comma_list(value) for key, value in Config({**run.settings, **settings}).leaves()
            },
            **shared,
        )
        for partition in range(suite["partitions"])
        for seed in range(suite["seeds"])
        for run in runs
        for modalities in run.modalities or [[]]
        for training in run.trainings
    ]
    twice = next((folder for folder, count in Counter(job.folder for job in jobs).items() if count > 1), None)
    if twice is not None:
        raise UserError(
            f"the run {twice} is asked for twice; name each benchmark, training and set of modalities once."
        )
    return jobs
