"""Text files and checkpoints from anybody: the value, or one UserError that names the file, in bounded time."""

import io
import json
import os
import pickle
import re
import time
import zipfile
from pathlib import Path

import pytest
import torch

from openood_multimodal.errors import UserError
from openood_multimodal.files import (
    file_sha256,
    is_clutter,
    listed,
    read_csv,
    read_json,
    read_table,
    read_yaml,
)
from openood_multimodal.files.limits import LIMITS, VARIABLE, limit
from openood_multimodal.files.tensors import read_tensors
from openood_multimodal.files.text import StrictLoader, parse_yaml
from openood_multimodal.files.trees import check_tree


def test_every_limit_is_in_the_docs():
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d+(?: [KM]iB)?) \|", page, re.MULTILINE))
    units = {"KiB": 2**10, "MiB": 2**20}
    stated = {
        name: int(text.split()[0]) * units.get(text.partition(" ")[2], 1) for name, text in rows.items()
    }
    assert stated == {name: each.default for name, each in LIMITS.items()}


def test_limits_are_changed_by_the_environment(monkeypatch, tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[1, 2, 3]")
    monkeypatch.setenv(VARIABLE, "json_bytes=4, yaml_bytes=2MiB")
    assert limit("yaml_bytes") == 2**21
    with pytest.raises(
        UserError, match=r"a\.json: it has 9 bytes; the limit is 4\. .*OPENOOD_MM_LIMITS=json_bytes"
    ):
        read_json(path)
    monkeypatch.setenv(VARIABLE, "json_byte=4")
    with pytest.raises(UserError, match="json_bytes"):
        read_json(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ('{"a": 1, "a": 2}', "'a' is set twice"),
        ("[NaN]", "contains NaN"),
        ("[" * 900 + "]" * 900, "nested more than 64 deep"),
        ("[" * 200000 + "]" * 200000, "nested"),
        ('{"a": "\\ud800"}', "lone surrogate"),
        ("1" * 5000, "damaged, or not JSON"),
        (b"\xff\xfe{}", "not UTF-8"),
    ],
)
def test_bad_json(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message) as caught:
        read_json(path)
    assert str(path) in str(caught.value)


def test_json_with_a_byte_order_mark_and_pairs_of_surrogates(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": "\\ud83d\\ude00", "b": "\\\\ud800"}')
    assert read_json(path) == {"a": "\U0001f600", "b": "\\ud800"}


def bomb(levels=30, width=9):
    lines = ["a0: &a0 [x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
    return "\n".join(lines)


def merge_bomb(levels=30):
    lines = ["a0: &a0 {k: v}"]
    lines += [f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}, *a{i - 1}]}}" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (bomb(), "values, those that repeat counted each time"),
        (merge_bomb(), "values, those that repeat counted each time"),
        ("a: &x [*x]", "contains itself"),
        ("a: " + "[" * 100 + "]" * 100, "nested more than 64 deep"),
        ("[" * 50000, "nested too deeply"),
        ("a: " + "9" * 5000, "damaged, or not YAML"),
        ("a: !!timestamp x", "damaged, or not YAML"),
        ("a: !!int ''", "damaged, or not YAML"),
        ("a: 1\na: 2", "line 2, column 1: the key 'a' is set twice"),
    ],
)
def test_bad_yaml_ends_at_once(tmp_path, text, message):
    path = tmp_path / "a.yml"
    path.write_text(text)
    began = time.monotonic()
    with pytest.raises(UserError, match=message) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value)
    assert time.monotonic() - began < 10


