"""The training loop: chunks in, final.pt out, a checkpoint and a validation EER each epoch."""

import json
import logging
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from pyspk.chunks import ChunkBatches, FeatureReader
from pyspk.datadir import DataDir
from pyspk.embeddings import embed
from pyspk.errors import UserError, first_few
from pyspk.losses import LOSSES
from pyspk.metrics import eer
from pyspk.model import FINAL, build_net, save_model, start_from
from pyspk.tables.text import write_lines, write_table
from pyspk.training.checkpoint import load_checkpoint, save_checkpoint
from pyspk.training.config import TrainConfig, to_toml
from pyspk.training.schedule import Schedule
from pyspk.training.split import split_speakers
from pyspk.waves import WaveReader

log = logging.getLogger("pyspk")
_VALID_UTTS_AT_ONCE = 32


def train(config: TrainConfig, data: DataDir, folder: Path, device: torch.device, init_model: Path | None = None,
          reader: FeatureReader | WaveReader | None = None) -> None:
    """Train on `data` and leave config.toml, spk2id, last.pt, log/train.jsonl and final.pt in `folder`.

    Goes on from folder/last.pt when there is one, else begins with the network of the model folder `init_model`, else
    with a new one. reader: what gives the chunks of the utterances in its utt2spk; None: feats.scp of `data`. Raises
    UserError for data that cannot be trained on, for a model with other settings and for a loss that is not finite,
    naming the utterances.
    """
    reader = reader or FeatureReader.from_data_dir(data)
    split = split_speakers(reader.utt2spk, config, data.path)
    net_settings = config.net_settings(feat_dim=reader.dim)

    _make_deterministic(config.seed)
    net = build_net(net_settings)
    if init_model:
        start_from(net, net_settings, init_model)
    net = net.to(device, memory_format=torch.channels_last)      # what convolutions are faster in
    loss = LOSSES[config.loss](config.emb_dim, len(split.spk2id), **config.loss_settings()).to(device)
    optimizer = make_optimizer(net, loss, config)
    log.info("%d speakers, %d utterances for training; %d speakers held out; %s, %.2f M parameters, on %s",
             len(split.spk2id), len(split.utts), len(split.valid), _in_words(net_settings),
             sum(p.numel() for p in net.parameters()) / 1e6, device)
    log.info("%s", _in_words({"loss": config.loss, **config.loss_settings()}))

    write_lines(folder / "config.toml", to_toml(config).splitlines())
    write_table(folder / "spk2id", split.spk2id)
    first_epoch, history = load_checkpoint(folder, net, loss, optimizer)
    if first_epoch:
        log.info("going on after epoch %d of %d", first_epoch, config.n_epochs)
    for epoch in range(first_epoch, config.n_epochs):
        batches = ChunkBatches(reader, split.utts, split.spk_ids, config.chunk_frames, config.batch_size,
                               config.samples_per_epoch or len(split.utts), config.seed, epoch, config.balance)
        report = train_epoch(net, loss, optimizer, batches, config, epoch, device)
        history.append({"epoch": epoch + 1, **report, "valid_eer": validation_eer(net, reader, split.valid)})
        log.info("%s", in_words(history[-1], config.n_epochs))
        save_checkpoint(folder, epoch + 1, net, loss, optimizer, history)
        write_lines(folder / "log" / "train.jsonl", map(json.dumps, history))
    save_model(folder / FINAL, net_settings, net)


def train_epoch(net: nn.Module, loss: nn.Module, optimizer: torch.optim.Optimizer, batches: ChunkBatches,
                config: TrainConfig, epoch: int, device: torch.device) -> dict[str, float]:
    """One pass over `batches`; what it came to, as plain numbers by name."""
    net.train()
    schedule = Schedule(config, len(batches) * config.batch_size, loss.no_margin)
    loader = DataLoader(batches, batch_size=None, num_workers=config.n_workers, pin_memory=device.type == "cuda")
    total, waited, started = 0.0, 0.0, time.perf_counter()
    bar = tqdm(total=len(batches), desc=f"epoch {epoch + 1}", unit="batch", leave=False,
               disable=not sys.stderr.isatty())
    with bar:
        chunks = iter(loader)
        for i in range(len(batches)):
            asked = time.perf_counter()
            feats, spk = _next(chunks)                                       # (B, T, F), (B,)
            waited += time.perf_counter() - asked
            n_seen = (epoch * len(batches) + i) * config.batch_size
            for group in optimizer.param_groups:
                group["lr"] = schedule.lr(n_seen)
            loss.m = schedule.margin(n_seen)
            emb = net(feats.to(device, non_blocking=True))                   # (B, D)
            value = loss(emb, spk.to(device, non_blocking=True))             # ()
            if not torch.isfinite(value):
                raise UserError(f"epoch {epoch + 1}, batch {i + 1}: {_what_is_not_finite(feats, emb, batches.names(i))}"
                                f" (rate {schedule.lr(n_seen):.3g}); last.pt is from epoch {epoch}")
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
            total += value.item()
            bar.update()
    seconds = time.perf_counter() - started
    return {"loss": total / len(batches), "lr": schedule.lr(n_seen), "margin": loss.m, **loss.learned(),
            "chunks_per_s": len(batches) * config.batch_size / seconds, "waited_share": waited / seconds}


