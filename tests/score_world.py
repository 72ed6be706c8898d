"""Embeddings and trials in small, and what docs/scores.md takes for granted of them."""

import numpy as np
from conftest import ROOT

from pyspk.tables.archive import ArchiveWriter, write_vector


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def write_embeddings(folder, name, emb):
    """FOLDER/NAME.scp of the vectors `emb`."""
    with ArchiveWriter(folder / f"{name}.ark", folder / f"{name}.scp") as writer:
        for key in sorted(emb):
            writer.write(key, np.array(emb[key]))
    return folder / f"{name}.scp"


def embeddings(seed, n_spk, n_utts=4, dim=16):
    rng = np.random.default_rng(seed)
    voices = rng.normal(size=(n_spk, dim))
    return {f"s{spk:03d}-{utt}": (voices[spk] + 0.5 * rng.normal(size=dim)).astype(np.float32)
            for spk in range(n_spk) for utt in range(n_utts)}


def prepare(folder):
    """Write all of it into `folder`."""
    train, evaluation, calls = embeddings(0, 40), embeddings(1, 5), embeddings(2, 20)
    for place in ("exp/resnet34p/xvectors_train", "exp/resnet34p/xvectors_eval", "xvectors_calls", "data/train"):
        (folder / place).mkdir(parents=True)
    xvectors = folder / "exp" / "resnet34p"
    write_embeddings(xvectors / "xvectors_train", "xvector", train)
    means = {f"s{spk:03d}": np.mean([train[f"s{spk:03d}-{utt}"] for utt in range(4)], axis=0) for spk in range(40)}
    write_embeddings(xvectors / "xvectors_train", "spk_xvector", means)
    write_vector(xvectors / "xvectors_train" / "mean.vec", np.mean(list(train.values()), axis=0))
    write_embeddings(xvectors / "xvectors_eval", "xvector", evaluation)
    write_embeddings(folder / "xvectors_calls", "xvector", calls)
    write(folder / "data" / "train" / "utt2spk", *(f"{utt} {utt[:4]}" for utt in sorted(train)))
    utts = sorted(evaluation)
    write(folder / "trials", *(f"{a} {b} {'target' if a[:4] == b[:4] else 'nontarget'}"
                               for a in utts for b in utts if a < b))
    write(folder / "models", *(f"m{spk} s{spk:03d}-0 s{spk:03d}-1" for spk in range(5)))
    write(folder / "trials.models", *(f"m{spk} {utt} {'target' if int(utt[1:4]) == spk else 'nontarget'}"
                                      for spk in range(5) for utt in utts if utt[-1] in "23"))
    for name in ("path.sh", "steps", "pyspk"):
        (folder / name).symlink_to(ROOT / name)