def test_anchors_and_merges_are_read(tmp_path):
    path = tmp_path / "a.yml"
    path.write_text("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]\n")
    assert read_yaml(path) == {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": [{"x": 1}, {"x": 1}]}


def test_what_is_no_plain_file_is_named(tmp_path):
    for read in (read_json, read_yaml, read_csv, file_sha256, read_tensors):
        with pytest.raises(UserError, match="there is no such file"):
            read(tmp_path / "absent")
    os.mkfifo(tmp_path / "pipe")
    for read in (read_json, read_yaml, read_csv, read_tensors):
        with pytest.raises(UserError, match="no plain file"):
            read(tmp_path / "pipe")
        with pytest.raises(UserError, match=r"folder|no plain file"):
            read(tmp_path)


def test_csv_names_its_separator(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("\ufeffsep=;\r\na;b\r\n1;2,5\r\n\r\n")
    assert read_csv(path) == [["a", "b"], ["1", "2,5"]]
    path.write_text('a,b\n"1,2\n')
    with pytest.raises(UserError, match=r"a\.csv, line \d: not CSV"):
        read_csv(path)


def test_trees_are_counted_written_out_and_once():
    value = ["x"]
    for _ in range(60):
        value = [value, value]
    with pytest.raises(UserError, match="those that repeat counted each time"):
        check_tree(value, "f")
    circle = {}
    circle["a"] = [circle]
    with pytest.raises(UserError, match="contains itself"):
        check_tree(circle, "f")
    shared = {"a": 1}
    check_tree([shared, (shared, {"b": shared})], "f")


class Code:
    def __reduce__(self):
        return os.system, ("echo ran > ran",)


def zipped(path, compression=zipfile.ZIP_STORED, data=b"", **members):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")
        for name, content in members.items():
            archive.writestr(f"archive/{name}", content)


def test_checkpoints_of_both_formats_are_read(tmp_path):
    content = {"w": torch.arange(6.0).reshape(2, 3), "epoch": 3, "log": [{"loss": 0.5}]}
    for new in (True, False):
        torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=new)
        read = read_tensors(tmp_path / "a.pt")
        assert torch.equal(read["w"], content["w"])
        assert read["log"] == content["log"]


def test_writing_to_a_mapped_tensor_leaves_the_file(tmp_path):
    torch.save({"w": torch.zeros(3)}, tmp_path / "a.pt")
    before = file_sha256(tmp_path / "a.pt")
    read_tensors(tmp_path / "a.pt")["w"].fill_(7)
    assert file_sha256(tmp_path / "a.pt") == before


@pytest.mark.parametrize("new", [True, False])
def test_code_is_named_and_does_not_run(tmp_path, new, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"w": Code()}, "a.pt", _use_new_zipfile_serialization=new)
    with pytest.raises(
        UserError, match=r"a\.pt is damaged, or holds more than tensors and plain values .*system"
    ) as caught:
        read_tensors("a.pt")
    assert "weights_only" not in str(caught.value)
    assert not Path("ran").exists()


def test_checkpoints_that_expand_or_claim_are_refused(tmp_path):
    path = tmp_path / "a.pt"
    zipped(path, zipfile.ZIP_DEFLATED, bytes(2**22))
    with pytest.raises(UserError, match=r"a\.pt: its members are compressed"):
        read_tensors(path)
    zipped(path, data=b"\x80\x02" + b"]0" * 2**21 + b".")
    began = time.monotonic()
    with pytest.raises(UserError, match="more than 500000 instructions"):
        read_tensors(path)
    path.write_bytes(b"\x80\x02" + b"]0" * 2**21 + b".")
    with pytest.raises(UserError, match="more than 500000 instructions"):
        read_tensors(path)
    assert time.monotonic() - began < 20

    # a tensor of 40 GB on a storage of 8 floats
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(8)}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        members = {each.filename: archive.read(each) for each in archive.infolist()}
    (name,) = (each for each in members if each.endswith("data.pkl"))
    assert members[name].count(b"K\x08\x85") == 1
    members[name] = members[name].replace(
        b"K\x08\x85", b"\x8a\x05" + (10**10).to_bytes(5, "little") + b"\x85"
    )
    with zipfile.ZipFile(path, "w") as archive:
        for each, data in members.items():
            archive.writestr(each, data)
    with pytest.raises(UserError, match=r"a\.pt is damaged"):
        read_tensors(path)


