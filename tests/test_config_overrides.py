"""Command-line overrides: which text makes which value, and which mistakes say what."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openood_multimodal.config import Config, apply_overrides, load_config
from openood_multimodal.errors import UserError

BASE = {
    "seed": 0,
    "mark": "default",
    "optimizer": {"lr": 0.1, "num_epochs": 100, "nesterov": False, "clip": None},
    "dataset": {"name": "htad", "num_workers": "@{num_workers}", "split_names": ["train", "val"]},
    "num_workers": 8,
    "sweep": {
        "K": [50, 100],
        "T": [0.5, 1.0],
        "mixed": [1, 0.5],
        "any": [1, "a"],
        "none": [],
        "flags": [True],
    },
    "network": {"checkpoint": "./a.ckpt", "encoders": {"audio": {"hidden": 256}}},
}


def overridden(*words: str) -> Config:
    config = Config(BASE)
    apply_overrides(config, words, ["base.yml"])
    return config


def value_of(key: str, *words: str):
    """Return the value after ``--key words``, and check that ``--key=first rest`` gives the same."""
    value = overridden(f"--{key}", *words)[key]
    first, *rest = words
    assert repr(overridden(f"--{key}={first}", *rest)[key]) == repr(value)
    return value


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("seed", "3", 3),
        ("seed", "-3", -3),
        ("seed", "1e3", 1000),
        ("seed", "2.0", 2),
        ("seed", "NONE", None),
        ("seed", "null", None),
        ("seed", "0.5:float", 0.5),
        ("seed", "3:int", 3),
        ("seed", "x:y:str", "x:y"),
        ("optimizer.lr", "1e-4", 1e-4),
        ("optimizer.lr", "-.5", -0.5),
        ("optimizer.lr", "1", 1.0),
        ("optimizer.lr", "inf", math.inf),
        ("optimizer.lr", "None", None),
        ("optimizer.lr", "1:int", 1),
        ("optimizer.nesterov", "TRUE", True),
        ("optimizer.nesterov", "yes", True),
        ("optimizer.nesterov", "1", True),
        ("optimizer.nesterov", "0", False),
        ("optimizer.nesterov", "No", False),
        ("optimizer.nesterov", "none", None),
        ("optimizer.clip", "5", 5),
        ("optimizer.clip", "-1e-4", -1e-4),
        ("optimizer.clip", "true", True),
        ("optimizer.clip", "null", None),
        ("optimizer.clip", "", None),
        ("optimizer.clip", "[1, {a.b: x}]", [1, {"a.b": "x"}]),
        ("optimizer.clip", "{a.b: 1e-4, c: [x]}", {"a": {"b": 1e-4}, "c": ["x"]}),
        ("optimizer.clip", "http://host:80/a?b=c", "http://host:80/a?b=c"),
        ("optimizer.clip", "a: b", "a: b"),
        ("optimizer.clip", "12:30", "12:30"),
        ("optimizer.clip", "2024-01-01", "2024-01-01"),
        ("optimizer.clip", "007", "007"),
        ("optimizer.clip", "'5'", "5"),
        ("optimizer.clip", "5:str", "5"),
        ("optimizer.clip", "# no comment", "# no comment"),
        ("mark", "3", "3"),
        ("mark", "", ""),
        ("mark", "none", "none"),  # a word in OpenOOD's own configs: "checkpoint: none"
        ("mark", "null", None),
        ("mark", "None", None),
        ("mark", "3:int", "3:int"),
        ("mark", "a=b=c", "a=b=c"),
        ("mark", "-0.5", "-0.5"),
        ("network.checkpoint", "https://h:8080/x.ckpt?a=b&c=1:int", "https://h:8080/x.ckpt?a=b&c=1:int"),
        ("mark", "__import__('os').getcwd()", "__import__('os').getcwd()"),
    ],
)
def test_scalars_are_typed_by_what_they_replace(key, text, value):
    result = value_of(key, text)
    assert result == value
    assert type(result) is (Config if isinstance(value, dict) else type(value))


@pytest.mark.parametrize(
    ("key", "words", "value"),
    [
        ("sweep.K", ["[10, 20]"], [10, 20]),
        ("sweep.K", ["10,20"], [10, 20]),
        ("sweep.K", ["10, 20,"], [10, 20]),
        ("sweep.K", ["10", "-20", "30"], [10, -20, 30]),
        ("sweep.K", ["10,", "20"], [10, 20]),
        ("sweep.K", ["[10,", "20]"], [10, 20]),
        ("sweep.K", ["5"], [5]),
        ("sweep.K", ["[]"], []),
        ("sweep.K", [""], []),
        ("sweep.K", ["null"], None),
        ("sweep.K", ["[null, 1e2]"], [None, 100]),
        ("sweep.K", ["[0.5:float, 1]"], [0.5, 1]),
        ("sweep.T", ["1", "1e-4"], [1.0, 1e-4]),
        ("sweep.mixed", ["2,1e-4"], [2, 1e-4]),
        ("sweep.any", ["2,b,true,null"], [2, "b", True, None]),
        ("sweep.any", ["['2', [3], {a: b}]"], ["2", [3], {"a": "b"}]),
        ("sweep.none", ["2,1e-3,x"], [2, 1e-3, "x"]),
        ("sweep.flags", ["yes,0"], [True, False]),
        ("dataset.split_names", ["[01, 'null', yes, \"a, b\"]"], ["01", "null", "yes", "a, b"]),
        ("dataset.split_names", ["http://h:80/a,b=c"], ["http://h:80/a", "b=c"]),
        ("dataset.split_names", ["a,b", "c"], ["a,b", "c"]),
    ],
)
def test_lists(key, words, value):
    result = value_of(key, *words)
    assert result == value
    if value is not None:
        assert [type(each) for each in result] == [type(each) for each in value]


def test_a_mapping_replaces_a_section():
    config = overridden("--network.encoders", "{video: {hidden: 1e2}, a.b: 1}")
    assert config.network.encoders == {"video": {"hidden": 100.0}, "a": {"b": 1}}
    assert config.source_of("network.encoders.video.hidden") == "command line"
    assert list(config) == list(BASE)
    assert overridden("--network.encoders", "{video:", "1}").network.encoders == {"video": 1}
    assert overridden("--network.encoders={}").network.encoders == {}
    assert overridden("--network.encoders", "none").network.encoders is None


def test_several_overrides_in_order():
    config = overridden(
        "--seed", "1", "--sweep.K", "1", "2", "--optimizer.lr=-1", "--seed=2", "--mark", "a b"
    )
    assert (config.seed, config.sweep.K, config.optimizer.lr, config.mark) == (2, [1, 2], -1.0, "a b")
    config = overridden("--seed", "null", "--seed", "4")
    assert config.seed == 4
    config = overridden("--network.encoders", "{x: {y: 1}}", "--network.encoders.x.y", "2")
    assert config.network.encoders.x.y == 2
    assert "mark" not in overridden("--mark", "_DELETE_CONFIG_")


def test_references_are_typed_by_what_they_stand_for_and_may_be_given():
    config = load_config([BASE], ["--dataset.num_workers", "4"])
    assert config.dataset.num_workers == 4
    assert config.num_workers == 8
    config = load_config([BASE], ["--seed", "@{num_workers}", "--mark", "m'@{seed}'", "--num_workers", "2"])
    assert (config.seed, config.mark, config.dataset.num_workers) == (2, "m2", 2)
    assert load_config([{"a": "@{gone}"}], ["--a", "3"]).a == 3


def test_double_dashes_need_the_equals_sign():
    assert overridden("--mark=--x").mark == "--x"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--optimiser.lr", "1"],
            r"no config sets 'optimiser.lr' \(searched: base.yml\). Did you mean 'optimizer.lr'\?",
        ),
        (["--lr", "1"], r"Did you mean 'optimizer.lr'\?"),
        (["--optimizer.learning_rat", "1"], r"nearest known key is 'optimizer\.|Did you mean 'optimizer\."),
        (["--optimizer.lr.x", "1"], r"Did you mean 'optimizer.lr'\?"),
        (["--zzz", "1"], r"The nearest known key is '"),
        (["--", "1"], "belongs to no override"),
        (["---seed", "1"], "belongs to no override"),
        (["-seed", "1"], "belongs to no override"),
        (["seed", "1"], "'seed' belongs to no override"),
        (["--=1"], "belongs to no override|no config sets"),
        (["--seed"], "--seed has no value"),
        (["--seed", "--mark", "x"], "--seed has no value"),
        (["--seed", "1", "2"], "got 2 words; put a value that has blanks in quotes"),
        (["--mark", "a", "b"], "got 2 words"),
        (["--seed", "0.5"], r"replaces 0. It must be a whole number; write 0.5:float"),
        (["--seed", "abc"], "whole number"),
        (["--seed", "true"], "whole number"),
        (["--seed", "nan"], "whole number"),
        (["--seed", "1e999999999"], "whole number"),
        (["--seed", "abc:int"], "whole number"),
        (["--optimizer.lr", "fast"], "It must be a number"),
        (["--optimizer.lr", "http://h:80/x"], "It must be a number"),
        (["--optimizer.nesterov", "2"], "true or false"),
        (["--optimizer.clip", "[1, 2"], "can't be read"),
        (["--optimizer.clip", "{1: 2}"], "does not read the key 1 as text"),
        (["--optimizer.clip", "{a: 1, a: 2}"], "'a' is set twice"),
        (["--optimizer.clip", "[!!python/name:os.system ]"], "can't be read"),
        (["--optimizer.clip", "{a: &x [*x]}"], "contains itself"),
        (["--optimizer", "adam"], r"optimizer is a section with the keys lr, .*--optimizer.lr"),
        (["--optimizer", "[a]"], "optimizer is a section"),
        (["--optimizer", "{a}b"], "can't be read"),
        (["--sweep.K", "[0.5]"], "whole number; write 0.5:float"),
        (["--sweep.K", "[[1]]"], "like 50"),
        (["--sweep.mixed", "[[1]]"], "like a number"),
        (["--sweep.K", "[1"], "must be a list"),
        (["--sweep.K", "[1], [2]"], "must be a list"),
        (["--sweep.K", "[!!int x]"], "whole number"),
        (["--sweep.none", "[!!int x]"], "must be a list|can't be read|whole"),
        (["--dataset.num_workers", "many"], "replaces 8. It must be a whole number"),
    ],
)
def test_mistakes(words, message):
    with pytest.raises(UserError, match=message):
        overridden(*words)


def test_a_key_inside_a_reference_points_to_the_target():
    config = Config({"net": "@{base}", "base": {"size": 1}})
    with pytest.raises(UserError, match=r"net is the reference @\{base\} here; override --base.size"):
        apply_overrides(config, ["--net.size", "2"])


def test_messages_name_the_file_that_set_the_value(tmp_path):
    file = tmp_path / "a.yml"
    file.write_text("seed: 0\n")
    with pytest.raises(UserError, match=rf"--seed x: this replaces 0, set by {file}"):
        load_config([file], ["--seed", "x"])


# --- round trips -----------------------------------------------------------------------------------------

TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20).filter(
    lambda text: text not in ("null", "None", "_DELETE_CONFIG_") and not text.startswith("--")
)


@given(st.integers(-(10**30), 10**30))
def test_integers_round_trip(number):
    assert value_of("seed", str(number)) == number


@given(st.floats(allow_nan=False))
def test_floats_round_trip(number):
    assert value_of("optimizer.lr", repr(number)) == number


@given(TEXT)
def test_text_round_trips_verbatim(text):
    assert value_of("mark", text) == text


@given(TEXT.filter(lambda text: "'" not in text and text.isprintable()))
def test_text_in_quotes_round_trips_in_lists(text):
    assert value_of("dataset.split_names", f"['{text}', b]") == [text, "b"]


@given(st.lists(st.integers(-99, 99), min_size=1), st.sampled_from(["flow", "commas", "words"]))
def test_lists_round_trip(numbers, form):
    words = {
        "flow": [str(numbers)],
        "commas": [",".join(map(str, numbers))],
        "words": list(map(str, numbers)),
    }[form]
    assert value_of("sweep.K", *words) == numbers


@given(st.text(max_size=12))
@example("[\x08")
@example("!")
@example("<<")
@example("=")
@example("on\n")
@example("\ud800")
def test_no_text_does_anything_but_a_value_or_a_user_error(text):
    for key in (
        "seed",
        "optimizer.lr",
        "optimizer.nesterov",
        "optimizer.clip",
        "sweep.any",
        "network.encoders",
    ):
        try:
            config = overridden(f"--{key}={text}")
        except UserError:
            continue
        assert {k: v for k, v in config.items() if k != key.split(".")[0]} == {
            k: v for k, v in BASE.items() if k != key.split(".")[0]
        }
