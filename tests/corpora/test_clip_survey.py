"""What is found on disk: places detected once for a folder, missing files, names that differ in little."""

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from openood_multimodal.corpora.clip_check import Wanted, check
from openood_multimodal.corpora.clip_survey import Survey, clips_on_disk, locate, read_manifests, survey
from openood_multimodal.corpora.layout import ClipKey
from openood_multimodal.datasets.cells import flow_y, split_frames
from openood_multimodal.datasets.inventory import Inventory
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.errors import UserError
from openood_multimodal.registry import CLIP_LAYOUTS

CLIPS = {
    "hmdb51": ["wave/A_wave_f_cm_np1_fr_med_0.avi", "chew/[B]*?{}_chew_u_nm_np1_fr_goo_1.avi"],
    "ucf101": ["v_Archery_g01_c01.avi", "v_HandStandPushups_g02_c01.avi"],
    "hac": [
        "human/DWiz5LG9Tnc_000020_000030.mp4",
        "animal/6idNeaLb_lo-002.mp4",
        "cartoon/door_opening_13 .mp4",
    ],
    "kinetics600": [
        "passing [x]* (in game)/-abcdefghij_000001_000011.mp4",
        "tür/zbcdefghij0_000001_000011.mp4",
    ],
}


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def files_of(cells: dict[str, str]) -> list[str]:
    return [*cells.values(), *(flow_y(cell) for cell in cells.values() if "_flow_x" in cell)]


def whole(name: str, root: Path) -> None:
    layout = CLIP_LAYOUTS[name]
    for clip in CLIPS[name]:
        cells = layout.cells(ClipKey(clip, ""))
        touch(root, *files_of({m: cells[m] for m in layout.modalities}))


def look(name: str, root: Path, **options: object) -> Survey:
    return survey(CLIP_LAYOUTS[name], Inventory(root), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CLIPS)
def test_a_whole_data_set(name: str, tmp_path: Path) -> None:
    whole(name, tmp_path)
    touch(tmp_path, "notes.txt", "video/readme.txt", "flow/.DS_Store", "human/videos/.hidden")
    found = look(name, tmp_path)
    assert [each.clip for each in found.checked.wanted] == sorted(CLIPS[name])
    assert not found.checked.missing
    manifest = found.manifest()
    assert manifest is not None
    assert manifest.modalities == CLIP_LAYOUTS[name].modalities
    for modality, cells in manifest.files.items():
        for clip, cell in zip(manifest.clips, cells, strict=True):
            assert (tmp_path / cell).is_file(), (modality, clip)
    assert manifest.groups == tuple(CLIP_LAYOUTS[name].recording(ClipKey(c, "")) for c in manifest.clips)
    if name == "hac":  # names don't tell classes
        assert set(manifest.class_names) == {"unknown"}
        assert set(manifest.labels.tolist()) == {-1}
    else:
        names = sorted(set(manifest.class_names))
        assert manifest.labels.tolist() == [names.index(each) for each in manifest.class_names]


