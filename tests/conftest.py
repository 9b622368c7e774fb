"""Settings for all tests."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: many threads on a busy machine are slower

import torch

torch.set_num_threads(1)
