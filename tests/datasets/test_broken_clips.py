"""`MultimodalClipDataset`: broken clips, what can't be constructed, hostile paths."""

import os
import pickle
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from clip_sets import (
    MODALITIES,
    SMALL,
    batches,
    clip_preprocessor,
    failure,
    gathered,
    make,
)
from torch.utils.data import Subset

from openood_multimodal.datasets import Manifest, MultimodalClipDataset
from openood_multimodal.datasets.clips import BrokenClipError, ClipError
from openood_multimodal.datasets.skipped import SkipLog, SkippedClip, skip_note
from openood_multimodal.datasets.split_card import SplitCard, entry_of
from openood_multimodal.errors import UserError
from openood_multimodal.moving_shapes import Generated
from openood_multimodal.preprocessors import ClipPreprocessor
from openood_multimodal.registry import DATASETS


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