VARIANTS: dict[str, tuple[str, Callable[[str], str]]] = {
    "hmdb flow by class": ("hmdb51", lambda path: path),
    "kinetics as in the code": (
        "kinetics600",
        lambda path: path.replace("video/", "Kinetics-600-train/", 1).replace(
            "flow/", "Kinetics-600-train-flow/", 1
        ),
    ),
    "ucf as listed": ("ucf101", lambda path: path.replace("HandStand", "Handstand")),
    "ucf as published": ("ucf101", lambda path: path.replace("Handstand", "HandStand")),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_other_places_are_found_from_the_root(variant: str, tmp_path: Path) -> None:
    name, moved = VARIANTS[variant]
    layout = CLIP_LAYOUTS[name]
    expected = {}
    for clip in CLIPS[name]:
        cells = {m: moved(layout.cells(ClipKey(clip, ""))[m]) for m in layout.modalities}
        if variant == "hmdb flow by class":
            cells["flow"] = f"flow/{clip.removesuffix('.avi')}_flow_x.mp4"
        expected[clip] = cells
        touch(tmp_path, *files_of(cells))
    found = look(name, tmp_path)
    assert not found.checked.missing
    assert {
        each.clip: {m: each.cells[m] for m in layout.modalities} for each in found.checked.wanted
    } == expected
    again = locate(layout, Inventory(tmp_path))
    assert again.places == found.layout.places


def test_ucf_as_unpacked(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "UCF-101/HandstandPushups/v_HandStandPushups_g01_c01.avi",
        "UCF-101/Archery/v_Archery_g01_c01.avi",
    )
    found = look("ucf101", tmp_path, modalities=["video"])
    assert found.checked.complete == (True, True)
    manifest = found.manifest()
    assert manifest is not None
    assert manifest.class_names == ("Archery", "HandstandPushups")
    assert manifest.clips == ("v_Archery_g01_c01.avi", "v_HandStandPushups_g01_c01.avi")


def test_more_files_win_and_the_first_place_wins_a_tie(tmp_path: Path) -> None:
    layout = CLIP_LAYOUTS["kinetics600"]
    touch(tmp_path, "video/a/x.mp4", "Kinetics-600-train/a/x.mp4")
    assert locate(layout, Inventory(tmp_path)).places["video"][0].template.startswith("video/")
    touch(tmp_path, "Kinetics-600-train/a/y.mp4")
    assert locate(layout, Inventory(tmp_path)).places["video"][0].template.startswith("Kinetics-600-train/")
    assert locate(layout, Inventory(tmp_path)).places["flow"] == (layout.places["flow"][0],)


def test_missing_ones_are_listed_with_the_nearest(tmp_path: Path) -> None:
    whole("hmdb51", tmp_path)
    one, other = sorted(CLIPS["hmdb51"])
    stem = one.partition("/")[2].removesuffix(".avi")
    (tmp_path / "flow" / f"{stem}_flow_y.mp4").rename(tmp_path / "flow" / f"{stem}_FLOW_y.mp4")
    found = look("hmdb51", tmp_path)
    assert found.checked.complete == (False, True)
    (missing,) = found.checked.missing
    assert missing == (
        one,
        "chew",
        "flow",
        f"flow/{stem}_flow_y.mp4",
        "other upper and lower case letters",
        f"flow/{stem}_FLOW_y.mp4",
    )
    assert found.checked.found("flow") == 1
    assert found.checked.by_class() == {"chew": {"": 1, "flow": 1}}
    manifest = found.manifest()
    assert manifest is not None
    assert manifest.clips == (other,)
    assert manifest.labels.tolist() == [0]


@pytest.mark.parametrize(
    ("there", "expected", "reason"),
    [
        ("video/a b/x.avi", "video/a_b/x.avi", "blanks or underscores differ"),
        ("Video/a/x.avi", "video/a/x.avi", "other upper and lower case letters"),
        ("video/a/x.MP4", "video/a/x.avi", "another ending"),
        ("video/a/y.avi", "video/a/x.avi", "missing"),
        ("video/a/x.avi/z", "video/a/x.avi", "a folder, not a file"),
    ],
)
def test_what_is_there_instead(there: str, expected: str, reason: str, tmp_path: Path) -> None:
    touch(tmp_path, there)
    checked = check(Inventory(tmp_path), [Wanted("c", "k", {"video": expected})], ["video"])
    if (tmp_path / expected).is_file():
        pytest.skip("this file system takes the two names for one")
    assert checked.missing[0].reason == reason
    assert checked.missing[0].expected == expected
    nearest = {"missing": "", "a folder, not a file": expected}.get(reason, there)
    assert checked.missing[0].nearest == nearest


def test_sound_is_no_video_with_another_ending(tmp_path: Path) -> None:
    clip = CLIPS["kinetics600"][0]
    stem = clip.removesuffix(".mp4")
    touch(tmp_path, f"video/{stem}.wav")
    inventory = Inventory(tmp_path)
    assert inventory.nearest(f"video/{clip}") == ("", "")
    assert inventory.nearest(f"video/{stem}.FLAC") == (f"video/{stem}.wav", "another ending")
    touch(tmp_path, f"video/{stem}.webm")
    assert Inventory(tmp_path).nearest(f"video/{clip}") == (f"video/{stem}.webm", "another ending")


def test_normalisation(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "video/tür/é.avi") for form in ("NFC", "NFD"))
    touch(tmp_path, decomposed)
    checked = check(Inventory(tmp_path), [Wanted("c", "k", {"video": composed})], ["video"])
    if (tmp_path / composed).exists():
        assert not checked.missing  # it can be opened
    else:
        assert checked.missing[0][4:] == ("another Unicode normalisation", decomposed)


