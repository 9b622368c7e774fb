"""Frames in folders of JPEG files."""

import os

import cv2
import numpy as np
import pytest

from openood_multimodal.errors import UserError
from openood_multimodal.preprocessors.frame_folder import frame_path, read_frames


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    for number in range(10, 16):
        small = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        cv2.imwrite(frame_path(tmp_path, number), cv2.resize(small, (64, 48)))
    return tmp_path


def test_names(tmp_path):
    assert frame_path(tmp_path, 12) == str(tmp_path / "frame_0000000012.jpg")


def test_colour_is_rgb(folder):
    frames = read_frames(folder, [12, 10, 12])
    assert frames.shape == (3, 48, 64, 3)
    for frame, number in zip(frames, (12, 10, 12), strict=True):
        np.testing.assert_array_equal(frame, cv2.imread(frame_path(folder, number))[:, :, ::-1])


def test_gray(folder):
    frames = read_frames(folder, [11, 15], "gray")
    assert frames.shape == (2, 48, 64, 1)
    for frame, number in zip(frames, (11, 15), strict=True):
        np.testing.assert_array_equal(
            frame[..., 0], cv2.imread(frame_path(folder, number), cv2.IMREAD_GRAYSCALE)
        )


def test_missing_frame_is_named(folder):
    with pytest.raises(UserError, match=r"frame_0000000016\.jpg: the frame is missing"):
        read_frames(folder, [15, 16])


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere: there is no such folder"):
        read_frames(tmp_path / "nowhere", [1])


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda data: b"", "empty"),
        (lambda data: data[:-40], "truncated"),
        (lambda data: data[: len(data) // 2], "truncated"),
        (lambda data: b"no picture at all", "not an image"),
    ],
)
def test_broken_frame(damage, fault, folder):
    path = frame_path(folder, 12)
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(damage(data))
    with pytest.raises(UserError, match=f"frame_0000000012.jpg: .*{fault}"):
        read_frames(folder, [11, 12])


def test_frames_of_two_sizes(folder):
    cv2.imwrite(frame_path(folder, 13), np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(UserError, match=r"0013\.jpg: the frame's size is 30x20; .* 64x48"):
        read_frames(folder, [12, 13])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
@pytest.mark.timeout(20)
def test_fifo_does_not_hang(folder):
    os.mkfifo(frame_path(folder, 20))
    with pytest.raises(UserError, match="regular file"):
        read_frames(folder, [20])


def test_no_numbers(folder):
    with pytest.raises(ValueError, match="whole numbers"):
        read_frames(folder, [])
