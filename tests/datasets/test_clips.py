"""`MultimodalClipDataset`: MovingShapes in all layouts, workers, broken clips, hostile paths."""

import os
import pickle
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from openood_multimodal.datasets import Manifest, ModalityBatch, MultimodalClipDataset
from openood_multimodal.datasets.clips import BrokenClipError, ClipError
from openood_multimodal.datasets.loaders import build_loaders, build_ood_loaders
from openood_multimodal.datasets.skipped import SkipLog, SkippedClip, skip_note
from openood_multimodal.datasets.split_card import SplitCard, entry_of
from openood_multimodal.errors import UserError
from openood_multimodal.moving_shapes import Generated, generate
from openood_multimodal.preprocessors import ClipPreprocessor, GaussianNoise
from openood_multimodal.registry import DATASETS

LAYOUTS = ("hmdb51", "ucf101", "epic_kitchens", "hac", "kinetics600")
MODALITIES = ("video", "audio", "flow")
SMALL = {
    "name": "multimodal_clip",
    "video": {"frames": 6, "stride": 2, "short_side": 36, "size": 32},
    "flow": {"frames": 3, "stride": 2, "short_side": 36, "size": 32},
    "audio": {"seconds": 0.5},
}


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Generated]:
    """Layout → MovingShapes in it, made once; not to be changed."""
    made: dict[str, Generated] = {}

    def make(layout: str) -> Generated:
        if layout not in made:
            made[layout] = generate(tmp_path_factory.mktemp("shapes") / layout, layout)
        return made[layout]

    return make


@pytest.fixture
def own_shapes(shapes, tmp_path) -> Callable[[str], Generated]:
    """Layout → a copy that a test may damage."""

    def make(layout: str) -> Generated:
        source = shapes(layout)
        root = tmp_path / "data"
        shutil.copytree(source.root, root)
        manifests = {k: root / path.relative_to(source.root) for k, path in source.manifests.items()}
        return Generated(**{**vars(source), "root": root, "manifests": manifests})

    return make


def clip_preprocessor(split: str = "test", seed: int = 0, **section: Any) -> ClipPreprocessor:
    return ClipPreprocessor({"seed": seed, "preprocessor": {**SMALL, **section}}, split)


def make(
    data: Generated, split: str = "train", preprocessor: Any = None, **request: Any
) -> MultimodalClipDataset:
    manifest = str(data.manifests[split])
    return MultimodalClipDataset(
        name=f"shapes_{split}",
        imglist_pth={"manifest": manifest, **request} if request else manifest,
        data_dir=str(data.root),
        num_classes=len(data.class_names),
        preprocessor=preprocessor or clip_preprocessor(),
        data_aux_preprocessor=None,
    )


def config(data: Generated, workers: int = 0, **section: Any) -> dict[str, Any]:
    def part(split: str) -> dict[str, str]:
        return {"imglist_pth": str(data.manifests[split]), "data_dir": str(data.root)}

    own = {"dataset_class": "MultimodalClipDataset", "batch_size": 5, "shuffle": False}
    return {
        "seed": 3,
        "pipeline": {"name": "train"},
        "preprocessor": {**SMALL, **section},
        "dataset": {
            "name": "shapes",
            "num_classes": len(data.class_names),
            "num_workers": workers,
            "split_names": ["train", "val", "test"],
            **{split: {**own, **part(split)} for split in ("train", "val", "test")},
        },
        "ood_dataset": {
            "name": "shapes",
            "num_classes": len(data.class_names),
            "num_workers": workers,
            "dataset_class": "MultimodalClipDataset",
            "batch_size": 5,
            "split_names": ["val", "nearood", "farood"],
            "val": part("oodval_moving_shapes_val"),
            "nearood": {"datasets": ["near"], "near": part("nearood_moving_shapes_near")},
            "farood": {"datasets": ["far"], "far": part("farood_moving_shapes_far")},
        },
    }


def batches(dataset: Any, **options: Any) -> list[dict[str, Any]]:
    return list(DataLoader(dataset, **{"batch_size": 4, **options}))


