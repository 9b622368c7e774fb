"""From a clip's files to what the networks read: sampled, cropped, flipped, normalised; a spectrogram of its sound."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ..config import bind
from ..datasets.clip_files import ClipFiles
from ..errors import UserError
from ..naming import did_you_mean
from ..registry import PREPROCESSORS, READERS
from .base import MultimodalPreprocessor
from .clip_cache import ClipCache
from .clip_readers import AudioParams, FlowReader
from .computed_flow import ComputedFlow
from .conditions import DegradedFrames, InputCondition
from .readers import Reader, ReaderContext
from .sources import OpenClip, about, taken
from .windows import ClipProtocol, Draw, Windows, clip_protocol


@dataclass(frozen=True, eq=False)
class ClipLook:
    """A clip as the network sees it, before frames are normalised.

    Attributes:
        frames: modality of frames → uint8 ``[T, size, size, C]``, cropped and flipped.
        windows: which frames those are, and which seconds of the first of the others.
        mirrored: modality of frames → whether they are flipped.
        values: every other modality → float32 array of its reader's shape.
        remarks: what was tolerated in its files, such as sound that ends before the pictures.
    """

    frames: Mapping[str, NDArray[np.uint8]]
    windows: Windows
    mirrored: Mapping[str, bool]
    values: Mapping[str, NDArray[np.float32]]
    remarks: tuple[str, ...] = ()

    @property
    def spectrogram(self) -> NDArray[np.float32] | None:
        """The sound's, float32 ``[F, T]``, or None."""
        return self.values["audio"][0] if "audio" in self.values else None


