"""Which speakers are trained on, and which are held out to validate with."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyspk.augment.copies import original_name
from pyspk.errors import UserError, first_few
from pyspk.training.config import TrainConfig

_FEWEST_TRAINING_SPEAKERS = 2
_FEWEST_SPEAKERS_TO_VALIDATE = 12


@dataclass(frozen=True)
class Split:
    """Training utterances with their speaker numbers, and the utterances of held-out speakers."""

    spk2id: dict[str, int]
    utts: list[str]
    spk_ids: list[int]
    valid: dict[str, list[str]]      # held-out speaker -> utterances

    @property
    def can_validate(self) -> bool:
        """Whether the held-out utterances make pairs of one speaker, and pairs of two."""
        return len(self.valid) > 1 and any(len(utts) > 1 for utts in self.valid.values())


def split_speakers(utt2spk: Mapping[str, str], config: TrainConfig, where: Path) -> Split:
    """Hold out evenly spaced speakers for validation; the others get numbers from 0 in LC_ALL=C order.

    A speaker at another speed (sp0.9-SPK) is held out with SPK, and left out altogether without config.speed_copies;
    validated on are the utterances as they were recorded, no copies. Raises UserError, naming `where`, when fewer than
    two speakers are left to train on, for those with fewer than config.min_utts_per_speaker utterances, and when the
    config goes by a validation EER that there will not be.
    """
    speakers = sorted(set(utt2spk.values()))
    known = set(speakers)
    recorded = [spk for spk in speakers if original_name(spk, known) == spk]
    n_valid = config.valid_speakers
    if n_valid < 0:      # a tenth, but none where that leaves too few to learn from
        few = len(recorded) < _FEWEST_SPEAKERS_TO_VALIDATE
        n_valid = 0 if few else min(100, max(4, len(recorded) // 10))
    if len(recorded) - n_valid < _FEWEST_TRAINING_SPEAKERS:
        raise UserError(f"{where}: {len(recorded)} speakers, of which {n_valid} are held out for validation; "
                        f"training needs at least {_FEWEST_TRAINING_SPEAKERS}")
    held_out = {recorded[int((i + 0.5) * len(recorded) / n_valid)] for i in range(n_valid)}
    trained = (spk for spk in (speakers if config.speed_copies else recorded)
               if original_name(spk, known) not in held_out)
    spk2id = {spk: i for i, spk in enumerate(trained)}
    utts = [utt for utt, spk in utt2spk.items() if spk in spk2id]
    _refuse_small(Counter(utt2spk[utt] for utt in utts), config.min_utts_per_speaker, where)
    valid: dict[str, list[str]] = {spk: [] for spk in sorted(held_out)}
    for utt, spk in utt2spk.items():
        if spk in valid and original_name(utt, utt2spk) == utt:
            valid[spk].append(utt)
    split = Split(spk2id, utts, [spk2id[utt2spk[utt]] for utt in utts],
                  {spk: spread(of_spk, config.valid_utts_per_speaker) for spk, of_spk in valid.items()})
    if config.goes_by_validation and not split.can_validate:
        raise UserError(f"{where}: patience_epochs and average_of = best go by the EER of held-out speakers, and "
                        f"{n_valid} are held out, with {sum(map(len, split.valid.values()))} utterances; set "
                        "valid_speakers to 2 or more and valid_utts_per_speaker too")
    return split


def _refuse_small(n_utts: Mapping[str, int], fewest: int, where: Path) -> None:
    """Raise UserError when some speaker of n_utts, speaker -> number of utterances, has fewer than `fewest`."""
    small = [spk for spk, n in n_utts.items() if n < fewest]
    if small:
        raise UserError(f"{where}: {len(small)} of {len(n_utts)} speakers have fewer than {fewest} utterances "
                        f"({first_few(small)}), from which little is learned; leave them out (subset_data_dir.py), or "
                        "train on all with --set min_utts_per_speaker=1")


def spread(utts: Sequence[str], n: int) -> list[str]:
    """At most n of `utts`, evenly spaced."""
    return [utts[int((i + 0.5) * len(utts) / n)] for i in range(n)] if len(utts) > n else list(utts)
