"""`multimodal_clip`: what of a clip's files a network gets, against literal versions of the same."""

import pickle
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from scipy.io import wavfile

from openood_multimodal.datasets.clip_files import ClipFiles, ModalityFiles
from openood_multimodal.errors import UserError
from openood_multimodal.preprocessors.audio import fit_length, log_spectrogram, read_audio
from openood_multimodal.preprocessors.clip import ClipPreprocessor, clip_random
from openood_multimodal.registry import PREPROCESSORS

ALL = ("video", "audio", "flow")
FPS = 25
VIDEO, FLOW = 100, 99  # frames
SMALL = {
    "video": {"frames": 8, "stride": 4, "short_side": 36, "size": 32},
    "flow": {"frames": 4, "stride": 4, "short_side": 36, "size": 32},
    "audio": {"seconds": 1.0},
}


def _moving(length: int, height: int = 40, width: int = 56, seed: int = 0) -> np.ndarray:
    """Frames that differ from each other everywhere: uint8 ``[T, H, W, 3]``."""
    random = np.random.default_rng(seed)
    big = cv2.resize(random.integers(0, 256, (12, 16, 3)).astype(np.uint8), (width + length, height + length))
    return np.stack([big[t : t + height, t : t + width] for t in range(length)])


def write_video(path: Path, frames: np.ndarray, fps: int = FPS) -> Path:
    """Without loss: what is read is what was written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def video() -> np.ndarray:
    return _moving(VIDEO)


@pytest.fixture(scope="module")
def flow(video) -> np.ndarray:
    """``[99, H, W, 2]``: x is the video's green channel, so that one can see what of it was taken; y is red."""
    return video[:FLOW, :, :, [1, 0]]


