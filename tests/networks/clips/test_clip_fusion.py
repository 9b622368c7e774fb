"""The network of clips: what a config says of it."""

import pytest
import torch

from openood_multimodal.datasets.batch import ModalityBatch
from openood_multimodal.errors import UserError
from openood_multimodal.networks import ClipFusionNet, build_network
from openood_multimodal.networks.build import network_names
from openood_multimodal.testing import check_network

SMALL = {"depth": 18, "base_channels": 16}
ENCODERS = {
    "video": {"name": "slowfast_r50", **SMALL},
    "flow": {"name": "slowonly_r50_flow", **SMALL},
    "audio": {"name": "audio_resnet18"},
}
SHAPES = {"video": (3, 16, 32, 32), "flow": (2, 4, 32, 32), "audio": (1, 257, 40)}


def batch(*modalities, size=2):
    return ModalityBatch((name, torch.randn(size, *SHAPES[name])) for name in modalities)


@pytest.mark.parametrize("modalities", [("video",), ("video", "flow"), ("video", "audio", "flow")])
def test_forward(modalities):
    net = ClipFusionNet(5, modalities, ENCODERS).eval()
    output = net.forward_modalities(batch(*modalities))
    widths = {"video": 144, "flow": 128, "audio": 512}
    assert {name: z.shape[1] for name, z in output.embeddings.items()} == {m: widths[m] for m in modalities}
    assert list(output.embeddings) == list(modalities)
    assert output.logits.shape == (2, 5)
    assert all(each.shape == (2, 5) for each in output.modality_logits.values())


def test_it_keeps_the_contract_of_networks():
    check_network(ClipFusionNet(4, ("video", "flow"), ENCODERS), batch("video", "flow"))


def test_only_last_stages_and_heads_train():
    net = ClipFusionNet(4, ("video", "flow"), ENCODERS)
    training = {name for name, p in net.named_parameters() if p.requires_grad}
    assert {name for name in training if not name.startswith("encoders.")} == {
        *(
            "fc.weight",
            "fc.bias",
            "heads.video.weight",
            "heads.video.bias",
            "heads.flow.weight",
            "heads.flow.bias",
        )
    }
    assert all(".layer4." in name for name in training if name.startswith("encoders."))


@pytest.mark.parametrize(
    ("encoders", "message"),
    [
        ({"video": ENCODERS["video"]}, "network.modalities names flow"),
        ({**ENCODERS, "flow": {"name": "slowonly"}}, "no encoder called 'slowonly'"),
        ({**ENCODERS, "flow": {"name": "slowonly_r50_flow", "dept": 18}}, "depth"),
        ({**ENCODERS, "flow": {"name": "slowonly_r50_flow", "depth": "deep"}}, "network.encoders.flow"),
    ],
)
def test_mistakes_in_a_config(encoders, message):
    with pytest.raises(UserError, match=message):
        build_network(
            {"name": "clip_fusion", "num_classes": 4, "modalities": ["video", "flow"], "encoders": encoders}
        )


def test_published_weights_of_one_encoder(tmp_path):
    from openood_multimodal.networks.clips.catalogue import EncoderOptions, build_encoder

    flow = build_encoder("slowonly_r50_flow", EncoderOptions(**SMALL))
    state = {f"backbone.{key}": value for key, value in flow.backbone.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "flow.pth")
    encoders = {**ENCODERS, "flow": {**ENCODERS["flow"], "checkpoint": str(tmp_path / "flow.pth")}}
    net = ClipFusionNet(4, ("video", "flow"), encoders)
    assert net.weights_reports["flow"].complete
    assert torch.equal(net.encoders["flow"].backbone.conv1.conv.weight, flow.backbone.conv1.conv.weight)
    state.pop("backbone.layer4.1.conv2.conv.weight")
    torch.save({"state_dict": state}, tmp_path / "flow.pth")
    with pytest.warns(UserWarning, match="1 missing"):
        ClipFusionNet(4, ("video", "flow"), encoders)


def test_stages_that_start_from_random_weights(tmp_path):
    """As MultiOOD's code starts the audio's last stage."""
    from openood_multimodal.networks.clips.catalogue import build_encoder

    published = build_encoder("audio_resnet18").backbone.state_dict()
    torch.save({"state_dict": published}, tmp_path / "audio.pth")
    section = {"name": "audio_resnet18", "checkpoint": str(tmp_path / "audio.pth"), "random_stages": 1}
    net = ClipFusionNet(4, ("audio",), {"audio": section})
    own = net.encoders["audio"].backbone.state_dict()
    same = {
        key: torch.equal(value, published[key]) for key, value in own.items() if key.endswith("conv.weight")
    }
    assert {key for key, equal in same.items() if not equal} == {key for key in same if "layer4" in key}
    assert net.weights_reports["audio"].complete
    with pytest.raises(UserError, match="random_stages is -1"):
        ClipFusionNet(4, ("audio",), {"audio": {**section, "random_stages": -1}})


def test_a_checkpoint_needs_no_weights_to_start_from(tmp_path):
    net = ClipFusionNet(4, ("flow",), ENCODERS)
    torch.save(net.state_dict(), tmp_path / "best.ckpt")
    encoders = {"flow": {**ENCODERS["flow"], "checkpoint": "nowhere.pth"}}
    section = {"name": "clip_fusion", "num_classes": 4, "modalities": ["flow"], "encoders": encoders}
    build_network({**section, "pretrained": True, "checkpoint": str(tmp_path / "best.ckpt")})
    with pytest.raises(UserError, match=r"no weights at nowhere\.pth"):
        build_network(section)


def test_names_in_tables():
    assert network_names({"name": "mlp_fusion"}) == "mlp_fusion"
    encoders = {"video": {"name": "slowfast_r101"}, "flow": {"name": "slowonly_r50_flow", "depth": None}}
    section = {"name": "clip_fusion", "modalities": ["video", "flow"], "encoders": encoders}
    assert network_names(section) == {"video": "slowfast_r101", "flow": "slowonly_r50"}
    section = {"name": "clip_fusion", "modalities": ["flow"], "encoders": ENCODERS}
    assert network_names(section) == {"flow": "slowonly_r50 (depth 18, base_channels 16)"}
