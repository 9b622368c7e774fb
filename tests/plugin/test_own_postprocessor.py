"""A postprocessor class that a user wrote for OpenOOD: the one that docs/openood.md shows, in both hosts."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from openood_multimodal.errors import UserError
from openood_multimodal.plugin import OPENOOD_POSTPROCESSORS, register

PAGE = Path(__file__).resolve().parents[2] / "docs" / "openood.md"
ROOT = os.environ.get("OPENOOD_ROOT")


def _example() -> str:
    (code,) = re.findall(r"^```python\n(# own_scores.py\n.*?)^```$", PAGE.read_text(), flags=re.M | re.S)
    return code


@pytest.fixture
def registered(standin, monkeypatch, tmp_path):
    """The class of the page, registered by the decorator in the stand-in."""
    register()
    (tmp_path / "own_scores.py").write_text(_example())
    sys.path.insert(
        0, str(tmp_path)
    )  # `standin` puts the path back; monkeypatch, which ends later, would not
    monkeypatch.delitem(sys.modules, "own_scores", raising=False)
    importlib.invalidate_caches()
    import own_scores

    monkeypatch.setattr(OPENOOD_POSTPROCESSORS, "_entries", dict(OPENOOD_POSTPROCESSORS._entries))
    return OPENOOD_POSTPROCESSORS.register("centroid")(own_scores.CentroidDistance)


def test_it_is_a_postprocessor_inside_openood(registered, table_config, run_openood, tmp_path):
    run_openood(table_config("train"))
    results = []
    for scale in (None, 1.0, None):
        section = {"name": "centroid"} | ({"postprocessor_args": {"scale": scale}} if scale else {})
        folder = f"out{len(results)}"
        run_openood(table_config("test", folder=folder, postprocessor=section))
        results.append(next((tmp_path / folder).rglob("ood.csv")).read_text())
        assert "nearood" in results[-1]
    assert results[0] == results[1] == results[2]  # a scale changes no rank


def test_its_parameters_are_its_own(registered, table_config):
    from openood.postprocessors import get_postprocessor
    from openood.utils import Config

    for args, expected in ((None, 2.0), ({"scale": 5.0}, 5.0)):
        section = {"name": "centroid"} | ({"postprocessor_args": args} if args else {})
        found = get_postprocessor(Config(table_config("test", postprocessor=section)))
        assert (type(found), found.scale) == (registered, expected)


def test_it_serves_image_networks_as_well(registered, image_config):
    from openood.postprocessors import get_postprocessor
    from openood.utils import Config

    found = get_postprocessor(Config(image_config(postprocessor={"name": "centroid"})))
    assert type(found) is registered


def test_a_class_that_is_no_postprocessor_is_refused():
    with pytest.raises(UserError, match=r"no setup, postprocess, inference"):
        OPENOOD_POSTPROCESSORS.register("nothing")(torch.nn.ReLU)


@pytest.mark.skipif(
    not ROOT and importlib.util.find_spec("openood") is None,
    reason="no OpenOOD: set OPENOOD_ROOT to a checkout, or run: make test-openood OPENOOD_ROOT=/path/to/OpenOOD",
)
def test_both_hosts_report_the_same_digits_for_it(tmp_path):
    """As a package with an entry point; OpenOOD is imported by the package's module."""
    from openood_multimodal.plugin.host import find_openood

    (tmp_path / "own_scores.py").write_text(_example())
    info = tmp_path / "own_scores-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-scores\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[openood_multimodal.openood_postprocessors]\ncentroid = own_scores:CentroidDistance\n"
    )
    (tmp_path / "centroid.yml").write_text("postprocessor: {name: centroid}\n")
    root = find_openood()
    here = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join([str(tmp_path), here, *sys.path])
    environment = {**os.environ, "OPENOOD_ROOT": str(root), "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}

    def run(*words: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]

    data = ("datasets/synthetic/synthetic_far.yml", "networks/mlp_fusion.yml")
    small = ("--network.hidden_dim", "16", "--network.embedding_dim", "24", "--num_gpus", "0")
    run(
        *("openood_multimodal", "run", "--config", *data, "pipelines/train/a2d.yml", *small),
        *("--optimizer.num_epochs", "3", "--output_dir", str(tmp_path), "--exp_name", "run"),
    )
    files = [data[0], "datasets/synthetic/synthetic_far_ood.yml", data[1], "pipelines/test/near_ood.yml"]
    test = (*small, "--network.checkpoint", str(tmp_path / "run" / "best.ckpt"))
    more = ("--pipeline.name", "test_ood", "--output_dir", str(tmp_path / "theirs"))
    configs = (f"configs/{file}" for file in files)
    run(
        "openood_multimodal.plugin",
        "main.py",
        "--config",
        *configs,
        str(tmp_path / "centroid.yml"),
        *test,
        *more,
    )
    own = ("--engine", "openood", "--postprocessors", "centroid", "--output_dir", str(tmp_path / "ours"))
    run("openood_multimodal", "run", "--config", *files, *test, *own)
    theirs, ours = (tmp_path / host / "centroid" / "ood.csv" for host in ("theirs", "ours"))
    assert theirs.read_text() == ours.read_text()
