"""The authors' lists, form by form: what is read, and what is refused by line or entry."""

import pickle
from pathlib import Path

import made_lists
import pytest

from openood_multimodal.corpora.lists import parse_list
from openood_multimodal.errors import UserError

HMDB = {"wave": 0, "draw_sword": 1}
EPIC = {"take": 0, "put": 1, "open": 2}
HAC = {"sleeping": 0, "watching tv": 1, "opening door": 6}


def read(name, data, dataset, classes, **options):
    return parse_list(data, Path(name), dataset, classes, **options)


def hmdb_lines(*lines):
    return "".join(f"{line}\n" for line in lines).encode()


GOOD = [f"{made_lists.hmdb('wave', 1, 0)} 0", f"{made_lists.hmdb('draw_sword', 2, 0)} 1"]


def test_lines_are_read_in_order():
    parsed = read("a.txt", hmdb_lines(*GOOD), "hmdb51", HMDB)
    assert [(e.place, e.class_name, e.label) for e in parsed.entries] == [
        ("line 1", "wave", 0),
        ("line 2", "draw_sword", 1),
    ]
    assert parsed.entries[0].clip == made_lists.hmdb("wave", 1, 0)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_line_ends_do_not_matter(end):
    data = b"\r\n".join(line.encode() for line in GOOD) + end
    assert len(read("a.txt", data, "hmdb51", HMDB).entries) == 2


def test_a_class_with_blanks_is_read():
    line = b"passing American football (in game)/Vin8Vavj9Wc_000125_000135.mp4 3\n"
    entry = read("k.txt", line, "kinetics600", {"passing American football (in game)": 3}).entries[0]
    assert entry.class_name == "passing American football (in game)"


def test_the_misspelt_class_of_ucf101_is_repaired_and_counted():
    lines = b"v_HandstandPushups_g01_c03.avi 7\nv_HandStandPushups_g01_c04.avi 7\nv_HandstandWalking_g01_c03.avi 8\n"
    parsed = read("u.txt", lines, "ucf101", {"HandstandPushups": 7, "HandstandWalking": 8})
    assert [entry.clip for entry in parsed.entries] == [
        "v_HandStandPushups_g01_c03.avi",
        "v_HandStandPushups_g01_c04.avi",
        "v_HandstandWalking_g01_c03.avi",
    ]
    assert [entry.class_name for entry in parsed.entries] == ["HandstandPushups"] * 2 + ["HandstandWalking"]
    assert parsed.repaired == 1


def test_hac_has_its_domain_from_the_files_name():
    parsed = read(
        "HAC_train_only_cartoon.csv", b"door_opening_13.mp4,6\r\nwatching_54 .mp4,1\r\n", "hac", HAC
    )
    assert [(e.clip, e.class_name) for e in parsed.entries] == [
        ("cartoon/door_opening_13.mp4", "opening door"),
        ("cartoon/watching_54 .mp4", "watching tv"),
    ]
    with pytest.raises(UserError, match="HAC_train_only_<domain>"):
        read("cartoon.csv", b"door_opening_13.mp4,6\n", "hac", HAC)