@pytest.fixture(scope="module")
def files(tmp_path_factory, video, flow) -> ClipFiles:
    folder = tmp_path_factory.mktemp("clip")
    for name, component in zip("xy", np.moveaxis(flow, -1, 0), strict=True):
        write_video(folder / f"a_flow_{name}.mkv", component[..., None].repeat(3, -1))
    t = np.arange(VIDEO * 16000 // FPS) / 16000
    sound = 0.4 * np.sin(2 * np.pi * (100 + 200 * t) * t) + np.random.default_rng(0).normal(0, 0.02, len(t))
    wavfile.write(folder / "a.wav", 16000, np.round(sound * 32767).astype(np.int16))
    return ClipFiles(
        "a",
        {
            "video": ModalityFiles(write_video(folder / "a.mkv", video)),
            "audio": ModalityFiles(folder / "a.wav"),
            "flow": ModalityFiles(folder / "a_flow_x.mkv", folder / "a_flow_y.mkv"),
        },
    )


def make(split: str, seed: int = 0, **section: object) -> ClipPreprocessor:
    return ClipPreprocessor(
        {"seed": seed, "preprocessor": {"name": "multimodal_clip", **SMALL, **section}}, split
    )


def load(
    preprocessor: ClipPreprocessor, files: ClipFiles, epoch: int = 0, index: int = 0, modalities: tuple = ALL
) -> dict[str, np.ndarray]:
    out = {
        name: np.full(shape, np.nan, np.float32)
        for name, shape in preprocessor.clip_shapes(modalities).items()
    }
    preprocessor.load_clip(files, preprocessor.seed, epoch, index, out)
    assert all(np.isfinite(values).all() for values in out.values())
    return out


def _look(preprocessor, files, epoch=0, index=0, modalities=ALL):
    return preprocessor.look(files, preprocessor.seed, epoch, index, modalities)


def _square(frames: np.ndarray, size: int) -> np.ndarray:
    """Scale the short side (40 to 36), cut the middle out: frame by frame."""
    out = []
    for frame in frames:
        scaled = cv2.resize(np.ascontiguousarray(frame), (int(56 * 36 / 40 + 0.5), 36))
        top, left = (scaled.shape[0] - size) // 2, (scaled.shape[1] - size) // 2
        out.append(scaled[top : top + size, left : left + size])
    return np.stack(out)


def _normal(frames: np.ndarray, mean: list[float], std: list[float]) -> np.ndarray:
    return ((frames.astype(np.float64) - mean) / std).transpose(3, 0, 1, 2)


RGB = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
GRAY = [128.0, 128.0], [128.0, 128.0]


class TestValidation:
    def test_the_middle_of_clip_and_frame(self, files, video, flow):
        out = load(make("val"), files)
        first = (VIDEO - 32 + 1) // 2
        expected = _square(video[first : first + 32 : 4], 32)
        np.testing.assert_allclose(out["video"], _normal(expected, *RGB), atol=1e-5)
        start = int((first + 16) / VIDEO * FLOW - 8 + 0.5)  # the windows' middles, 16 and 8 frames on, agree
        expected = _square(flow[start : start + 16 : 4], 32)
        np.testing.assert_allclose(out["flow"], _normal(expected, *GRAY), atol=1e-5)
        samples = read_audio(files.modalities["audio"].path)
        samples = samples[first * 640 : (first + 32) * 640]  # 640 samples a frame
        expected = log_spectrogram(fit_length(samples, 16000))
        np.testing.assert_allclose(out["audio"][0], expected, atol=1e-5)

    @pytest.mark.parametrize("protocol", ["shared", "multiood-code"])
    def test_nothing_is_random(self, files, protocol):
        a = load(make("val", seed=0, protocol=protocol), files, 0, 0)
        b = load(make("nearood", seed=1, protocol=protocol), files, 5, 9)
        for modality in ALL:
            np.testing.assert_array_equal(a[modality], b[modality])

    def test_the_authors_code(self, files, video, flow):
        """Their loaders, spelt out: N - 1 frames, the one before the drawn one, 24 frames a second."""
        out = load(make("test", protocol="multiood-code"), files)
        drawn = int((VIDEO - 1 - 32 + 1) / 2) + np.arange(8) * 4
        expected = _square(video[np.maximum(drawn - 1, 0)], 32)
        np.testing.assert_allclose(out["video"], _normal(expected, *RGB), atol=1e-5)
        drawn_flow = int((FLOW - 1 - 16 + 1) / 2) + np.arange(4) * 4
        assert out["flow"].shape == (2, 4, 36, 36)  # the whole short side
        expected = _square(flow[np.maximum(drawn_flow - 1, 0)], 36)
        np.testing.assert_allclose(out["flow"], _normal(expected, *GRAY), atol=1e-5)
        samples = read_audio(files.modalities["audio"].path)
        samples = samples[round(drawn[0] / 24 * 16000) : round(drawn[-1] / 24 * 16000)]
        np.testing.assert_allclose(out["audio"][0], log_spectrogram(np.resize(samples, 16000)), atol=1e-5)


class TestTraining:
    @pytest.mark.parametrize("protocol", ["shared", "multiood-code"])
    def test_randomness_is_a_function_of_seed_epoch_and_index(self, files, protocol):
        base = load(make("train", 3, protocol=protocol), files, 2, 7)
        again = load(make("train", 3, protocol=protocol), files, 2, 7)
        for modality in ALL:
            np.testing.assert_array_equal(base[modality], again[modality])
        for seed, epoch, index in ((4, 2, 7), (3, 3, 7), (3, 2, 8), (3, 7, 2)):
            other = load(make("train", seed, protocol=protocol), files, epoch, index)
            for modality in ALL:
                assert not np.array_equal(base[modality], other[modality])

    @pytest.mark.parametrize("protocol", ["shared", "multiood-code"])
    def test_a_modality_does_not_depend_on_the_others(self, files, protocol):
        train = make("train", 1, protocol=protocol)
        together = load(train, files, 1, 0)
        for some in (("video",), ("video", "flow"), ("audio", "video")):
            for modality, values in load(train, files, 1, 0, some).items():
                np.testing.assert_array_equal(values, together[modality])

    def test_modalities_share_window_crop_and_flip(self, files, video, flow):
        train = make("train", 0)
        seen = [_look(train, files, 1, index) for index in range(40)]
        assert 8 < sum(look.mirrored["video"] for look in seen) < 32
        assert len({int(look.windows.frames["video"][0]) for look in seen}) > 20
        for look in seen:
            assert look.mirrored["video"] == look.mirrored["flow"]
            first = int(look.windows.frames["video"][0])
            np.testing.assert_array_equal(look.windows.frames["video"], first + np.arange(8) * 4)
            assert 0 <= first <= VIDEO - 32
            middle = int(look.windows.frames["flow"][0]) + 8
            assert abs(middle / FLOW - (first + 16) / VIDEO) <= 0.5 / FLOW + 1e-9
            assert look.windows.sound == pytest.approx((first / FPS, (first + 32) / FPS))
            # the same part of the picture: flow's x is the video's green channel of the frame of that number
            numbers = look.windows.frames["flow"]
            x, y = look.frames["flow"][..., 0], look.frames["flow"][..., 1]
            box = ClipFiles("as video", {"video": files.modalities["video"]})
            green = make("train", 0, video={**SMALL["video"], "frames": VIDEO, "stride": 1, "size": 32})
            view = _look(green, box, 1, seen.index(look), ("video",)).frames["video"]
            np.testing.assert_array_equal(y, view[numbers, :, :, 0])
            np.testing.assert_array_equal(255 - x if look.mirrored["flow"] else x, view[numbers, :, :, 1])
            if seen.index(look) > 5:
                break

    def test_the_authors_code_draws_each_modality_on_its_own(self, files):
        train = make("train", 0, protocol="multiood-code")
        seen = [_look(train, files, 1, index) for index in range(60)]
        differs = [look.mirrored["video"] != look.mirrored["flow"] for look in seen]
        assert 15 < sum(differs) < 45
        first = np.array([[look.windows.frames[m][0] for m in ("video", "flow")] for look in seen])
        assert abs(np.corrcoef(first.T)[0, 1]) < 0.4
        assert first.min() >= 0
        assert (first.max(axis=0) <= (VIDEO - 1 - 32 - 1 + 1, FLOW - 1 - 16 - 1 + 1)).all()
        for look in seen:
            assert look.frames["flow"].shape == (4, 32, 32, 2)
            start, stop = look.windows.sound
            assert stop - start == pytest.approx(28 / 24)

    def test_sound_is_disturbed_in_training_only(self, files):
        trained = _look(make("train"), files, 1, 0)
        tested = _look(make("val"), files, 1, 0)
        assert (~trained.spectrogram.any(axis=1)).sum() == 9
        assert tested.spectrogram.any(axis=1).all()
        calm = _look(make("train", audio={"seconds": 1.0, "noise": 0.0, "band": 0}), files, 1, 0)
        difference = trained.spectrogram - calm.spectrogram
        assert np.abs(difference[trained.spectrogram.any(axis=1)]).max() <= 0.05 + 1e-6

    def test_streams_of_random_numbers_are_apart(self):
        drawn = {
            (seed, epoch, index, stream): clip_random(seed, epoch, index, stream).random(4).tobytes()
            for seed in (0, 1, 2**63)
            for epoch in (0, 1)
            for index in (0, 1, 60000)
            for stream in ("window", "view", "sound")
        }
        assert len(set(drawn.values())) == len(drawn)


class TestClipsOfAnyLength:
    @pytest.mark.parametrize("protocol", ["shared", "multiood-code"])
    @pytest.mark.parametrize("count", [1, 2, 7, 31, 32, 33])
    def test_short_ones_are_repeated(self, tmp_path, protocol, count):
        frames = _moving(count)
        wavfile.write(tmp_path / "a.wav", 16000, np.full(max(count * 640, 1), 8000, np.int16))
        short = ClipFiles(
            "short",
            {
                "video": ModalityFiles(write_video(tmp_path / "a.mkv", frames)),
                "audio": ModalityFiles(tmp_path / "a.wav"),
            },
        )
        for split in ("train", "val"):
            look = _look(make(split, protocol=protocol), short, 1, 0, ("video", "audio"))
            numbers = look.windows.frames["video"]
            assert numbers.min() >= 0
            assert numbers.max() < count
            if count < 32 and protocol == "shared":
                np.testing.assert_array_equal(numbers, np.arange(8) * 4 % count)
                assert look.windows.sound == pytest.approx((0.0, count / FPS))
            if protocol == "multiood-code":
                drawn = np.arange(8) * 4 % max(count - 1, 1)
                if count < 32:
                    np.testing.assert_array_equal(numbers, np.maximum(drawn - 1, 0))
            assert look.spectrogram.shape[0] == 257

    def test_sound_that_is_shorter_than_the_video_is_silence_from_there_on(self, tmp_path, video):
        """The middle window of 100 frames is 1.36 s to 2.64 s; the sound lasts 0.06 s, or 2 s."""
        path = write_video(tmp_path / "a.mkv", video)
        sound = np.random.default_rng(0).integers(-8000, 8000, 32000).astype(np.int16)
        for count, protocol in (
            (1000, "multiood-code"),
            (1000, "shared"),
            (32000, "shared"),
            (64000, "shared"),
        ):
            wavfile.write(tmp_path / "short.wav", 16000, np.resize(sound, count))
            parts = {"video": ModalityFiles(path), "audio": ModalityFiles(tmp_path / "short.wav")}
            look = _look(
                make("val", protocol=protocol, audio={"seconds": 1.28}),
                ClipFiles("a", parts),
                0,
                0,
                ("video", "audio"),
            )
            heard = np.resize(sound, count)[21760:42240] / 32768
            expected = log_spectrogram(np.pad(heard, (0, 20480 - len(heard))))
            np.testing.assert_allclose(look.spectrogram, expected, atol=1e-5)
            lacking = f"{(20480 - len(heard)) / 16000:.2f} s of its 1.28 s"
            said = (f"audio: there is no sound in {lacking}: silence",)
            assert look.remarks == (said if protocol == "shared" and len(heard) < 20480 else ())

    def test_a_span_beyond_the_video_is_an_error(self, files):
        for start, stop in ((4.0, 6.0), (7.0, np.nan), (-3.0, 0.0)):
            cut = ClipFiles("cut", files.modalities, start=start, stop=stop)
            with pytest.raises(
                UserError, match=r"^video: .*a\.mkv: the clip's start and stop .* from 0 s to 4 s"
            ):
                _look(make("val"), cut, modalities=("video",))
        last = ClipFiles("cut", files.modalities, start=3.97, stop=9.0)
        assert not _look(make("val"), last, modalities=("video",)).windows.frames["video"].any()

    def test_the_authors_code_counts_as_the_file_s_header_does(self, tmp_path):
        """An MP4 whose edit list leaves out its beginning (as ``-c copy`` cuts): its header lists 100 frames still."""
        whole = tmp_path / "whole.mp4"
        with av.open(str(whole), "w") as container:
            stream = container.add_stream("libx264", rate=FPS, options={"g": "25", "bf": "0"})
            stream.height, stream.width, stream.pix_fmt = 40, 56, "yuv420p"
            for frame in _moving(VIDEO):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")))
            container.mux(stream.encode(None))
        cut = tmp_path / "cut.mp4"
        with av.open(str(whole)) as source, av.open(str(cut), "w") as target:
            copy = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    late = int(0.8 / packet.time_base)
                    packet.pts, packet.dts, packet.stream = packet.pts - late, packet.dts - late, copy
                    target.mux(packet)
        with av.open(str(cut)) as container:
            listed = container.streams.video[0].frames
            decoded = sum(1 for _ in container.decode(video=0))
        assert (listed, decoded) == (100, 80)
        files = ClipFiles("a", {"video": ModalityFiles(cut)})
        for protocol, count in (("shared", 80), ("multiood-code", 99)):
            numbers = _look(make("val", protocol=protocol), files, modalities=("video",)).windows.frames[
                "video"
            ]
            first = (count - 32 + 1) // 2 - (protocol == "multiood-code")
            np.testing.assert_array_equal(numbers, first + np.arange(8) * 4)
        long = {"video": {"frames": 24, "stride": 4, "short_side": 36, "size": 32}}
        look = _look(make("val", protocol="multiood-code", **long), files, modalities=("video",))
        assert look.windows.frames["video"].max() > 80
        last = look.frames["video"][look.windows.frames["video"] >= 79]
        np.testing.assert_array_equal(last, np.broadcast_to(last[0], last.shape))

    @pytest.mark.parametrize("missing", [1, 3, 5, 30, 90])
    def test_a_shorter_y_video(self, tmp_path, flow, missing):
        """The authors' code counts the x video, and tries up to three frames before the one that y lacks."""
        for name, component in zip("xy", np.moveaxis(flow, -1, 0), strict=True):
            kept = component[: FLOW - missing] if name == "y" else component
            write_video(tmp_path / f"a_flow_{name}.mkv", kept[..., None].repeat(3, -1))
        place = ModalityFiles(tmp_path / "a_flow_x.mkv", tmp_path / "a_flow_y.mkv")
        files = ClipFiles("a", {"flow": place})
        section = {"flow": {"frames": 24, "stride": 4, "short_side": 36, "size": 32}}
        look = _look(make("val", protocol="multiood-code", **section), files, 0, 0, ("flow",))
        x, y = np.moveaxis(flow, -1, 0)[:, :, :, :, None]
        y = y[: FLOW - missing]
        drawn = int((FLOW - 1 - 96 + 1) / 2) + np.arange(24) * 4
        expected = []
        for number in np.maximum(drawn - 1, 0):
            tries = [number - back for back in range(4) if number - back < len(y)] or [0]
            expected.append(np.concatenate([x[number], y[tries[0]]], axis=-1))
        scaled = [cv2.resize(frame, (50, 36)) for frame in expected]
        np.testing.assert_array_equal(look.frames["flow"], np.stack(scaled)[:, :, 7:43])
        shared = _look(make("val", **section), files, 0, 0, ("flow",)).windows.frames["flow"]
        assert shared.max() < len(y)

    def test_start_and_stop_cut_files(self, files, video):
        cut = ClipFiles("cut", files.modalities, start=1.0, stop=2.6)
        look = _look(make("val"), cut)
        first = 25 + (40 - 32 + 1) // 2
        offset = int(look.windows.frames["video"][0])
        assert offset == first - 25
        np.testing.assert_array_equal(look.frames["video"], _square(video[first : first + 32 : 4], 32))
        assert look.windows.sound == pytest.approx((first / FPS, (first + 32) / FPS))
        code = _look(make("val", protocol="multiood-code"), cut)
        assert code.windows.sound == (1.0, 2.6)

    def test_sound_alone(self, files):
        look = _look(make("val"), files, modalities=("audio",))
        assert look.windows.sound == (0.0, 4.0)
        whole = read_audio(files.modalities["audio"].path)
        np.testing.assert_allclose(look.spectrogram, log_spectrogram(whole[:16000]), atol=1e-5)


class TestFoldersOfFrames:
    @pytest.fixture
    def folder(self, tmp_path, video, flow, files) -> ClipFiles:
        """EPIC-Kitchens: frames 41 to 100 of a recording, flow at half the rate, sound from 3.2 to 5.2 s."""
        for number, frame in enumerate(video, start=1):
            path = tmp_path / "P22_01" / f"frame_{number:010d}.jpg"
            path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), frame[..., ::-1])
        for number, frame in enumerate(flow[:60], start=1):
            for name, component in zip("uv", np.moveaxis(frame, -1, 0), strict=True):
                path = tmp_path / "flow" / name / f"frame_{number:010d}.jpg"
                path.parent.mkdir(exist_ok=True, parents=True)
                cv2.imwrite(str(path), component)
        sound = np.random.default_rng(0).normal(0, 3000, 16000 * 8).astype(np.int16)
        wavfile.write(tmp_path / "P22_01.wav", 16000, sound)
        parts = {
            "video": ModalityFiles(tmp_path / "P22_01", frames=(41, 100)),
            "audio": ModalityFiles(tmp_path / "P22_01.wav"),
            "flow": ModalityFiles(tmp_path / "flow", frames=(21, 50)),
        }
        return ClipFiles("P22_01/41-101", parts, 3.2, 5.2)

    def test_shared(self, folder):
        look = _look(make("val"), folder)
        first = (60 - 32 + 1) // 2
        np.testing.assert_array_equal(look.windows.frames["video"], first + np.arange(8) * 4)
        assert abs((look.windows.frames["flow"][0] + 8) / 30 - (first + 16) / 60) <= 0.5 / 30
        start, stop = look.windows.sound
        assert start == pytest.approx(3.2 + 2 * first / 60)
        assert stop == pytest.approx(3.2 + 2 * (first + 32) / 60)
        read = [
            cv2.imread(str(folder.modalities["video"].path / f"frame_{41 + first + 4 * i:010d}.jpg"))
            for i in range(8)
        ]
        np.testing.assert_array_equal(look.frames["video"], _square(np.stack(read)[..., ::-1], 32))

    def test_the_authors_code(self, folder):
        look = _look(make("val", protocol="multiood-code"), folder)
        np.testing.assert_array_equal(look.windows.frames["video"], int((60 - 32 + 1) / 2) + np.arange(8) * 4)
        np.testing.assert_array_equal(look.windows.frames["flow"], int((30 - 16 + 1) / 2) + np.arange(4) * 4)
        assert look.windows.sound == (3.2, 5.2)
        samples = read_audio(folder.modalities["audio"].path, 3.2, 4.2)
        np.testing.assert_allclose(look.spectrogram, log_spectrogram(samples), atol=1e-5)

    def test_a_missing_frame_is_named(self, folder):
        numbers = _look(make("val"), folder).windows.frames["video"]
        (folder.modalities["video"].path / f"frame_{41 + numbers[3]:010d}.jpg").unlink()
        with pytest.raises(UserError, match=rf"^video: .*frame_0*{41 + numbers[3]}\.jpg"):
            _look(make("val"), folder)


