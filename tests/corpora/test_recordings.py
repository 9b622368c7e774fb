"""Recordings and spans that clips' names tell."""

import math

import pytest

from openood_multimodal.corpora.recordings import (
    name_of_repeat,
    original_name,
    recording_of,
    time_span,
)
from openood_multimodal.errors import UserError


@pytest.mark.parametrize(
    ("dataset", "clip", "recording"),
    [
        ("hmdb51", "wave/prelinger_LetsBeGo1953_wave_u_cm_np10_ba_med_2.avi", "prelinger_LetsBeGo1953"),
        # the action may stand in the source's own name
        (
            "hmdb51",
            "brush_hair/atempting_to_brush_my_hair_brush_hair_u_nm_np2_le_goo_1.avi",
            "atempting_to_brush_my_hair",
        ),
        ("hmdb51", "kick_ball/A_kick_ball_B_kick_ball_f_nm_np1_ri_bad_11.avi", "A_kick_ball_B"),
        ("hmdb51", "wave/prelinger_LetsBeGo1953_walk_u_cm_np10_ba_med_2.avi", ""),
        ("ucf101", "v_ApplyEyeMakeup_g20_c04.avi", "ApplyEyeMakeup_g20"),
        ("ucf101", "v_HandStandPushups_g01_c02.avi", "HandstandPushups_g01"),
        ("ucf101", "v_HandstandPushups_g01_c02.avi", "HandstandPushups_g01"),
        ("epic_kitchens", "P22_17/19458-19533", "P22_17"),
        ("epic_kitchens", "P22_17/19458-19533.2", "P22_17"),
        ("kinetics600", "acting in play/S-TL-WRBLzU_000208_000218.mp4", "S-TL-WRBLzU"),
        ("kinetics600", "zumba/_-_-_-_-_-__000000_000010.mp4", "_-_-_-_-_-_"),
        ("hac", "human/DWiz5LG9Tnc_000020_000030.mp4", "DWiz5LG9Tnc"),
        ("hac", "human/DWiz5LG9Tnc_000020_000030.mp4.2", "DWiz5LG9Tnc"),
        ("hac", "animal/-Gc65Qj4Gzg-001.mp4", "-Gc65Qj4Gzg"),
        ("hac", "cartoon/door_opening_13.mp4", ""),
        ("hac", "animal/swimming_12.mp4", ""),
        ("hac", "cartoon/drinking_54 .mp4", ""),
    ],
)
def test_recording(dataset, clip, recording):
    assert recording_of(dataset, clip) == recording


def test_one_source_of_two_actions_is_one_recording():
    names = ("wave/Film_wave_u_cm_np1_ba_med_2.avi", "walk/Film_walk_f_nm_np2_fr_goo_0.avi")
    assert {recording_of("hmdb51", name) for name in names} == {"Film"}


def test_a_group_of_ucf101_belongs_to_its_class():
    assert recording_of("ucf101", "v_Archery_g01_c01.avi") != recording_of("ucf101", "v_Biking_g01_c01.avi")


@pytest.mark.parametrize(
    ("dataset", "clip", "span"),
    [
        ("kinetics600", "zumba/PrZEuFU9bks_000038_000048.mp4", (38.0, 48.0)),
        ("hac", "human/DWiz5LG9Tnc_000020_000030.mp4", (20.0, 30.0)),
        ("epic_kitchens", "P22_17/19458-19533", (324.3, 325.55)),
        ("epic_kitchens", "P22_17", None),
        ("hac", "animal/-Gc65Qj4Gzg-001.mp4", None),
        ("hmdb51", "wave/Film_wave_u_cm_np1_ba_med_2.avi", None),
        ("ucf101", "v_Archery_g01_c01.avi", None),
    ],
)
def test_span(dataset, clip, span):
    start, stop = time_span(dataset, clip)
    if span is None:
        assert math.isnan(start)
        assert math.isnan(stop)
    else:
        assert (start, stop) == pytest.approx(span)


def test_the_second_of_a_name():
    assert name_of_repeat("a.mp4", 1) == "a.mp4"
    for clip in ("a.mp4", "P22_17/1-9"):
        assert original_name(name_of_repeat(clip, 2)) == clip


def test_an_unknown_data_set_is_named_with_the_nearest():
    with pytest.raises(UserError, match=r"'hmdb'.*Did you mean 'hmdb51'"):
        recording_of("hmdb", "x")
