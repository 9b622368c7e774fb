"""Damaged media files, a short run; bombs, which ask for more than a limit."""

import struct
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from openood_multimodal.errors import UserError
from openood_multimodal.preprocessors import frame_folder, video
from openood_multimodal.preprocessors.audio import read_audio

sys.path.insert(0, str(Path(__file__).parent))
from media_inputs import faults_of, inputs


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.timeout(300)
def test_damaged_files_give_a_result_or_a_user_error(tmp_path, seed):
    for number, path in enumerate(inputs(tmp_path, 16, seed)):
        assert not faults_of(path), f"seed {seed}, input {number}"


def _png(width: int, height: int) -> bytes:
    head = struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + head + bytes(100)


class TestBombs:
    @pytest.mark.parametrize("codec", ["mjpeg", "png"])
    def test_large_pictures(self, tmp_path, codec):
        path = tmp_path / "a.mov"
        with av.open(str(path), "w") as out:
            stream = out.add_stream(codec, rate=25)
            stream.width = stream.height = 6400
            stream.pix_fmt = "rgb24" if codec == "png" else "yuvj420p"
            frame = av.VideoFrame(6400, 6400, stream.pix_fmt)
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            for frame.pts in range(2):
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        for call in (video.probe, video.count_frames, lambda file: video.read_frames(file, [0])):
            with pytest.raises(UserError, match=r"a\.mov: .*40960000 .*frame_pixels"):
                call(path)

    def test_many_large_frames(self, tmp_path, monkeypatch):
        from video_files import write_video

        path = write_video(tmp_path / "a.mp4", frames=20)
        monkeypatch.setenv("OPENOOD_MM_LIMITS", "window_bytes=100000")
        assert len(video.read_frames(path, np.arange(10))) == 10
        with pytest.raises(UserError, match=r"a\.mp4: 110592 bytes .*window_bytes"):
            video.read_frames(path, np.arange(12))
        monkeypatch.setenv("OPENOOD_MM_LIMITS", "video_frames=19")
        video._cache.clear()
        with pytest.raises(UserError, match=r"a\.mp4: .*video_frames"):
            video.count_frames(path)

    def test_pictures_in_folders(self, tmp_path):
        small = cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
        size = small.index(b"\xff\xc0") + 5
        huge = small[:size] + struct.pack(">HH", 20000, 20000) + small[size + 4 :]
        for data in (huge, _png(20000, 20000)):
            (tmp_path / "frame_0000000001.jpg").write_bytes(data)
            with pytest.raises(UserError, match=r"frame_0000000001\.jpg: 400000000 pixels .*frame_pixels"):
                frame_folder.read_frames(tmp_path, [1])

    def test_sound_of_days(self, tmp_path):
        """100 Hz, 8 bits: 2 MB are more than five hours, a thousand times as much at 16 kHz."""
        raw = bytes(2_000_000)
        head = (
            b"WAVEfmt "
            + struct.pack("<IHHIIHH", 16, 1, 1, 100, 100, 1, 8)
            + b"data"
            + struct.pack("<I", len(raw))
        )
        path = tmp_path / "a.wav"
        path.write_bytes(b"RIFF" + struct.pack("<I", len(head) + len(raw)) + head + raw)
        with pytest.raises(UserError, match=r"a\.wav: .* seconds of sound.*sound_seconds"):
            read_audio(path)
        assert len(read_audio(path, 10.0, 12.0)) == 32000
