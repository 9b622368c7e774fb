"""The Audio Spectrogram Transformer, where transformers is installed."""

import pytest
import torch

transformers = pytest.importorskip("transformers", reason="the encoder 'ast' needs transformers")

from openood_multimodal.errors import UserError  # noqa: E402
from openood_multimodal.networks.clips.catalogue import build_encoder  # noqa: E402
from openood_multimodal.networks.clips.weights import load_encoder  # noqa: E402


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    config = transformers.ASTConfig(num_mel_bins=257, max_length=1004)
    transformers.ASTForAudioClassification(config).save_pretrained(tmp_path / "ast")
    return tmp_path / "ast"


def test_it_is_transformers_own(folder):
    encoder = build_encoder("ast").eval()
    assert {name.split(".")[-1] for name, p in encoder.named_parameters() if p.requires_grad}
    trained = {name for name, p in encoder.named_parameters() if p.requires_grad}
    report = load_encoder(encoder, "ast", folder)
    assert report.complete, report.text()
    assert {name for name, p in encoder.named_parameters() if p.requires_grad} == trained
    assert any(".11." in name for name in trained)
    assert not any(".10." in name for name in trained)
    model = transformers.ASTForAudioClassification.from_pretrained(folder).eval()
    x = torch.randn(1, 1, 257, 1004)
    with torch.no_grad():
        expected = model.audio_spectrogram_transformer(input_values=x[:, 0].transpose(1, 2)).pooler_output
        torch.testing.assert_close(encoder(x), expected)
    assert encoder.embedding_dim == expected.shape[1] == 768


def test_mistakes(folder, tmp_path):
    with pytest.raises(UserError, match="257 frequencies x 1004 frames"):
        build_encoder("ast")(torch.zeros(1, 1, 257, 100))
    with pytest.raises(UserError, match=r"missing: config\.json, model\.safetensors"):
        load_encoder(build_encoder("ast"), "ast", tmp_path)
