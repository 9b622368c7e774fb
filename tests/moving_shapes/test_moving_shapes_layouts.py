from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from openood_multimodal.corpora.layout import ClipKey
from openood_multimodal.datasets.cells import flow_y, split_frames
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.datasets.split_card import SplitCard, clip_provenance
from openood_multimodal.moving_shapes import Generated
from openood_multimodal.registry import CLIP_LAYOUTS

Made = Callable[[str], Generated]
FRAMES, HEIGHT, WIDTH, FPS, RATE = 12, 48, 64, 12, 16000
LAYOUTS = sorted(CLIP_LAYOUTS)
OF_FILES = [name for name in LAYOUTS if name != "epic_kitchens"]
BOOKKEEPING = {"moving_shapes.json", "split.json"}


def rows_of(made: Generated) -> list[tuple[str, dict[str, str], Manifest, int]]:
    """Return (split, cells, manifest, row) of every clip."""
    rows = []
    for split, path in made.manifests.items():
        manifest = Manifest.read(path)
        for row in range(len(manifest)):
            cells = {name: column[row] for name, column in manifest.files.items()}
            rows.append((split, cells, manifest, row))
    return rows


def wav_length(path: Path) -> int:
    with wave.open(str(path)) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (RATE, 1, 2)
        return sound.getnframes()


@pytest.mark.parametrize("layout", OF_FILES)
def test_videos_are_what_the_manifests_say(made: Made, layout: str) -> None:
    data = made(layout)
    for _, cells, manifest, row in rows_of(data):
        assert np.isnan(manifest.starts[row])
        with av.open(str(data.root / cells["video"])) as video:
            stream = video.streams.video[0]
            frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(stream)]
            assert stream.codec_context.name == ("mpeg4" if cells["video"].endswith(".avi") else "h264")
            assert float(stream.average_rate) == FPS
        assert np.shape(frames) == (FRAMES, HEIGHT, WIDTH, 3)
        assert np.std(frames) > 5
        with av.open(str(data.root / cells["video"])) as video:
            samples = sum(frame.samples for frame in video.decode(audio=0))
        assert 0 <= samples - FRAMES / FPS * RATE < 2048  # AAC comes in blocks of 1024
        assert wav_length(data.root / cells["audio"]) == FRAMES / FPS * RATE
        for path in (cells["flow"], flow_y(cells["flow"])):
            with av.open(str(data.root / path)) as flow:
                levels = [frame.to_ndarray(format="gray") for frame in flow.decode(video=0)]
            assert np.shape(levels) == (FRAMES - 1, HEIGHT, WIDTH)


def test_frame_folders_are_what_the_manifests_say(made: Made) -> None:
    data = made("epic_kitchens")
    spans: dict[str, list[tuple[int, int]]] = {}
    for _, cells, manifest, row in rows_of(data):
        folder, span = split_frames(cells["video"])
        flow, flow_span = split_frames(cells["flow"])
        assert span is not None
        assert flow_span is not None
        spans.setdefault(folder, []).append(span)
        assert span[1] - span[0] + 1 == FRAMES
        assert (manifest.starts[row], manifest.stops[row]) == (span[0] / FPS, (span[1] + 1) / FPS)
        for number in span:
            image = cv2.imread(str(data.root / folder / f"frame_{number:010d}.jpg"), cv2.IMREAD_UNCHANGED)
            assert image.shape == (HEIGHT, WIDTH, 3)
        # as the reference reads them: ⌈a/2⌉ on, (b - a) / 2 of them
        assert flow_span == (span[0] // 2, span[0] // 2 + FRAMES // 2 - 1)
        for number in flow_span:
            for part in "uv":
                path = data.root / flow / part / f"frame_{number:010d}.jpg"
                assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape == (HEIGHT, WIDTH)
        assert wav_length(data.root / cells["audio"]) == data.size.clips * FRAMES / FPS * RATE
    for folder, parts in spans.items():
        assert sorted(parts) == [(k * FRAMES, (k + 1) * FRAMES - 1) for k in range(data.size.clips)]
        assert len(list((data.root / folder).iterdir())) == data.size.clips * FRAMES


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_file_lies_elsewhere(made: Made, layout: str) -> None:
    data = made(layout)
    expected = BOOKKEEPING | {path.name for path in data.manifests.values()}
    for _, cells, _, _ in rows_of(data):
        for name, cell in cells.items():
            path, span = split_frames(cell)
            if span is None:
                expected |= {path, flow_y(path)} if name == "flow" else {path}
    found = {path.relative_to(data.root).as_posix() for path in data.root.rglob("*") if path.is_file()}
    assert {path for path in found if not path.endswith(".jpg")} == expected


@pytest.mark.parametrize("layout", LAYOUTS)
def test_recordings_lie_on_one_side(made: Made, layout: str) -> None:
    side_of: dict[str, str] = {}
    for split, _, manifest, row in rows_of(made(layout)):
        assert side_of.setdefault(manifest.groups[row], split) == split
        # and names tell the same as the manifest
        key = ClipKey(manifest.clips[row], manifest.class_names[row])
        assert CLIP_LAYOUTS[layout].recording(key) == manifest.groups[row]
    assert len(side_of) == 2 * 3 + 3


@pytest.mark.parametrize("layout", LAYOUTS)
def test_manifests_and_card_agree(made: Made, layout: str) -> None:
    data = made(layout)
    card = SplitCard.read(data.root)
    assert (card.benchmark, card.track, card.synthetic, card.seed) == ("moving_shapes", "demo", True, 3)
    assert tuple(card.class_names) == data.class_names
    assert list(card.splits) == list(data.manifests)
    for split, path in data.manifests.items():
        manifest = Manifest.read(path)
        assert manifest.modalities == ("video", "audio", "flow")
        assert clip_provenance(path, manifest, manifest.modalities)["modified"] is False
        known = [data.class_names.index(name) for name in manifest.class_names if name in data.class_names]
        assert manifest.labels.tolist() == (known or [-1] * len(manifest))
        assert (set(known) == {0, 1}) is (split in ("train", "val", "test"))


def test_kinetics_folders_have_blanks_and_brackets(made: Made) -> None:
    assert made("kinetics600").class_names == ("orbiting a point", "bouncing [on the floor]")
    assert (made("kinetics600").root / "flow" / "bouncing [on the floor]").is_dir()


def test_content_does_not_depend_on_the_layout(made: Made) -> None:
    def wavs(layout: str) -> list[bytes]:
        data = made(layout)
        return [(data.root / cells["audio"]).read_bytes() for _, cells, _, _ in rows_of(data)]

    assert wavs("hac") == wavs("ucf101")
