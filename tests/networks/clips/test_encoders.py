"""Encoders against mmaction2's own recognisers, built from the configs that come with it."""

from pathlib import Path

import pytest
import torch
from recognisers import CASES, TorchvisionStyle, reference

from openood_multimodal.errors import UserError
from openood_multimodal.networks.clips.catalogue import EncoderOptions, build_encoder
from openood_multimodal.networks.clips.weights import load_encoder, rename
from openood_multimodal.registry import ENCODERS

SMALL = EncoderOptions(depth=18, base_channels=16)


def its_embedding(model, name, x):
    """What the recogniser's head multiplies with its class weights, averaged over segments."""
    seen = []
    model.cls_head.fc_cls.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    if name == "tsn_r50_flow":
        stacks = x.transpose(1, 2).reshape(-1, 10, *x.shape[3:])
        model.cls_head(model.backbone(stacks), x.shape[2] // 5)
    else:
        model.cls_head(model.backbone(x))
    return seen[0].flatten(1)


@pytest.mark.parametrize("name", CASES)
def test_embeddings_are_the_recognisers(name, tmp_path):
    model, shape = reference(name)
    file = tmp_path / "weights.pth"
    torch.save({"meta": {"note": "as OpenMMLab publishes it"}, "state_dict": model.state_dict()}, file)
    encoder = build_encoder(name).eval()
    report = load_encoder(encoder, name, file)
    assert report.complete, report.text()
    x = torch.randn(2, *shape)
    with torch.no_grad():
        expected, found = its_embedding(model, name, x), encoder(x)
    assert found.shape == (2, ENCODERS[name].embedding_dim) == (2, encoder.embedding_dim)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    assert sum(p.numel() for p in encoder.parameters()) == sum(p.numel() for p in model.backbone.parameters())


def test_audio_resnet_is_vggsounds(tmp_path):
    torch.manual_seed(0)
    model = TorchvisionStyle().eval()
    state = {f"audnet.{key}": value for key, value in model.state_dict().items()}
    torch.save({"model_state_dict": state}, tmp_path / "vggsound_avgpool.pth.tar")
    encoder = build_encoder("audio_resnet18").eval()
    report = load_encoder(encoder, "audio_resnet18", tmp_path / "vggsound_avgpool.pth.tar")
    assert report.complete, report.text()
    x = torch.randn(2, 1, 257, 100)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x), model(x), rtol=1e-5, atol=1e-5)
    assert encoder.embedding_dim == 512


def test_reduced_encoders_have_the_widths_they_say():
    video, flow = build_encoder("slowfast_r50", SMALL), build_encoder("slowonly_r50_flow", SMALL)
    with torch.no_grad():
        assert video(torch.randn(1, 3, 16, 32, 32)).shape == (1, video.embedding_dim) == (1, 144)
        assert flow(torch.randn(1, 2, 4, 32, 32)).shape == (1, flow.embedding_dim) == (1, 128)


@pytest.mark.parametrize("stages", [0, 1, 2, 5, -1])
def test_stages_that_train(stages):
    encoder = build_encoder("slowfast_r50", EncoderOptions(depth=18, base_channels=16, train_stages=stages))
    training = {key for key, p in encoder.named_parameters() if p.requires_grad}
    if stages == 1:  # the reference: both pathways' last stage, no lateral connection
        assert training == {key for key, _ in encoder.named_parameters() if ".layer4." in key}
    if stages == 2:
        assert "backbone.slow_path.layer3_lateral.conv.weight" in training
    assert (len(training) == 0) == (stages == 0)
    assert (len(training) == len(list(encoder.parameters()))) == (stages in (5, -1))
    if stages in (0, 1):
        out = encoder(torch.randn(2, 3, 16, 32, 32))
        assert out.requires_grad == (stages == 1)


@pytest.mark.parametrize(
    ("mode", "trunk", "last"),
    [("drifting", True, True), ("trained_stages", False, True), ("frozen", False, False)],
)
def test_batch_norm_follows_the_data_where_it_should(mode, trunk, last):
    options = EncoderOptions(depth=18, base_channels=16, batch_norm=mode)
    encoder = build_encoder("slowonly_r50_flow", options).train()
    before = {key: value.clone() for key, value in encoder.state_dict().items() if "running" in key}
    encoder(torch.randn(2, 2, 4, 32, 32))
    after = encoder.state_dict()
    moved = {key for key, value in before.items() if not torch.equal(value, after[key])}
    assert any("layer4" not in key for key in moved) == trunk
    assert any("layer4" in key for key in moved) == last
    encoder.eval()
    assert not any(module.training for module in encoder.modules())


