"""HAC: one domain to train on, the others as covariate-shifted ID sets; the leak of the lists is removed."""

import shutil
from dataclasses import replace

import av
import numpy as np
import pytest

from openood_multimodal.config import load_config
from openood_multimodal.corpora.layout import ClipKey
from openood_multimodal.corpora.recordings import name_of_repeat, recording_of
from openood_multimodal.datasets.loaders import build_loaders, build_ood_loaders
from openood_multimodal.datasets.manifest import Manifest
from openood_multimodal.datasets.split_card import SplitCard
from openood_multimodal.errors import UserError
from openood_multimodal.registry import CLIP_LAYOUTS
from openood_multimodal.splits.grouped_pools import of_domain, pool_from
from openood_multimodal.splits.grouped_splits import make_grouped

CLASSES = ("drinking", "eating", "running")
TWICE = "human/abcdefghi00_000001_000011.mp4"
SMALL = {"frames": 2, "stride": 1, "short_side": 16, "size": 16}


def rows():
    """Return (clip, class) as the authors' lists name HAC's: 24 human clips are in two lists there, one here."""
    found = [(TWICE, CLASSES[0])]
    for place, name in enumerate(CLASSES):
        found += [
            (f"human/abcdefghi{place}{n}_00000{k}_00001{k}.mp4", name) for n in range(9) for k in range(2)
        ]
        found += [(f"animal/bcdefghij{place}{n}-001.mp4", name) for n in range(4)]
        found += [(f"animal/{name}_{n}.mp4", name) for n in range(4)]
        found += [(f"cartoon/{name}_{n}{' ' * (name == 'drinking')}.mp4", name) for n in range(6)]
    return found


@pytest.fixture
def hac(tmp_path, monkeypatch):
    """The manifest of the OOD set, as ``splits import`` writes it, and one of another dataset."""
    layout, clips, seen = CLIP_LAYOUTS["hac"], [], {}
    for clip, _ in rows():
        seen[clip] = seen.get(clip, 0) + 1
        clips.append(name_of_repeat(clip, seen[clip]))
    cells = [layout.cells(ClipKey(clip, name, float("nan"), float("nan"))) for clip, name in rows()]
    (tmp_path / "lists").mkdir()
    Manifest.create(
        clips=clips,
        labels=[-1] * len(clips),
        class_names=[name for _, name in rows()],
        files={modality: [each[modality] for each in cells] for modality in ("video", "flow")},
        groups=[recording_of("hac", clip) for clip in clips],
    ).write(tmp_path / "lists" / "farood_hac.csv")
    far = {"video": ["far.mp4", "other.mp4"], "flow": ["far_flow_x.mp4", "other_flow_x.mp4"]}
    Manifest.create(["far", "other"], [40, 41], ["kick", "jump"], far).write(tmp_path / "lists" / "test.csv")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def generate(cli, *more, code=0):
    done = cli(["splits", "generate", "--from", "lists/farood_hac.csv", "--out", "splits", *more])
    assert done.code == code, done.err
    return done


def test_one_domain_is_split_by_recording_and_the_others_are_csid(hac, cli):
    out = generate(cli, "--domain", "human", "--farood", "hmdb51=lists/test.csv").out
    assert "Note: 1 clips are in the lists twice; each is kept once." in out
    folder = hac / "splits" / "hac_human_grouped"
    card = SplitCard.read(folder)
    sets = {key: Manifest.read(folder / f"{key}.csv") for key in card.splits}
    assert list(sets) == ["train", "val", "test", "csid_animal", "csid_cartoon", "farood_hmdb51"]
    assert card.class_names == list(CLASSES)
    own = [sets[key] for key in ("train", "val", "test")]
    assert sorted(clip for each in own for clip in each.clips) == sorted(
        {clip for clip, _ in rows() if clip.startswith("human/")}
    )
    recordings = [set(each.groups) for each in own]
    assert sum(map(len, recordings)) == len(set.union(*recordings)) == 27
    assert (len(sets["csid_animal"]), len(sets["csid_cartoon"])) == (24, 18)
    for each in (*own, sets["csid_animal"], sets["csid_cartoon"]):
        assert each.class_names == tuple(CLASSES[label] for label in each.labels)
    assert list(sets["farood_hmdb51"].labels) == [-1, -1]


