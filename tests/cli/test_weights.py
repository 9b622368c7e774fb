"""The command that says where published weights are, and whether a file fits."""

import hashlib
import json

import pytest
import torch

from openood_multimodal.networks.clips.catalogue import build_encoder
from openood_multimodal.networks.clips.published_weights import (
    ENCODER_WEIGHTS,
    NETWORK_WEIGHTS,
    PublishedWeights,
)
from openood_multimodal.registry import ENCODERS


def test_every_encoder_has_its_weights_listed(cli, tmp_path):
    done = cli(["weights", "--dir", str(tmp_path)])
    assert done.code == 0
    assert {each.encoder for each in ENCODER_WEIGHTS} == set(ENCODERS) - {"audio_cnn"}  # nobody publishes any
    for each in (*ENCODER_WEIGHTS, *NETWORK_WEIGHTS):
        assert each.file in done.out
    rows = json.loads(cli(["weights", "--json", "--dir", str(tmp_path)]).out)
    assert len({row["file"] for row in rows}) == len(rows) == len(ENCODER_WEIGHTS) + len(NETWORK_WEIGHTS)
    assert not any(row["present"] for row in rows)
    flow = next(row for row in rows if row["encoder"] == "slowonly_r50_flow")
    assert flow["sha256_start"] == "6b384243"


def test_a_digest_in_a_name_is_held_against_the_bytes(tmp_path):
    content = b"some weights"
    start = hashlib.sha256(content).hexdigest()[:8]
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    url = "https://download.openmmlab.com/mmaction/x.pth"
    assert PublishedWeights(f"x_2020-{start}.pth", url, "").fault(path) == ""
    assert "expected 00000000" in PublishedWeights("x_2020-00000000.pth", url, "").fault(path)
    assert PublishedWeights("x_2020-00000000.pth", "https://elsewhere.org", "").fault(path) == ""


def test_a_present_file_is_checked(cli, tmp_path):
    name = ENCODER_WEIGHTS[0].file
    (tmp_path / name).write_bytes(b"half a download")
    done = cli(["weights", "--dir", str(tmp_path)])
    assert "download it again" in done.out
    done = cli(["weights", "--check", str(tmp_path / name), "--encoder", "slowfast_r101"])
    assert done.code == 2
    assert "SHA-256 begins with" in done.err


def test_check_says_what_matched(cli, tmp_path):
    state = build_encoder("audio_resnet18").backbone.state_dict()
    torch.save({"state_dict": state}, tmp_path / "whole.pth")
    done = cli(["weights", "--check", str(tmp_path / "whole.pth"), "--encoder", "audio_resnet18"])
    assert (done.code, f"{len(state)} weights matched." in done.out) == (0, True)
    state.pop("net.layer1.0.conv1.conv.weight")
    torch.save({"state_dict": state}, tmp_path / "part.pth")
    done = cli(["weights", "--check", str(tmp_path / "part.pth"), "--encoder", "audio_resnet18"])
    assert done.code == 1
    assert "1 missing (net.layer1.0.conv1.conv.weight)" in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--check", "x.pth"], "go together"),
        (["--check", "x.pth", "--encoder", "slowfast"], "no encoder called 'slowfast'. Did you mean"),
        (["--check", "x.pth", "--encoder", "i3d_r50"], "no weights at x.pth"),
    ],
)
def test_mistakes(cli, words, message):
    done = cli(["weights", *words])
    assert done.code == 2
    assert message in done.err
