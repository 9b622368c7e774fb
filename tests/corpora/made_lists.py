"""Small lists in the authors' forms, and the benchmark that they make, for tests."""

import hashlib
import pickle

import yaml

HMDB = "Film_{n}_{c}_u_cm_np1_fr_med_{k}.avi"


def hmdb(class_name, film, number):
    return f"{class_name}/{HMDB.format(n=film, c=class_name, k=number)}"


def lists():
    """File name → bytes: two classes of HMDB51 in-distribution, the four other datasets out of distribution."""
    text = {
        "train.txt": [f"{hmdb('wave', n, 0)} 0" for n in (3, 1, 2)] + [f"{hmdb('draw_sword', 1, 0)} 1"],
        "val.txt": [f"{hmdb('draw_sword', 5, 0)} 1", f"{hmdb('wave', 5, 1)} 0"],
        "test.txt": [f"{hmdb('wave', 1, 7)} 0", f"{hmdb('draw_sword', 9, 0)} 1"],
        "ucf.txt": ["v_Archery_g02_c01.avi 2", "v_HandstandPushups_g01_c03.avi 7", "v_Archery_g01_c01.avi 2"],
        "kinetics.txt": [
            "acting in play/Vin8Vavj9Wc_000125_000135.mp4 0",
            "zumba/-rZEuFU9bks_000038_000048.mp4 5",
        ],
    }
    csv = {
        "HAC_test_only_human.csv": ["DWiz5LG9Tnc_000020_000030.mp4,0", "Cu0CYm55FT8_000000_000010.mp4,6"],
        "HAC_train_only_human.csv": ["Cu0CYm55FT8_000000_000010.mp4,6"],
        "HAC_test_only_cartoon.csv": ["door_opening_13.mp4,6", "sleeping_54 .mp4,0"],
        "HAC_test_only_animal.csv": ["6idNeaLb_lo-002.mp4,0"],
    }
    rows = [
        ("P22_17", 19458, 19533, "00:05:24.30", "00:05:25.56", 1),
        ("P22_01", 12, 90, "01:00:00.20", "01:00:01.50", 0),
        ("P22_17", 19458, 19533, "00:05:24.30", "00:05:25.55", 0),
    ]
    made = {name: "".join(f"{line}\n" for line in each).encode() for name, each in text.items()}
    made |= {name: "".join(f"{line}\r\n" for line in each).encode() for name, each in csv.items()}
    made["ucf.txt"] = made["ucf.txt"][:-1]  # one of the authors' lists ends without a line feed
    return made | {"epic.pkl": pickle.dumps(rows, 4)}


SETS = {
    "train": ("hmdb51", ["train.txt"]),
    "val": ("hmdb51", ["val.txt"]),
    "test": ("hmdb51", ["test.txt"]),
    "farood_ucf101": ("ucf101", ["ucf.txt"], {"Archery": 2, "HandstandPushups": 7}),
    "farood_kinetics600": ("kinetics600", ["kinetics.txt"], {"acting in play": 0, "zumba": 5}),
    "farood_epic_kitchens": ("epic_kitchens", ["epic.pkl"], {"take": 0, "put": 1}),
    "farood_hac": (
        "hac",
        [
            f"HAC_{name}.csv"
            for name in ("test_only_human", "train_only_human", "test_only_animal", "test_only_cartoon")
        ],
        {"sleeping": 0, "opening door": 6},
    ),
}
REPEATED = {
    "farood_epic_kitchens": ["P22_17/19458-19533"],
    "farood_hac": ["human/Cu0CYm55FT8_000000_000010.mp4"],
}


def count(data):
    return 3 if data[:1] == b"\x80" else len(data.splitlines())


def benchmark(sha256=None):
    """The content of the benchmark's YAML; ``sha256`` gives the manifests' digests, as far as they are known."""
    made = lists()
    sets = {}
    for key, (dataset, files, *classes) in SETS.items():
        parts = [
            {
                "file": f"HMDB-rgb-flow/splits/{name}",
                "sha256": hashlib.sha256(made[name]).hexdigest(),
                "clips": count(made[name]),
            }
            for name in files
        ]
        sets[key] = {
            "dataset": dataset,
            "clips": sum(part["clips"] for part in parts),
            "recordings": 1,
            "sha256": (sha256 or {}).get(key, "0" * 64),
            "lists": parts,
            **({"classes": classes[0]} if classes else {}),
            **({"repeated": REPEATED[key]} if key in REPEATED else {}),
        }
    return {
        "name": "made",
        "version": 1,
        "track": "multiood",
        "settings": ["far"],
        "description": "Made for tests.",
        "source": {
            "url": "https://example.org/lists",
            "commit": "abc",
            "licence": "none",
            "citation": "none",
        },
        "dataset": "hmdb51",
        "modalities": ["video", "flow"],
        "fit_on": "train",
        "classes": {"wave": 0, "draw_sword": 1},
        "sets": sets,
    }


def write(folder, files=None, content=None):
    """Write lists and YAML into ``folder``; return the YAML's path."""
    (folder / "lists").mkdir(parents=True, exist_ok=True)
    for name, data in (files or lists()).items():
        (folder / "lists" / name).write_bytes(data)
    path = folder / "made.yml"
    path.write_text(yaml.safe_dump(content or benchmark(), sort_keys=False), encoding="utf-8")
    return path