def test_a_recording_of_two_domains_is_not_evaluated_where_it_was_trained_on(hac):
    pool = of_domain(pool_from([hac / "lists" / "farood_hac.csv"], None), "human")
    animal = pool.ood["csid_animal"]
    shared = replace(animal, groups=pool.clips.groups[: len(animal)])
    split = make_grouped(replace(pool, ood={"csid_animal": shared}))
    kept = set(split.manifests["csid_animal"].groups)
    assert split.dropped["csid_animal"] > 0
    assert not kept & {group for key in ("train", "val") for group in split.manifests[key].groups}


def test_clips_of_unknown_recording_are_left_out_or_are_their_own(hac, cli):
    assert "12 clips whose recording is unknown are left out" in generate(cli, "--domain", "animal").out
    out = generate(cli, "--domain", "animal", "--own-recordings").out
    assert "the recording of 12 in-distribution clips is unknown: each counts as one of its own" in out
    counts = [
        sum(len(Manifest.read(hac / "splits" / name / f"{key}.csv")) for key in ("train", "val", "test"))
        for name in ("hac_animal_grouped", "hac_animal_own_grouped")
    ]
    assert counts == [12, 24]
    refused = generate(cli, "--domain", "cartoon", code=2).err
    assert "hac_cartoon: the recording of no clip is known" in refused
    assert "--own-recordings counts each clip" in refused


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--domain", "dog"],
            "clips of animal, cartoon, human (the first folder of their names); --domain names",
        ),
        (["--own-recordings"], "--farood and --own-recordings go with --domain"),
        (["--farood", "a=lists/test.csv"], "--farood and --own-recordings go with --domain"),
        (["--domain", "human", "--farood", "lists/test.csv"], "--farood is written NAME=FILE"),
        (["--domain", "human", "--farood", "a=none.csv"], "none.csv"),
    ],
)
def test_mistakes(hac, cli, words, message):
    assert message in generate(cli, *words, code=2).err
    assert not (hac / "splits").exists()


def test_one_domain_alone_has_no_other(hac):
    pool = pool_from([hac / "lists" / "test.csv"], None)
    with pytest.raises(UserError, match="has clips of far, other"):
        of_domain(pool, "human")


def write_clip(path):
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=10, options={"threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for shade in (0, 120, 240):
            picture = av.VideoFrame.from_ndarray(np.full((16, 16, 3), shade, np.uint8), format="rgb24")
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))


def test_the_configs_read_every_set_of_a_split(hac, cli):
    generate(cli, "--domain", "cartoon", "--own-recordings", "--farood", "hmdb51=lists/test.csv")
    write_clip(hac / "one.mp4")
    for dataset, manifest in (("HAC", "farood_hac"), ("HMDB51", "test")):
        for cells in Manifest.read(hac / "lists" / f"{manifest}.csv").files.values():
            for cell in cells:
                path = hac / "data" / dataset / cell
                path.parent.mkdir(parents=True, exist_ok=True)
                for name in {path, path.with_name(path.name.replace("_flow_x", "_flow_y"))}:
                    shutil.copy(hac / "one.mp4", name)
    words = ["--split", "hac_cartoon_own_grouped", "--ood_dataset.csid.datasets", "human,animal"]
    words += ["--dataset.num_classes", "3", "--num_workers", "0"]
    files = ["datasets/hac/hac.yml", "datasets/hac/hac_ood.yml", "networks/clip_fusion_small.yml"]
    config = load_config([*files, "pipelines/test/far_ood.yml"], words)
    config.merge({"preprocessor": {"video": SMALL, "flow": SMALL}}, "a test")
    sets = build_loaders(config, training=False)
    ood = build_ood_loaders(config, ("farood", "csid"))
    assert list(ood["csid"]) == ["human", "animal"]
    sets |= ood["csid"] | ood["farood"]
    for name, loader in sets.items():
        batch = next(iter(loader))
        assert batch["data"]["video"].shape[1:] == (3, 2, 16, 16), name
        assert (batch["label"] >= 0).all() == (name != "hmdb51")
