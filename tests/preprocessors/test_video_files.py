"""What a user sees of files that are no videos, or broken; what a video says of itself; what reading leaves behind."""

import contextlib
import multiprocessing
import os
import shutil
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from openood_multimodal.errors import UserError
from openood_multimodal.preprocessors import frame_index, media, video

sys.path.insert(0, str(Path(__file__).parent))
from video_files import copy_video, full_decode, picture, shifted, write_video


@pytest.fixture(autouse=True)
def _no_memory():
    video._cache.clear()


@pytest.fixture
def clip(tmp_path):
    return write_video(tmp_path / "clip.mp4", b_frames=2, muxer={"movflags": "faststart"})


@pytest.mark.parametrize("read", [video.count_frames, video.probe, lambda path: video.read_frames(path, [0])])
class TestNoVideo:
    @pytest.mark.parametrize(
        ("name", "content", "fault"),
        [
            ("a.mp4", None, "no such file"),
            ("a.mp4", b"", "empty"),
            ("a.mp4", b"hello\n" * 200, "not a video"),
            ("a.txt", b"hello\n" * 200, "not a video"),
            ("a.mp4", np.random.default_rng(0).bytes(9000), "not a video"),
            ("a.m3u8", b"#EXTM3U\n#EXTINF:5,\nother.ts\n#EXT-X-ENDLIST\n", "not a video"),
            ("a.mp4", b"ffconcat version 1.0\nfile other.mp4\n", "not a video"),
        ],
    )
    def test_content(self, read, name, content, fault, tmp_path):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError, match=fault) as caught:
            read(path)
        assert str(path) in str(caught.value)

    def test_picture(self, read, tmp_path):
        import cv2

        cv2.imwrite(str(tmp_path / "a.png"), picture(0))
        os.rename(tmp_path / "a.png", tmp_path / "a.mp4")
        with pytest.raises(UserError, match="not a video"):
            read(tmp_path / "a.mp4")

    def test_folder(self, read, tmp_path):
        with pytest.raises(UserError, match="folder"):
            read(tmp_path)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
    @pytest.mark.timeout(20)
    def test_fifo_does_not_hang(self, read, tmp_path):
        os.mkfifo(tmp_path / "a.mp4")
        with pytest.raises(UserError, match="regular file"):
            read(tmp_path / "a.mp4")

    def test_dangling_link(self, read, tmp_path):
        (tmp_path / "a.mp4").symlink_to("nowhere")
        with pytest.raises(UserError, match="no such file"):
            read(tmp_path / "a.mp4")

    def test_sound_only(self, read, tmp_path):
        import av

        path = tmp_path / "a.mp4"
        with av.open(str(path), "w") as output:
            stream = output.add_stream("aac", rate=16000, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 16000
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        with pytest.raises(UserError, match=r"no video stream in it \(it has sound only\)"):
            read(path)

    def test_address(self, read):
        with pytest.raises(UserError, match="no such file"):
            read("http://localhost/a.mp4")


class TestTruncated:
    @pytest.mark.parametrize("share", [0.5, 0.8, 0.97])
    def test_mp4_says_how_many_frames_came(self, share, clip):
        self.cut(clip, share)
        with pytest.raises(UserError, match=r"clip\.mp4: .*truncated; [0-9]+ frames could be decoded"):
            video.count_frames(clip)
        with pytest.raises(UserError, match="truncated"):
            video.read_frames(clip, [0])

    @pytest.mark.parametrize("share", [0.5, 0.9])
    def test_avi_says_how_many_frames_came(self, share, tmp_path):
        path = self.cut(write_video(tmp_path / "a.avi", "mpeg4", size=(96, 128)), share)
        with pytest.raises(UserError, match=r"[0-9]+ frames could be decoded.*promises 40 frames"):
            video.read_frames(path, [0])

    @pytest.mark.parametrize("share", [0.5, 0.9])
    def test_mp4_whose_index_is_at_the_end(self, share, tmp_path):
        path = self.cut(write_video(tmp_path / "a.mp4"), share)
        with pytest.raises(UserError, match=r"its end (is|may be) missing"):
            video.count_frames(path)

    @staticmethod
    def cut(path, share):
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        return path


class TestNames:
    @pytest.mark.parametrize("name", ["clip.txt", "clip.avi", "clip", "a:b %03d [x]*?.mp4", "übung 動画.mp4"])
    def test_content_decides(self, name, clip, tmp_path):
        shutil.copy(clip, tmp_path / "copy")
        os.replace(tmp_path / "copy", tmp_path / name)
        np.testing.assert_array_equal(video.read_frames(tmp_path / name, [5])[0], full_decode(clip)[5])

    def test_relative(self, clip, monkeypatch):
        monkeypatch.chdir(clip.parent)
        assert video.count_frames("clip.mp4") == 40


class TestIndices:
    @pytest.mark.parametrize("wrong", [-1, 40])
    def test_out_of_range_names_the_frame(self, wrong, clip):
        with pytest.raises(UserError, match=f"clip.mp4: there is no frame {wrong}; .* 0 to 39"):
            video.read_frames(clip, [3, wrong])

    @pytest.mark.parametrize("wrong", [[], [[1]], [0.5]])
    def test_no_numbers(self, wrong, clip):
        with pytest.raises(ValueError, match="whole numbers"):
            video.read_frames(clip, wrong)


class TestInfo:
    def test_what_a_video_is(self, tmp_path):
        path = write_video(tmp_path / "a.mp4", frames=45, b_frames=2, sound=True)
        info = video.probe(path)
        assert (info.frames, info.width, info.height, info.has_audio) == (45, 64, 48, True)
        assert info.fps == pytest.approx(30)
        assert info.duration == pytest.approx(1.5)
        assert info.rotation == 0

    def test_rotation_is_told_and_not_applied(self, clip):
        turned = copy_video(
            clip, clip.parent / "turned.mp4", setup=lambda stream: stream.set_display_rotation(90)
        )
        assert video.probe(turned).rotation == 90
        assert video.read_frames(turned, [0]).shape == (1, 48, 64, 3)

    def test_times_begin_at_zero(self, clip):
        late = copy_video(clip, clip.parent / "late.mkv", shifted(Fraction(7, 3)))
        with video.Video(late) as opened:
            np.testing.assert_allclose(opened.times(), np.arange(40) / 30, atol=2e-3)

    def test_uneven_times(self, tmp_path):
        ticks = [0, 1, 5, 6, 20, 21]
        path = write_video(tmp_path / "a.mp4", frames=6, times=ticks)
        with video.Video(path) as opened:
            np.testing.assert_allclose(opened.times(), np.array(ticks) / 30, atol=1e-4)

    @pytest.mark.parametrize(
        ("start", "stop", "expected"),
        [
            (np.nan, np.nan, (0, 6)),
            (0.0, 0.5, (0, 5)),
            (0.1, 0.3, (1, 3)),
            (0.11, 0.12, (2, 3)),
            (0.45, 9.0, (5, 6)),
            (7.0, 9.0, (5, 6)),
        ],
    )
    def test_frames_between(self, start, stop, expected):
        assert video.frames_between(np.arange(6) / 10, start, stop) == expected


class TestLeavesNothing:
    def test_a_replaced_file_is_read_anew(self, clip):
        assert video.count_frames(clip) == 40
        write_video(clip, frames=7)
        assert video.count_frames(clip) == 7
        assert len(video.read_frames(clip, [6])) == 1

    def test_the_cache_is_bounded(self, tmp_path, monkeypatch):
        cache = frame_index.IndexCache(most_frames=25)
        monkeypatch.setattr(video, "_cache", cache)
        paths = [write_video(tmp_path / f"{number}.mp4", frames=10) for number in range(4)]
        for path in [*paths, paths[2], paths[3]]:
            video.count_frames(path)
        assert [media.file_key(path) in cache._indices for path in paths] == [
            False,
            False,
            True,
            True,
        ]

    @pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
    def test_no_open_files(self, clip):
        broken = clip.with_name("broken.mp4")
        broken.write_bytes(clip.read_bytes()[:3000])
        before = len(os.listdir("/proc/self/fd"))
        for number in range(20):
            video.read_frames(clip, [number])
            for path in (broken, clip.parent):
                with pytest.raises(UserError):
                    video.read_frames(path, [0])
        assert len(os.listdir("/proc/self/fd")) == before

    def test_reading_says_nothing(self, clip, capfd):
        data = bytearray(clip.read_bytes())
        for at in range(len(data) // 2, len(data) // 2 + 400, 9):
            data[at] ^= 0x55
        clip.write_bytes(bytes(data))
        with contextlib.suppress(UserError):
            video.read_frames(clip, np.arange(40))
        assert capfd.readouterr() == ("", "")

    @pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
    def test_forked_workers_read_the_same(self, clip):
        expected = video.read_frames(clip, [20, 22])
        with multiprocessing.get_context("fork").Pool(2) as pool:
            found = pool.starmap(video.read_frames, [(clip, [20, 22])] * 4)
        for frames in found:
            np.testing.assert_array_equal(frames, expected)

    def test_frames_that_change_size(self, tmp_path):
        parts = [
            copy_video(
                write_video(tmp_path / f"{size[0]}.mp4", frames=12, size=size), tmp_path / f"{size[0]}.h264"
            )
            for size in ((48, 64), (64, 80))
        ]
        path = tmp_path / "both.h264"
        path.write_bytes(b"".join(part.read_bytes() for part in parts))
        assert video.read_frames(path, [20]).shape == (1, 64, 80, 3)
        with pytest.raises(UserError, match="change size, from 64x48 to 80x64"):
            video.read_frames(path, [0, 20])