def test_time_stamps_are_exact_seconds():
    rows = [
        ("P22_17", 5, 9, "01:02:03.07", "01:02:03.57", 1),
        ("P22_01", 0, 9, "00:05:24.30", "00:05:25.56", 0),
    ]
    entries = read("e.pkl", pickle.dumps(rows), "epic_kitchens", EPIC).entries
    assert [(e.clip, e.start, e.stop) for e in entries] == [
        ("P22_17/5-9", 3723.07, 3723.57),
        ("P22_01/0-9", 324.3, 325.56),
    ]
    assert [e.class_name for e in entries] == ["put", "take"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([GOOD[0], "../wave/x.avi 0"], "line 2: .*leaves the data folder"),
        ([GOOD[0], "wave/../x.avi 0"], "line 2: .*leaves the data folder"),
        ([GOOD[0], "/etc/passwd 0"], "line 2: .*leaves the data folder"),
        ([GOOD[0], "C:/x.avi 0"], "line 2: .*leaves the data folder"),
        ([GOOD[0], "~/x.avi 0"], "line 2: .*leaves the data folder"),
        (["\\\\host\\x.avi 0"], "line 1: .*leaves the data folder"),
        ([GOOD[0].replace("Film", "Fi\\lm")], "line 1: .*backslash"),
        ([GOOD[0].replace("Film", "Fi\tlm")], "line 1: .*control character"),
        ([GOOD[0], GOOD[1], GOOD[0]], "line 3: .* is also line 1"),
        ([GOOD[0].replace("wave", "waive")], "line 1: there is no class 'waive'.*Did you mean 'wave'"),
        ([GOOD[0][:-1] + "1"], "line 1: label 1 contradicts the class 'wave', which has 0 .*'draw_sword'"),
        ([GOOD[0][:-1] + "4"], "line 1: there is no class with label 4"),
        ([GOOD[0], GOOD[1][:-9]], "line 2: .*cut off"),
        ([GOOD[0], GOOD[1][:-2]], "line 2: .*cut off"),
        ([GOOD[0][:-1] + "-1"], "line 1: .*is not '<path> <label>'"),
        ([GOOD[0][:-1] + "0.0"], "line 1: .*is not '<path> <label>'"),
        ([GOOD[0], "", GOOD[1]], "line 2: .*is not '<path> <label>'"),
        (["wave/x.avi 0"], "line 1: 'wave/x.avi' is not the name of a clip of hmdb51"),
        ([], "no clip"),
    ],
)
def test_a_wrong_line_is_refused_by_its_number(lines, message):
    with pytest.raises(UserError, match=rf"a\.txt.*{message}"):
        read("a.txt", hmdb_lines(*lines), "hmdb51", HMDB)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (hmdb_lines(*GOOD) + "wave/é 0\n".encode("latin-1"), "line 3: byte 5 is not UTF-8.*mixes encodings"),
        ("\n".join(GOOD).encode("utf-16"), "line 1: .*not UTF-8"),
        ("\n".join(GOOD).encode("utf-16-le"), "line 1: a NUL"),
        (b"\xef\xbb\xbf" + hmdb_lines(*GOOD), "line 1: .*byte order mark"),
    ],
)
def test_mixed_and_other_encodings_are_refused(data, message):
    with pytest.raises(UserError, match=message):
        read("a.txt", data, "hmdb51", HMDB)


def test_a_clip_known_to_stand_twice_is_kept():
    parsed = read(
        "a.txt", hmdb_lines(*GOOD, GOOD[0]), "hmdb51", HMDB, repeated=[made_lists.hmdb("wave", 1, 0)]
    )
    assert [entry.place for entry in parsed.entries] == ["line 1", "line 2", "line 3"]


ROW = ("P22_17", 5, 9, "01:02:03.07", "01:02:03.57", 1)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ROW, (*ROW[:5], 3)], "entry 2: there is no class with label 3"),
        ([ROW, ROW], "entry 2: .* is also entry 1"),
        ([ROW, ("../P22_17", *ROW[1:])], "entry 2: .*leaves the data folder"),
        ([("/P22_17", *ROW[1:])], "entry 1: .*leaves the data folder"),
        ([("P22_17/x", *ROW[1:])], "entry 1: .*not the name of a clip of epic_kitchens"),
        ([ROW, ("P22_01", 9, 9, *ROW[3:])], "entry 2: .*no span"),
        ([("P22_01", -3, 9, *ROW[3:])], "entry 1: .*no span"),
        ([("P22_01", 5, 9, ROW[4], ROW[3], 1)], "entry 1: .*no span"),
        ([("P22_01", 5, 9, "1:02", ROW[4], 1)], "entry 1: '1:02' is no time"),
        ([ROW, ROW[:5]], "entry 2: .*is not \\(recording"),
        ([ROW, list(ROW)], "entry 2: .*is not \\(recording"),
        ([("P22_01", 5, 9.0, *ROW[3:])], "entry 1: .*is not \\(recording"),
        ([("P22_01", 5, 9, *ROW[3:5], True)], "entry 1: .*is not \\(recording"),
        ({"a": 1}, "holds a dict"),
        ([], "no clip"),
    ],
)
def test_a_wrong_entry_is_refused_by_its_number(rows, message):
    with pytest.raises(UserError, match=rf"e\.pkl.*{message}"):
        read("e.pkl", pickle.dumps(rows), "epic_kitchens", EPIC)


def test_a_pickle_that_names_a_class_is_refused_by_entry():
    with pytest.raises(UserError, match=r"e\.pkl, entry 2 \(byte \d+\): it names 'pathlib\.\w+'"):
        read("e.pkl", pickle.dumps([ROW, (Path("P22_01"), *ROW[1:])]), "epic_kitchens", EPIC)


def test_every_truncation_of_a_list_is_refused_or_shorter():
    data = hmdb_lines(*GOOD)
    for end in range(len(data)):
        try:
            read("a.txt", data[:end], "hmdb51", HMDB)
        except UserError as error:
            assert "a.txt" in str(error)  # noqa: PT017
        else:
            # cut between lines: nothing in the file tells, its digest does
            assert data[:end] in (hmdb_lines(GOOD[0]), hmdb_lines(GOOD[0])[:-1], data[:-1])
