"""References, held against a literal one-pass reading of OpenOOD's rules."""

import itertools
import logging
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openood_multimodal.config import Config, load_config, resolve_references
from openood_multimodal.errors import UserError


def resolved(values: dict[str, Any]) -> Config:
    config = Config(values)
    resolve_references(config)
    return config


# --- OpenOOD's rules, literally --------------------------------------------------------------------------


def look_up(tree: dict[str, Any], dotted: str) -> Any:
    for part in dotted.split("."):
        tree = tree[part]
    return tree


def one_pass(root: dict[str, Any], tree: dict[str, Any] | None = None) -> None:
    """Top level first, each level in order; a value is replaced once, by whatever stands there then."""
    tree = root if tree is None else tree
    for key, value in tree.items():
        if isinstance(value, str) and "@" in value:
            if value[:2] == "@{" and value[-1] == "}" and value.count("@") == 1:
                tree[key] = look_up(root, value[2:-1])
            else:
                for name in re.findall("'@{(.+?)}'", value):
                    value = value.replace("'@{" + name + "}'", str(look_up(root, name)))
                tree[key] = value
    for value in tree.values():
        if isinstance(value, dict):
            one_pass(root, value)


def stack(*trees: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for tree in trees:
        for key, value in tree.items():
            both = isinstance(value, dict) and value and isinstance(result.get(key), dict)
            result[key] = stack(result[key], value) if both else value
    return result


LEAVES = st.one_of(
    st.integers(-5, 5),
    st.floats(allow_nan=False),
    st.booleans(),
    st.none(),
    st.text("ab1.:=@{}' ", max_size=6),
)
LEAVES = LEAVES.filter(lambda leaf: not (isinstance(leaf, str) and "@" in leaf))
TREES = st.dictionaries(
    st.sampled_from("abcd"),
    st.one_of(
        LEAVES, st.lists(LEAVES, max_size=3), st.dictionaries(st.sampled_from("xyz"), LEAVES, max_size=3)
    ),
    min_size=1,
    max_size=4,
)


@given(st.lists(TREES, min_size=1, max_size=4), st.data())
def test_merging_and_single_references_agree_with_openood(trees, data):
    merged = stack(*trees)
    names = [*merged, *(f"{k}.{i}" for k, v in merged.items() if isinstance(v, dict) for i in v)]
    leaves = [name for name in names if not isinstance(look_up(merged, name), dict)]
    references = {"r1": "@{" + data.draw(st.sampled_from(names)) + "}", "r2": "me@example.org", "s": {}}
    if leaves:
        first, second = data.draw(st.sampled_from(leaves)), data.draw(st.sampled_from(leaves))
        references["r3"] = f"'@{{{first}}}'_x'@{{{second}}}'/'@{{{first}}}'"
        references["s"] = {"t": f"'@{{{second}}}'", "u": f"@{{{first}}}", "v": f"a@{{{first}}}"}
    expected = stack(merged, references)
    one_pass(expected)
    config = load_config([*trees, references])
    assert config == expected
    assert [type(value) for _, value in config.leaves()] == [type(v) for _, v in Config(expected).leaves()]


def test_openoods_experiment_name():
    values = {
        "exp_name": "'@{dataset.name}'_'@{network.name}'_e'@{optimizer.num_epochs}'"
        "_lr'@{optimizer.lr}'/s'@{seed}'",
        "seed": 0,
        "dataset": {"name": "htad_4_3", "num_workers": "@{num_workers}"},
        "num_workers": 8,
        "network": {"name": "mlp_fusion", "num_classes": "@{dataset.num_classes}"},
        "optimizer": {"lr": 0.0001, "num_epochs": 50},
    }
    values["dataset"]["num_classes"] = 4
    config = resolved(values)
    assert config.exp_name == "htad_4_3_mlp_fusion_e50_lr0.0001/s0"
    assert config.dataset.num_workers == 8
    assert config.network.num_classes == 4


# --- beyond one pass -------------------------------------------------------------------------------------


def test_chains_do_not_depend_on_the_order():
    values = {"a": "@{b}", "b": "@{s.c}", "s": {"c": "x'@{d}'", "e": "'@{a}'-'@{b}'"}, "d": 1}
    for order in itertools.permutations(values.items()):
        assert resolved(dict(order)) == {"a": "x1", "b": "x1", "s": {"c": "x1", "e": "x1-x1"}, "d": 1}


def test_sections_and_lists_keep_their_type_and_are_copied():
    config = resolved(
        {"a": "@{s}", "l": "@{s.l}", "n": "@{s.n}", "s": {"l": [1, [2]], "x": "@{k}", "n": None}, "k": 5}
    )
    assert config.a == config.s == {"l": [1, [2]], "x": 5, "n": None}
    assert type(config.a) is Config
    assert config.n is None
    config.a.x = 6
    config.l[1].append(3)
    assert config.s == {"l": [1, [2]], "x": 5, "n": None}


def test_a_reference_may_lead_through_another_one():
    values = {"x": "@{net.head.size}", "net": "@{base}", "base": {"head": "@{heads}"}, "heads": {"size": 3}}
    for order in itertools.permutations(values.items()):
        config = resolved(dict(order))
        assert config.x == 3
        assert config.net == {"head": {"size": 3}}


def test_a_section_may_refer_to_its_own_keys():
    assert resolved({"a": {"x": "@{b}", "y": 1}, "b": {"z": "@{a.y}"}}).a.x == {"z": 1}


@pytest.mark.parametrize(
    ("values", "way"),
    [
        ({"a": "@{a}"}, "a -> a"),
        ({"a": "@{b}", "b": "'@{c}'", "c": "@{a}"}, "a -> b -> c -> a"),
        ({"a": {"x": "@{a}"}}, "a.x -> a.x"),
        ({"a": {"x": "@{b}"}, "b": {"y": "@{a}"}}, "a.x -> b.y -> a.x"),
        ({"a": "@{a.b}"}, "a -> a"),
    ],
)
def test_cycles_are_errors(values, way):
    with pytest.raises(UserError, match=re.escape(f"refers to itself: {way}.")):
        resolved(values)


def test_cycles_name_the_file(tmp_path):
    file = tmp_path / "loop.yml"
    file.write_text("a: '@{b}'\nb: '@{a}'\n")
    with pytest.raises(UserError) as caught:
        load_config([file])
    assert str(caught.value).startswith(f"a (set by {file}) refers to itself: a -> b -> a.")


def test_unknown_references_name_key_file_and_nearest(tmp_path):
    file = tmp_path / "typo.yml"
    file.write_text("dataset: {num_workers: '@{num_worker}'}\nnum_workers: 8\n")
    with pytest.raises(UserError) as caught:
        load_config([file])
    assert str(caught.value) == (
        f"dataset.num_workers (set by {file}) is '@{{num_worker}}', but nothing sets 'num_worker'. "
        "Did you mean 'num_workers'?"
    )
    with pytest.raises(UserError, match=r"nothing sets 'l\.0'"):
        resolved({"a": "@{l.0}", "l": [1]})
    with pytest.raises(UserError, match=r"b is \"x'@\{c.d\}'\", but nothing sets 'c.d'"):
        resolved({"a": "@{b}", "b": "x'@{c.d}'", "c": 1})


def test_a_section_inside_a_string_is_an_error():
    with pytest.raises(UserError, match=r"'s' is a section .* Refer to a key in it: s.x, s.y"):
        resolved({"a": "'@{s}'_1", "s": {"x": 1, "y": 2}})


def test_lists_none_and_bools_inside_strings_read_as_in_openood():
    assert (
        resolved({"a": "'@{l}'_'@{n}'_'@{t}'", "l": [1, "b"], "n": None, "t": True}).a == "[1, 'b']_None_True"
    )


def test_what_openood_leaves_alone_stays_and_is_warned_of(caplog):
    values = {"a": "x_@{b}", "b": 1, "l": ["@{b}"], "mail": "me@example.org"}
    with caplog.at_level(logging.WARNING):
        assert resolved(values) == values
    assert [record.args[0] for record in caplog.records] == ["a", "l"]


def test_the_source_of_a_resolved_key_stays_who_wrote_the_reference(tmp_path):
    first, second = tmp_path / "a.yml", tmp_path / "b.yml"
    first.write_text("a: '@{s}'")
    second.write_text("s: {x: 1}")
    config = load_config([first, second])
    assert config.source_of("a.x") == str(second)
    assert config.source_of("s.x") == str(second)
