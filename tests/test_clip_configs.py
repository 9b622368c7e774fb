"""Configs of clips and of the paper's tables: every combination binds, and says what the authors' commands say."""

from __future__ import annotations

from pathlib import Path

import pytest

from openood_multimodal.config import load_config
from openood_multimodal.datasets.clip_benchmarks import available_clip_benchmarks, load_clip_benchmark
from openood_multimodal.networks.clips.published_weights import ENCODER_WEIGHTS
from openood_multimodal.pipelines.checks import data_sections
from openood_multimodal.pipelines.compare import printed_cells
from openood_multimodal.pipelines.missing import find_missing
from openood_multimodal.pipelines.table_runs import Roots, TableRun, plan_table
from openood_multimodal.pipelines.tables import available_tables, load_scale, load_table
from openood_multimodal.plugin.preflight import _STRICT, PIPELINE_KEYS
from openood_multimodal.registry import CLIP_LAYOUTS
from openood_multimodal.resources import configs_dir

ROOTS = Roots("data")
TABLES = [f"table{number}" for number in range(1, 13)]
FIGURES = [f"figure{number}" for number in (1, 3, 4, 10, 11, 12, 13)]
NPMIX = ("a2d_npmix", "a2d_npmix_logitnorm")

# dataset.name, more than two modalities or other encoders → (epochs of baseline, of A2D, of NP-Mix, gamma of NP-Mix)
COMMANDS = {
    "hmdb51_25_26": (50, 50, 50, 0.5),
    "ucf101_50_51": (50, 50, 50, 0.5),
    "epic_kitchens_4_4": (20, 50, 20, 0.1),
    "kinetics600_129_100": (20, 20, 20, 0.1),
    "far_hmdb51": (50, 50, 50, 0.1),
    "far_kinetics600": (20, 20, 20, 0.1),
}


def jobs_of(name: str) -> list[TableRun]:
    return plan_table(load_table(name), ROOTS)


def benchmark_of(job: TableRun) -> str:
    return job.id_set


def test_every_table_has_a_config():
    assert available_tables() == TABLES + FIGURES


@pytest.mark.parametrize("name", TABLES + FIGURES)
def test_every_row_binds(name: str):
    for job in jobs_of(name):
        job.check()
    for job in plan_table(load_table(name), ROOTS, scale=load_scale("moving_shapes"), partitions=1):
        job.check()


@pytest.mark.parametrize("scale", ["htad", "mfeat"])
@pytest.mark.parametrize("name", FIGURES)
def test_every_row_of_a_figure_binds_on_real_tables_without_a_folder(name: str, scale: str):
    jobs = plan_table(load_table(name), Roots(""), scale=load_scale(scale))
    for job in {job.name: job for job in jobs}.values():
        job.check()
        assert not job.has_key("data_root")
        assert find_missing(job) == []


def test_what_the_papers_figures_vary():
    """Settings of Appendix F and G; what a figure shares with Table 1 runs once."""
    table1 = {job.folder: job.settings() for job in jobs_of("table1")}
    for name, key, values in (
        ("figure10", "num_neighbors", [1, 2, 3, 4]),
        ("figure11", "alpha", [2.0, 4.0, 10.0]),
    ):
        jobs = jobs_of(name)
        trainers = [job.training_command().config()["trainer"] for job in jobs]
        assert [each["synthesis_args"][key] for each in trainers if each["name"] == "a2d_npmix"] == values
        shared = [job for job in jobs if job.folder in table1]
        assert [job.row.training for job in shared] == ["multimodal_baseline", "a2d_npmix"]
        assert all(job.settings() == table1[job.folder] for job in shared)
    assert {(job.partition, job.seed) for job in jobs_of("figure12")} == {(0, 0), (0, 1), (0, 2)}
    splits = [job for job in jobs_of("figure13") if job.row.training == "a2d_npmix"]
    manifests = [
        job.training_command().config()["dataset"]["train"]["imglist_pth"]["manifest"] for job in splits
    ]
    assert manifests[:2] == [f"splits/hmdb51_25_26_grouped{seed}/train.csv" for seed in ("", "_seed1")]
    assert len(set(manifests)) == 5
    test = (
        splits[1].test_commands()[0].config()["ood_dataset"]["nearood"]["hmdb51"]["imglist_pth"]["manifest"]
    )
    assert test == "splits/hmdb51_25_26_grouped_seed1/nearood_hmdb51.csv"
    [remedy] = [each.remedy for each in find_missing(splits[1]) if each.kind == "splits"]
    assert remedy.endswith(
        "generate --track grouped --from MultiOOD --benchmark hmdb51_25_26 --seed 1 --out splits"
    )


@pytest.mark.parametrize("name", TABLES)
def test_every_printed_cell_has_one_answer(name: str):
    table = load_table(name)
    printed = table.published()
    answered = [
        tuple(cell.values()) for job in plan_table(table, ROOTS) for cell in printed_cells(job, printed)
    ]
    without = [
        tuple(row.values())
        for row in printed
        if any(
            row["training"] == each.training and each.synthesis in ("", row["synthesis"])
            for each in table.not_implemented
        )
    ]
    assert sorted(answered + without) == sorted(tuple(row.values()) for row in printed)
    assert all(printed_cells(job, printed) for job in plan_table(table, ROOTS))


def test_a_run_that_two_tables_share_is_the_same_in_both():
    found: dict[Path, dict] = {}
    shared = 0  # rows that stand in an earlier table too
    for name in TABLES:
        for job in jobs_of(name):
            effective = job.settings()
            shared += job.folder in found
            assert found.setdefault(job.folder, effective) == effective, (name, job.name)
    assert shared == 14