def failure(dataset: Any, **options: Any) -> Exception:
    """Return what loading raises, once the workers are gone.

    Torch's iterator would live on in a cycle with its exception, and then wait five seconds for its workers.
    """
    iterator = iter(DataLoader(dataset, **{"batch_size": 4, **options}))
    try:
        list(iterator)
    except Exception as error:
        return type(error)(str(error))
    finally:
        if options.get("num_workers"):
            iterator._shutdown_workers()
    pytest.fail("nothing was raised")


def gathered(found: list[dict[str, Any]]) -> dict[int, dict[str, torch.Tensor]]:
    """Index → modality → values, in whatever order they came."""
    return {
        int(index): {name: values[row] for name, values in batch["data"].items()}
        for batch in found
        for row, index in enumerate(batch["index"])
    }


def same(a: dict[int, dict[str, torch.Tensor]], b: dict[int, dict[str, torch.Tensor]]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[i][m], b[i][m]) for i in a for m in a[i])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_splits_of_a_layout_load_through_our_host(shapes, layout):
    data = shapes(layout)
    loaders: dict[str, Any] = build_loaders(config(data), training=True)
    ood = build_ood_loaders(config(data), ("val", "nearood", "farood"))
    loaders |= {"oodval": ood["val"], "near": ood["nearood"]["near"], "far": ood["farood"]["far"]}
    for name, loader in loaders.items():
        dataset = loader.dataset
        clips: list[str] = []
        for batch in loader:
            count = len(batch["label"])
            assert isinstance(batch["data"], ModalityBatch)
            assert {m: tuple(v.shape) for m, v in batch["data"].items()} == {
                "video": (count, 3, 6, 32, 32),
                "audio": (count, 1, 257, 48),
                "flow": (count, 2, 3, 32, 32),
            }
            for modality, values in batch["data"].items():
                assert values.dtype == torch.float32
                assert torch.isfinite(values).all()
                spread = values.flatten(1).std(dim=1)  # something is to be seen or heard in every clip
                assert spread.max() > 0.01 if modality == "flow" else spread.min() > 0.1
            assert batch["label"].dtype == batch["index"].dtype == torch.int64
            np.testing.assert_array_equal(batch["label"], dataset.labels[batch["index"]])
            clips += batch["clip"]
        assert tuple(clips) == dataset.manifest.clips
        assert (dataset.labels >= 0).all() == (name in ("train", "val", "test"))
        assert dataset.class_names == data.class_names
        assert dataset.provenance["benchmark"] == "moving_shapes"
        assert dataset.provenance["modalities"] == list(MODALITIES)
        assert dataset.track == "demo"


def test_a_sample_and_a_batch_agree(shapes):
    data = shapes("hmdb51")
    dataset = make(data, preprocessor=clip_preprocessor("train"))
    dataset.set_epoch(2)
    found = gathered(batches(dataset))
    for index in (0, 5, len(dataset) - 1):
        sample = dataset[index]
        assert sample["index"] == index
        assert sample["clip"] == dataset.manifest.clips[index]
        assert sample["label"] == dataset.labels[index]
        for modality, values in sample["data"].items():
            assert torch.equal(values, found[index][modality])
    assert torch.equal(dataset[-1]["data"]["flow"], found[len(dataset) - 1]["flow"])
    with pytest.raises(IndexError):
        dataset[len(dataset)]


@pytest.mark.parametrize("protocol", ["shared", "multiood-code"])
def test_neither_workers_nor_order_nor_batches_matter(shapes, protocol):
    data = shapes("kinetics600")
    dataset = make(data, preprocessor=clip_preprocessor("train", seed=5, protocol=protocol))
    dataset.set_epoch(1)
    base = gathered(batches(dataset))
    assert same(base, gathered(batches(dataset, num_workers=2)))
    torch.manual_seed(0)
    shuffled = batches(dataset, num_workers=2, shuffle=True, batch_size=3)
    assert [int(i) for b in shuffled for i in b["index"]] != list(range(len(dataset)))
    assert same(base, gathered(shuffled))
    fresh = make(data, preprocessor=clip_preprocessor("train", seed=5, protocol=protocol))
    assert not same(base, gathered(batches(fresh)))
    fresh.set_epoch(1)
    assert same(base, gathered(batches(Subset(fresh, list(range(len(fresh)))[::-1]))))