def make_optimizer(net: nn.Module, loss: nn.Module, config: TrainConfig) -> torch.optim.SGD:
    """SGD with Nesterov momentum; no weight decay on biases, normalisation and PReLU slopes (all one-dimensional)."""
    parameters = [*net.parameters(), *loss.parameters()]
    groups = [{"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
              {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0)


def validation_eer(net: nn.Module, reader: FeatureReader | WaveReader, valid: dict[str, list[str]]) -> float | None:
    """EER in [0, 1] over all pairs of the held-out speakers' utterances, their mean subtracted; None without pairs."""
    labels = np.array([i for i, utts in enumerate(valid.values()) for _ in utts])
    if len(valid) < 2 or len(labels) == len(valid):
        return None
    net.eval()
    utts = [utt for utts in valid.values() for utt in utts]
    n = 1 if next(net.parameters()).device.type == "cpu" else _VALID_UTTS_AT_ONCE      # a CPU gains nothing by more
    embs = np.concatenate([embed(net, [reader.whole(utt) for utt in utts[i:i + n]]) for i in range(0, len(utts), n)])
    embs -= embs.mean(axis=0)
    embs /= np.linalg.norm(embs, axis=1, keepdims=True)
    first, second = np.triu_indices(len(labels), k=1)
    scores = np.einsum("nd,nd->n", embs[first], embs[second])
    same = labels[first] == labels[second]
    return float(eer(scores[same], scores[~same]))


def in_words(report: dict, n_epochs: int) -> str:
    """One line of the log."""
    bias = f"b {report['b']:.2f}, " if "b" in report else ""
    valid = "" if report["valid_eer"] is None else f", validation EER {100 * report['valid_eer']:.2f}%"
    return (f"epoch {report['epoch']}/{n_epochs}: loss {report['loss']:.4f}{valid}, margin {report['margin']:.3f}, "
            f"{bias}rate {report['lr']:.2e}, {report['chunks_per_s']:.0f} chunks/s, "
            f"{100 * report['waited_share']:.0f}% of the time waiting for data")


def _next(chunks) -> tuple[torch.Tensor, torch.Tensor]:
    try:
        return next(chunks)
    except UserError as fault:      # from a worker process the message comes wrapped in a traceback
        raise UserError(str(fault).strip().splitlines()[-1].removeprefix("pyspk.errors.UserError: ")) from None


def _what_is_not_finite(feats: torch.Tensor, emb: torch.Tensor, names: list[str]) -> str:
    """Where a loss that is not finite comes from, and what to do. feats (B, T, F), emb (B, D), B names."""
    for what, values, remedy in (("features", feats, "make them again"),
                                 ("embeddings", emb, "the network diverged: lower lr and start again")):
        good = values.flatten(1).isfinite().all(dim=1)                       # (B,)
        if not good.all():
            bad = [name for name, fine in zip(names, good.tolist(), strict=True) if not fine]
            return f"the {what} of {len(bad)} utterances are not finite ({first_few(bad, 5)}); {remedy}"
    return f"the loss is not finite with the utterances {first_few(names, 5)}; lower lr and start again"


def _in_words(settings: dict) -> str:
    """ "resnet, depth 18, ..." of {"net": "resnet", "depth": 18, ...}."""
    (_, name), *others = settings.items()
    return ", ".join([name, *(f"{key} {value}" for key, value in others)])


def _make_deterministic(seed: int) -> None:
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