class TestParameters:
    def test_it_is_registered_with_the_benchmarks_defaults(self):
        preprocessor = PREPROCESSORS.get("multimodal_clip")(
            {"preprocessor": {"name": "multimodal_clip"}}, "train"
        )
        shapes = {"video": (3, 32, 224, 224), "audio": (1, 257, 1004), "flow": (2, 8, 224, 224)}
        assert preprocessor.clip_shapes(ALL) == shapes
        assert list(preprocessor.clip_shapes(("flow", "video"))) == ["flow", "video"]
        code = {"preprocessor": {"protocol": "multiood-code"}}
        for split, size in (("train", 224), ("val", 256)):
            assert ClipPreprocessor(code, split).clip_shapes(("video", "flow")) == {
                "video": (3, 32, 224, 224),
                "flow": (2, 8, size, size),
            }
        assert preprocessor.handles_modalities
        assert pickle.loads(pickle.dumps(preprocessor)).clip_shapes(ALL) == shapes

    @pytest.mark.parametrize(
        ("section", "message"),
        [
            (
                {"protocol": "multiod-code"},
                "no clip protocol called 'multiod-code'. Did you mean 'multiood-code'",
            ),
            ({"video": {"frame": 8}}, r"preprocessor\.video\.frame is not a parameter.*'frames'"),
            ({"video": {"size": 300}}, r"preprocessor\.video: size is 300, more than short_side \(256\)"),
            ({"flow": {"val_size": 300}}, r"preprocessor\.flow: val_size is 300"),
            ({"video": {"stride": 0}}, r"preprocessor\.video: stride is 0"),
            ({"video": {"mean": [1.0]}}, "mean and std need one value a channel"),
            ({"video": {"mean": [1.0, 2.0], "std": [1.0, 2.0]}}, "mean and std need 3 values"),
            ({"audio": {"overlap": 512}}, r"overlap is 512"),
            ({"audio": {"seconds": 0.01}}, "shorter than one window"),
            ({"flip_probability": 1.5}, "flip_probability is 1.5"),
            ({"flip_probabilty": 0.5}, r"preprocessor\.flip_probabilty: .*Did you mean 'flip_probability'"),
            ({"vidio": {"stride": 1}}, r"preprocessor\.vidio: .*Did you mean 'video'"),
            ({"left": {"reader": "vidio"}}, r"preprocessor\.left\.reader: there is no reader called 'vidio'"),
            ({"video": 3}, r"preprocessor\.video must be a section"),
        ],
    )
    def test_mistakes(self, section, message):
        with pytest.raises(UserError, match=message):
            ClipPreprocessor({"preprocessor": section}, "train")