def test_persistent_and_spawned_workers_see_the_epoch(shapes):
    dataset = make(shapes("hmdb51"), "val", clip_preprocessor("train"))
    expected = {}
    for epoch in (1, 2):
        dataset.set_epoch(epoch)
        expected[epoch] = gathered(batches(dataset))
    assert not same(expected[1], expected[2])
    for context in ("fork", "spawn"):
        loader = DataLoader(
            dataset, batch_size=4, num_workers=1, persistent_workers=True, multiprocessing_context=context
        )
        for epoch in (1, 2, 1):
            dataset.set_epoch(epoch)
            assert same(expected[epoch], gathered(list(loader)))


def test_modalities_are_those_asked_for_in_that_order(shapes):
    data = shapes("hac")
    whole = make(data)[3]["data"]
    for asked, names in (
        (["flow", "video"], ("flow", "video")),
        ("audio", ("audio",)),
        ("video, flow", ("video", "flow")),
    ):
        dataset = make(data, modalities=asked)
        assert dataset.modalities == dataset.manifest.modalities == names
        sample = dataset[3]["data"]
        assert tuple(sample) == names
        for name in set(names) & {"video", "flow"}:
            assert torch.equal(sample[name], whole[name]) == ("video" in names)  # the video's window leads
        assert dataset.provenance["modalities"] == list(names)
        assert dataset.provenance["modified"] is False


class TestPreprocessors:
    def test_without_one_of_ours_clips_are_read_as_for_a_test(self, shapes, monkeypatch):
        data = shapes("ucf101")
        expected = make(data)[2]["data"]
        plain = ClipPreprocessor.__init__
        monkeypatch.setattr(
            ClipPreprocessor,
            "__init__",
            lambda self, config, split: plain(self, {"preprocessor": SMALL, **config}, split),
        )

        class OfImages:
            def __call__(self, image):
                raise AssertionError

        for other in (OfImages(), None):
            dataset = MultimodalClipDataset("x", data.manifests["train"], data.root, 4, other)
            sample = dataset[2]["data"]
            assert all(torch.equal(sample[m], expected[m]) for m in MODALITIES)
        noisy = GaussianNoise({"seed": 1, "preprocessor": {"noise_std": 0.5}}, "train")
        dataset = MultimodalClipDataset("x", data.manifests["train"], data.root, 4, noisy)
        sample = dataset[2]["data"]
        for m in MODALITIES:
            assert (sample[m] - expected[m]).std() == pytest.approx(0.5, rel=0.1)

    def test_one_of_a_users_own(self, shapes):
        class Counting:
            """Reads nothing: a clip is its index."""

            seed = 7
            handles_modalities = True

            def clip_shapes(self, modalities):
                return {name: (2, 3) for name in modalities}

            def load_clip(self, files, seed, epoch, index, out):
                assert files.modalities.keys() == out.keys()
                for values in out.values():
                    values[:] = index + 100 * epoch + 1000 * seed

            def __call__(self, *_):
                raise AssertionError

        dataset = make(shapes("ucf101"), preprocessor=Counting())
        dataset.set_epoch(2)
        (batch,) = batches(dataset, batch_size=len(dataset), num_workers=1)
        assert torch.equal(batch["data"]["flow"][:, 1, 2], 7200.0 + batch["index"])