def test_training_drops_from_the_embedding_and_evaluation_does_not():
    torch.manual_seed(0)
    options = EncoderOptions(depth=18, base_channels=16, dropout=0.9, batch_norm="frozen")
    encoder, x = build_encoder("slowonly_r50_flow", options), torch.randn(4, 2, 4, 32, 32)
    with torch.no_grad():
        evaluated, trained = encoder.eval()(x), encoder.train()(x)
    kept = trained != 0
    assert kept.float().mean() < 0.2
    torch.testing.assert_close(trained[kept], 10 * evaluated[kept])  # what is left is scaled up


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: build_encoder("slowfast_r1"), "no encoder called 'slowfast_r1'. Did you mean"),
        (lambda: EncoderOptions(depth=20), "18, 34, 50, 101"),
        (lambda: EncoderOptions(base_channels=20), "multiple of 8"),
        (lambda: build_encoder("slowonly_r50_flow", EncoderOptions(train_stages=9)), "train_stages is 9"),
        (lambda: build_encoder("slowonly_r50_flow", EncoderOptions(batch_norm="x")), "batch_norm is 'x'"),
        (lambda: build_encoder("slowonly_r50_flow", EncoderOptions(dropout=1.0)), "dropout is 1.0"),
        (lambda: build_encoder("swin_tiny", EncoderOptions(depth=18)), "swin_tiny has neither"),
        (lambda: build_encoder("slowfast_r50", SMALL)(torch.zeros(1, 2, 8, 32, 32)), r"\[B, 3, T, H, W\]"),
        (
            lambda: build_encoder("tsn_r50_flow", EncoderOptions(depth=18))(torch.zeros(1, 2, 7, 32, 32)),
            "multiple",
        ),
        (lambda: build_encoder("audio_resnet18")(torch.zeros(1, 257, 50)), r"spectrograms \[B, 1, F, T\]"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(UserError, match=message):
        call()


def test_another_networks_weights_are_refused(tmp_path):
    torch.save(build_encoder("slowonly_r50_flow", SMALL).backbone.state_dict(), tmp_path / "flow.pth")
    with pytest.raises(
        UserError, match=r"flow.pth \(encoder slowfast_r50\): these are another network's weights"
    ):
        load_encoder(build_encoder("slowfast_r50", SMALL), "slowfast_r50", tmp_path / "flow.pth")
    (tmp_path / "damaged.pth").write_bytes(b"no weights")
    with pytest.raises(UserError, match="damaged"):
        load_encoder(build_encoder("slowfast_r50", SMALL), "slowfast_r50", tmp_path / "damaged.pth")
    with pytest.raises(UserError, match="no weights at"):
        load_encoder(build_encoder("slowfast_r50", SMALL), "slowfast_r50", tmp_path / "nowhere.pth")


def test_a_file_with_code_in_it_is_not_run(tmp_path):
    torch.save({"state_dict": {"a": Path("x")}}, tmp_path / "code.pth")
    with pytest.raises(UserError, match=r"code\.pth"):
        load_encoder(build_encoder("slowonly_r50_flow", SMALL), "slowonly_r50_flow", tmp_path / "code.pth")


def test_part_of_the_weights_is_reported():
    encoder = build_encoder("slowonly_r50_flow", SMALL)
    state = dict(encoder.backbone.state_dict())
    gone = "layer4.1.conv2.conv.weight"
    state["more"] = state.pop(gone)
    from openood_multimodal.networks.clips.weights import fill

    report = fill(encoder.backbone, state, "here")
    assert (report.missing, report.unexpected, report.differing) == ((gone,), ("more",), ())
    assert not report.complete
    assert "1 missing (layer4.1.conv2.conv.weight)" in report.text()


def test_names_may_carry_dataparallels_prefix(tmp_path):
    encoder = build_encoder("slowonly_r50_flow", SMALL)
    state = {f"module.backbone.{key}": value for key, value in encoder.backbone.state_dict().items()}
    torch.save({"model_state_dict": state}, tmp_path / "w.pt")
    assert load_encoder(
        build_encoder("slowonly_r50_flow", SMALL), "slowonly_r50_flow", tmp_path / "w.pt"
    ).complete
    assert set(rename({"cls_head.fc_cls.weight": torch.zeros(1)}, "i3d_r50")) == set()
