"""The training loop: chunks in, final.pt out; a checkpoint, a validation EER and a report each epoch."""

import json
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from pyspk.chunks import ChunkBatches, FeatureReader
from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.frontend import Frontend, WaveBatches
from pyspk.losses import LOSSES, SphereSpeaker
from pyspk.model import FINAL, build_net, save_model, start_from
from pyspk.nets.normalisation import with_statistics_of_all
from pyspk.tables.records import hold
from pyspk.tables.text import write_lines, write_table
from pyspk.training.average import epochs_to_keep, keep_epoch, mean_weights, wanted_epochs
from pyspk.training.checkpoint import LAST, Checkpoints, Progress, classifier_of
from pyspk.training.config import TrainConfig, to_toml
from pyspk.training.interruption import Interruption, interruption, outlast_signals
from pyspk.training.report import Forecast, count, in_words, report, tensorboard_writer
from pyspk.training.schedule import Schedule
from pyspk.training.shared import WholeLoss, WholeOptimizer
from pyspk.training.split import Split, split_speakers
from pyspk.training.steps import Step, Stepper
from pyspk.training.validation import validation_eer
from pyspk.waves import WaveReader
from pyspk.world import World

log = logging.getLogger("pyspk")


class Start(NamedTuple):
    """The model folder with which a run begins, and whether with new weights for all speakers."""

    model: Path
    reset_classifier: bool = False


def train(config: TrainConfig, data: DataDir, folder: Path, world: World, start: Start | None = None,
          reader: FeatureReader | WaveReader | None = None, frontend: Frontend | None = None) -> None:
    """Train on `data` and leave config.toml, spk2id, last.pt, epochs/, log/train.jsonl and final.pt in `folder`.

    Goes on from folder/last.pt when there is one, to the batch, else begins as `start` says, else with a new network.
    reader: what gives the chunks of the utterances in its utt2spk; None: feats.scp of `data`. frontend: what makes
    their features, from a WaveReader's waves; None: the reader does. All processes of `world` call this.

    Raises UserError for data that cannot be trained on, for a model with other settings and for a loss that is not
    finite, naming the utterances; KeyboardInterrupt and StartAgainError after a signal, when all is saved.
    """
    reader = reader or FeatureReader.from_data_dir(data)
    split = split_speakers(reader.utt2spk, config, data.path)
    config.check_shared_by(world.size)
    if world.is_first:
        hold(folder / LAST)      # a job may outlive who submitted it, and so has a hold of its own
        write_lines(folder / "config.toml", to_toml(config).splitlines())
        write_table(folder / "spk2id", split.spk2id)
    Trainer(config, reader, split, folder, world, start, frontend).run()