class TestWhatCannotBeRead:
    def test_the_message_names_modality_and_file(self, files, tmp_path):
        (tmp_path / "broken.mp4").write_bytes(b"\0" * 3000)
        for modality, place, fault in (
            ("video", ModalityFiles(tmp_path / "absent.mp4"), "absent.mp4"),
            ("video", ModalityFiles(tmp_path / "broken.mp4"), "broken.mp4"),
            (
                "flow",
                ModalityFiles(files.modalities["flow"].path, tmp_path / "absent_flow_y.mp4"),
                "absent_flow_y",
            ),
            ("audio", ModalityFiles(tmp_path / "absent.wav"), "absent.wav"),
            ("video", None, "its cell in the manifest is empty"),
        ):
            parts = {**files.modalities, modality: place}
            broken = ClipFiles("a", {k: v for k, v in parts.items() if v is not None})
            with pytest.raises(UserError, match=rf"^{modality}: .*{fault}"):
                load(make("val"), broken)

    def test_components_of_flow_that_do_not_fit(self, files, tmp_path):
        other = write_video(tmp_path / "a_flow_y.mkv", _moving(99, 48, 64))
        parts = {"flow": ModalityFiles(files.modalities["flow"].path, other)}
        with pytest.raises(UserError, match=r"^flow: .*its x frames are 56x40, its y frames 64x48"):
            load(make("val"), ClipFiles("a", parts), modalities=("flow",))