@pytest.mark.parametrize("name", TABLES)
def test_settings_are_those_of_the_authors_commands(name: str):
    for job in jobs_of(name):
        training, test = (each.config() for each in job.commands())
        trainer, optimizer = training["trainer"], training["optimizer"]
        benchmark, audio = benchmark_of(job), "audio" in job.group.modalities
        base, a2d, npmix, gamma = COMMANDS[benchmark]
        kind = job.row.training.removesuffix("_logitnorm")
        epochs = {"a2d": a2d, "a2d_npmix": npmix}.get(kind, base)
        assert optimizer == {"name": "adam", "num_epochs": epochs, "lr": 1e-4, "weight_decay": 1e-4}, job.name
        assert training["dataset"]["train"]["batch_size"] == 16
        if kind == "a2d":
            assert trainer["gamma"] == 1.0
        if job.row.training in NPMIX:
            assert trainer["gamma"] == (0.5 if audio else gamma), job.name
            assert trainer["bank_size"] == (150 if audio and benchmark == "epic_kitchens_4_4" else 65)
            assert trainer["start_epoch"] == 11
            assert trainer["synthesis_args"] == {"num_neighbors": 2, "alpha": 10.0}
            assert trainer["discrepancy"] == (job.row.variant or "hellinger")
        if "protocol" in trainer:
            assert trainer["protocol"] == "multiood-code"
        if "tau" in trainer:
            assert trainer["tau"] == 0.04
        assert training["preprocessor"]["protocol"] == test["preprocessor"]["protocol"] == "multiood-code"
        assert (test["preset"], test["engine"]) == ("multiood", "native")
        assert test["fit_on"] == load_clip_benchmark(benchmark).fit_on
        assert list(training["network"]["modalities"]) == job.group.modalities
        assert set(job.group.modalities) <= set(load_clip_benchmark(benchmark).modalities)


def test_starting_weights_are_published_ones_of_that_encoder():
    files = {each.file: each.encoder for each in ENCODER_WEIGHTS}
    without = []
    for network in ("clip_fusion", "clip_fusion_i3d_tsn", "clip_fusion_swin_ast"):
        config = load_config(
            ["datasets/hmdb51/hmdb51_25_26.yml", f"networks/{network}.yml", "pipelines/train/a2d.yml"]
        )
        for encoder in config["network"]["encoders"].values():
            if encoder["checkpoint"]:
                assert files[Path(encoder["checkpoint"]).name] == encoder["name"]
            else:
                without.append((encoder["name"], encoder["train_stages"]))
    assert without == [("ast", -1)]


def _benchmark_configs() -> dict[str, str]:
    return {
        path.stem: f"datasets/{path.parent.name}/{path.stem}"
        for path in (configs_dir() / "datasets").rglob("*.yml")
        if path.stem in available_clip_benchmarks()
    }


def test_every_benchmark_of_clips_has_configs():
    assert sorted(_benchmark_configs()) == available_clip_benchmarks()


@pytest.mark.parametrize("name", available_clip_benchmarks())
def test_a_benchmarks_config_agrees_with_its_description(name: str):
    benchmark, base = load_clip_benchmark(name), _benchmark_configs()[name]
    config = load_config(
        [f"{base}.yml", f"{base}_ood.yml", "networks/clip_fusion.yml", "pipelines/test/near_ood.yml"],
        ["--data_root", "/d", "--splits_root", "/s"],
    )
    assert config["dataset"]["name"] == name
    assert config["dataset"]["num_classes"] == config["ood_dataset"]["num_classes"] == len(benchmark.classes)
    sections = dict(data_sections(config))
    assert list(sections) == list(benchmark.sets)
    for key, section in sections.items():
        tree = CLIP_LAYOUTS[benchmark.sets[key].dataset].tree
        assert section["imglist_pth"]["manifest"] == f"/s/{name}/{key}.csv"
        folder = section["data_dir"].removeprefix("/d/")
        assert tree.startswith((f"{folder}/", f"{folder}\n")), (folder, tree[:20])


@pytest.mark.parametrize("name", available_clip_benchmarks())
def test_openood_finds_the_keys_that_it_reads(name: str):
    base = _benchmark_configs()[name]
    training = load_config([f"{base}.yml", "networks/clip_fusion.yml", "pipelines/train/a2d_npmix.yml"])
    test = load_config(
        [f"{base}.yml", f"{base}_ood.yml", "networks/clip_fusion.yml", "pipelines/test/far_ood.yml"]
    )
    for config, pipeline in ((training, "train"), (test, "test_ood")):
        keys = {*PIPELINE_KEYS[pipeline], *_STRICT[pipeline]} - {"postprocessor.name"}
        assert [key for key in sorted(keys) if key not in config] == []
    for key in ("pre_size", "image_size", "interpolation", "normalization_type"):
        assert key in training["dataset"]


def test_small_encoders_leave_the_sound_that_a_dataset_asks_for_alone():
    data = "datasets/moving_shapes/moving_shapes.yml"
    pipeline = "pipelines/train/a2d.yml"
    audio = {"seconds": 2.5, "window": 128, "overlap": 64}
    of_dataset = {"preprocessor": {"audio": audio}}
    found = load_config([data, of_dataset, "networks/clip_fusion_small.yml", pipeline])["preprocessor"][
        "audio"
    ]
    assert dict(found) == audio