class Trainer:
    """A network, its loss and its optimizer on their way through the epochs; `progress` says how far they are."""

    def __init__(self, config: TrainConfig, reader: FeatureReader | WaveReader, split: Split, folder: Path,
                 world: World, start: Start | None = None, frontend: Frontend | None = None):
        self.config, self.reader, self.split, self.folder, self.world = config, reader, split, folder, world
        self.net_settings = config.net_settings(feat_dim=reader.dim)
        self._batches = WaveBatches if frontend else ChunkBatches
        _make_reproducible(config.seed, world.device)
        net = build_net(self.net_settings)
        self.loss = _loss(config, len(split.spk2id), world)
        if start:
            self._start_from(start, net)
        net = net.to(world.device, memory_format=torch.channels_last)      # the layout for convolutions
        self.net = with_statistics_of_all(net, world)
        self.optimizer = make_optimizer(self.net, self.loss.to(world.device), config)
        self.stepper = Stepper(self.net, self.loss, self.optimizer, world, frontend and frontend.to(world.device),
                               config.precision, config.compile)
        self.checkpoints = Checkpoints(folder, config.keep_checkpoints, world)
        self.progress = Progress()
        self._saved_at = time.monotonic()
        self._events, self._forecast = None, Forecast()
        self._describe()

    def _start_from(self, start: Start, net: nn.Module) -> None:
        start_from(net, self.net_settings, start.model)
        classifier = None if start.reset_classifier else classifier_of(start.model, self.split.spk2id)
        log.info("starting from the network of %s, with %s weights of the speakers", start.model,
                 "new" if classifier is None else "its")
        if classifier is not None:
            try:
                WholeLoss(self.loss).load_state_dict(classifier)
            except (RuntimeError, ValueError):
                raise UserError(f"{start.model}: its weights of the speakers are of another loss or dimension; "
                                "--reset-classifier begins with new ones") from None

    def run(self) -> None:
        """Go on from the last checkpoint, if there is one, to final.pt."""
        self.progress = self.checkpoints.load(self._parts(), self._about()) or self.progress
        self.world.require_same("the checkpoint or the data", [self.progress.epoch, self.progress.batch,
                                                               *self._about().values()])
        if self.progress != Progress():
            log.info("going on after %d epochs and %d batches of %d epochs", self.progress.epoch, self.progress.batch,
                     self.config.n_epochs)
        if self.config.tensorboard and self.world.is_first:
            self._events = tensorboard_writer(self.folder / "log", self.progress.epoch + 1)
        with interruption() as stop:
            while self.progress.epoch < self.config.n_epochs and not self._patience_is_over():
                try:
                    self._train_epoch(stop)
                except RuntimeError as fault:      # torch raises it wherever this process is at the moment
                    if "DataLoader worker" not in str(fault):
                        raise
                    raise UserError(f"a process that reads data died ({fault}); is there too little memory? Try a "
                                    "lower n_workers") from None
                self._end_epoch()
        if self.world.is_first:
            epochs = wanted_epochs(self.progress.history, self.config.average_epochs, self.config.average_of)
            self.net.load_state_dict(mean_weights(self.folder, epochs))
            save_model(self.folder / FINAL, self.net_settings, self.net)
        if self._events:
            self._events.close()

    def _train_epoch(self, stop: Interruption) -> None:
        """What is left of an epoch; saves at its end, now and then, and when it has to stop."""
        config, progress = self.config, self.progress
        batches = self._batches(self.reader, self.split.utts, self.split.spk_ids, config.chunk_frames,
                                config.batch_size, config.samples_per_epoch or len(self.split.utts), config.seed,
                                progress.epoch, config.balance, self.world.rows_here(config.batch_size))
        schedule = Schedule(config, len(batches) * config.batch_size, self.loss.no_margin)
        self.net.train()
        asked = time.perf_counter()
        for batch in self._loaded(batches):
            waited = time.perf_counter() - asked
            self._set_schedule(schedule, batches)
            step = Step(progress.epoch, progress.batch, batches.names(progress.batch), self.checkpoints.newest)
            _seed_step(config.seed, step, self.world.rank)
            numbers = self.stepper.step(step, *batch)
            progress.batch += 1
            count(progress.sums, numbers, config.batch_size, time.perf_counter() - asked, waited)
            n_left = (config.n_epochs - progress.epoch) * len(batches) - progress.batch
            if said := self._forecast.step(n_left, config.batch_size):
                log.info("%s", said)
            overdue = time.monotonic() - self._saved_at > 60 * config.checkpoint_minutes
            if self.world.any(stop.signal is not None or overdue) or progress.batch == len(batches):
                self._save()
                if self.world.any(stop.signal is not None):
                    stop.leave()
            asked = time.perf_counter()      # after saving, which is no waiting for data
        self._set_schedule(schedule, batches)      # what the report says, where an epoch was over when the run went on

    def _end_epoch(self) -> None:
        """Validate, report, and keep the network where final.pt may want it."""
        config, progress = self.config, self.progress
        now = {"lr": self.optimizer.param_groups[0]["lr"], "margin": self.loss.m, **self.loss.learned()}
        done = report(progress.epoch + 1, progress.sums, now, self.world.device)
        done["valid_eer"] = validation_eer(self.net, self.reader, self.split.valid, self.world)
        progress.epoch, progress.batch, progress.sums = progress.epoch + 1, 0, {}
        progress.history.append(done)
        if self.world.is_first:
            log.info("%s", in_words(done, config.n_epochs))
            write_lines(self.folder / "log" / "train.jsonl", map(json.dumps, progress.history))
            for name, value in done.items() if self._events else ():
                if value is not None:
                    self._events.add_scalar(name, value, progress.epoch)
            # The last checkpoint does not know of this epoch's EER, nor the one before it of the last one's.
            wanted = epochs_to_keep(progress.history, config.average_epochs, config.average_of, config.keep_checkpoints)
            keep_epoch(self.folder, progress.epoch, wanted, self.net_settings, self.net)

    def _set_schedule(self, schedule: Schedule, batches: ChunkBatches) -> None:
        n_seen = (self.progress.epoch * len(batches) + self.progress.batch) * self.config.batch_size
        for group in self.optimizer.param_groups:
            group["lr"] = schedule.lr(n_seen)
        self.loss.m = schedule.margin(n_seen)

    def _loaded(self, batches: ChunkBatches) -> Iterator[tuple[Tensor, Tensor]]:
        """(feats (B, T, F), spk (B,)) of the batches that are left."""
        left = range(self.progress.batch, len(batches))
        loader = DataLoader(batches, batch_size=None, sampler=left, num_workers=self.config.n_workers,
                            worker_init_fn=outlast_signals, pin_memory=self.world.device.type == "cuda")
        try:
            yield from tqdm(loader, desc=f"epoch {self.progress.epoch + 1}", unit="batch", leave=False,
                            initial=left.start, total=left.stop,
                            disable=not (self.world.is_first and sys.stderr.isatty()))
        except UserError as fault:      # from a worker process the message comes wrapped in a traceback
            raise UserError(str(fault).strip().splitlines()[-1].removeprefix("pyspk.errors.UserError: ")) from None

    def _patience_is_over(self) -> bool:
        """Whether the validation EER has not fallen for patience_epochs."""
        eers = [done["valid_eer"] for done in self.progress.history]
        since_best = len(eers) - 1 - eers.index(min(eers)) if eers and self.config.patience_epochs else 0
        return since_best >= self.config.patience_epochs > 0

    def _save(self) -> None:
        self.checkpoints.save(self.progress, self._parts(), self._about())
        self._saved_at = time.monotonic()

    def _parts(self) -> dict:
        return {"net": self.net, "loss": WholeLoss(self.loss), "scaler": self.stepper.scaler,
                "optimizer": WholeOptimizer(self.optimizer, self.loss, self.world)}

    def _about(self) -> dict:
        return {"speakers": len(self.split.spk2id), "utterances": len(self.split.utts)}

    def _describe(self) -> None:
        split, config = self.split, self.config
        log.info("%d speakers, %d utterances for training; %d speakers held out; %s, %.2f M parameters, on %s%s",
                 len(split.spk2id), len(split.utts), len(split.valid), _in_words(self.net_settings),
                 sum(p.numel() for p in self.net.parameters()) / 1e6, self.world.device,
                 f", in {self.world.size} processes" if self.world.size > 1 else "")
        log.info("%s", _in_words({"loss": config.loss, **config.loss_settings()}))
        if config.idle():
            log.info("%s and %s have no %s, which stay without effect", config.net, config.loss,
                     ", ".join(config.idle()))
        if config.margin_start_epoch >= config.n_epochs and "m" in config.loss_settings():
            log.warning("there will be no margin: it begins after epoch %g (margin_start_epoch) of %d",
                        config.margin_start_epoch, config.n_epochs)


