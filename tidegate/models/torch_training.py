"""The one door to Lightning: learn on batches until the data, the clock or validation says stop."""

import copy
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as lightning
import torch
from torch import nn
from torch.nn import functional

from tidegate.errors import BadInput
from tidegate.models.interface import RESERVED_SHARE, Labels, Setting, Weights
from tidegate.records import CurvePoint, Target

Batch = Mapping[str, torch.Tensor]
Index = npt.NDArray[np.int64]

WEIGHT_DECAY = 0.01
#: Of the learning rate's schedule: a linear rise, then a linear fall to zero at the end.
WARM_UP_SHARE = 0.06


@dataclass(frozen=True)
class Course:
    """How long to learn and how often to look.

    Parameters
    ----------
    epochs : int
        Most passes over the data.
    started : float
        `time.monotonic` when the trial began.
    reports_per_epoch : int
    patience : int
        Reports without a lower validation log-loss after which learning ends.
    report_seconds, final_seconds : float
        What a report is expected to take, and what follows the learning.
    """

    epochs: int
    started: float
    reports_per_epoch: int = 1
    patience: int = 3
    report_seconds: float = 0.0
    final_seconds: float = 0.0


@dataclass(frozen=True)
class Data:
    """The training rows as batches.

    `schedule(epoch)` gives the rows of each batch; `batch(rows)` their inputs with ``labels`` and
    ``weight``, the latter 1 on average over all rows.
    """

    schedule: Callable[[int], Sequence[Index]]
    batch: Callable[[Index], Batch]


def on_gpu(setting: Setting) -> bool:
    """Return whether a model of this setting trains on a GPU.

    Raises
    ------
    BadInput
        If the setting asks for one and there is none.
    """
    there = bool(torch.cuda.is_available())
    if setting.device == "gpu" and not there:
        raise BadInput("search.device", "gpu asked for and none is there", "write auto or cpu")
    return there and setting.device != "cpu"


