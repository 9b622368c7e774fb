"""Losses and syntheses against the code that their authors released, run on fixed tensors.

Each test needs a clone of the repository that it names, and an environment variable that says where it is:

    MULTIOOD_ROOT=~/MultiOOD DPU_ROOT=~/DPU-OOD-Detection python -m pytest tests/losses/test_original_code.py -rs

The authors' scripts can't be imported (they need mmaction2, faiss, a GPU, their data), so definitions are taken out of
them by `tests/golden/make_losses.py`, which also made the stored figures that CI compares with.  Feature Mixing's
repository wasn't available.
"""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from by_path import load
from original_code import clone, definitions, run_lines
from scipy import stats

from openood_multimodal.losses import (
    adaptive_confidence_loss,
    cross_modal_translation_loss,
    decoupled_distillation_loss,
    energy_margin_loss,
    invariant_contrastive_losses,
    mixed_cross_entropy,
    mixed_outlier_loss,
    multihead_cross_entropy,
    outlier_exposure_loss,
    prototype_loss,
    sample_discrepancies,
    supervised_contrastive_loss,
    updated_prototypes,
)
from openood_multimodal.synthesis import EmbeddingBank
from openood_multimodal.synthesis.blocks import mix_blocks
from openood_multimodal.synthesis.npos import NPOS
from openood_multimodal.synthesis.vos import VOS

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def golden() -> ModuleType:
    return load(GOLDEN / "make_losses.py")


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``.cuda()``, which is everywhere in these scripts, mean nothing."""
    monkeypatch.setattr(torch.Tensor, "cuda", lambda self, *_, **__: self)


def compared(found, stored, where=""):
    """Compare two JSON values, numbers to 9 digits."""
    if isinstance(stored, dict):
        assert found.keys() == stored.keys(), where
        for key in stored:
            compared(found[key], stored[key], f"{where}.{key}")
    elif isinstance(stored, list):
        assert len(found) == len(stored), where
        for place, pair in enumerate(zip(found, stored, strict=True)):
            compared(*pair, f"{where}[{place}]")
    else:
        assert found == pytest.approx(stored, rel=1e-9), where


def test_multioods_step_still_gives_the_stored_figures(golden: ModuleType) -> None:
    root = clone("MULTIOOD_ROOT", golden.SCRIPTS[2]).parents[1]
    stored = json.loads((GOLDEN / "losses.json").read_text(encoding="utf-8"))
    compared(golden.loss_figures(root), stored["losses"])
    compared(json.loads(json.dumps(golden.bank_figures(root))), stored["bank"])


def embeddings(seed: int, batch: int, *widths: int) -> list[torch.Tensor]:
    """Return positive embeddings, as after a ReLU and an average pool."""
    rng = np.random.default_rng(seed)
    return [torch.tensor(rng.gamma(1.0, size=(batch, width)), requires_grad=True) for width in widths]


@pytest.mark.parametrize(("seed", "classes"), [(0, 4), (1, 2), (2, 6)])
def test_dpu(golden: ModuleType, seed: int, classes: int) -> None:
    script = clone("DPU_ROOT", golden.SCRIPTS[2])
    batch, width = 8, 5
    rng = np.random.default_rng(seed)
    labels = torch.tensor(rng.integers(max(classes - 1, 2), size=batch))  # of 4 and 6 classes, one is absent
    before = torch.tensor(rng.gamma(1.0, size=(classes, width)))
    logits = [torch.tensor(rng.normal(size=(batch, classes)), requires_grad=True) for _ in range(2)]
    video, flow = embeddings(seed, batch, width, width)
    step = golden.Step(script.parents[1], 2, classes, dim=width)
    settings = {"bsz": batch, "use_irm": True, "use_dynamic_a2d": True, "a2d_max_hellinger": True}
    theirs = before.clone()
    step.globals.update(device="cpu", prototypes=theirs)
    total = step(logits, labels, embeddings=[video, flow], epoch=5, **settings)

    ours_video, ours_flow = (each.detach().clone().requires_grad_() for each in (video, flow))
    prototypes = updated_prototypes(before, ours_video, labels)
    contrast, variance = invariant_contrastive_losses([ours_video, ours_flow], labels)
    near = F.cosine_similarity(ours_video, prototypes[labels], dim=1)
    heads = [each.detach().clone().requires_grad_() for each in logits]
    discrepancy = -(0.3 * (1 - near.sigmoid()) * sample_discrepancies(heads, labels)).mean()
    with_gradient = 0.1 * prototype_loss(ours_video, prototypes, labels) + discrepancy
    torch.testing.assert_close(prototypes, theirs.detach())
    assert (0.2 * contrast + 2 * variance + with_gradient).item() == pytest.approx(total, rel=1e-6)
    # the two contrastive losses pass through torch.Tensor([...]) there and so have no gradient; here they have one
    with_gradient.backward()
    torch.testing.assert_close(ours_video.grad, video.grad)
    assert flow.grad is None or not flow.grad.any()
    for ours, original in zip(heads, logits, strict=True):
        if classes == 2:  # one class is left, and predictions agree: their square root of 0 has no slope
            assert original.grad.isnan().any(1).all()
            assert not ours.grad.any()
        else:
            torch.testing.assert_close(ours.grad, original.grad)
    assert torch.autograd.grad(contrast + variance, ours_flow)[0].abs().max() > 0.01


@pytest.mark.parametrize(("count", "starts"), [(3, (1, 4)), (4, (3, 0)), (1, (0, 6))])
@pytest.mark.usefixtures("cpu")
def test_acr(
    golden: ModuleType, monkeypatch: pytest.MonkeyPatch, count: int, starts: tuple[int, int]
) -> None:
    script = clone("ACR_ROOT", golden.SCRIPTS[2])
    batch, classes = 6, 4  # the last class is the additional one
    rng = np.random.default_rng(count)
    labels = torch.tensor(rng.integers(classes - 1, size=batch))
    heads = [torch.tensor(rng.normal(0, 3, (batch, classes)), requires_grad=True) for _ in range(2)]
    parts = embeddings(count, batch, 7, 9)
    fused = torch.nn.Linear(16, classes).double()
    mixed: list[torch.Tensor] = []

    def head(*z: torch.Tensor) -> torch.Tensor:
        mixed.append(torch.cat(z, dim=1))
        return fused(mixed[-1])

    args = {"use_single_pred": True, "use_acl": True, "acl_loss": 2.0, "use_mfs": True, "mfs_loss": 1.0}
    stand_ins = {
        "random": SimpleNamespace(randint=lambda least, most: count),
        "args": SimpleNamespace(**args, mfs_min=1, mfs_max=5),
        "v_dim": 7, "f_dim": 9, "mlp_cls": head, "criterion": torch.nn.CrossEntropyLoss(),
        "optim": SimpleNamespace(zero_grad=lambda: None, step=lambda: None),
    }  # fmt: skip
    nets = [golden.module(lambda _, k=k: (heads[k], parts[k]), None) for k in range(2)]
    nets[0].module.backbone = SimpleNamespace(get_feature=lambda x: (x, x), get_predict=lambda x: x)
    step = golden.authors_functions(script, stand_ins)["train_one_step"]
    clip = {"imgs": torch.zeros(1, 1)}

    def drawn() -> None:
        places = iter(starts)
        monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.tensor(next(places)))

    drawn()
    _, total = step(nets[0], clip, labels, clip, nets[1], classes, 0)
    theirs = [each.grad.clone() for each in (*heads, *parts)]
    for each in (*heads, *parts):
        each.grad = None
    drawn()
    blocks = mix_blocks(parts, count)
    torch.testing.assert_close(torch.cat(blocks, dim=1), mixed[1])
    logits = fused(torch.cat(parts, dim=1))
    ours = multihead_cross_entropy(logits, heads, labels) + 2 * adaptive_confidence_loss(logits, heads)
    ours = ours + mixed_cross_entropy(fused(torch.cat(blocks, dim=1)), labels, share=count / 5)
    torch.testing.assert_close(ours, total.detach(), check_dtype=False)
    ours.backward()
    for each, original in zip((*heads, *parts), theirs, strict=True):
        torch.testing.assert_close(each.grad, original)


def test_vos() -> None:
    script = clone("VOS_ROOT", "classification/CIFAR/train_virtual.py")
    classes, size, width, candidates = 3, 20, 6, 300
    rng = np.random.default_rng(0)
    rows = torch.tensor(rng.normal(size=(classes, size, width)) * rng.gamma(2.0, size=width)) + 3
    names = {"data_dict": rows, "num_classes": classes, "eye_matrix": torch.eye(width), "torch": torch}
    names["args"] = SimpleNamespace(sample_from=candidates, select=1)
    code = _around(script, "temp_precision")
    torch.manual_seed(0)
    theirs = []
    for _ in range(60):
        exec(code, names)
        away = names["ood_samples"] - names["mean_embed_id"]
        theirs += torch.einsum("cd,de,ce->c", away, torch.linalg.inv(names["temp_precision"]), away).tolist()

    bank = EmbeddingBank(classes, width, size, dtype=torch.float64)
    bank.push(rows.flatten(0, 1), torch.arange(classes).repeat_interleave(size))
    vos, generator = VOS(num_candidates=candidates), torch.Generator().manual_seed(0)
    torch.testing.assert_close(bank.prototypes(), names["mean_embed_id"])
    deviations = (rows - rows.mean(1, keepdim=True)).flatten(0, 1) / math.sqrt(classes * size)
    root = vos._times_root(torch.eye(width, dtype=torch.float64), deviations)
    torch.testing.assert_close(root @ root, names["temp_precision"], check_dtype=False)
    ours = [d for _ in range(60) for d in vos(bank, generator).info["squared_distances"].tolist()]
    assert stats.ks_2samp(ours, theirs).pvalue > 0.01


def _around(script: Path, name: str) -> object:
    """Compile the loop before the first assignment to ``name``, and all up to the end of the loop after it."""
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        body = getattr(node, "body", None)
        for place, each in enumerate(body if isinstance(body, list) else []):
            if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == name:
                loops = [i for i, one in enumerate(body) if isinstance(one, ast.For)]
                first, last = max(i for i in loops if i < place), min(i for i in loops if i > place)
                return compile(ast.Module(body[first : last + 1], []), str(script), "exec")
    raise AssertionError(f"{script} assigns no {name}")


def test_npos_boundary() -> None:
    functions = definitions(clone("NPOS_ROOT", "training_from_scratch/KNN.py"), "KNN_dis_search_decrease")
    size, width, near, boundary = 24, 5, 4, 6
    rows = F.normalize(torch.randn(size, width, generator=torch.Generator().manual_seed(3)), dim=1)

    class Index:
        def search(self, target: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
            found = torch.cdist(target, rows).square().topk(k, largest=False)
            return found.values, found.indices

    # their index holds the samples, so that its first neighbour is the sample itself
    theirs, _ = functions["KNN_dis_search_decrease"](rows, Index(), near + 1, boundary)
    bank = EmbeddingBank(1, width, size)
    bank.push(rows, torch.zeros(size, dtype=torch.long))
    npos = NPOS(num_neighbors=near, num_rows=size, num_boundary=boundary)
    generator = torch.Generator().manual_seed(0)
    ours = {int(npos(bank, generator).info["boundary"]) for _ in range(100)}
    assert ours == set(theirs.tolist())


@pytest.mark.parametrize("modalities", [2, 3])
def test_supervised_contrastive_loss(modalities: int) -> None:
    functions = definitions(clone("NPOS_ROOT", "training_from_scratch/losses.py"), "SupConLoss")
    parts = embeddings(modalities, 7, *[4] * modalities)
    labels = torch.tensor([0, 1, 0, 2, 2, 2, 0])
    views = torch.stack([F.normalize(each, dim=1) for each in parts], dim=1)
    theirs = functions["SupConLoss"](temperature=0.1, base_temperature=0.1)(views, labels)
    ours = supervised_contrastive_loss(parts, labels, temperature=0.1)
    torch.testing.assert_close(ours, theirs, check_dtype=False)
    for mine, original in zip(
        torch.autograd.grad(ours, parts), torch.autograd.grad(theirs, parts), strict=True
    ):
        torch.testing.assert_close(mine, original, atol=1e-6, rtol=1e-5)


def logits_of(seed: int, *batches: int, classes: int = 5) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    return [torch.tensor(rng.normal(0, 4, (batch, classes))) for batch in batches]


def test_outlier_exposure() -> None:
    known, unknown = logits_of(0, 6, 9)
    names = {"x": torch.cat((known, unknown)), "in_set": [known], "loss": torch.zeros(())}
    run_lines(clone("OE_ROOT", "CIFAR/oe_scratch.py"), names, "loss += 0.5 *")
    torch.testing.assert_close(0.5 * outlier_exposure_loss(unknown), names["loss"], check_dtype=False)


@pytest.mark.parametrize(("margin_in", "margin_out"), [(-25.0, -7.0), (-9.0, -6.0)])
def test_energy_margin(margin_in: float, margin_out: float) -> None:
    known, unknown = logits_of(1, 6, 9)
    names = {"x": torch.cat((known, unknown)), "in_set": [known], "loss": torch.zeros(())}
    names["args"] = SimpleNamespace(m_in=margin_in, m_out=margin_out)
    run_lines(clone("ENERGY_ROOT", "CIFAR/train.py"), names, "Ec_out =", "Ec_in =", "loss += 0.1 *")
    ours = 0.1 * energy_margin_loss(known, unknown, margin_in, margin_out)
    torch.testing.assert_close(ours, names["loss"], check_dtype=False)


@pytest.mark.usefixtures("cpu")
def test_mixoe() -> None:
    script = clone("MIXOE_ROOT", "train/train_mixoe.py")
    (logits,) = logits_of(2, 7)
    labels = torch.tensor([0, 3, 3, 1, 4, 0, 2])
    names = {"bs": 7, "num_classes": 5, "y": labels, "oe_x": logits, "lam": 0.3}
    run_lines(script, names, "one_hot_y =", "one_hot_y.scatter_", "oe_y =", "soft_labels =")
    theirs = definitions(script, "SoftCE")["SoftCE"]()(logits, names["soft_labels"])
    torch.testing.assert_close(mixed_outlier_loss(logits, labels, share=0.3), theirs)


def test_cross_modal_translation() -> None:
    script = clone("SIMMMDG_ROOT", "HAC-rgb-flow-audio/train_video_flow_audio_HAC_SimMMDG.py")
    video, audio, flow = embeddings(5, 6, 4, 3, 5)
    pairs = {"v2a": audio, "a2v": video, "v2f": flow, "f2a": audio, "f2v": video, "a2f": flow}
    rng = np.random.default_rng(6)
    translated = {
        name: torch.tensor(rng.normal(size=each.shape), requires_grad=True) for name, each in pairs.items()
    }
    places = {"v2a": "a_emd_t", "a2v": "v_emd_t", "v2f": "f_emd_t"}
    places |= {"f2a": "a_emd_t2", "f2v": "v_emd_t2", "a2f": "f_emd_t2"}
    names = {place: translated[name] for name, place in places.items()}
    names |= {"v_emd": video, "audio_emd": audio, "f_emd": flow, "loss": 0.0}
    names["args"] = SimpleNamespace(alpha_trans=1.0)
    norms = [f"{place} = {place} /" for place in places.values()]
    terms = [f"{name}_loss =" for name in pairs]
    run_lines(
        script, names, *norms, *terms, "loss = loss + args.alpha_trans * (v2a_loss + a2v_loss + v2f_loss"
    )
    ours = cross_modal_translation_loss(list(translated.values()), list(pairs.values()))
    torch.testing.assert_close(ours, names["loss"])
    leaves = [*translated.values(), video, audio, flow]
    for mine, original in zip(
        torch.autograd.grad(ours, leaves), torch.autograd.grad(names["loss"], leaves), strict=True
    ):
        torch.testing.assert_close(mine, original)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.filterwarnings("ignore:size_average and reduce args")
def test_decoupled_distillation(classes: int) -> None:
    names = ("dkd_loss", "_get_gt_mask", "_get_other_mask", "cat_mask")
    functions = definitions(clone("DKD_ROOT", "mdistiller/distillers/DKD.py"), *names)
    student, teacher = logits_of(7, 6, 6, classes=classes)
    student.requires_grad_()
    labels = torch.tensor([0, 1, 1, 0, classes - 1, 0])
    theirs = functions["dkd_loss"](student, teacher, labels, 0.2, 0.8, 2.0)
    ours = decoupled_distillation_loss(student, teacher, labels, 0.2, 0.8, 2.0)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(each, student)[0] for each in (ours, theirs)))