def _loss(config: TrainConfig, n_spk: int, world: World) -> nn.Module:
    """The loss of `config`; of SphereSpeaker each process holds a share of the speakers."""
    shared = {"world": world} if LOSSES[config.loss] is SphereSpeaker else {}
    return LOSSES[config.loss](config.emb_dim, n_spk, **config.loss_settings(), **shared)


def make_optimizer(net: nn.Module, loss: nn.Module, config: TrainConfig) -> torch.optim.SGD:
    """SGD with Nesterov momentum; no weight decay on biases, normalisation and PReLU slopes (all one-dimensional)."""
    parameters = [*net.parameters(), *loss.parameters()]
    groups = [{"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
              {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}]
    # Fused is several times as fast, but in torch 2.13 begins with undefined momentum where the first step is left out,
    # as the scaler of float16 usually does.
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0,
                           fused=config.precision != "float16")


def _in_words(settings: dict) -> str:
    """ "resnet, depth 18, ..." of {"net": "resnet", "depth": 18, ...}."""
    (_, name), *others = settings.items()
    return ", ".join([name, *(f"{key} {value}" for key, value in others)])


def _seed_step(seed: int, step: Step, rank: int) -> None:
    """What a step draws, as dither is, follows from the seed and from which step it is, in which process."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step.epoch, step.batch, rank]).generate_state(1)[0]))


def _make_reproducible(seed: int, device: torch.device) -> None:
    """The same weights from the same seed, to the bit on a CPU; a GPU may choose the fastest of its algorithms."""
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(device.type == "cpu", warn_only=True)
    torch.backends.cudnn.benchmark = True