def test_links(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    touch(outside, "x.avi")
    touch(root, "video/a/inner.avi")
    (root / "video/a/out.avi").symlink_to(outside / "x.avi")
    (root / "video/a/broken.avi").symlink_to(root / "nowhere")
    (root / "video/a/link.avi").symlink_to("inner.avi")
    (root / "video/b").symlink_to(outside)
    names = ["a/inner.avi", "a/link.avi", "a/out.avi", "a/broken.avi", "b/x.avi"]
    wanted = [Wanted(name, "k", {"video": f"video/{name}"}) for name in names]
    checked = check(Inventory(root), wanted, ["video"])
    assert checked.complete == (True, True, False, False, False)
    assert [each.reason for each in checked.missing] == [
        "a symbolic link that leaves the dataset's folder",
        "a symbolic link to nothing",
        "video/b is a symbolic link that leaves the dataset's folder",
    ]


def test_frames(tmp_path: Path) -> None:
    layout = CLIP_LAYOUTS["epic_kitchens"]
    cells = layout.cells(ClipKey("P22_05/10-20", ""))
    for number in [*range(10, 16), *range(18, 20)]:  # 16 and 17 are missing, 20 isn't read
        touch(tmp_path, f"rgb/train/D3/P22_05/frame_{number:010d}.jpg")
    for number in range(5, 10):
        touch(tmp_path, *(f"flow/train/D3/P22_05/{axis}/frame_{number:010d}.jpg" for axis in "uv"))
    touch(tmp_path, "rgb/train/D3/P22_05.wav", "rgb/train/D3/P22_05/frame_16.jpg")
    checked = check(Inventory(tmp_path), [Wanted("c", "k", cells)], layout.modalities)
    (missing,) = checked.missing
    assert missing.expected == "rgb/train/D3/P22_05/frame_0000000016.jpg"
    assert missing.reason == "2 of frames 10 to 19 missing"
    assert split_frames(cells["flow"])[1] == (5, 9)
    (tmp_path / "flow/train/D3/P22_05/v/frame_0000000009.jpg").unlink()
    checked = check(Inventory(tmp_path), [Wanted("c", "k", cells)], ["flow"])
    assert checked.missing[0].reason == "1 of frames 5 to 9 missing"


@pytest.mark.parametrize(
    ("there", "span", "absent", "lacking"),
    [
        ((1, 2, 4), (1, 4), 3, 1),
        ((3, 4), (1, 4), 1, 2),
        ((1, 2), (2, 4), 3, 2),
        ((), (1, 10**12), 1, 10**12),
        ((1, 2), (1, 10**25), 3, 10**25 - 2),
    ],
)
def test_the_first_missing_frame_of_any_span(
    there: tuple[int, ...], span: tuple[int, int], absent: int, lacking: int, tmp_path: Path
) -> None:
    (tmp_path / "rgb").mkdir()
    touch(tmp_path, *(f"rgb/frame_{number:010d}.jpg" for number in there))
    cell = f"rgb/#frames={span[0]},{span[1]}"
    (missing,) = check(Inventory(tmp_path), [Wanted("c", "k", {"video": cell})], ["video"]).missing
    assert missing.expected == f"rgb/frame_{absent:010d}.jpg"
    assert missing.reason == f"{lacking} of frames {span[0]} to {span[1]} missing"


def test_epic_without_lists_is_a_matter_of_recordings(tmp_path: Path) -> None:
    for side, number in (("test", 1), ("train", 5)):
        base = f"D3/P22_{number:02d}"
        touch(tmp_path, f"rgb/{side}/{base}.wav", f"rgb/{side}/{base}/frame_0000000001.jpg")
        touch(tmp_path, *(f"flow/{side}/{base}/{axis}/frame_0000000001.jpg" for axis in "uv"))
    found = look("epic_kitchens", tmp_path)
    whole = [w.clip for w, c in zip(found.checked.wanted, found.checked.complete, strict=True) if c]
    assert whole == ["P22_01", "P22_05"]
    assert len(found.checked.wanted) == 17
    assert found.manifest() is None


def manifest_of(name: str, rows: dict[str, tuple[str, int]]) -> Manifest:
    layout = CLIP_LAYOUTS[name]
    cells = {clip: layout.cells(ClipKey(clip, "")) for clip in rows}
    return Manifest.create(
        clips=list(rows),
        labels=[label for _, label in rows.values()],
        class_names=[class_name for class_name, _ in rows.values()],
        files={m: [cells[clip][m] for clip in rows] for m in layout.modalities},
        groups=["g" for _ in rows],
        starts=[1.5 for _ in rows],
    )


def test_clips_of_manifests(tmp_path: Path) -> None:
    root, splits = tmp_path / "data", tmp_path / "splits" / "bench"
    splits.mkdir(parents=True)
    whole("hmdb51", root)
    one, other = CLIPS["hmdb51"]
    manifest_of("hmdb51", {other: ("chew", 7)}).write(splits / "train.csv")
    manifest_of("hmdb51", {one: ("wave", -1), "wave/gone.avi": ("wave", -1)}).write(splits / "nearood_x.csv")
    manifest_of("ucf101", {CLIPS["ucf101"][0]: ("Archery", -1)}).write(splits / "farood_ucf101.csv")
    manifest_of("hac", {CLIPS["hac"][0]: ("eating", -1)}).write(splits / "farood_hac.csv")
    (splits / "flow_failed.csv").write_text("clip,file,reason\n")
    for named in (splits, splits.parent):
        manifests = read_manifests(CLIP_LAYOUTS["hmdb51"], [str(named)])
        assert [Path(m.source).name for m in manifests] == ["nearood_x.csv", "train.csv"]
        found = look("hmdb51", root, manifests=manifests)
        assert [each[:3] for each in found.checked.missing] == [
            ("wave/gone.avi", "wave", "video"),
            ("wave/gone.avi", "wave", "flow"),
        ]
        manifest = found.manifest()
        assert manifest is not None
        assert dict(zip(manifest.clips, manifest.labels.tolist(), strict=True)) == {one: -1, other: 7}
        assert manifest.starts.tolist() == [1.5, 1.5]
    # HAC's clips look like those of Kinetics-600; their cells don't
    with pytest.raises(UserError, match="no manifest with clips of kinetics600"):
        read_manifests(CLIP_LAYOUTS["kinetics600"], [str(splits)])


def test_clips_that_stand_twice_in_a_list(tmp_path: Path) -> None:
    clip = CLIPS["hac"][0]
    whole("hac", tmp_path)
    manifest_of("hac", {clip: ("eating", -1), f"{clip}.2": ("eating", -1)}).write(tmp_path / "farood_hac.csv")
    manifests = read_manifests(CLIP_LAYOUTS["hac"], [str(tmp_path)])
    assert [len(manifest) for manifest in manifests] == [2]
    found = look("hac", tmp_path, manifests=manifests)
    assert found.checked.complete == (True, True)
    manifest = found.manifest()
    assert manifest is not None
    assert manifest.files["video"][0] == manifest.files["video"][1]


def test_labels_that_contradict_each_other_give_way_to_the_alphabet(tmp_path: Path) -> None:
    whole("hmdb51", tmp_path)
    one, other = CLIPS["hmdb51"]
    first = manifest_of("hmdb51", {one: ("wave", -1), other: ("chew", 3)})
    second = manifest_of("hmdb51", {one: ("wave", 8), other: ("chew", 3)})
    manifest = look("hmdb51", tmp_path, manifests=[first, second]).manifest()
    assert manifest is not None
    assert dict(zip(manifest.class_names, manifest.labels.tolist(), strict=True)) == {"chew": 0, "wave": 1}


def test_files_in_another_place_than_the_manifest_says(tmp_path: Path) -> None:
    clip = CLIPS["kinetics600"][0]
    touch(tmp_path, f"Kinetics-600-train/{clip}")
    manifest = manifest_of("kinetics600", {clip: ("c", 0)}).select(["video"])
    found = look("kinetics600", tmp_path, manifests=[manifest])
    (missing,) = found.checked.missing
    assert missing.reason == "in another place"
    assert missing.nearest == f"Kinetics-600-train/{clip}"


def test_modalities(tmp_path: Path) -> None:
    whole("hmdb51", tmp_path)
    assert look("hmdb51", tmp_path, modalities=["flow"]).checked.modalities == ("flow",)
    assert look("hmdb51", tmp_path, modalities=["audio"]).checked.found("audio") == 0
    with pytest.raises(UserError, match="Did you mean 'video'"):
        look("hmdb51", tmp_path, modalities=["vidio"])


def test_each_folder_is_listed_once(tmp_path: Path) -> None:
    whole("kinetics600", tmp_path)
    listed: list[str] = []
    inventory = Inventory(tmp_path, listed.append)
    survey(CLIP_LAYOUTS["kinetics600"], inventory)
    assert len(listed) == len(set(listed))
    before = len(listed)
    clips_on_disk(CLIP_LAYOUTS["kinetics600"], inventory)
    assert len(listed) == before
