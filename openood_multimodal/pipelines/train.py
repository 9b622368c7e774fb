"""Train: OpenOOD's train pipeline, with a resume that continues bit for bit.

The order of random draws is OpenOOD's (seed, loaders, network, trainer, then per epoch the training and the
validation loader), so that the same config trains the same network in both hosts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ..config import Config
from ..datasets.loaders import build_loaders, share_among_ranks
from ..errors import UserError
from ..files import reading
from ..files.paths import remove
from ..networks import build_network
from ..progress import progress_bar
from ..ranks import is_first, one_holding
from ..registry import EVALUATORS, PIPELINES
from ..trainers.build import build_trainer
from ..trainers.rng import seed_everything
from .card import describe_checkpoint, synthesis_of
from .checks import check_config
from .device import choose_device, set_determinism
from .digest import config_digest, effective_config, first_difference
from .logs import TrainingLog
from .state import FILE, REMEDY, check_state, read_state, save_tensors


@dataclass(frozen=True)
class TrainResult:
    """Where a training ended.

    Attributes:
        folder: the run's folder.
        checkpoint: ``best.ckpt`` in it.
        best_epoch: counted from 1.
        best_acc: its validation accuracy, a fraction.
    """

    folder: Path
    checkpoint: Path
    best_epoch: int
    best_acc: float


@PIPELINES.register("multimodal_train", "train")
class TrainPipeline:
    """Train one network.

    Args:
        config: a training config; see ``docs/configs.md``.
    """

    takes_ranks: ClassVar[bool] = True
    """Whether several `ranks` may run it together."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        check_config(config, ("dataset", "network", "trainer", "optimizer", "evaluator"))
        self.config = config
        self.folder = Path(config["output_dir"])
        recorder = config.get("recorder") or {}
        self.state_interval = int(recorder.get("state_interval", 1))
        self.state_seconds = float(recorder.get("state_seconds", 600))
        self.min_state_seconds = float(recorder.get("min_state_seconds", 5))
        self.tensorboard = bool(recorder.get("tensorboard", True))
        self.quiet = bool(recorder.get("quiet", False)) or not is_first()

    def run(self) -> TrainResult:
        """Train, or resume, or return at once where the folder holds this very training, finished.

        Raises:
            UserError: when the folder holds a training of another config.
        """
        with one_holding(self.folder):  # a second process waits, and finds the training finished
            return self._resumed()

    def _resumed(self) -> TrainResult:
        state = self._previous_state()
        if state is not None and state["epoch_idx"] >= self.config["optimizer"]["num_epochs"]:
            if not (self.folder / "best.ckpt").is_file():
                raise UserError(
                    f"the training in {self.folder} is finished, but its best.ckpt is missing; put it back, or train "
                    "again with --overwrite true."
                )
            self._say(f"This training is finished already: {self.folder}")
            return self._result(state)
        return self._train(state)

    def _train(self, state: Mapping[str, Any] | None) -> TrainResult:
        config = self.config
        seed_everything(int(config.get("seed") or 0))
        loaders = share_among_ranks(build_loaders(config, training=True))
        for split in ("train", "val"):
            if split not in loaders:
                raise UserError(f"dataset.split_names has no '{split}'; training needs train and val.")
        set_determinism(config)
        net = build_network(config["network"]).to(choose_device(config))
        trainer = build_trainer(net, loaders["train"], config)
        evaluator = EVALUATORS.get(config["evaluator"]["name"])(config)

        # only now, when all that the config names has been built: a mistake in it must not cost an earlier training
        self.folder.mkdir(parents=True, exist_ok=True)
        if config.get("overwrite") and is_first():
            remove(self.folder, FILE)  # or a later run would take up the old one's end
        if isinstance(config, Config) and is_first():
            config.dump(self.folder / "config.yml")
        first = 1
        best: dict[str, Any] = {"acc": -1.0, "epoch_idx": 0, "network": None}
        log = TrainingLog(self.folder, state["log"] if state else (), self.tensorboard and is_first())
        if state is not None:
            state = check_state(state, self.folder / FILE, net, trainer)
            with reading(self.folder / FILE, "a state of this training", REMEDY):
                net.load_state_dict(state["network"])
                trainer.load_state_dict(state["trainer"])
            first, best = state["epoch_idx"] + 1, dict(state["best"])
            part = state["trainer"].get("progress")
            within = f" and {part['batches']} batches of the next" if part else ""
            self._say(f"Resuming after epoch {state['epoch_idx']}{within}: {self.folder}")

        self._last_state = time.monotonic()
        epochs = int(config["optimizer"]["num_epochs"])
        steps = len(loaders["train"])
        saved = time.monotonic()
        with progress_bar(
            total=epochs * steps,
            initial=(first - 1) * steps,
            desc=config["trainer"]["name"],
            unit="step",
            quiet=self.quiet,
        ) as bar:
            trainer.epoch_progress = bar
            for epoch_idx in range(first, epochs + 1):
                began = time.monotonic()
                if self.state_interval and self.state_seconds and is_first():
                    trainer.after_step = self._within_epoch(epoch_idx - 1, net, trainer, best, log)
                net, metrics = trainer.train_epoch(epoch_idx)
                validation = evaluator.eval_acc(net, loaders["val"], None, epoch_idx)
                if validation["acc"] >= best["acc"]:  # later ties win, as in OpenOOD and MultiOOD
                    best = {
                        "acc": float(validation["acc"]),
                        "epoch_idx": epoch_idx,
                        "network": {k: v.detach().cpu().clone() for k, v in net.state_dict().items()},
                    }
                row = {**metrics, "val_loss": float(validation["loss"]), "val_acc": float(validation["acc"])}
                timing = getattr(trainer, "timing", {})
                log.append({**row, "seconds": round(time.monotonic() - began, 3), **timing})
                bar.set_postfix(
                    epoch=epoch_idx,
                    loss=f"{metrics['loss']:.3f}",
                    val_acc=f"{validation['acc']:.3f}",
                    **_shown(timing),
                )
                if not is_first():
                    continue
                last = epoch_idx == epochs
                due = self.state_interval and epoch_idx % self.state_interval == 0
                if last or (due and time.monotonic() - saved >= self.min_state_seconds):
                    log.write()
                    self._write_checkpoint("best", best["network"], best, trainer, loaders)
                    if last:
                        self._write_checkpoint(
                            "last", net.state_dict(), {**validation, "epoch_idx": epoch_idx}, trainer, loaders
                        )
                    if self.state_interval:
                        self._write_state(epoch_idx, net, trainer, best, log)
                    saved = time.monotonic()
        if is_first():
            log.close()
        result = self._result({"best": best})
        if not self.quiet:
            self._report(result, trainer)
        return result

    def _write_checkpoint(
        self,
        name: str,
        network: Mapping[str, Any],
        chosen: Mapping[str, Any],
        trainer: Any,
        loaders: Mapping[str, Any],
    ) -> None:
        path = self.folder / f"{name}.ckpt"
        save_tensors(path, dict(network))
        sets = {split: loader.dataset for split, loader in loaders.items()}
        describe_checkpoint(path, self.config, sets, trainer, int(chosen["epoch_idx"]), float(chosen["acc"]))

    def _within_epoch(
        self, finished: int, net: Any, trainer: Any, best: Mapping[str, Any], log: TrainingLog
    ) -> Callable[[], None]:
        """Return what is called after every step: it saves a state when the last one is old."""

        def save() -> None:
            if time.monotonic() >= self._last_state + self.state_seconds:
                self._write_state(finished, net, trainer, best, log)

        return save

    def _write_state(
        self, epoch_idx: int, net: Any, trainer: Any, best: Mapping[str, Any], log: TrainingLog
    ) -> None:
        save_tensors(
            self.folder / FILE,
            {
                "epoch_idx": epoch_idx,
                "config_digest": config_digest(self.config),
                "config": effective_config(self.config),
                "network": net.state_dict(),
                "trainer": trainer.state_dict(),
                "best": dict(best),
                "log": log.rows,
            },
        )
        self._last_state = time.monotonic()

    def _previous_state(self) -> Mapping[str, Any] | None:
        path = self.folder / FILE
        if self.config.get("overwrite") or not path.is_file():
            return None
        state = read_state(path)
        if state["config_digest"] != config_digest(self.config):
            difference = first_difference(state["config"], effective_config(self.config))
            raise UserError(
                f"{self.folder} holds a training of another config ({difference}). Give this one its own name "
                "with --mark NAME, or train over the old one with --overwrite true."
            )
        return state

    def _result(self, state: Mapping[str, Any]) -> TrainResult:
        best = state["best"]
        return TrainResult(self.folder, self.folder / "best.ckpt", int(best["epoch_idx"]), float(best["acc"]))

    def _report(self, result: TrainResult, trainer: Any) -> None:
        self._say(
            f"Best validation accuracy {100 * result.best_acc:.2f} % after epoch {result.best_epoch}: "
            f"{result.checkpoint}"
        )
        if synthesis_of(trainer):
            began = getattr(trainer, "first_synthesis_epoch", None)
            epochs, start = int(self.config["optimizer"]["num_epochs"]), trainer.params.start_epoch
            if began is None and epochs < start:
                self._say(
                    f"Note: outliers were never used: the training ended after {epochs} epochs, and they begin with "
                    f"epoch {start}. Lower trainer.start_epoch, or train longer."
                )
            elif began is None:
                self._say(
                    "Note: outliers were never used: the embedding bank did not fill for every class by "
                    f"epoch {start} or later. Lower trainer.bank_size, or train longer."
                )
            elif result.best_epoch < began:
                self._say(
                    f"Note: this checkpoint was chosen before outliers were first used (epoch {began}); it is a "
                    "checkpoint of the training without them. last.ckpt beside it is one with them."
                )
        self._say(
            "Evaluate it with the same dataset and network files, --seed, --dataset.* and --network.* settings:\n"
            "  openood-mm run --config <dataset>.yml <dataset>_ood.yml <network>.yml pipelines/test/near_ood.yml "
            f"--network.checkpoint {result.checkpoint}"
        )

    def _say(self, text: str) -> None:
        if not self.quiet:
            print(text, flush=True)


def _shown(timing: Mapping[str, float]) -> dict[str, str]:
    """Return what the progress bar says of an epoch's time."""
    if not timing:
        return {}
    return {
        "samples/s": f"{timing['samples_per_second']:.1f}",
        "data_wait": f"{100 * timing['data_wait']:.0f}%",
    }