class TestBrokenClips:
    @pytest.fixture
    def damaged(self, own_shapes) -> tuple[Generated, dict[int, str]]:
        """Rows with: a missing video, a truncated flow, an empty cell, sound without samples."""
        data = own_shapes("kinetics600")
        manifest = Manifest.read(data.manifests["train"])
        files = {modality: list(cells) for modality, cells in manifest.files.items()}
        (data.root / files["video"][1]).unlink()
        flow = data.root / files["flow"][4]
        flow.write_bytes(flow.read_bytes()[:700])
        files["audio"][6] = ""
        (data.root / files["audio"][9]).write_bytes(b"RIFF")
        columns = {**vars(manifest), "files": files}
        columns.pop("_digest", None)
        Manifest(**columns).write(data.manifests["train"])
        faults = {
            1: f"video: .*{Path(files['video'][1]).name}.*there is no such file",
            4: f"flow: .*{flow.name}",
            6: "audio: the clip has none; its cell in the manifest is empty",
            9: f"audio: .*{Path(files['audio'][9]).name}",
        }
        return data, faults

    @pytest.mark.parametrize("workers", [0, 1])
    def test_raise_names_line_clip_modality_file_and_fault(self, damaged, workers):
        data, faults = damaged
        for row, fault in faults.items():
            dataset = make(data)
            assert dataset.on_error == "raise"
            clip = dataset.manifest.clips[row]
            error = failure(Subset(dataset, [0, row]), num_workers=workers)
            assert type(error) is BrokenClipError
            message = str(error)
            assert re.search(fault.replace("[", r"\[").replace("]", r"\]"), message)
            assert message.startswith(f"{data.manifests['train']}, line {row + 2}, clip '{clip}': ")
            assert "\n" not in message
            assert dataset.skipped == ()
        with pytest.raises(ClipError, match=r"there is no such file\. openood-mm prepare lists all"):
            make(data)[1]

    @pytest.mark.parametrize(
        "options", [{}, {"num_workers": 2}, {"num_workers": 1, "multiprocessing_context": "spawn"}]
    )
    def test_skip_leaves_them_out_and_says_which(self, damaged, options, caplog):
        data, faults = damaged
        dataset = make(data, on_error="skip")
        for _ in range(2):
            found = batches(dataset, **options)
            assert gathered(found).keys() == set(range(len(dataset))) - faults.keys()
            for batch in found:
                assert len(batch["label"]) == len(batch["clip"]) == len(batch["data"]) <= 4
                np.testing.assert_array_equal(batch["label"], dataset.labels[batch["index"]])
                assert batch["clip"] == [dataset.manifest.clips[i] for i in batch["index"]]
        assert [each.row for each in dataset.skipped] == sorted(faults)
        for each in dataset.skipped:
            assert each.clip == dataset.manifest.clips[each.row]
            assert f"clip '{each.clip}': " in each.reason
        clips = ", ".join(dataset.manifest.clips[i] for i in sorted(faults))
        assert dataset.notes == [f"4 clips skipped of shapes_train: {clips}"]
        assert len(dataset) == 16  # nothing takes a skipped clip's place
        if not options:
            assert sum("skipped" in record.message for record in caplog.records) == 4

    def test_a_batch_of_broken_clips_only_is_empty(self, damaged):
        data, _ = damaged
        (batch,) = batches(Subset(make(data, on_error="skip"), [1, 4]))
        assert {m: tuple(v.shape) for m, v in batch["data"].items()} == {
            "video": (0, 3, 6, 32, 32),
            "audio": (0, 1, 257, 48),
            "flow": (0, 2, 3, 32, 32),
        }
        assert len(batch["data"]) == len(batch["label"]) == len(batch["index"]) == len(batch["clip"]) == 0

    def test_a_single_sample_cannot_be_skipped(self, damaged):
        dataset = make(damaged[0], on_error="skip")
        with pytest.raises(BrokenClipError):
            dataset[1]

    def test_a_mistake_in_code_is_no_broken_clip(self, shapes):
        class Wrong(ClipPreprocessor):
            def load_clip(self, *_):
                raise KeyError("x")

        dataset = make(shapes("hmdb51"), preprocessor=Wrong({"preprocessor": SMALL}, "test"), on_error="skip")
        with pytest.raises(KeyError):
            batches(dataset)
        assert dataset.skipped == ()

    def test_the_list_outlives_workers_and_not_its_owner(self):
        log = SkipLog()
        path = Path(log._path)
        for index, reason in ((7, "b"), (2, "ä" * 5000), (7, "again")):
            pickle.loads(pickle.dumps(log)).add(index, f"clip {index}", reason)
        first, second = log.read()
        assert second == SkippedClip(7, "clip 7", "b")
        assert first[:2] == (2, "clip 2")
        assert first.reason.startswith("ä" * 1000)
        if os.fork() == 0:
            del log
            os._exit(0)
        os.wait()
        assert path.exists()
        del log
        assert not path.exists()
        assert skip_note("x", ()) == ""
        assert skip_note("x", (first,)) == "1 clip skipped of x: clip 2"


