"""What each of the stages 2 to 5 needs: the corpus's size by what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass

from pyspk.needs.sizes import (
    Weights,
    checkpoint_bytes,
    decision_bytes,
    embedding_bytes,
    feature_bytes,
    score_bytes,
    training_bytes,
)
from pyspk.plan.corpus import Copies, Corpus
from pyspk.plan.measure import Measured
from pyspk.training.config import TrainConfig
from pyspk.training.cost import SampleCost

TABLE_BYTES = 500          # of the tables of stage 2, for each utterance on the disk
_PAIR_BYTES = 60           # of the two names of a trial
_FLOAT = 4
_FEWEST_CHUNKS = 8         # of a process, below which no device is used well


@dataclass(frozen=True)
class Evaluation:
    """What is evaluated on: utterances, as long as those of the corpus, and trials."""

    n_utts: int
    n_trials: int


@dataclass(frozen=True)
class Machine:
    """One of the machines: jobs at a time, devices to train on, memory of a process that does nothing yet."""

    n_jobs: int
    n_devices: int
    base_bytes: float
    on_cpu: bool


@dataclass(frozen=True)
class Stage:
    """What one stage needs: bytes on the disk, bytes of memory of a machine, hours on each number of machines."""

    name: str
    disk_bytes: float
    memory_bytes: float
    hours: list[float]


@dataclass(frozen=True)
class Plan:
    """What the stages are planned from, and what they need."""

    corpus: Corpus
    copies: Copies
    evaluation: Evaluation
    config: TrainConfig
    weights: Weights
    cost: SampleCost
    measured: Measured
    machine: Machine
    n_machines: Sequence[int]
    feat_dim: int
    frame_shift_ms: float
    compress: bool

    def stages(self) -> list[Stage]:
        """Stages 2 to 5, in their order."""
        return [self.features(), self.training(), self.embeddings(), self.scores()]

    @property
    def n_trained(self) -> int:
        """Utterances to train on."""
        return self.corpus.n_utts * self.copies.n_trained(self.config.speed_copies)

    @property
    def n_samples(self) -> int:
        """Training samples of all epochs, in whole batches."""
        batch = self.config.batch_size
        return self.config.n_epochs * -(-(self.config.samples_per_epoch or self.n_trained) // batch) * batch

    def features(self) -> Stage:
        """Stage 2: features and decisions of the corpus, its copies and the evaluation set; their tables."""
        made, evaluated = self.corpus.n_utts * self.copies.n_made(), self.evaluation.n_utts
        seconds, copied_s = self._seconds(), self.copies.seconds_made(self.corpus.seconds)
        n_utts, n_frames = self.corpus.n_utts + evaluated + made, (seconds + copied_s) * 1000 / self.frame_shift_ms
        n_lines = n_utts + (self.corpus.n_utts + made if made else 0)      # again in the directory of all
        disk = (feature_bytes(n_utts, n_frames, self.feat_dim, self.compress) + decision_bytes(n_utts, n_frames)
                + TABLE_BYTES * n_lines)
        measured = self.measured
        core_s = (seconds * measured.feature_s + copied_s * measured.copy_s
                  + (seconds + copied_s) * measured.decision_s)
        return Stage("2 features", disk, self._of_array(self.machine.n_jobs, max(self.corpus.n_utts, made)),
                     self._shared(core_s / self.machine.n_jobs))

    def training(self) -> Stage:
        """Stage 3: checkpoints; as many processes as devices, whose first gathers what a checkpoint holds."""
        disk = training_bytes(self.weights, self.config.keep_checkpoints,
                              min(self.config.average_epochs, self.config.n_epochs))
        memory = (self.machine.n_devices * (self.machine.base_bytes + self.measured.name_bytes * self.n_trained)
                  + checkpoint_bytes(self.weights))
        if self.machine.on_cpu:
            memory += self.machine.n_devices * self.device_bytes(1)
        return Stage("3 training", disk, memory, self._shared(self.n_samples / self.samples_per_s()))

    def embeddings(self) -> Stage:
        """Stage 4: of the corpus without copies, and of the evaluation set."""
        disk = embedding_bytes(self.corpus.n_utts + self.evaluation.n_utts, self.corpus.n_spk + self.evaluation.n_utts,
                               self.config.emb_dim)
        n_jobs = self.machine.n_jobs if self.machine.on_cpu else self.machine.n_devices
        return Stage("4 embeddings", disk, self._of_array(n_jobs, self.corpus.n_utts),
                     self._shared(self._seconds() * self.measured.embedding_s / n_jobs))

    def scores(self) -> Stage:
        """Stage 5, one process: cosine, and adaptive s-norm against the speakers of the corpus."""
        n_embs, n_trials = self.evaluation.n_utts, self.evaluation.n_trials
        memory = (self.machine.base_bytes + _FLOAT * self.config.emb_dim * (n_embs + self.corpus.n_spk)
                  + self.measured.name_bytes * (n_embs + self.corpus.n_spk) + 40 * n_trials)
        seconds = 2 * n_trials * self.measured.pair_s + n_embs * self.corpus.n_spk * self.measured.cohort_s
        return Stage("5 scores", 2 * score_bytes(n_trials, _PAIR_BYTES), memory,
                     [seconds / 3600] * len(self.n_machines))

    def samples_per_s(self) -> float:
        """Of one machine: of its devices, or what its cores can feed them with --online workers."""
        rate = self.measured.samples_per_s * self.machine.n_devices
        return min(rate, self.feed_per_s()) if self.copies.online == "workers" else rate

    def feed_per_s(self) -> float:
        """Chunks that the cores of one machine read, augment and turn into features."""
        chunk_s = self.config.chunk_frames * self.frame_shift_ms / 1000
        return self.machine.n_jobs / (chunk_s * self.measured.copy_s)

    def device_bytes(self, n_machines: int) -> float:
        """Memory of one device: weights, gradient, momentum; what the backward pass needs of its part of a batch."""
        n = n_machines * self.machine.n_devices
        size = 1.0 if self.machine.on_cpu or self.config.precision == "float32" else 0.5
        return (3 * _FLOAT * (self.weights.net + self.weights.classifier / n)
                + size * self.cost.kept_bytes * self.config.batch_size / n)

    def too_many(self) -> list[int]:
        """Those of the numbers of machines that cannot share a batch, or would leave few chunks to each device."""
        batch, n_devices = self.config.batch_size, self.machine.n_devices
        return [n for n in self.n_machines if batch % (n * n_devices) or batch // (n * n_devices) < _FEWEST_CHUNKS]

    def _seconds(self) -> float:
        return self.corpus.seconds + self.evaluation.n_utts * self.corpus.mean_s

    def _of_array(self, n_jobs: int, n_utts: int) -> float:
        """Memory of a step with the tables of n_utts utterances and of its n_jobs jobs, which share them."""
        return (1 + n_jobs) * self.machine.base_bytes + 2 * self.measured.name_bytes * n_utts

    def _shared(self, seconds: float) -> list[float]:
        """Hours of what one machine does in `seconds`, on each number of machines."""
        return [seconds / n / 3600 for n in self.n_machines]
