"""An inertial sensor as a modality of clips: a reader of its files, and an encoder."""

from dataclasses import dataclass

import numpy as np
from torch import nn

from openood_multimodal.preprocessors.readers import Reader


class ImuReader(Reader):
    """Accelerations in a CSV file for each clip, with the columns seconds, x, y, z."""

    @dataclass(frozen=True)
    class Params:
        samples: int = 50
        noise: float = 0.0  # standard deviation of what training adds

    def shape(self):
        return 3, self.params.samples

    def read(self, path, start, stop, random):
        table = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
        seconds = table[:, 0]
        start = seconds[0] if np.isnan(start) else start
        stop = seconds[-1] if np.isnan(stop) else stop
        moments = np.linspace(start, stop, self.params.samples)
        values = np.stack([np.interp(moments, seconds, column) for column in table.T[1:]])
        if random is not None:  # training
            values += random.normal(0.0, self.params.noise, values.shape)
        return values


class ImuEncoder(nn.Module):
    """Two convolutions over time, and their mean."""

    modality = "imu"

    @dataclass(frozen=True)
    class Params:
        channels: int = 3
        width: int = 32

    def __init__(self, params):
        super().__init__()
        self.embedding_dim = params.width
        self.layers = nn.Sequential(
            nn.Conv1d(params.channels, params.width, kernel_size=5, stride=2),
            nn.ReLU(),
            nn.Conv1d(params.width, params.width, kernel_size=5, stride=2),
            nn.ReLU(),
        )

    def forward(self, x):
        return self.layers(x).mean(dim=-1)
