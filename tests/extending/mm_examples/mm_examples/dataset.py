"""A dataset: one .npy file for each cell of the manifest."""

from dataclasses import dataclass

import numpy as np

from openood_multimodal.datasets import MultimodalDataset
from openood_multimodal.datasets.base import ClipRequest


class ArrayDataset(MultimodalDataset):
    """Arrays in .npy files, a file for each clip and modality."""

    @dataclass(frozen=True)
    class Request(ClipRequest):  # the keys of imglist_pth: manifest, modalities, on_error, and
        scale: float = 1.0

    def load(self, row):
        return {name: self.request.scale * np.load(self.path(row, name)) for name in self.modalities}
