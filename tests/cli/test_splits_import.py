"""``openood-mm splits import``: a folder of lists becomes manifests; a wrong one changes nothing."""

import json
from pathlib import Path

import pytest
from by_path import load

from openood_multimodal.cli import splits, splits_import
from openood_multimodal.datasets import benchmark_files
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.errors import UserError

made_lists = load(Path(__file__).parents[1] / "corpora" / "made_lists.py")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Lists below ``lists``; the packaged benchmarks are ``made`` and ``other``, which needs one more list."""
    packaged = tmp_path / "benchmark_splits"
    packaged.mkdir()
    path = made_lists.write(tmp_path)
    text = path.read_text(encoding="utf-8")
    (packaged / "made.yml").write_text(text, encoding="utf-8")
    other = text.replace("name: made", "name: other").replace("ucf.txt", "absent.txt")
    (packaged / "other.yml").write_text(other, encoding="utf-8")
    (packaged / "tabular.yml").write_text("layout: htad\n", encoding="utf-8")
    monkeypatch.setattr(benchmark_files, "benchmark_splits_dir", lambda: packaged)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_all_that_is_complete_is_imported(folder, capsys):
    assert splits.main(["import", "--from", "lists", "--out", "out"]) == 0
    captured = capsys.readouterr()
    assert "other is left out: no absent.txt" in captured.err
    rows = [line.split() for line in captured.out.splitlines() if line.startswith("made ")]
    assert [row[1:3] for row in rows[:3]] == [["train", "4"], ["val", "2"], ["test", "2"]]
    assert len(rows) == 7
    assert sorted(path.name for path in (folder / "out" / "made").glob("*.csv")) == sorted(
        f"{key}.csv" for key in made_lists.SETS
    )
    assert not (folder / "out" / "other").exists()


def test_a_benchmark_that_is_named_must_be_complete(folder):
    with pytest.raises(UserError, match=r"other needs HMDB-rgb-flow/splits/absent\.txt"):
        splits_import.main(["--from", "lists", "--benchmark", "made", "other", "--out", "out"])
    assert not (folder / "out").exists()
    with pytest.raises(UserError, match=r"no benchmark of clips 'maid'.*'made'"):
        splits_import.main(["--from", "lists", "--benchmark", "maid"])


def test_a_folder_without_lists_is_refused(folder):
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match="the lists of no benchmark"):
        splits_import.main(["--from", "empty"])
    with pytest.raises(UserError, match="there is no folder"):
        splits_import.main(["--from", "nowhere"])


def test_a_changed_list_is_refused_and_leaves_all_as_it_was(folder, capsys):
    assert splits_import.main(["--from", "lists", "--out", "out"]) == 0
    before = {path.name: path.read_bytes() for path in (folder / "out" / "made").iterdir()}
    data = (folder / "lists" / "val.txt").read_bytes()
    (folder / "lists" / "val.txt").write_bytes(b"".join(data.splitlines(keepends=True)[:1]))
    with pytest.raises(UserError, match=r"val\.txt is not the list .*--accept-changed"):
        splits_import.main(["--from", "lists", "--out", "out"])
    assert before == {path.name: path.read_bytes() for path in (folder / "out" / "made").iterdir()}

    capsys.readouterr()
    assert splits_import.main(["--from", "lists", "--out", "out", "--accept-changed"]) == 0
    printed = capsys.readouterr().out
    assert "(modified)" in printed
    assert "MODIFIED" in printed
    assert "not the authors' list: HMDB-rgb-flow/splits/val.txt" in printed
    card = json.loads((folder / "out" / "made" / "split.json").read_text(encoding="utf-8"))
    assert card["modified"] is True
    assert len(Manifest.read(folder / "out" / "made" / "val.csv")) == 1


def test_a_second_import_gives_the_same_bytes(folder):
    for out in ("a", "b", "b"):
        assert splits_import.main(["--from", "lists", "--out", out]) == 0
    a, b = ({p.name: p.read_bytes() for p in (folder / out / "made").iterdir()} for out in "ab")
    assert a == b


def test_an_unknown_verb_is_named_with_the_nearest():
    with pytest.raises(UserError, match=r"no 'splits imprt'\. Did you mean 'import'"):
        splits.main(["imprt"])