@contextmanager
def quiet_and_seeded(setting: Setting) -> Iterator[None]:
    """Seed torch and set its threads for a while; keep Lightning's advice off the log."""
    threads = torch.get_num_threads()
    loggers = [logging.getLogger("pytorch_lightning"), logging.getLogger("lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        torch.set_num_threads(setting.threads)
        torch.manual_seed(setting.seed)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def learn(
    network: nn.Module,
    groups: Sequence[Mapping[str, Any]],
    data: Data,
    setting: Setting,
    course: Course,
    evaluate: Callable[[int, float], CurvePoint] | None,
) -> None:
    """Train in place and leave the weights of the lowest validation log-loss.

    Parameters
    ----------
    network : Module
        Called with a batch, returns logits of shape (rows, outputs).
    groups : sequence of mapping
        AdamW's parameter groups with their learning rates (Loshchilov and Hutter, 2019).
    evaluate : callable, optional
        ``evaluate(step, train_log_loss)`` measures, reports and returns a point of the curve; the
        training log-loss is the mean over the batches since the last point. It may raise.
    """
    gpu = on_gpu(setting)
    module = _Module(network, groups, setting, course, data, evaluate)
    trainer = lightning.Trainer(
        **_machines(gpu),
        max_epochs=course.epochs,
        reload_dataloaders_every_n_epochs=1,
        precision="bf16-mixed" if gpu and torch.cuda.is_bf16_supported() else "32-true",
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        barebones=False,
    )
    trainer.fit(module)
    module.keep_best()
    network.to("cpu").eval()


def _machines(gpu: bool) -> dict[str, Any]:
    """Return what Trainer is told of devices: DDP where ``torchrun`` started several processes.

    One process takes one GPU, so that parallel trials on a machine can have one each; Lightning's
    own launcher would start this program's command line again.
    """
    accelerator = "gpu" if gpu else "cpu"
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes == 1:
        return {"accelerator": accelerator, "devices": 1}
    here = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    return {
        "accelerator": accelerator,
        "devices": here,
        "num_nodes": processes // here,
        "strategy": "ddp",
    }


class _Batches:
    """An epoch's batches, made as they are asked for; under DDP every process's share of them."""

    def __init__(self, data: Data, epoch: int, rank: int, processes: int) -> None:
        self._data = data
        rows = list(data.schedule(epoch))
        # Every process must take as many steps as the others.
        rows += rows[: -len(rows) % processes]
        self._rows = rows[rank::processes]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Batch]:
        return (self._data.batch(rows) for rows in self._rows)


class _Module(lightning.LightningModule):  # type: ignore[misc]
    def __init__(
        self,
        network: nn.Module,
        groups: Sequence[Mapping[str, Any]],
        setting: Setting,
        course: Course,
        data: Data,
        evaluate: Callable[[int, float], CurvePoint] | None,
    ) -> None:
        super().__init__()
        self.network = network
        self._groups = groups
        self._setting = setting
        self._course = course
        self._data = data
        self._evaluate = evaluate
        self._losses: list[float] = []
        self._best: tuple[float, dict[str, torch.Tensor]] | None = None
        self._worse = 0
        self._learning_since = time.monotonic()
        self._report_seconds = course.report_seconds

    def train_dataloader(self) -> _Batches:
        return _Batches(
            self._data, self.trainer.current_epoch, self.global_rank, self.trainer.world_size
        )

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self._groups, weight_decay=WEIGHT_DECAY)
        self._steps = self._course.epochs * max(1, len(self.train_dataloader()))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: self._rate())
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _progress(self) -> float:
        """Return how much of the course is over, by steps or by the clock, whichever is ahead."""
        by_steps = float(self.global_step / self._steps)
        if self._setting.seconds is None:
            return by_steps
        end = self._course.started + self._setting.seconds * (1 - RESERVED_SHARE)
        end -= self._report_seconds + self._course.final_seconds
        whole = max(end - self._learning_since, 1e-3)
        return max(by_steps, (time.monotonic() - self._learning_since) / whole)

    def _rate(self) -> float:
        progress = self._progress()
        if progress < WARM_UP_SHARE:
            return max(progress / WARM_UP_SHARE, 1 / self._steps)
        return max(0.0, (1 - progress) / (1 - WARM_UP_SHARE))

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        logits = self.network(batch).float()
        loss = (losses(logits, batch["labels"]) * batch["weight"]).mean()
        self._losses.append(float(loss.detach()))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        batches = self.trainer.num_training_batches
        every = max(1, batches // self._course.reports_per_epoch)
        last = batch_idx + 1 == batches
        over = self._setting.seconds is not None and self._progress() >= 1
        if over:
            self.trainer.should_stop = True
        due = (batch_idx + 1) % every == 0 and batches - batch_idx - 1 >= every // 2
        if self._evaluate is not None and (due or last or over):
            self._look()

    def _look(self) -> None:
        assert self._evaluate is not None
        began = time.monotonic()
        self.network.eval()
        train_loss = float(np.mean(self._losses))
        self._losses.clear()
        point = self._evaluate(self.global_step, train_loss)
        self.network.train()
        self._report_seconds = time.monotonic() - began
        if self._best is None or point.validation_log_loss < self._best[0]:
            trained = {
                name: copy.deepcopy(value.detach())
                for name, value in self.network.named_parameters()
                if value.requires_grad
            }
            self._best, self._worse = (point.validation_log_loss, trained), 0
        else:
            self._worse += 1
            if self._worse >= self._course.patience:
                self.trainer.should_stop = True

    def keep_best(self) -> None:
        if self._best is not None:
            self.network.load_state_dict(self._best[1], strict=False)


def losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return each row's cross-entropy; over several outputs of 0/1 labels, their mean.

    Parameters
    ----------
    logits : Tensor, shape (rows, outputs)
    labels : Tensor
        Numbers of classes, shape (rows,), int64; or 0/1 floats, shape (rows, outputs).
    """
    if labels.ndim == 1:
        return functional.cross_entropy(logits, labels, reduction="none")
    return functional.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(1)


def as_labels(target: Target, y: Labels) -> torch.Tensor:
    """Return labels as `losses` takes them."""
    if target.kind == "multiclass":
        return torch.from_numpy(y.astype(np.int64))
    return torch.from_numpy(y.astype(np.float32).reshape(len(y), -1))


def as_shares(weight: Weights) -> torch.Tensor:
    """Return weights that are 1 on average."""
    return torch.from_numpy((weight / weight.mean()).astype(np.float32))


def prior_logits(target: Target, y: Labels, weight: Weights) -> torch.Tensor:
    """Return the logits, shape (outputs,), of the outputs' weighted shares."""
    labels = (
        np.eye(len(target.outputs))[y] if target.kind == "multiclass" else y.reshape(len(y), -1)
    )
    share = np.clip(np.average(labels, axis=0, weights=weight), 1e-3, 1 - 1e-3)
    logits = np.log(share) if target.kind == "multiclass" else np.log(share / (1 - share))
    return torch.from_numpy(logits.astype(np.float32))
