"""bind: from a section to a dataclass of declared parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from openood_multimodal.config import Config, bind
from openood_multimodal.errors import UserError


@dataclass(frozen=True)
class Head:
    size: int = 3


@dataclass(frozen=True)
class Params:
    gamma: float = 1.0
    bank: int = 65
    protocol: Literal["multiood-code", "multiood-paper"] = "multiood-code"
    modalities: tuple[str, ...] = ()
    sizes: list[int] = field(default_factory=list)
    pair: tuple[int, float] = (1, 2.0)
    warm: bool = False
    clip: float | None = None
    either: int | float | str = 0
    table: Mapping[str, float] = field(default_factory=dict)
    inner: dict[str, Any] = field(default_factory=dict)
    head: Head = Head()
    folder: Path | None = None
    anything: Any = None
    names: Sequence[str] | None = None
    noted: Annotated[int, "a note"] = 0
    mode: Literal["a", None, 1] = "a"


class NoneForMissing(dict):
    """Answers as OpenOOD's Config does: attribute access gives None for what is missing."""

    def __getattr__(self, name: str) -> Any:
        return dict.get(self, name)


@pytest.mark.parametrize("section", [None, {}, Config(), {"name": "a2d"}, NoneForMissing(name="a2d")])
def test_defaults(section):
    assert bind(section, Params, "trainer") == Params()


@pytest.mark.parametrize("kind", [dict, Config, NoneForMissing])
def test_values_of_any_mapping(kind):
    section = kind({"name": "a2d", "gamma": 2, "modalities": ["video", "flow"], "inner": {"a": {"b": 1}}})
    params = bind(section, Params, "trainer")
    assert params == Params(gamma=2.0, modalities=("video", "flow"), inner={"a": {"b": 1}})
    assert type(params.gamma) is float
    assert type(params.inner["a"]) is dict
    params.inner["a"]["b"] = 2
    assert section["inner"]["a"]["b"] == 1


@pytest.mark.parametrize(
    ("key", "value", "bound"),
    [
        ("gamma", 1, 1.0),
        ("clip", 1, 1.0),
        ("clip", None, None),
        ("gamma", None, 1.0),  # OpenOOD's None for a missing key
        ("bank", None, 65),
        ("either", 1, 1),
        ("either", 0.5, 0.5),
        ("either", "x", "x"),
        ("protocol", "multiood-paper", "multiood-paper"),
        ("mode", None, None),
        ("mode", 1, 1),
        ("sizes", (1, 2), [1, 2]),
        ("pair", [3, 4], (3, 4.0)),
        ("table", Config(a=1), {"a": 1.0}),
        ("head", {"size": 5}, Head(5)),
        ("head", Head(6), Head(6)),
        ("folder", "x/y", Path("x/y")),
        ("anything", object, object),
        ("names", ["a"], ["a"]),
        ("names", None, None),
        ("noted", 3, 3),
        ("warm", True, True),
    ],
)
def test_conversions(key, value, bound):
    result = getattr(bind({key: value}, Params, "trainer"), key)
    assert result == bound
    assert type(result) is type(bound)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"name": "a2d", "gama": 1.0}, r"^trainer.gama is not a parameter of a2d. Did you mean 'gamma'\?$"),
        ({"gama": 1.0}, r"trainer.gama is not a parameter of Params"),
        ({"zzz": 1.0}, r"Known: anything, bank, "),
        ({"gamma": "fast"}, r"^trainer.gamma must be a number, got 'fast' \(str\).$"),
        ({"gamma": "1e-4"}, r"YAML takes 1e-4 for text: write 1.0e-4\."),
        ({"gamma": "1e3"}, r"write 1.0e\+3\."),
        ({"gamma": "0.5"}, r"Write it without quotes"),
        ({"gamma": True}, r"trainer.gamma must be a number, got True \(bool\)"),
        ({"bank": True}, r"trainer.bank must be a whole number, got True"),
        ({"bank": 1.5}, r"trainer.bank must be a whole number, got 1.5 \(float\)"),
        ({"warm": 1}, r"trainer.warm must be true or false, got 1 \(int\)"),
        ({"clip": "x"}, r"trainer.clip must be a number or null, got 'x'"),
        ({"either": [1]}, r"must be a whole number or a number or text"),
        (
            {"protocol": "multiood-papr"},
            r"one of multiood-code, multiood-paper, .*Did you mean 'multiood-paper'\?",
        ),
        ({"mode": True}, r"trainer.mode must be one of a, None, 1, got True"),
        ({"modalities": "video"}, r"trainer.modalities must be a list, got 'video' \(str\). Write \[a, b\]."),
        ({"modalities": ["video", 3]}, r"trainer.modalities\[1\] must be text, got 3"),
        ({"sizes": {"a": 1}}, r"trainer.sizes must be a list"),
        ({"pair": [1]}, r"trainer.pair must be a list of 2 values"),
        ({"names": "a"}, r"trainer.names must be a list or null"),
        ({"table": {"a": "x"}}, r"trainer.table.a must be a number"),
        ({"table": [1]}, r"trainer.table must be a section"),
        ({"head": {"sise": 1}}, r"trainer.head.sise is not a parameter of Head. Did you mean 'size'\?"),
        ({"head": 3}, r"trainer.head must be a section of 'key: value' lines, got 3"),
        ({"folder": 3}, r"trainer.folder must be a path or null"),
        ("a2d", r"trainer must be a section of 'key: value' lines, got 'a2d'"),
    ],
)
def test_mistakes(section, message):
    with pytest.raises(UserError, match=message):
        bind(section, Params, "trainer")


def test_ignored_keys_pass_and_declared_ones_are_taken():
    @dataclass
    class Named:
        name: str = "x"

    assert bind({"name": "y"}, Named, "network") == Named("y")
    assert bind({"extra": 1, "name": "y"}, Named, "network", ignore=("extra",)) == Named("y")
    with pytest.raises(UserError, match=r"trainer.name is not a parameter"):
        bind({"name": "y"}, Params, "trainer", ignore=())


def test_required_parameters():
    @dataclass
    class Required:
        classes: int
        free: int | None

    assert bind({"classes": 3, "free": None}, Required, "network") == Required(3, None)
    for section in ({"free": 1}, {"free": 1, "classes": None}):
        with pytest.raises(
            UserError, match=r"network.classes is not set, and Required has no default for it"
        ):
            bind(section, Required, "network")
    with pytest.raises(UserError, match=r"network.free is not set"):
        bind({"classes": 3}, Required, "network")


def test_a_component_without_parameters():
    @dataclass
    class Nothing:
        pass

    with pytest.raises(UserError, match=r"evaluator.x is not a parameter of ood. It has none."):
        bind({"name": "ood", "x": 1}, Nothing, "evaluator")


def test_what_the_dataclass_itself_refuses():
    @dataclass
    class Positive:
        n: int = 1

        def __post_init__(self) -> None:
            if self.n < 1:
                raise ValueError("n must be at least 1")

    with pytest.raises(UserError, match=r"^synthesis: n must be at least 1$"):
        bind({"n": 0}, Positive, "synthesis")


def test_only_dataclasses_bind():
    with pytest.raises(TypeError, match="dataclass"):
        bind({}, dict, "x")
