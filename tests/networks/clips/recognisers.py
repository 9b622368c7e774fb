"""The networks that the encoders and checkpoints come from: mmaction2's recognisers, VGGSound's ResNet."""

from pathlib import Path

import mmaction
import mmaction.models
import torch
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope

CONFIGS = Path(mmaction.__file__).parent / ".mim" / "configs" / "recognition"
FLOW = {"in_channels": 2, "with_pool2": False}
CASES = {  # encoder → config, changes of its backbone, input of the encoder
    "slowfast_r101": ("slowfast/slowfast_r101_8xb8-8x8x1-256e_kinetics400-rgb.py", {}, (3, 32, 32, 32)),
    "slowfast_r50": ("slowfast/slowfast_r50_8xb8-8x8x1-256e_kinetics400-rgb.py", {}, (3, 32, 32, 32)),
    "slowonly_r50_flow": ("slowonly/slowonly_r50_8xb16-8x8x1-256e_kinetics400-rgb.py", FLOW, (2, 8, 32, 32)),
    "i3d_r50": (
        "i3d/i3d_imagenet-pretrained-r50_8xb8-32x2x1-100e_kinetics400-rgb.py",
        {"pretrained2d": False},
        (3, 16, 32, 32),
    ),
    "tsn_r50_flow": (
        "tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x8-100e_kinetics400-rgb.py",
        {"in_channels": 10},
        (2, 10, 32, 32),
    ),
    "swin_tiny": (
        "swin/swin-tiny-p244-w877_in1k-pre_8xb8-amp-32x2x1-30e_kinetics400-rgb.py",
        {"pretrained2d": False},
        (3, 8, 32, 32),
    ),
}


def reference(name, depth=None, base_channels=None):
    """mmaction2's recogniser with random weights and random statistics, perhaps smaller; the shape of its input."""
    file, changes, shape = CASES[name]
    config = Config.fromfile(str(CONFIGS / file)).model
    config.backbone.update(pretrained=None, **changes)
    if depth:
        paths = [config.backbone.get(f"{path}_pathway") for path in ("slow", "fast")]
        for part, share in zip(paths, (1, 8), strict=True) if all(paths) else ((config.backbone, 1),):
            part.update(depth=depth, base_channels=base_channels // share)
    for part in (config.backbone, *(config.backbone.get(f"{p}_pathway", {}) for p in ("slow", "fast"))):
        if "pretrained" in part:
            part["pretrained"] = None
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmaction"):
        model = MODELS.build(config).eval()
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5) if "running_var" in key else value.normal_(0, 0.05)
    return model, shape


class TorchvisionStyle(torch.nn.Module):
    """ResNet-18 with torchvision's names, as VGGSound's network has them."""

    def __init__(self):
        super().__init__()
        nn = torch.nn
        self.conv1, self.bn1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.pool = nn.MaxPool2d(3, 2, 1)
        widths = [64, 64, 128, 256, 512]
        for i in range(1, 5):
            setattr(
                self, f"layer{i}", nn.Sequential(Block(widths[i - 1], widths[i]), Block(widths[i], widths[i]))
            )
        self.fc = nn.Linear(512, 309)

    def forward(self, x):
        x = self.pool(self.bn1(self.conv1(x)).relu())
        for i in range(1, 5):
            x = getattr(self, f"layer{i}")(x)
        return x.mean((2, 3))


class Block(torch.nn.Module):
    def __init__(self, inside, outside):
        super().__init__()
        nn = torch.nn
        stride = 1 if inside == outside else 2
        self.conv1, self.bn1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside)
        self.conv2, self.bn2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False), nn.BatchNorm2d(outside)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))
            if stride == 2
            else nn.Identity()
        )

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + self.downsample(x)).relu()