class TestConstruction:
    def test_it_is_registered_and_takes_what_openood_passes(self, shapes):
        data = shapes("hmdb51")
        dataset = DATASETS.get("MultimodalClipDataset")(
            name="shapes_test",
            imglist_pth=str(data.manifests["test"]),
            data_dir=str(data.root),
            num_classes=4,
            preprocessor=None,
            data_aux_preprocessor=None,
        )
        assert len(dataset) == len(Manifest.read(data.manifests["test"]))
        assert (
            repr(dataset) == f"MultimodalClipDataset(shapes_test: {len(dataset)} clips; video, audio, flow)"
        )
        assert dataset.benchmark is None
        assert dataset.num_classes == 4

    def test_an_empty_data_dir_is_the_manifests_folder(self, own_shapes):
        data = own_shapes("ucf101")
        manifest = data.root / "mine.csv"
        shutil.copy(data.manifests["test"], manifest)
        dataset = MultimodalClipDataset("x", manifest, "", 4, clip_preprocessor())
        assert dataset[0]["data"]["video"].shape == (3, 6, 32, 32)
        assert dataset.provenance["benchmark"] is None
        assert dataset.class_names == data.class_names

    def test_mistakes(self, shapes, tmp_path):
        data = shapes("hmdb51")
        manifest = str(data.manifests["train"])
        table = tmp_path / "table.csv"
        table.write_text("clip,label,class_name,group,imu,start,stop\na,0,a,,a.csv#0,,\n")
        empty = tmp_path / "empty.csv"
        empty.write_text("clip,label,class_name,group,video,start,stop\n")
        for given, message in (
            (
                {"manifest": manifest, "on_eror": "skip"},
                r"imglist_pth\.on_eror is not a parameter.*'on_error'",
            ),
            (
                {"manifest": manifest, "on_error": "ignore"},
                r"imglist_pth\.on_error must be one of raise, skip",
            ),
            ({"manifest": manifest, "modalities": ["vidoe"]}, "no modality 'vidoe'.*'video'"),
            ({"manifest": manifest, "modalities": []}, "modalities is empty"),
            ({"benchmark": "htad"}, r"imglist_pth\.benchmark is not a parameter"),
            (
                str(table),
                "no reader of a modality 'imu'. Known: audio, flow, video.*MultimodalTabularDataset",
            ),
            (str(empty), "has a header but no clip"),
            (str(tmp_path / "absent.csv"), r"absent\.csv: there is no such file"),
        ):
            with pytest.raises(UserError, match=message):
                MultimodalClipDataset("x", given, data.root, 4)
        with pytest.raises(UserError, match=r"line \d+: label 2 is outside the 2 classes of dataset x"):
            MultimodalClipDataset("x", manifest, data.root, 2)

    def test_sixty_thousand_rows_start_in_less_than_two_seconds(self, tmp_path):
        rows = range(60_000)
        manifest = Manifest.create(
            clips=[f"class {i % 229}/clip_{i:08d}_000001_000011.mp4" for i in rows],
            labels=[i % 229 for i in rows],
            class_names=[f"class {i % 229}" for i in rows],
            groups=[f"recording {i // 3}" for i in rows],
            files={
                "video": [f"video/class {i % 229}/clip_{i:08d}.mp4" for i in rows],
                "flow": [f"flow/class {i % 229}/clip_{i:08d}_flow_x.mp4" for i in rows],
                "audio": [f"audio/class {i % 229}/clip_{i:08d}.wav" for i in rows],
            },
        )
        path = manifest.write(tmp_path / "train.csv")
        names = [f"class {i}" for i in range(229)]
        SplitCard("many", 1, "demo", names, {"train": entry_of(manifest, "train.csv")}).write(tmp_path)
        began = time.process_time()  # not the clock on the wall, which other processes slow down
        dataset = MultimodalClipDataset("x", path, tmp_path, 229)
        pickle.dumps(dataset)
        assert time.process_time() - began < 2.0
        assert dataset.provenance["modified"] is False
        assert len(dataset) == 60_000

    def test_it_survives_pickling(self, shapes):
        dataset = make(shapes("hmdb51"), preprocessor=clip_preprocessor("train"), on_error="skip")
        dataset.set_epoch(4)
        copy = pickle.loads(pickle.dumps(dataset))
        assert copy.epoch == 4
        assert all(torch.equal(copy[1]["data"][m], dataset[1]["data"][m]) for m in MODALITIES)