def test_nested_and_circular_checkpoints(tmp_path):
    value = []
    for _ in range(100):
        value = [value]
    torch.save(value, tmp_path / "a.pt")
    with pytest.raises(UserError, match="nested more than 64 deep"):
        read_tensors(tmp_path / "a.pt")
    circle = {}
    circle["a"] = circle
    torch.save(circle, tmp_path / "a.pt")
    with pytest.raises(UserError, match="contains itself"):
        read_tensors(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "name",
    [
        "._a.avi",
        ".DS_Store",
        "Thumbs.db",
        "desktop.ini",
        "a.csv~",
        "a.csv.bak",
        "#a.csv#",
        ".#a.csv",
        "~$a.xlsx",
        "a.part",
    ],
)
def test_clutter(name):
    assert is_clutter(name)


@pytest.mark.parametrize("name", ["#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi", "a.csv", "~a", "bak", "thumbs"])
def test_names_that_are_no_clutter(name):
    assert not is_clutter(name)


def test_listing_passes_over_clutter_but_not_over_a_hidden_root(tmp_path):
    root = tmp_path / ".cache"
    for name in ("a.json", "._a.json", "b/c.json", ".git/d.json", "__MACOSX/e.json", "b/c.json~"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}")
    assert listed(root, "*.json") == [root / "a.json"]
    assert listed(root, "*.json", recursive=True) == [root / "a.json", root / "b" / "c.json"]
    assert listed(tmp_path / "absent") == []


def test_a_pickle_alone_is_no_checkpoint(tmp_path):
    (tmp_path / "a.pt").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UserError, match=r"a\.pt is damaged"):
        read_tensors(tmp_path / "a.pt")
    (tmp_path / "a.pt").write_bytes(json.dumps({"a": 1}).encode())
    with pytest.raises(UserError, match=r"a\.pt is damaged"):
        read_tensors(tmp_path / "a.pt")


BOMB = "b0: &b0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"b{number}: &b{number} [{', '.join([f'*b{number - 1}'] * 9)}]\n" for number in range(1, 9)
)


class _Slow(StrictLoader):
    """Not libyaml's scanner: what is read where PyYAML has been built without it."""


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb: {a: [1, 2.5, null, yes, 2024-01-01, 'x']}\n",
        "a: &x {b: 1}\nc: {<<: *x, b: 2}\n",
        "a: 1\nb: 2\na: 3\n",
        "1: a\n",
        "? [a]\n: b\n",
        "a: &x [*x]\n",
        "a: [1, 2\n",
        "a: b: c\n",
        "a: !!python/object:os.system x\n",
        "a: 1\n---\nb: 2\n",
        "a: \x01\n",
        "",
        "[" * 3000,
        BOMB,
    ],
)
def test_yaml_is_as_strict_on_libyaml_as_without_it(text):
    def outcome(loader):
        try:
            return parse_yaml(text, "x.yml", loader=loader)
        except UserError as error:
            return str(error)

    assert outcome(StrictLoader) == outcome(_Slow)


def test_packaged_yaml_is_the_same_with_and_without_libyaml():
    root = Path(__file__).parents[2]
    for path in [*(root / "configs").rglob("*.yml"), *(root / "openood_multimodal").rglob("*.yml")]:
        text = path.read_text(encoding="utf-8")
        assert parse_yaml(text, str(path)) == parse_yaml(text, str(path), loader=_Slow)


def test_a_table_has_a_header_and_rows_of_its_width(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('a,b\n1,2\n"x\ny",4\n', encoding="utf-8")
    assert read_table(path) == [(2, {"a": "1", "b": "2"}), (3, {"a": "x\ny", "b": "4"})]
    with pytest.raises(UserError, match="columns must be b,a"):
        read_table(path, columns=["b", "a"])
    path.write_text("a,b\n1,2\n3\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"t\.csv, line 3: not 2 cells"):
        read_table(path)
