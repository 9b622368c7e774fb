"""Copies of clips' files on a local disk: made once, safe beside other processes, never in the way."""

import errno
import logging
import os
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from openood_multimodal.datasets.clip_files import ClipFiles, ModalityFiles
from openood_multimodal.errors import UserError
from openood_multimodal.preprocessors import ClipPreprocessor
from openood_multimodal.preprocessors.clip_cache import ClipCache, ClipCacheOptions


@pytest.fixture
def cache(tmp_path):
    return ClipCache(ClipCacheOptions(str(tmp_path / "cache"), 1e-6))  # 1000 bytes


def clip(*paths: Path) -> ClipFiles:
    return ClipFiles("c", {f"m{at}": ModalityFiles(path) for at, path in enumerate(paths)})


def paths(files: ClipFiles) -> list[Path]:
    return [each.path for each in files.modalities.values()]


def file(folder: Path, name: str, size: int = 100) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(os.urandom(size))
    return path


def test_a_file_is_copied_once_for_each_of_its_states(cache, tmp_path):
    source = file(tmp_path / "data", "a.avi")
    (copy,) = paths(cache.local(clip(source)))
    assert (copy.parent, copy.suffix) == (tmp_path / "cache", ".avi")
    assert copy.read_bytes() == source.read_bytes()
    made = copy.stat().st_mtime_ns
    assert paths(cache.local(clip(source))) == [copy]
    assert copy.stat().st_mtime_ns == made
    file(tmp_path / "data", "a.avi", 120)
    (other,) = paths(cache.local(clip(source)))
    assert other != copy
    assert other.read_bytes() == source.read_bytes()


def test_flow_s_second_video_is_copied_and_folders_and_missing_files_are_left(cache, tmp_path):
    x, y = (file(tmp_path / "data", name) for name in ("x.avi", "y.avi"))
    files = ClipFiles("c", {"flow": ModalityFiles(x, y)})
    local = cache.local(files).modalities["flow"]
    assert local.y is not None
    assert {local.path.parent, local.y.parent} == {tmp_path / "cache"}
    left = clip(tmp_path / "data", tmp_path / "missing.avi")
    assert cache.local(left) == left


def test_a_full_folder_takes_no_more_and_says_so_once(cache, tmp_path, caplog):
    sources = [file(tmp_path / "data", f"{at}.avi", 400) for at in range(4)]
    with caplog.at_level(logging.WARNING):
        local = [paths(cache.local(clip(each)))[0] for each in sources]
    assert [each.parent.name for each in local] == ["cache", "cache", "data", "data"]
    assert [
        each.getMessage().endswith("other clips are read where they are.") for each in caplog.records
    ] == [True]
    assert paths(cache.local(clip(sources[0]))) == [local[0]], "copies that are there are used"


def test_what_a_killed_process_left_is_removed_and_a_young_one_counts(cache, tmp_path):
    old, young = (file(tmp_path / "cache", f".{name}.avi.0.tmp", 700) for name in ("old", "young"))
    os.utime(old, (time.time() - 7200,) * 2)
    (local,) = paths(cache.local(clip(file(tmp_path / "data", "a.avi", 400))))
    assert not old.exists()
    assert (young.exists(), local.parent.name) == (True, "data")


def test_a_full_disk_costs_no_clip(cache, tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    sources = [file(tmp_path / "data", f"{at}.avi") for at in range(2)]
    monkeypatch.setattr("openood_multimodal.preprocessors.clip_cache.shutil.copyfileobj", full)
    with caplog.at_level(logging.WARNING):
        assert [paths(cache.local(clip(each))) for each in sources] == [[each] for each in sources]
    (told,) = caplog.records
    assert f"can't take {sources[0]} (No space left on device)" in told.getMessage()
    assert not any((tmp_path / "cache").iterdir())


def test_no_copy_is_trusted_that_is_a_link_or_of_another_size(cache, tmp_path):
    source = file(tmp_path / "data", "a.avi")
    (copy,) = paths(cache.local(clip(source)))
    copy.write_bytes(b"short")
    assert paths(cache.local(clip(source))) == [source]
    copy.unlink()
    copy.symlink_to(file(tmp_path, "planted.avi"))
    assert paths(cache.local(clip(source))) == [source]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"clip_cache\.folder is .*file/cache, which can't be written"):
        ClipCache(ClipCacheOptions(str(tmp_path / "file" / "cache")))


def sound(config: dict, path: Path) -> np.ndarray:
    loader = ClipPreprocessor(
        {"preprocessor": {"name": "multimodal_clip", "audio": {"seconds": 0.5}}, **config}, "test"
    )
    out = {name: np.zeros(shape, np.float32) for name, shape in loader.clip_shapes(("audio",)).items()}
    loader.load_clip(ClipFiles("c", {"audio": ModalityFiles(path)}), 0, 0, 0, out)
    return out["audio"]


def test_a_clip_is_the_same_from_its_copy_and_a_broken_copy_is_made_again(tmp_path):
    source = tmp_path / "a.wav"
    wavfile.write(source, 16000, np.random.default_rng(0).integers(-9999, 9999, 16000, np.int16))
    config = {"clip_cache": {"folder": str(tmp_path / "cache")}}
    plain = sound({}, source)
    assert np.array_equal(sound(config, source), plain)
    (copy,) = (tmp_path / "cache").iterdir()
    copy.write_bytes(b"\0" * copy.stat().st_size)
    assert np.array_equal(sound(config, source), plain)
    assert not copy.exists()
    assert np.array_equal(sound(config, source), plain)
    assert copy.read_bytes() == source.read_bytes()
    source.write_bytes(b"no sound")
    with pytest.raises(UserError, match=r"a\.wav"):
        sound(config, source)


def test_unknown_keys_and_sizes_are_refused():
    with pytest.raises(UserError, match=r"clip_cache"):
        ClipCache.from_config({"clip_cache": {"foldr": "x"}})
    with pytest.raises(UserError, match=r"clip_cache\.gigabytes"):
        ClipCache.from_config({"clip_cache": {"folder": "x", "gigabytes": 0}})