class TestPaths:
    """Manifests that are hostile, or only unusual."""

    def _dataset(self, root: Path, cell: str, on_error: str = "raise") -> MultimodalClipDataset:
        manifest = Manifest.create(["a"], [0], ["a"], {"video": ["video.mp4"]})
        text = manifest.to_csv().replace("video.mp4", f'"{cell}"')
        (root / "m.csv").write_text(text, encoding="utf-8")
        request = {"manifest": str(root / "m.csv"), "on_error": on_error}
        return MultimodalClipDataset("x", request, root, 1, clip_preprocessor())

    @pytest.fixture
    def root(self, shapes, tmp_path) -> Path:
        data = shapes("hmdb51")
        video = data.root / Manifest.read(data.manifests["train"]).files["video"][0]
        (tmp_path / "outside").mkdir()
        shutil.copy(video, tmp_path / "outside" / "secret.avi")
        (tmp_path / "root").mkdir()
        shutil.copy(video, tmp_path / "root" / "plain.avi")
        return tmp_path / "root"

    @pytest.mark.parametrize(
        "cell", ["../outside/secret.avi", "a/../../outside/secret.avi", "/etc/passwd", "C:/x.avi"]
    )
    def test_paths_that_leave_the_folder_are_refused_when_the_manifest_is_read(self, root, cell):
        with pytest.raises(UserError, match=r"m\.csv, line 2, column video: .* leaves the data folder"):
            self._dataset(root, cell)

    @pytest.mark.parametrize("on_error", ["raise", "skip"])
    def test_links_out_of_the_folder_are_refused_and_never_skipped(self, root, on_error):
        (root / "link.avi").symlink_to(root.parent / "outside" / "secret.avi")
        (root / "folder").symlink_to(root.parent / "outside")
        for cell in ("link.avi", "folder/secret.avi"):
            dataset = self._dataset(root, cell, on_error)
            for workers in (0, 1):
                error = failure(dataset, num_workers=workers)
                assert type(error) is ClipError
                assert re.search(rf"clip 'a': '{cell.partition('/')[0]}.*symbolic link.*outside", str(error))
            assert dataset.skipped == ()

    def test_links_within_the_folder_are_followed(self, root):
        (root / "link.avi").symlink_to(root / "plain.avi")
        expected = self._dataset(root, "plain.avi")[0]["data"]["video"]
        assert torch.equal(self._dataset(root, "link.avi")[0]["data"]["video"], expected)

    @pytest.mark.parametrize(
        "name", ["a [b]*?", "riding a bike (with no hands)", "Šár ö 日本", "a 'b' # & %20", "-x"]
    )
    def test_unusual_names_are_names(self, root, name):
        (root / name).mkdir()
        shutil.copy(root / "plain.avi", root / name / f"{name}.avi")
        expected = self._dataset(root, "plain.avi")[0]["data"]["video"]
        assert torch.equal(self._dataset(root, f"{name}/{name}.avi")[0]["data"]["video"], expected)

    @pytest.mark.parametrize("kind", ["folder", "fifo", "empty", "text", "playlist"])
    def test_what_is_no_video(self, root, kind):
        path = root / "x.avi"
        if kind == "folder":
            path.mkdir()
        elif kind == "fifo":
            os.mkfifo(path)
        else:
            content = {
                "empty": "",
                "text": "hello\n" * 99,
                "playlist": "ffconcat version 1.0\nfile plain.avi\n",
            }
            path.write_text(content[kind])
        with pytest.raises(BrokenClipError, match=r"clip 'a': video: .*x\.avi"):
            self._dataset(root, "x.avi")[0]

    def test_flow_must_name_its_x_video(self, root):
        text = Manifest.create(["a"], [0], ["a"], {"flow": ["plain.avi"]}).to_csv()
        (root / "m.csv").write_text(text)
        dataset = MultimodalClipDataset("x", root / "m.csv", root, 1, clip_preprocessor())
        with pytest.raises(ClipError, match="names no x video; it must contain '_flow_x'"):
            dataset[0]
