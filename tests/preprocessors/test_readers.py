"""Readers: what one may return, and what the preprocessor makes of it."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from openood_multimodal.datasets.clip_files import ClipFiles, ModalityFiles
from openood_multimodal.errors import UserError
from openood_multimodal.preprocessors import ClipPreprocessor
from openood_multimodal.preprocessors.readers import Reader
from openood_multimodal.registry import READERS


class Given(Reader):
    """Returns what a test says."""

    values: object = np.zeros(3)
    form: object = (3,)
    calls: list = []  # noqa: RUF012 - of the class, so that copies share it

    def shape(self):
        return self.form

    def read(self, path, start, stop, random):
        self.calls.append((path, start, stop, random))
        if isinstance(self.values, Exception):
            raise self.values
        return self.values


@pytest.fixture
def given(monkeypatch):
    READERS.register("given")(Given)
    monkeypatch.setattr(Given, "calls", [])
    yield Given
    del READERS._entries["given"]


def load(split="test", start=float("nan"), stop=float("nan"), epoch=0):
    preprocessor = ClipPreprocessor({"seed": 5}, split)
    files = ClipFiles("a", {"given": ModalityFiles("x.csv")}, start, stop)  # type: ignore[arg-type]
    out = {name: np.empty(shape, np.float32) for name, shape in preprocessor.clip_shapes(("given",)).items()}
    preprocessor.load_clip(files, preprocessor.seed, epoch, 7, out)
    return out["given"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            np.zeros((3, 1)),
            r"^given: Given\.read returned shape \(3, 1\) for x\.csv, and its shape\(\) is \(3,\)",
        ),
        (np.zeros(3, int), r"^given: Given\.read returned int64 for x\.csv; return float32"),
        (np.array(["a"] * 3), r"returned <U1 for x\.csv"),
        (None, r"returned shape \(\)"),
        (np.array([0, np.nan, 0]), r"returned NaN or infinity for x\.csv"),
        (np.array([0, 1e300, 0]), r"returned NaN or infinity for x\.csv"),
        (
            ValueError("could not convert string 'one'"),
            r"^given: x\.csv can't be read: ValueError: could not convert",
        ),
        (EOFError(), r"x\.csv can't be read: EOFError"),
        (FileNotFoundError(2, "No such file", "x.csv"), r"^given: .*No such file.*x\.csv"),
        (UserError("x.csv has no header."), r"^given: x\.csv has no header\.$"),
    ],
)
def test_what_a_reader_returns_is_checked(given, monkeypatch, values, message):
    monkeypatch.setattr(given, "values", values)
    with pytest.raises(UserError, match=message):
        load()


def test_a_bug_in_a_reader_keeps_its_traceback(given, monkeypatch):
    monkeypatch.setattr(given, "values", AttributeError("'ImuReader' object has no attribute 'rate'"))
    with pytest.raises(AttributeError):
        load()


@pytest.mark.parametrize("form", [3, (3.0,), (0,), [3], None])
def test_a_shape_must_be_one(given, monkeypatch, form):
    monkeypatch.setattr(given, "form", form)
    with pytest.raises(UserError, match=r"Given\.shape\(\) returned .* tuple of positive integers"):
        ClipPreprocessor({}, "test").clip_shapes(("given",))


def test_the_span_is_the_rows_and_random_is_of_seed_epoch_and_clip(given, monkeypatch):
    load()
    load(start=1.0, stop=2.5)
    load(start=1.0)
    assert [call[1:3] for call in given.calls[1:2]] == [(1.0, 2.5)]
    np.testing.assert_equal([call[1:3] for call in given.calls], [(0.0, np.nan), (1.0, 2.5), (1.0, np.nan)])
    assert [call[3] for call in given.calls] == [None] * 3
    given.calls.clear()
    for epoch in (1, 1, 2):
        load("train", epoch=epoch)
    drawn = [call[3].random() for call in given.calls]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_reader_that_lacks_a_method_is_not_registered():
    with pytest.raises(UserError, match="A reader must have Params, shape, read, open"):
        READERS.register("bare")(type("Bare", (), {"shape": None}))


def test_readers_travel_to_workers():
    preprocessor = ClipPreprocessor({"preprocessor": {"video": {"frames": 4}}}, "train")
    copy = pickle.loads(pickle.dumps(preprocessor))
    assert copy.clip_shapes(("video", "audio")) == preprocessor.clip_shapes(("video", "audio"))


def test_a_span_without_sound_names_the_file():
    class Source:
        path = "x.wav"

        def read(self, start, stop, rate):
            return np.empty(0, dtype=np.float32)

    kind = READERS.get("audio")
    with pytest.raises(UserError, match=r"x\.wav: seconds 5 to 6 hold no sound"):
        kind(kind.Params(), None).take(Source(), (5.0, 6.0), False, lambda name: None)
