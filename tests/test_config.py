"""The Config class and the loading of files: merging, looking names up, bad files."""

import copy
import os
import pickle
from pathlib import Path

import pytest
import yaml

from openood_multimodal import resources
from openood_multimodal.config import Config, MissingKeyError, find_config, load_config, read_config
from openood_multimodal.errors import UserError


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Write named YAML texts into an empty working directory; return their names."""
    monkeypatch.chdir(tmp_path)

    def write(*texts: str) -> list[str]:
        names = [f"f{i}.yml" for i in range(len(texts))]
        for name, text in zip(names, texts, strict=True):
            Path(name).write_text(text)
        return names

    return write


@pytest.fixture
def packaged(tmp_path_factory, monkeypatch):
    """Stand-in for the packaged configs."""
    folder = tmp_path_factory.mktemp("packaged")
    (folder / "datasets" / "htad").mkdir(parents=True)
    (folder / "datasets" / "htad" / "htad_4_3.yml").write_text("dataset: {name: htad_4_3}\n")
    monkeypatch.setattr("openood_multimodal.config.files.configs_dir", lambda: folder)
    monkeypatch.setattr(resources, "configs_dir", lambda: folder)
    return folder


# --- Config ----------------------------------------------------------------------------------------------


def test_items_dots_and_attributes_reach_the_same_value():
    config = Config({"a": {"b": {"c": 1}}}, d=[1, 2])
    assert config["a"]["b"]["c"] == config["a.b.c"] == config.a.b.c == config.a["b.c"] == 1
    assert config.get("a.b.c") == 1
    assert config.get("a.x.c", 5) == 5
    assert config.get("d.0", 5) == 5
    assert "a.b" in config
    assert "a.b.c.d" not in config
    assert 3 not in config
    assert isinstance(config, dict)
    assert config == {"a": {"b": {"c": 1}}, "d": [1, 2]}


def test_missing_keys_raise_what_dicts_and_objects_raise():
    config = Config({"trainer": {"gamma": 1.0}})
    with pytest.raises(AttributeError, match="Did you mean 'gamma'"):
        _ = config.trainer.gama
    with pytest.raises(KeyError) as caught:
        _ = config["trainer.gama"]
    assert str(caught.value) == "the configuration has no key 'trainer.gama'. Did you mean 'trainer.gamma'?"
    assert isinstance(caught.value, UserError)
    assert not hasattr(config, "gamma")
    assert getattr(config, "gamma", None) is None


def test_it_mutates_as_a_dict_does():
    config = Config()
    config["a.b"] = 1
    config.a.c = {"d": 2}
    config["a.b.x"] = 3  # a section takes a leaf's place
    assert config == {"a": {"b": {"x": 3}, "c": {"d": 2}}}
    assert isinstance(config.a.c, Config)
    assert config.pop("a.c.d") == 2
    assert config.pop("a.c.d", 7) == 7
    with pytest.raises(KeyError):
        config.pop("a.c.d")
    assert config.setdefault("a.e", 4) == config.setdefault("a.e", 5) == 4
    config.update({"f": {"g": 1}}, h=2)
    config |= {"h": 3}
    assert config["f.g"] == 1
    assert (config | {"i": 1}) == {**config, "i": 1}
    assert ({"i": 1, "h": 9} | config) == {"i": 1, **config}
    assert isinstance(config | {}, Config)
    del config["f.g"]
    del config.h
    assert config == {"a": {"b": {"x": 3}, "c": {}, "e": 4}, "f": {}}
    with pytest.raises(KeyError):
        del config["f.g"]
    with pytest.raises(AttributeError):
        del config.h
    config.clear()
    assert not config


def test_names_of_methods_are_keys_by_item_only():
    config = Config({"items": 1, "get": 2})
    assert config["items"] == 1
    assert config["get"] == 2
    assert list(config.items()) == [("items", 1), ("get", 2)]
    with pytest.raises(AttributeError, match=r"config\['items'\]"):
        config.items = 3


def test_copies_and_pickles(files):
    config = load_config(files("a: {b: [1, 2], c: {d: x}}\ne: null\n"))
    for other in (copy.deepcopy(config), pickle.loads(pickle.dumps(config)), Config(config)):
        assert other == config
        assert type(other) is type(other.a.c) is Config
        assert other.source_of("a.b") == "f0.yml"
        other["a.c.d"] = "y"
        assert config["a.c.d"] == "x"
    deep = copy.deepcopy(config)
    deep.a.b.append(3)
    assert config.a.b == [1, 2]
    shallow = copy.copy(config)
    shallow.a.c.d = "z"
    assert config["a.c.d"] == "z"
    assert type(config.copy()) is Config


def test_to_dict_is_plain_all_the_way_down():
    config = Config({"a": {"b": [Config(x=1), {"y": 2}]}})
    result = config.to_dict()
    assert result == {"a": {"b": [{"x": 1}, {"y": 2}]}}
    assert type(result["a"]) is dict
    assert type(result["a"]["b"][0]) is dict
    result["a"]["b"].append(1)
    assert len(config.a.b) == 2


@pytest.mark.parametrize("key", ["", ".", "a.", ".a", "a..b"])
def test_keys_with_empty_parts_are_errors(key):
    with pytest.raises(UserError, match="empty part"):
        Config({key: 1})


def test_keys_that_are_not_text_are_errors():
    with pytest.raises(UserError, match="text, got 3"):
        Config({3: 1})


def test_dump_round_trips_and_is_atomic(tmp_path):
    shared = [1.5, None, True]
    values = {
        "a": {"text": "1e-4", "yes": "yes", "empty": {}, "none": None},
        "b": shared,
        "c": shared,
        "é": "@{a}",
    }
    target = tmp_path / "config.yml"
    Config(values).dump(target)
    assert yaml.safe_load(target.read_text()) == values
    assert "&" not in target.read_text()
    Config({"path": Path("x/y"), "pair": (1, 2)}).dump(target)
    assert yaml.safe_load(target.read_text()) == {"path": "x/y", "pair": [1, 2]}
    with pytest.raises(UserError, match="can't be written"):
        Config({"a": object()}).dump(target)
    assert yaml.safe_load(target.read_text())["path"] == "x/y"
    assert os.listdir(tmp_path) == ["config.yml"]


def test_dump_leaves_nothing_half_written(tmp_path, monkeypatch):
    target = tmp_path / "config.yml"
    Config(a=1).dump(target)

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        Config(a=2).dump(target)
    assert target.read_text() == "a: 1\n"
    assert os.listdir(tmp_path) == ["config.yml"]


# --- merging ---------------------------------------------------------------------------------------------


def test_later_leaves_win_and_lists_are_replaced(files):
    config = load_config(files("a: {x: 1, y: [1, 2, 3]}\nb: 2", "a: {y: [4], z: 5}", "a: {x: 6}"))
    assert config == {"a": {"x": 6, "y": [4], "z": 5}, "b": 2}


def test_mappings_and_leaves_replace_each_other(files):
    config = load_config(files("a: {x: 1}\nb: 2\nc: {x: 1}\nd: null", "a: 3\nb: {y: 4}\nc: {}\nd: {z: 1}"))
    assert config == {"a": 3, "b": {"y": 4}, "c": {}, "d": {"z": 1}}


def test_dotted_keys_in_files_reach_into_sections(files):
    config = load_config(files("a: {x: 1, y: 2}", "a.x: 3\nb.c.d: 4\na.z.w: 5\n"))
    assert config == {"a": {"x": 3, "y": 2, "z": {"w": 5}}, "b": {"c": {"d": 4}}}


def test_delete_takes_a_key_away(files):
    config = load_config(files("a: {x: 1, y: 2}\nb: {c: 1}", "a: {x: _DELETE_CONFIG_}\nb: _DELETE_CONFIG_"))
    assert config == {"a": {"y": 2}}


def test_sources_are_kept(files):
    names = files("a: {x: 1, y: 2}\nb: '@{a.x}'", "a: {y: 3, l: [1]}")
    config = load_config(names, ["--a.x", "4"])
    assert config.source_of("a.x") == "command line"
    assert config.source_of("a.y") == "f1.yml"
    assert config.source_of("b") == "f0.yml"
    assert config.source_of("a") == "command line, f1.yml"
    assert config.a.source_of("y") == "f1.yml"
    assert config.source_of("q") is None
    config["a.y"] = 5
    assert config.source_of("a.y") is None


def test_two_loads_share_nothing(files):
    names = files("a: {l: [1, {x: 2}]}")
    first, second = load_config(names), load_config(names)
    first.a.l[1]["x"] = 3
    first.a.l.append(4)
    assert second == load_config(names) == {"a": {"l": [1, {"x": 2}]}}


def test_a_changed_file_is_read_again(files):
    (name,) = files("a: 1")
    assert load_config([name]) == {"a": 1}
    Path(name).write_text("a: 22")
    assert load_config([name]) == {"a": 22}
    assert read_config(name) is read_config(name)


def test_a_mapping_may_stand_for_a_file(files):
    mine = {"a": {"x": [1]}}
    config = load_config([*files("a: {x: [0], y: 1}"), mine])
    assert config == {"a": {"x": [1], "y": 1}}
    config.a.x.append(2)
    assert mine == {"a": {"x": [1]}}


def test_tests_are_beside_their_checkpoint_whatever_they_are_called():
    data = ["datasets/synthetic/synthetic_far.yml", "networks/mlp_fusion.yml"]
    for evaluator in ("near_ood", "far_ood"):
        words = ["--network.checkpoint", "results/X/best.ckpt"]
        files = [*data, f"pipelines/test/{evaluator}.yml"]
        assert load_config(files, words).output_dir == f"results/X/best.ckpt.{evaluator}"
        named = load_config(files, [*words, "--exp_name", "Y"]).output_dir
        assert named == os.path.join(f"results/X/best.ckpt.{evaluator}", "Y")
        both = load_config(files, [*words, "--exp_name", "Y", "--output_dir", "out"]).output_dir
        assert both == os.path.join("out", "Y")
    train = load_config([*data, "pipelines/train/a2d.yml"], ["--exp_name", "X"])
    assert os.path.normpath(train.output_dir) == os.path.join("results", "X")


def test_output_dir_is_completed_as_openood_does(files):
    names = files("exp_name: \"'@{mark}'/s'@{seed}'\"\noutput_dir: ./results/\nmark: m\nseed: 0")
    assert load_config(names).output_dir == "./results/m/s0"
    assert load_config(names, ["--output_dir", "/x", "--seed=3"]).output_dir == os.path.join("/x", "m/s3")
    assert load_config(files("output_dir: out")).output_dir == "out"
    with pytest.raises(UserError, match=r"exp_name must be text, got 3 \(set by f0.yml\)"):
        load_config(files("output_dir: out\nexp_name: 3"))


# --- finding and reading ---------------------------------------------------------------------------------


def test_names_are_found_here_and_then_among_the_packaged(packaged, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inside = packaged / "datasets" / "htad" / "htad_4_3.yml"
    assert find_config("configs/datasets/htad/htad_4_3.yml") == inside
    assert find_config("datasets/htad/htad_4_3.yml") == inside
    assert find_config(inside) == inside
    mine = tmp_path / "configs" / "datasets" / "htad"
    mine.mkdir(parents=True)
    (mine / "htad_4_3.yml").write_text("dataset: {name: mine}")
    assert load_config(["configs/datasets/htad/htad_4_3.yml"]).dataset.name == "mine"
    assert load_config(["datasets/htad/htad_4_3.yml"]).dataset.name == "htad_4_3"
    assert resources.list_configs() == ["datasets/htad/htad_4_3.yml"]


def test_a_missing_config_names_the_places_and_the_nearest(packaged, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        find_config("configs/datasets/htad/htad_3_4.yml")
    assert str(tmp_path) in str(caught.value)
    assert str(packaged) in str(caught.value)
    assert "Did you mean 'datasets/htad/htad_4_3.yml'?" in str(caught.value)
    with pytest.raises(UserError, match="no such file"):
        find_config(tmp_path / "x.yml")
    with pytest.raises(UserError, match=r"ends in \.yml"):
        find_config("--seed")
    (tmp_path / "folder.yml").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        find_config("folder.yml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f0.yml is empty"),
        ("# only this\n", "f0.yml is empty"),
        ("- a\n- b\n", "f0.yml holds a list at the top"),
        ("just text\n", "f0.yml holds a str at the top"),
        ("a: 1\nb: [1, 2\nc: 3\n", r"f0.yml, line 3, column 2: expected"),
        ("a: 1\n\tb: 2\n", "f0.yml, line 2"),
        ("a: 1\nb: 2\na: 3\n", "f0.yml, line 3, column 1: the key 'a' is set twice"),
        ("s:\n  a: 1\n  'a': 2\n", "f0.yml, line 3, column 3: the key 'a' is set twice"),
        ("a: {b: 1}\na.b: 2\n", "f0.yml: the key 'a.b' is set twice"),
        ("a: 1\na.b: 2\n", "f0.yml: 'a.b' reaches into 'a'"),
        ("a.b: 1\na: 2\n", "f0.yml: the key 'a' is set twice"),
        ("classes:\n  0: cat\n", "f0.yml, line 2, column 3: .*'0'"),
        ("on: 1\n", "f0.yml, line 1, column 1: .*the key on as text"),
        ("? [a, b]\n: 1\n", "f0.yml, line 1, column 3: a key must be text"),
        ("a..b: 1\n", "f0.yml: .*empty part"),
        ("a: !!python/object/apply:os.getcwd []\n", "f0.yml, line 1, column 4: could not determine"),
        ("a: 1\n---\nb: 2\n", "f0.yml, line 2"),
        ("a: *x\n", "f0.yml, line 1"),
        ("a: &x {b: *x}\n", "f0.yml: .*contains itself"),
        ("a: &x [*x]\n", "f0.yml: .*contains itself"),
        ("a: 2024-13-45\n", "f0.yml is damaged, or not a config .month"),
        ("a: \x01\n", "f0.yml is not YAML"),
    ],
)
def test_bad_files_are_named_with_the_line(files, text, message):
    with pytest.raises(UserError, match=message):
        load_config(files(text))


def test_yaml_anchors_and_merge_keys_work(files):
    config = load_config(
        files("base: &b {x: 1, y: 2}\none: {<<: *b, y: 3}\ntwo: {<<: *b, x: 4}\nthree: *b\n")
    )
    assert config.one == {"x": 1, "y": 3}
    assert config.two == {"x": 4, "y": 2}
    config.base.x = 9
    assert config.three.x == 1


def test_unreadable_files(files, tmp_path):
    (tmp_path / "latin.yml").write_bytes(b"a: \xe9\n")
    with pytest.raises(UserError, match=r"latin\.yml is not UTF-8"):
        load_config(["latin.yml"])
    with pytest.raises(UserError, match=r"gone.yml can't be read: No such file"):
        read_config("gone.yml")
    with pytest.raises(UserError, match="no config was given"):
        load_config([" "])
    assert load_config(["", *files("a: 1")]) == {"a": 1}
    assert load_config(files("a: 1")[0]) == {"a": 1}  # one name, not a list of them


# --- resources -------------------------------------------------------------------------------------------


def test_a_checkout_comes_before_the_wheel(tmp_path, monkeypatch):
    package = tmp_path / "openood_multimodal"
    (package / "_data" / "configs").mkdir(parents=True)
    (package / "_data" / "benchmark_splits").mkdir()
    monkeypatch.setattr(resources, "_PACKAGE", package)
    (tmp_path / "configs").mkdir()  # some other package's, beside ours in site-packages
    assert resources.configs_dir() == package / "_data" / "configs"
    (tmp_path / "setup.cfg").touch()
    assert resources.configs_dir() == tmp_path / "configs"
    assert resources.benchmark_splits_dir() == package / "_data" / "benchmark_splits"


def test_an_incomplete_installation_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "openood_multimodal")
    with pytest.raises(UserError, match="'benchmark_splits' is missing"):
        resources.benchmark_splits_dir()


def test_missing_key_error_is_a_key_error():
    assert issubclass(MissingKeyError, KeyError)
