"""Flow of known motion, its 8-bit form, and the videos that hold it."""

import io
import tracemalloc
import wave
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from openood_multimodal.errors import UserError
from openood_multimodal.making.encoding import LOSSLESS_GRAY, VideoWriter
from openood_multimodal.making.writing import (
    FlowSettings,
    read_comment,
    write_flow,
    write_sound,
)
from openood_multimodal.preprocessors import optical_flow
from openood_multimodal.preprocessors.optical_flow import (
    dequantise,
    flow_frames,
    make_estimator,
    quantise,
    shrunk_size,
)
from openood_multimodal.registry import FLOW_METHODS


def texture(height, width, seed=0):
    random = np.random.default_rng(seed)
    total = np.zeros((height, width), np.float32)
    for size in (2, 4, 8):
        total += size * cv2.GaussianBlur(
            random.standard_normal((height, width)).astype(np.float32), (0, 0), size
        )
    return np.interp(total, (total.min(), total.max()), (0, 255)).astype(np.float32)


def shifted(image, dx, dy, size=(96, 112), margin=40):
    """What a camera sees of the image when everything in it has moved by (dx, dy)."""
    matrix = np.float32([[1, 0, dx - margin], [0, 1, dy - margin]])
    moved = cv2.warpAffine(image, matrix, size[::-1], flags=cv2.INTER_CUBIC)
    return moved.clip(0, 255).astype(np.uint8)