@PREPROCESSORS.register("multimodal_clip")
class ClipPreprocessor(MultimodalPreprocessor):
    """Reads clips as the benchmark's reference implementation does.

    Training (split ``train``) takes a random window of frames, one random crop and one flip for all of them, and
    disturbs the spectrogram; every other split takes the middle of the clip and of the frames.  ``protocol`` says
    whether modalities share the window (`windows`).

    A modality is read by the reader of its name in ``registry.READERS``, or by the one that its section names:
    ``preprocessor.<modality>: {reader: <name>, <the reader's parameters>}``.

    It reads files itself (``load_clip``), and leaves batches as they are.
    """

    @dataclass(frozen=True)
    class Params:
        """Parameters, beside a section for each modality.

        Attributes:
            protocol: ``shared`` or ``multiood-code``.
            flip_probability: of a flip from left to right in training.
        """

        protocol: str = "shared"
        flip_probability: float = 0.5

    def __init__(self, config: Mapping[str, Any], split: str) -> None:
        section = config.get("preprocessor") or {}
        own = {"name", *(each.name for each in fields(self.Params))}
        super().__init__({**config, "preprocessor": {k: v for k, v in section.items() if k in own}}, split)
        self.training = split == "train"
        self.protocol: ClipProtocol = clip_protocol(self.params.protocol)
        if not 0 <= self.params.flip_probability <= 1:
            raise UserError(
                f"preprocessor.flip_probability is {self.params.flip_probability}; it must be in 0 to 1."
            )
        self._cache = ClipCache.from_config(config)
        self._condition: tuple[InputCondition, tuple[str, ...], int] | None = None
        self._readers: dict[str, Reader] = {}
        for modality, part in section.items():
            if modality not in own:
                self._readers[modality] = self._build(modality, part, [*own - {"name"}, *READERS])

    def reader(self, modality: str) -> Any:
        """Return the reader (`Reader`) of a modality.

        Raises:
            UserError: when there is none of that name.
        """
        if modality not in self._readers:
            self._readers[modality] = self._build(modality, {}, READERS)
        return self._readers[modality]

    def _build(self, modality: str, section: Mapping[str, Any], known: Iterable[str]) -> Reader:
        where = f"preprocessor.{modality}"
        named = section.get("reader") if isinstance(section, Mapping) else None
        if named is None and modality not in READERS:
            raise UserError(
                f"{where}: there is no reader of a modality '{modality}'.{did_you_mean(modality, known)} "
                f"Register one (docs/extending.md), or name one as {where}.reader."
            )
        component = READERS.get(named or modality, f"{where}.reader")
        params = bind(section, component.Params, where, ignore=("reader",))
        context = ReaderContext(modality, self.training, self.protocol, self.params.flip_probability)
        reader: Reader = component(params, context)
        return reader

    def degrade(
        self, condition: InputCondition, modalities: Sequence[str], seed: int, files: Iterable[ClipFiles] = ()
    ) -> None:
        """Apply a condition to all clips that are read from now on, before anything else is done to them.

        What is drawn at random depends on the seed and a clip's place alone.

        Args:
            condition: what is done.
            modalities: that it is done to.
            seed: of what is drawn.
            files: of the clips, to be checked for flow that was computed before.

        Raises:
            UserError: when it isn't one of a modality's kind, or of frames from which stored flow was computed.
        """
        flow = [each for each in modalities if isinstance(self.reader(each), FlowReader)]
        for clip in files if flow and not condition.of_flow else ():
            for modality in flow:
                place = clip.modalities.get(modality)
                if place is not None and not (place.y is None and place.frames is None):
                    raise UserError(
                        f"{modality}: this condition changes the frames that flow is computed from, and {place.path} "
                        "holds flow that was computed before. Make flow of changed videos (openood-mm prepare flow), "
                        "or name the videos themselves in the manifest's column of flow."
                    )
        for modality in modalities:
            reader = self.reader(modality)
            sound = isinstance(getattr(reader, "params", None), AudioParams)
            kind = "frames" if reader.is_frames else "sound" if sound else ""
            if not kind or not getattr(condition, f"changes_{kind}")():
                raise UserError(
                    f"{type(condition).__name__} doesn't change {kind or 'what is read'} of {modality}."
                )
        self._condition = condition, tuple(modalities), seed

    def _degraded(self, clip: OpenClip, index: int) -> OpenClip:
        if self._condition is None:
            return clip
        condition, modalities, seed = self._condition

        def draw(stream: str) -> np.random.Generator:
            return clip_random(seed, 0, index, stream)

        for modality in modalities:
            if modality in clip.timed:
                clip.timed[modality].degrade = lambda samples, rate, of=modality: condition.sound(
                    samples, rate, draw(f"condition.{of}")
                )
                continue
            source = clip.frames[modality]
            if isinstance(source, ComputedFlow):
                source.video = DegradedFrames(source.video, condition, modality, draw)
            else:
                clip.frames[modality] = DegradedFrames(source, condition, modality, draw)
        return clip

    def readers(self, modalities: Sequence[str]) -> dict[str, Any]:
        """Return modality → its reader."""
        return {modality: self.reader(modality) for modality in modalities}

    def open(self, files: ClipFiles, modalities: Sequence[str]) -> OpenClip:
        """Return a clip's files, open within a ``with`` block; see `OpenClip`."""
        return OpenClip(files, self.readers(modalities))

    def companion(self, modality: str, path: str) -> str | None:
        """Return the second file that belongs to a manifest's cell, or None; see `Reader.companion`."""
        return self.reader(modality).companion(path)

    def clip_shapes(self, modalities: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
        """Return modality → shape of one clip, as its reader says.

        Raises:
            UserError: for a modality without a reader, or a reader whose shape is none.
        """
        shapes = {}
        for modality in modalities:
            reader = self.reader(modality)
            shapes[modality] = shape = reader.shape()
            if not isinstance(shape, tuple) or not all(isinstance(n, int) and n > 0 for n in shape):
                raise UserError(
                    f"{type(reader).__name__}.shape() returned {shape!r}; it must be a tuple of positive integers."
                )
        return shapes

    def load_clip(
        self, files: ClipFiles, seed: int, epoch: int, index: int, out: Mapping[str, NDArray[np.float32]]
    ) -> tuple[str, ...]:
        """Read a clip and write its values into ``out``.

        Args:
            files: where it is.
            seed: seed of the run.
            epoch: counted from 1 in training; 0 before.
            index: the clip's place in the dataset.
            out: modality → float32 array of the shape that `clip_shapes` gives; these modalities are read.

        Returns:
            What was tolerated in the files; see `ClipLook`.

        Raises:
            UserError: when a file is missing or broken; the message begins with the modality and names the file.
            MissingPackageError: when PyAV or OpenCV is not installed.
        """
        look = self.look(files, seed, epoch, index, tuple(out))
        for modality, frames in look.frames.items():
            self.reader(modality).normalise(frames, out[modality])
        for modality, values in look.values.items():
            with np.errstate(over="ignore"):  # it is found below
                out[modality][...] = values
        for modality, values in out.items():
            if not np.isfinite(values).all():
                with about(modality):
                    raise UserError(
                        f"{files.modalities[modality].path} holds NaN or infinite values where it is read."
                    )
        return look.remarks

    def look(
        self, files: ClipFiles, seed: int, epoch: int, index: int, modalities: tuple[str, ...]
    ) -> ClipLook:
        """Return a clip as the network sees it, before normalisation; see `load_clip`."""
        draw, readers = self._draw(seed, epoch, index), self.readers(modalities)

        def read(where: ClipFiles) -> ClipLook:
            return taken(where, readers, lambda clip: self._looked(self._degraded(clip, index), draw))

        local = files if self._cache is None else self._cache.local(files)
        try:
            return read(local)
        except UserError:
            if self._cache is None or local == files:
                raise
            self._cache.discard(local)
        return read(files)  # what is wrong with it is told of the file itself

    def _looked(self, clip: OpenClip, draw: Draw) -> ClipLook:
        samplings = {modality: self.reader(modality).sampling for modality in clip.frames}
        windows_of = {
            modality: self.protocol.windows(clip.frames, samplings, source, draw)
            for modality, source in clip.timed.items()
        }
        windows = next(iter(windows_of.values()), None)
        if windows is None:
            windows = self.protocol.windows(clip.frames, samplings, None, draw)
        frames, mirrored, values = {}, {}, {}
        for modality, source in clip.frames.items():
            with about(modality):
                whole = source.read(windows.frames[modality])
            frames[modality], mirrored[modality] = self.reader(modality).see(whole, draw)
        for modality, source in clip.timed.items():
            span = windows_of[modality].sound
            assert span is not None
            source.padded = windows_of[modality].padded
            with about(modality):
                values[modality] = self.reader(modality).take(source, span, windows_of[modality].silent, draw)
        remarks = tuple(
            f"{modality}: {remark}"
            for modality, source in clip.timed.items()
            for remark in getattr(source, "remarks", ())
        )
        return ClipLook(frames, windows, mirrored, values, remarks)

    def _draw(self, seed: int, epoch: int, index: int) -> Draw:
        def draw(stream: str) -> np.random.Generator | None:
            return clip_random(seed, epoch, index, stream) if self.training else None

        return draw


def clip_random(seed: int, epoch: int, index: int, stream: str) -> np.random.Generator:
    """Return the generator that belongs to (seed, epoch, index) and a stream's name, at its beginning.

    Counter-based (Philox, Salmon et al., SC 2011): the key is the seed and the stream, the counter starts at (epoch,
    index), so that neither the order of clips nor the worker matters.
    """
    key = np.array([seed % 2**64, crc32(stream.encode())], dtype=np.uint64)
    counter = np.array([0, 0, epoch, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
