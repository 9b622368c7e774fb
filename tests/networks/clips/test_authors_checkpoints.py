"""Checkpoints of MultiOOD's authors, made as their training scripts make them (HMDB-rgb-flow and EPIC-rgb-flow).

Each recogniser is mmaction's own with ``fc_cls`` replaced, wrapped into DataParallel; sound has VGGSound's whole
network, and a second one of which the last stage is trained.
"""

import pytest
import torch
from recognisers import TorchvisionStyle, reference
from torch import nn

from openood_multimodal.datasets.batch import ModalityBatch
from openood_multimodal.errors import UserError
from openood_multimodal.networks import ClipFusionNet, build_network

SMALL = {"depth": 18, "base_channels": 16}
NAMES = {"video": "slowfast_r101", "flow": "slowonly_r50_flow"}
WIDTHS = {"video": 144, "flow": 128, "audio": 512}
SHAPES = {"video": (2, 3, 32, 32, 32), "flow": (2, 2, 8, 32, 32), "audio": (2, 1, 257, 60)}
ENCODERS = {
    **{each: {"name": name, **SMALL} for each, name in NAMES.items()},
    "audio": {"name": "audio_resnet18"},
}
TWO, THREE = ("video", "flow"), ("video", "audio", "flow")


class Fusion(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.enc_net = nn.Linear(width, classes)


def with_noise(module):
    """Statistics that differ from layer to layer, as after a training."""
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5) if "running_var" in name else value.normal_(0, 0.1)
    return module.eval()


def trained(modalities, classes, epic=False):
    """Return the content of their file, the inputs, and the logits that their networks give, fused and a modality."""
    torch.manual_seed(0)
    save = {"epoch": 3, "BestLoss": 1.5, "BestEpoch": 3, "BestAcc": 0.5, "BestTestAcc": 0.25}
    inputs = {name: torch.randn(SHAPES[name]) for name in modalities}
    embeddings, logits = {}, {}
    for modality, part in (("video", "model_state_dict"), ("flow", "model_flow_state_dict")):
        model, _ = reference(NAMES[modality], **SMALL)
        head = model.cls_head
        if modality == "video" and not epic:
            head.fc_reduce = nn.Linear(WIDTHS["video"], 512)
        head.fc_cls = nn.Linear(WIDTHS[modality], classes)
        parallel = nn.DataParallel(with_noise(model))
        head.fc_cls.register_forward_pre_hook(
            lambda _, args, m=modality: embeddings.update({m: args[0].flatten(1)})
        )
        with torch.no_grad():
            logits[modality] = head(model.backbone(inputs[modality]))
        save[part] = parallel.state_dict()
    if "audio" in modalities:
        whole, stage = with_noise(TorchvisionStyle()), with_noise(TorchvisionStyle())
        stage.fc = nn.Linear(512, classes)
        for name in ("conv1", "bn1", "layer1", "layer2", "layer3"):
            setattr(stage, name, getattr(whole, name))
        with torch.no_grad():
            embeddings["audio"] = stage(inputs["audio"])
            logits["audio"] = stage.fc(embeddings["audio"])
        save["audio_model_state_dict"] = {f"audnet.{k}": v for k, v in whole.state_dict().items()}
        save["audio_cls_model_state_dict"] = {
            k: v for k, v in stage.state_dict().items() if k.startswith(("layer4.", "fc."))
        }
    fusion = Fusion(sum(WIDTHS[name] for name in modalities), classes)
    optimiser = torch.optim.Adam(fusion.parameters(), lr=1e-4, weight_decay=1e-4)
    fusion.enc_net(torch.cat([embeddings[name] for name in modalities], dim=1)).sum().backward()
    optimiser.step()
    save |= {"optimizer": optimiser.state_dict(), "mlp_cls_state_dict": fusion.state_dict()}
    with torch.no_grad():
        fused = fusion.enc_net(torch.cat([embeddings[name] for name in modalities], dim=1))
    return save, inputs, fused, logits


def section(file, modalities, classes=5):
    return {
        "name": "clip_fusion",
        "num_classes": classes,
        "modalities": list(modalities),
        "encoders": ENCODERS,
        "pretrained": True,
        "checkpoint": str(file),
    }


@pytest.mark.parametrize("modalities", [TWO, THREE])
@pytest.mark.parametrize("epic", [False, True])
def test_they_give_the_authors_logits(modalities, epic, tmp_path):
    save, inputs, fused, logits = trained(modalities, 5, epic)
    torch.save(save, tmp_path / "authors.pt")
    net = build_network(section(tmp_path / "authors.pt", modalities)).eval()
    with torch.no_grad():
        found = net.forward_modalities(ModalityBatch(inputs.items()))
    assert float(fused.std()) > 1e-3
    torch.testing.assert_close(found.logits, fused, rtol=1e-5, atol=1e-5)
    for name in modalities:
        torch.testing.assert_close(found.modality_logits[name], logits[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("modalities", "asked"), [(THREE, ("video", "flow", "audio")), (THREE, THREE[::-1]), (TWO, TWO[::-1])]
)
def test_modalities_in_another_order_are_refused(modalities, asked, tmp_path):
    torch.save(trained(modalities, 5)[0], tmp_path / "authors.pt")
    with pytest.raises(UserError, match=rf"Set dataset\.modalities to {','.join(modalities)}\.$"):
        build_network(section(tmp_path / "authors.pt", asked))


def test_so_are_those_of_a_checkpoint_of_our_own(tmp_path):
    """Files of OpenOOD's recorder have no card that would tell."""
    torch.save(ClipFusionNet(5, TWO, ENCODERS).state_dict(), tmp_path / "best.ckpt")
    build_network(section(tmp_path / "best.ckpt", TWO))
    with pytest.raises(
        UserError, match=r"best.ckpt is video, flow in this order, and the network's is flow, video"
    ):
        build_network(section(tmp_path / "best.ckpt", TWO[::-1]))


def test_other_classes_are_refused(tmp_path):
    torch.save(trained(TWO, 5)[0], tmp_path / "five.pt")
    with pytest.raises(UserError, match=r"five.pt is a checkpoint of another network: .*\(5, 272\)"):
        build_network(section(tmp_path / "five.pt", TWO, classes=6))
