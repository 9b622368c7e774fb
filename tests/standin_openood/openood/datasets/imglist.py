import os

import numpy as np
import torch
from torch.utils.data import Dataset


class ImglistDataset(Dataset):
    """A text file of ``<image>.npy <label>`` lines."""

    def __init__(self, name, imglist_pth, data_dir, num_classes, preprocessor, data_aux_preprocessor):
        with open(imglist_pth, encoding="utf-8") as file:
            self.rows = [line.split() for line in file]
        self.data_dir = data_dir
        self.preprocessor = preprocessor

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        path, label = self.rows[index]
        image = torch.from_numpy(np.load(os.path.join(self.data_dir, path)))
        return {"data": self.preprocessor(image), "label": int(label), "index": index}
