"""What the `prepare` commands call, called from Python."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from openood_multimodal.corpora.looking import guide, guide_document, look
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.errors import ArgumentError
from openood_multimodal.making.audio import make_audio
from openood_multimodal.making.flow import make_flow
from openood_multimodal.making.frame_card import FrameSettings
from openood_multimodal.making.frames import make_frames
from openood_multimodal.making.missing import make_missing, plan, read_manifests
from openood_multimodal.making.writing import FlowSettings
from openood_multimodal.moving_shapes import generate
from openood_multimodal.preprocessors.checking import check_files
from openood_multimodal.registry import CLIP_LAYOUTS
from openood_multimodal.splits.own_clip_configs import make_own_dataset


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    root = (
        tmp_path_factory.mktemp("making") / "shapes"
    )  # the only folder there: a test looks for it beside others
    generate(root, size="tiny", seed=3, frames=6, flow=False, audio=False)
    return root


@pytest.fixture
def few(shapes, tmp_path):
    """Two clips, of which the second can't be read."""
    test = Manifest.read(shapes / "test.csv").take([0, 1])
    cells = {"video": [test.files["video"][0], "video/none.avi"]}
    path = tmp_path / "few.csv"
    replace(test, files={name: tuple(cell) for name, cell in cells.items()}).write(path)
    return path


def test_flow(shapes, few, tmp_path):
    out = tmp_path / "out"
    made = make_flow([few], shapes, out, FlowSettings("dis_fast", short_side=32))
    assert (made.made, made.present, made.of_frames) == (1, 0, 0)
    assert [each.job.clip for each in made.failures] == [Manifest.read(few).clips[1]]
    assert made.failed_list == out / "flow_failed.txt"
    assert "no such file" in made.failed_list.read_text()
    (new,) = made.manifests
    assert (new.path, new.named, new.clips) == (tmp_path / "few_with_flow.csv", 1, 2)
    assert (out / Manifest.read(new.path).files["flow"][0]).is_file()
    again = make_flow([Manifest.read(few)], shapes, out, FlowSettings("dis_fast", short_side=32))
    assert (again.made, again.present) == (0, 1)


def test_audio_of_a_manifest_in_memory(shapes, few, tmp_path):
    good = replace(Manifest.read(few).take([0]), source="")
    made = make_audio([good], shapes, tmp_path)
    assert (made.made, made.failures, made.failed_list, made.manifests) == (1, (), None, ())
    assert len(list((tmp_path / "audio").rglob("*.wav"))) == 1


def test_frames(shapes, few, tmp_path):
    refused = make_frames([few], shapes, tmp_path / "a", FrameSettings(test_frames=2))
    assert (refused.card, refused.configs, len(refused.images.failures)) == (None, (), 1)
    assert not (tmp_path / "a" / "lists").exists()
    done = make_frames([few], shapes, tmp_path / "a", FrameSettings(test_frames=2), skip_broken=True)
    assert done.card is not None
    assert (done.card.sets["few"].images, len(done.card.sets["few"].skipped)) == (2, 1)
    assert "train.csv" in done.missing


def test_check(shapes, few, tmp_path):
    found = tmp_path / "broken.csv"
    checked = check_files([Manifest.read(few)], shapes, found)
    assert (checked.count, [fault.modality for fault in checked.faults]) == (2, ["video"])
    assert "video/none.avi" in found.read_text()
    assert check_files([Manifest.read(few).take([0])], shapes, found).faults == []
    assert not found.exists()


def test_look(shapes, tmp_path):
    layout = CLIP_LAYOUTS["hmdb51"]
    found = look(layout, shapes, tmp_path, modalities=["video"])
    assert (found.complete, found.missing) == (True, None)
    assert Manifest.read(found.manifest).modalities == ("video",)
    assert found.document()["clips_complete"] == len(Manifest.read(found.manifest))
    lacking = look(layout, shapes, tmp_path)
    assert (lacking.complete, lacking.missing) == (False, tmp_path / "hmdb51_missing.csv")
    nothing = look(layout, shapes.parent, tmp_path / "none")
    assert (nothing.survey.nothing_there, nothing.manifest) == (True, None)
    assert nothing.hint == f" But {shapes} does: give that folder."
    assert not (tmp_path / "none").exists()
    assert guide_document(layout)["tree"] == layout.tree
    assert all(line in guide(layout) for line in layout.tree.splitlines())


def test_own_dataset(shapes, tmp_path):
    classes = sorted(path.name for path in (shapes / "video").iterdir())
    made = make_own_dataset(
        "mine",
        shapes / "video",
        tmp_path,
        ood=classes[:1],
        recording=r"/(Shapes[0-9]+)_",
        modalities=["video"],
    )
    assert made.folder == tmp_path / "mine"
    assert [path.name for path in made.configs] == ["mine.yml", "mine_ood.yml", "mine_npmix.yml"]
    assert set(made.split.manifests["nearood_mine"].class_names) == set(classes[:1])
    assert Manifest.read(made.folder / "train.csv") == replace(
        made.split.manifests["train"], source=str(made.folder / "train.csv")
    )


def test_core_messages_name_arguments(shapes, few, tmp_path):
    with pytest.raises(ArgumentError, match=r"^short_side 3 is too small"):
        FlowSettings(short_side=3)
    with pytest.raises(ArgumentError, match=r"^bound nan must be"):
        FlowSettings(bound=float("nan"))
    with pytest.raises(ArgumentError, match=r"^root .*none is not a folder"):
        make_audio([few], tmp_path / "none")
    manifests = read_manifests([few], "audio")
    planned = plan(manifests, "audio", shapes, tmp_path, lambda video: "a.wav", lambda cell, where: ())
    with pytest.raises(ArgumentError, match=r"^workers 0: ") as caught:
        make_missing("audio", manifests, planned, lambda job: None, lambda job: True, tmp_path, workers=0)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.argument, copy.fault, str(copy)) == ("workers", caught.value.fault, str(caught.value))
