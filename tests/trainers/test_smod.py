"""SMOD: the teacher and the distillation written out, and what is trained."""

from __future__ import annotations

import math

import pytest
import torch

from openood_multimodal.errors import UserError
from openood_multimodal.losses import decoupled_distillation_loss, weighted_teacher
from openood_multimodal.pipelines import TrainPipeline

LABELS = torch.tensor([0, 1, 1, 0])


def logits(*shape, seed=0):
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax(row):
    total = sum(map(math.exp, row))
    return [math.exp(z) / total for z in row]


@pytest.mark.parametrize("modalities", [2, 3, 6])
@pytest.mark.parametrize("classes", [2, 3])
def test_against_a_literal_version(modalities, classes):
    heads, student = logits(modalities, 4, classes), logits(4, classes, seed=1)
    fits = []
    for head in heads.tolist():
        losses = [-math.log(softmax(row)[y]) for row, y in zip(head, LABELS.tolist(), strict=True)]
        fits.append(math.exp(-sum(losses) / 4))
    teacher = [
        [
            sum(w / sum(fits) * head[i][c] for w, head in zip(fits, heads.tolist(), strict=True))
            for c in range(classes)
        ]
        for i in range(4)
    ]
    found = weighted_teacher(list(heads), LABELS)
    torch.testing.assert_close(found, torch.tensor(teacher, dtype=torch.float64))
    expected = 0.0
    for theirs, ours, y in zip(teacher, student.tolist(), LABELS.tolist(), strict=True):
        t, s = softmax([z / 2 for z in theirs]), softmax([z / 2 for z in ours])
        binary = t[y] * math.log(t[y] / s[y]) + (1 - t[y]) * math.log((1 - t[y]) / (1 - s[y]))
        pairs = [(t[c] / (1 - t[y]), s[c] / (1 - s[y])) for c in range(classes) if c != y]
        expected += 4 * (0.3 * binary + 0.5 * sum(a * math.log(a / b) for a, b in pairs)) / 4
    loss = decoupled_distillation_loss(student, found, LABELS, 0.3, 0.5, temperature=2.0)
    assert loss.item() == pytest.approx(expected)


def test_gradients_reach_the_student_alone():
    student, teacher = logits(4, 3).requires_grad_(), logits(4, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: decoupled_distillation_loss(z, teacher.detach(), LABELS), student
    )
    decoupled_distillation_loss(student, teacher, LABELS).backward()
    assert teacher.grad is None
    assert not weighted_teacher([student, student], LABELS).requires_grad


def test_only_the_fusion_head_is_trained_and_it_begins_anew(tiny):
    TrainPipeline(tiny.config(tiny.train("multimodal_multihead"))).run()
    teacher = torch.load(tiny.folder / "run" / "best.ckpt", weights_only=True)
    student = type(tiny)(tiny.folder / "student")
    given = ("--network.pretrained", "true", "--network.checkpoint", str(tiny.folder / "run" / "best.ckpt"))
    TrainPipeline(student.config(student.train("smod", *given))).run()
    trained = torch.load(student.folder / "run" / "last.ckpt", weights_only=True)
    differing = {key for key in teacher if not torch.equal(teacher[key], trained[key])}
    assert differing == {"fc.weight", "fc.bias"}
    with pytest.raises(UserError, match=r"distils trained networks, and network.pretrained is off"):
        TrainPipeline(student.config(student.train("smod", "--exp_name", "new"))).run()