def write_video(path, frames, rate=25, codec="libx264", options=None, audio=None):
    """Gray frames as yuv420p; ``audio`` is (float32 [n], rate)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {"crf": "4"})
        stream.height, stream.width = frames[0].shape
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        sound = container.add_stream("aac", rate=audio[1], layout="mono") if audio else None
        for frame in frames:
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(frame, format="gray").reformat(format="yuv420p"))
            )
        container.mux(stream.encode(None))
        if sound is not None:
            samples = av.AudioFrame.from_ndarray(audio[0][None], format="flt", layout="mono")
            samples.sample_rate = audio[1]
            container.mux(sound.encode(samples))
            container.mux(sound.encode(None))
    return Path(path)


def decoded(data, pixel_format="gray"):
    with av.open(io.BytesIO(data)) as container:
        return np.stack([frame.to_ndarray(format=pixel_format) for frame in container.decode(video=0)])


@pytest.fixture(scope="module")
def image():
    return texture(200, 220)


@pytest.mark.parametrize("method", FLOW_METHODS)
@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (0, 2), (-2.5, 1.5)])
def test_known_translation(method, dx, dy, image):
    flow = make_estimator(method)(shifted(image, 0, 0), shifted(image, dx, dy))

    assert flow.shape == (96, 112, 2)
    assert flow.dtype == np.float32
    mean = flow[8:-8, 8:-8].mean(axis=(0, 1))
    # to the right is positive x, downwards is positive y, one unit is one pixel
    assert np.abs(mean - (dx, dy)).max() < 0.1 * np.hypot(dx, dy)


@pytest.mark.parametrize("size", [(64, 80), (12, 48), (28, 160), (1, 1)])
@pytest.mark.parametrize("method", FLOW_METHODS)
def test_an_estimator_remembers_nothing(method, size, image):
    one, two, three = (shifted(image, *move, size=size, margin=8) for move in ((0, 0), (2, 1), (-3, 2)))
    estimate = make_estimator(method)
    estimate(three, one)

    assert np.array_equal(estimate(one, two), make_estimator(method)(one, two))


def test_n_frames_give_one_flow_less(image):
    frames = [shifted(image, i, 0) for i in range(5)]
    flows = list(flow_frames(iter(frames), make_estimator("dis")))

    assert len(flows) == 4
    assert np.array_equal(flows[2], make_estimator("dis")(frames[2], frames[3]))
    assert list(flow_frames(frames[:1], make_estimator("dis"))) == []


def test_levels_are_denseflow_s():
    def cast(
        v, low, high
    ):  # the macro of denseflow's src/common.cpp; Python rounds halves to even, as cvRound
        return 255 if v > high else 0 if v < low else round(255 * (v - low) / (high - low))

    values = np.concatenate([np.linspace(-25, 25, 4001), [-20, 20, 0, 1e30, -1e30]]).astype(np.float32)
    for bound in (20.0, 15.0):
        assert quantise(values, bound).tolist() == [cast(float(v), -bound, bound) for v in values]
    assert quantise(np.zeros(1)).tolist() == [128]
    assert quantise(values).dtype == np.uint8


def test_back_from_levels():
    levels = np.arange(256)
    assert np.array_equal(quantise(dequantise(levels)), levels)
    assert dequantise(np.array([0, 255])).tolist() == [-20, 20]
    values = np.linspace(-20, 20, 999)
    assert np.abs(dequantise(quantise(values)) - values).max() <= 20 / 255 + 1e-5
    assert np.abs(dequantise(quantise(values, 4), 4) - values.clip(-4, 4)).max() <= 4 / 255 + 1e-5


@pytest.mark.parametrize(
    ("size", "short", "expected"),
    [
        ((320, 240), None, (320, 240)),
        ((320, 240), 120, (160, 120)),
        ((240, 320), 120, (120, 160)),
        ((320, 240), 480, (320, 240)),
        ((427, 240), 239, (425, 239)),
    ],
)
def test_shrinking_keeps_the_shape(size, short, expected):
    assert shrunk_size(*size, short) == expected


def test_unknown_method_and_frames_of_two_sizes():
    with pytest.raises(UserError, match=r"'tvll'.*Did you mean 'tvl1'"):
        make_estimator("tvll")
    with pytest.raises(UserError, match="3 x 2 pixels"):
        make_estimator("farneback")(np.zeros((2, 3), np.uint8), np.zeros((4, 4), np.uint8))


@pytest.mark.parametrize("size", [(48, 64), (49, 65)])
def test_every_level_comes_back_from_the_file(size, tmp_path):
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (14, *size), dtype=np.uint8)
    frames[0].flat[:256] = np.arange(256)
    buffer = io.BytesIO()
    writer = VideoWriter(buffer, LOSSLESS_GRAY, size[::-1], Fraction(25), Fraction(1, 25), "hello")
    for i, frame in enumerate(frames):
        writer.add(frame, i)
    writer.close()

    assert np.array_equal(decoded(buffer.getvalue()), frames)
    assert np.array_equal(
        decoded(buffer.getvalue(), "rgb24")[..., 0], frames
    )  # as the authors' loader reads it
    path = tmp_path / "x.mp4"
    path.write_bytes(buffer.getvalue())
    reader = cv2.VideoCapture(str(path))
    assert np.array_equal(reader.read()[1][..., 0], frames[0])
    assert read_comment(path) == "hello"
    assert read_comment(tmp_path / "none.mp4") == ""


def test_flow_of_a_video(tmp_path, image):
    frames = [shifted(image, 3 * i, -2 * i) for i in range(9)]
    source = write_video(tmp_path / "v.mp4", frames, rate=10)
    x, y = io.BytesIO(), io.BytesIO()

    assert write_flow(source, x, y, FlowSettings("dis")) == 8
    horizontal, vertical = decoded(x.getvalue()), decoded(y.getvalue())
    assert horizontal.shape == (8, 96, 112)
    middle = np.s_[:, 8:-8, 8:-8]
    assert dequantise(horizontal)[middle].mean() == pytest.approx(3, rel=0.1)
    assert dequantise(vertical)[middle].mean() == pytest.approx(-2, rel=0.1)
    # exactly the flow of the decoded frames, as levels
    with av.open(str(source)) as container:
        rgb = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in rgb]
    expected = np.stack([quantise(flow) for flow in flow_frames(gray, make_estimator("dis"))])
    assert np.array_equal(horizontal, expected[..., 0])
    assert np.array_equal(vertical, expected[..., 1])
    with av.open(io.BytesIO(x.getvalue())) as container:
        assert container.streams.video[0].average_rate == 10
        assert [round(frame.time * 10) for frame in container.decode(video=0)] == list(range(8))

    again = io.BytesIO()
    write_flow(source, again, io.BytesIO(), FlowSettings("dis"))
    assert again.getvalue() == x.getvalue()


def test_flow_of_a_shrunk_video_is_in_its_own_pixels(tmp_path, image):
    source = write_video(tmp_path / "v.avi", [shifted(image, 4 * i, 0) for i in range(4)], codec="mpeg4")
    x, y = io.BytesIO(), io.BytesIO()
    write_flow(source, x, y, FlowSettings("farneback", bound=10, short_side=48))

    levels = decoded(x.getvalue())
    assert levels.shape == (3, 48, 56)
    assert dequantise(levels, 10)[:, 6:-6, 6:-6].mean() == pytest.approx(2, rel=0.1)


def test_uneven_times_are_kept(tmp_path, image):
    path = tmp_path / "v.mkv"
    times = [0, 40, 50, 200, 201]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 96, 112, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for i, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(shifted(image, i, 0), format="gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = 500 + time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    x = io.BytesIO()
    write_flow(path, x, io.BytesIO(), FlowSettings("dis"))

    with av.open(io.BytesIO(x.getvalue())) as container:
        assert [round(frame.time * 1000) for frame in container.decode(video=0)] == times[:-1]


def test_sources_that_are_no_video(tmp_path, image):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "folder.mp4").mkdir()
    one = write_video(tmp_path / "one.mp4", [shifted(image, 0, 0)])
    whole = write_video(tmp_path / "whole.mp4", [shifted(image, i, 0) for i in range(20)])
    (tmp_path / "half.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    for path, message in (
        (tmp_path / "empty.mp4", "0 bytes"),
        (tmp_path / "text.mp4", "not a video"),
        (tmp_path / "folder.mp4", "folder"),
        (tmp_path / "none.mp4", "no such file"),
        (tmp_path / "half.mp4", "end is missing"),
        (one, "one frame"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            write_flow(path, io.BytesIO(), io.BytesIO(), FlowSettings("dis"))
        assert str(path) in str(caught.value)


def test_a_long_video_is_never_in_memory(tmp_path, image):
    source = write_video(tmp_path / "long.mp4", [shifted(image, i % 7, 0) for i in range(400)])
    tracemalloc.start()
    with open(tmp_path / "x.mp4", "wb") as x, open(tmp_path / "y.mp4", "wb") as y:
        write_flow(source, x, y, FlowSettings("dis_fast"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400 * 96 * 112 / 4  # a quarter of the gray frames; flow would be eight times the frames


def test_sound_is_16_khz_mono(tmp_path, image):
    rate = 44100
    tone = np.sin(2 * np.pi * 1000 * np.arange(rate) / rate).astype(np.float32) * 0.5
    source = write_video(tmp_path / "v.mp4", [shifted(image, 0, 0)] * 25, audio=(tone, rate))
    target = io.BytesIO()
    seconds = write_sound(source, target)

    target.seek(0)
    with wave.open(target) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16000)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert seconds == pytest.approx(1, abs=0.1)
    assert len(samples) == round(seconds * 16000)
    middle = samples[4000:12000] / 32768
    assert np.argmax(np.abs(np.fft.rfft(middle))) == 500  # bins of 2 Hz
    assert np.abs(middle).max() == pytest.approx(0.5, rel=0.05)


def test_no_sound(tmp_path, image):
    silent = write_video(tmp_path / "v.mp4", [shifted(image, 0, 0)] * 2)
    with pytest.raises(UserError, match="it has no sound"):
        write_sound(silent, io.BytesIO())
    with pytest.raises(UserError, match="no such file"):
        write_sound(tmp_path / "none.mp4", io.BytesIO())


def test_missing_contributed_modules_are_named(monkeypatch):
    monkeypatch.delattr(cv2, "optflow")
    with pytest.raises(UserError, match="opencv-contrib-python"):
        optical_flow.make_estimator("tvl1")
