"""A reader: one modality of a clip, from its file to the array that an encoder gets.

`ClipPreprocessor` asks ``registry.READERS`` for one by the modality's name.  Your own reader has two methods::

    @READERS.register("imu")
    class ImuReader(Reader):
        def shape(self):
            return 6, 50

        def read(self, path, start, stop, random):
            return resampled(np.loadtxt(path, delimiter=","), start, stop, 50).T
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..datasets.clip_files import ClipFiles, ModalityFiles
from ..errors import UserError
from .sources import TimedSource
from .windows import ClipProtocol, Draw, Sampling


@dataclass(frozen=True)
class ReaderContext:
    """What a reader is told beside its own parameters.

    Attributes:
        modality: the manifest's column that it reads.
        training: whether it may draw at random.
        protocol: see `windows`.
        flip_probability: of frames in training.
    """

    modality: str
    training: bool
    protocol: ClipProtocol
    flip_probability: float = 0.5


@dataclass(frozen=True)
class NoParams:
    """No parameters."""


class Reader:
    """Reads one modality of clips; the base class of all readers.

    A subclass writes `shape` and `read`, and declares the keys of its config section, ``preprocessor.<modality>``, as a
    dataclass ``Params``.  It must be picklable, for loaders' workers.

    Args:
        params: an instance of ``Params``.
        context: modality, split and protocol.
    """

    Params: ClassVar[Any] = NoParams

    is_frames: ClassVar[bool] = False
    """Whether a clip's part is a window of frames (`FrameReader`), not a span of seconds."""

    sampling: Sampling
    """How many frames are taken, and how far apart; of a `FrameReader` only."""

    def __init__(self, params: Any, context: ReaderContext) -> None:
        self.params = params
        self.context = context

    def shape(self) -> tuple[int, ...]:
        """Return the shape of one clip's array; it is the same for all clips."""
        raise NotImplementedError(f"{type(self).__name__} has no method shape")

    def read(
        self, path: Path, start: float, stop: float, random: np.random.Generator | None
    ) -> NDArray[np.floating[Any]]:
        """Return a clip's array, finite floating-point numbers of `shape`.

        Args:
            path: the modality's file; it exists if the manifest is right, an OSError is reported with the clip's name.
            start: second of the file at which the clip's part begins: the row's ``start``, or in training that of the
                window that all modalities share; NaN for the file's beginning.
            stop: second at which it ends; NaN for the file's end.
            random: draw from this alone: it depends on the seed, the epoch and the clip.  None outside training.

        Raises:
            UserError: for a file that is damaged; ValueError, LookupError and EOFError are reported as one.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method read")

    def duration(self, path: Path) -> float:
        """Return the seconds that a file lasts, NaN where that isn't known.

        Needed only for clips whose window is taken in a folder of frames, and whose row has no ``stop``.
        """
        return math.nan

    def companion(self, path: str) -> str | None:
        """Return the second file that belongs to a manifest's cell (paths below the data folder), or None."""
        return None

    def open(self, place: ModalityFiles, files: ClipFiles, stack: ExitStack) -> Any:
        """Return the open source of a clip's modality (`windows.SoundSource`); ``stack`` closes it."""
        return TimedSource(place.path, files.start, files.stop, self.duration)

    def take(self, source: Any, span: tuple[float, float], silent: bool, draw: Draw) -> NDArray[np.float32]:
        """Return what `read` gives for a span of seconds, as float32, checked.

        Raises:
            UserError: when the file can't be read, or the array is not what `shape` and `read` promise.
        """
        path, (start, stop) = source.path, span
        name = f"{type(self).__name__}.read"
        try:
            values = np.asarray(self.read(path, start, stop, draw(f"read.{self.context.modality}")))
        except (UserError, OSError):
            raise
        except (ValueError, LookupError, EOFError) as error:
            raise UserError(f"{path} can't be read: {type(error).__name__}: {error}") from error
        if values.shape != self.shape():
            raise UserError(
                f"{name} returned shape {values.shape} for {path}, and its shape() is {self.shape()}."
            )
        if not np.issubdtype(values.dtype, np.floating):
            raise UserError(f"{name} returned {values.dtype} for {path}; return float32.")
        with np.errstate(over="ignore"):
            values = values.astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            raise UserError(f"{name} returned NaN or infinity for {path}.")
        return values


class FrameReader(Reader):
    """The base class of readers that take a window of frames: sampled, resized, cropped, flipped, normalised."""

    is_frames = True

    def see(self, frames: NDArray[np.uint8], draw: Draw) -> tuple[NDArray[np.uint8], bool]:
        """Return uint8 ``[T, H, W, C]`` frames as the network sees them, and whether they are mirrored."""
        raise NotImplementedError

    def normalise(self, frames: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
        """Write what `see` returned into ``out``, float32 of `shape`."""
        raise NotImplementedError
