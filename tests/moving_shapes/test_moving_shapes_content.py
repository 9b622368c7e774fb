from __future__ import annotations

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.signal import spectrogram
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from openood_multimodal.making.encoding import write_video
from openood_multimodal.moving_shapes import SIZES, Clip, Size, encode_flow, render_clip
from openood_multimodal.moving_shapes.actions import ACTIONS, ID_ACTIONS, NEAR_ACTIONS, VAL_ACTIONS
from openood_multimodal.moving_shapes.plan import plan
from openood_multimodal.moving_shapes.recordings import FLOW_KIND
from openood_multimodal.moving_shapes.worlds import FAR_WORLDS

SIZE = Size(frames=10, fps=12, height=64, width=80)


def carried(frame: NDArray[np.uint8], flow: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return ``frame`` where the flow of each pixel leads; outside of the frame, NaN."""
    y, x = np.mgrid[0 : frame.shape[0], 0 : frame.shape[1]].astype(np.float64)
    at = [y + flow[..., 1], x + flow[..., 0]]
    gray = frame.mean(axis=-1)
    return np.asarray(map_coordinates(gray, at, order=1, mode="constant", cval=np.nan))


@pytest.mark.parametrize("span", [1, 2])
@pytest.mark.parametrize("name", [*ACTIONS, *FAR_WORLDS])
def test_flow_leads_to_where_the_pixels_go(name: str, span: int) -> None:
    clip = render_clip(SIZE, 1, name, recording=5, number=1, span=span)
    there, staying, back = [], [], []
    for now in range(SIZE.frames - span):
        gray = clip.frames[now].mean(axis=-1)
        flow, later = clip.flow[now], clip.frames[now + span]
        # where something moves; its outline hides and uncovers, so a median
        moving = np.hypot(flow[..., 0], flow[..., 1]) > 0.75
        for kind, error in (
            (there, carried(later, flow) - gray),
            (staying, later.mean(axis=-1) - gray),
            (back, carried(later, -flow) - gray),
        ):
            kind.extend(np.abs(error[moving]))
    if len(there) < 200:
        pytest.skip("hardly anything moves in this clip")
    assert np.nanmedian(there) < 12
    assert np.nanmedian(there) < 0.7 * np.nanmedian(staying)
    assert np.nanmedian(there) < 0.7 * np.nanmedian(back)


@pytest.mark.parametrize("name", ["slide", "orbit", "zigzag"])
def test_flow_is_as_long_as_the_way(name: str) -> None:
    clip = render_clip(Size(frames=20, fps=12), 0, name, recording=1, number=0)
    frames = clip.frames.astype(float)
    colourful = np.clip(np.ptp(frames, axis=-1) - 80, 0, None)  # the shape, not the dull room
    at = np.stack([np.average(x, weights=colourful, axis=(1, 2)) for x in _coordinates(colourful)], axis=-1)
    way = np.diff(at, axis=0)
    said = np.stack(
        [np.average(flow, weights=w, axis=(0, 1)) for flow, w in zip(clip.flow, colourful, strict=True)]
    )
    assert np.abs(way).max() > 2
    np.testing.assert_allclose(said[:-1], way, atol=0.25)


def _coordinates(like: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y of each pixel, in the shape of ``like``, ``[T, H, W]``."""
    y, x = np.mgrid[0 : like.shape[1], 0 : like.shape[2]].astype(float)
    return np.broadcast_to(x, like.shape), np.broadcast_to(y, like.shape)


def test_flow_levels() -> None:
    values = np.array([-25, -20, -10, 0, 0.1, 10, 20, 25], dtype=np.float32)
    # 255 levels over 40 pixels; 127.5 rounds to the even 128
    assert encode_flow(values).tolist() == [0, 0, 64, 128, 128, 191, 255, 255]
    assert encode_flow(values).dtype == np.uint8


def test_flow_files_hold_the_levels(tmp_path) -> None:
    levels = encode_flow(render_clip(SIZE, 0, "pendulum", 0, 0).flow[..., 0])
    with open(tmp_path / "x.mp4", "wb") as file:
        write_video(file, FLOW_KIND, levels, SIZE.fps)
    with av.open(str(tmp_path / "x.mp4")) as video:
        read = np.stack([frame.to_ndarray(format="gray") for frame in video.decode(video=0)])
    error = read.astype(int) - levels
    assert np.abs(error).mean() < 0.3
    assert np.quantile(np.abs(error), 0.99) <= 3


def test_frames_sounds_and_flow_are_a_function_of_the_seed() -> None:
    def parts(seed: int, recording: int = 2, number: int = 1, span: int = 1) -> list[NDArray[np.generic]]:
        clip = render_clip(SIZE, seed, "spin", recording, number, span)
        return [clip.frames, clip.flow, clip.sound]

    for one, same in zip(parts(7), parts(7), strict=True):
        np.testing.assert_array_equal(one, same)
    for other in (parts(8), parts(7, recording=3), parts(7, number=0)):
        assert all((one != two).any() for one, two in zip(parts(7), other, strict=True))
    np.testing.assert_array_equal(parts(7)[0], parts(7, span=2)[0])
    assert parts(7)[2].shape == (round(10 / 12 * 16000),)
    assert np.abs(parts(7)[2]).max() <= 1


def test_clips_of_a_recording_share_a_place() -> None:
    def backdrop(recording: int, number: int) -> NDArray[np.float64]:
        return np.median(render_clip(SIZE, 0, "shake", recording, number).frames, axis=0)

    def apart(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
        return float(np.median(np.abs(one - other)))

    assert apart(backdrop(0, 0), backdrop(0, 1)) < 0.5 * apart(backdrop(0, 0), backdrop(1, 0))


def test_the_sets_are_disjoint() -> None:
    pools = [set(pool) for pool in (ID_ACTIONS, NEAR_ACTIONS, VAL_ACTIONS, FAR_WORLDS)]
    assert len(set.union(*pools)) == sum(map(len, pools))
    for size in SIZES.values():
        clips = plan(size, "hmdb51")
        for split in ("train", "val", "test"):
            assert {clip.action for clip in clips if clip.split == split} == set(
                list(ID_ACTIONS)[: size.classes]
            )
        for clip in clips:
            assert (clip.label == -1) is (clip.split not in ("train", "val", "test"))


def summaries(clip: Clip) -> dict[str, list[float]]:
    """Return a few numbers of each modality: the brightest colours, how things move, the sound's spectrum."""
    colours = clip.frames[:, ::2, ::2].reshape(-1, 3).astype(float)
    vivid = colours[np.argsort(np.ptp(colours, axis=1))[-len(colours) // 50 :]]
    flow = clip.flow.reshape(len(clip.flow), -1, 2)
    mean = flow.mean(axis=1)  # [T, 2]
    turns = np.abs(np.diff(mean, axis=0)).mean(axis=0)
    speed = np.hypot(flow[..., 0], flow[..., 1])
    _, _, power = spectrogram(clip.sound, 16000, nperseg=256)
    log = np.log(power + 1e-7)
    return {
        "video": [*vivid.mean(axis=0), *vivid.std(axis=0)],
        "flow": [*np.abs(mean).mean(axis=0), *mean.std(axis=0), *turns, speed.mean(), speed.max()],
        "audio": [*log.mean(axis=1)[::4], *log.std(axis=1)[::4]],
    }


def test_every_modality_tells_the_classes_and_none_is_always_right() -> None:
    size = Size(height=48, width=64, frames=24)
    names = list(ID_ACTIONS)[: size.classes]
    clips = [
        (summaries(render_clip(size, 0, name, 100 * label + recording, 0)), label, recording)
        for label, name in enumerate(names)
        for recording in range(20)
    ]
    labels = np.array([label for _, label, _ in clips])
    train = np.array([recording < 12 for _, _, recording in clips])
    right = {}
    for modality in ("video", "flow", "audio"):
        features = np.array([summary[modality] for summary, _, _ in clips])
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
        model.fit(features[train], labels[train])
        right[modality] = model.predict(features[~train]) == labels[~train]
        assert right[modality].mean() > 0.4, modality  # by chance: 1/6
        assert right[modality].mean() < 1.0, modality
    assert (right["video"] != right["audio"]).any()
    assert (right["flow"] != right["audio"]).any()
