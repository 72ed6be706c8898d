"""How large a corpus is, and what stages 2 to 5 make of it."""

from dataclasses import dataclass

from pyspk.augment.config import AugmentConfig
from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.needs.amounts import audio_amount


@dataclass(frozen=True)
class Corpus:
    """Utterances to train on, before anything is made of them, and how that is known."""

    n_utts: int
    n_spk: int
    seconds: float
    source: str

    @property
    def mean_s(self) -> float:
        """Length of an utterance."""
        return self.seconds / self.n_utts


@dataclass(frozen=True)
class Copies:
    """What augmentation makes of each utterance: at so many other speeds, of each of these so many copies.

    online: none of it is on the disk; then only the speeds count as utterances.
    """

    speeds: tuple[float, ...] = ()
    n_copies: int = 0
    online: str = ""

    def n_made(self) -> int:
        """Utterances on the disk made of each of the corpus, itself apart."""
        return 0 if self.online else (1 + len(self.speeds)) * (1 + self.n_copies) - 1

    def seconds_made(self, seconds: float) -> float:
        """Their length, of `seconds` in the corpus: who speaks faster is shorter."""
        return 0.0 if self.online else seconds * (sum((1.0, *(1 / s for s in self.speeds))) * (1 + self.n_copies) - 1)

    def n_trained(self, with_speeds: bool) -> int:
        """Utterances to train on, of each of the corpus. with_speeds: those at other speeds, too."""
        return (1 + with_speeds * len(self.speeds)) * (1 if self.online else 1 + self.n_copies)


def corpus_of(data: DataDir | None, hours: float | None, n_utts: int | None, n_spk: int | None) -> Corpus:
    """As given, all three, or else that of `data`. Raises UserError when it is neither, or nothing tells the lengths.
    """
    given = [value for value in (hours, n_utts, n_spk) if value is not None]
    if len(given) == 3:
        if n_spk > n_utts:
            raise UserError(f"--speakers {n_spk}: more than the {n_utts} utterances (--utts)")
        return Corpus(n_utts, n_spk, hours * 3600, "as given")
    if given:
        raise UserError("--hours, --utts and --speakers belong together: give all three, or none and a DATA_DIR")
    if data is None:
        raise UserError("no corpus: give a DATA_DIR, or --hours, --utts and --speakers")
    amount = audio_amount(data)
    if not amount.n_utts:
        raise UserError(f"{data.path}: nothing tells how long its {amount.n_unknown} utterances are before they are "
                        "read; write utt2dur, a line \"utterance seconds\" for each")
    n_utts = len(data.utt2spk)
    seconds = amount.seconds * n_utts / amount.n_utts
    return Corpus(n_utts, len(set(data.utt2spk.values())), seconds, amount.source)


def copies_of(config: AugmentConfig | None, n_copies: int, online: str) -> Copies:
    """What augment_data_dir.py, or training --online, makes by these settings; None: nothing."""
    return Copies(config.speeds, n_copies, online) if config else Copies(online=online)
