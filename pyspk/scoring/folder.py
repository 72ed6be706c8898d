"""The files of a PLDA back end, under Kaldi's names."""

from pathlib import Path

MEAN, TRANSFORM, PLDA = "mean.vec", "transform.mat", "plda"


def files_of(folder: Path) -> dict[str, Path]:
    """name -> path of the files that a back end must have, and of the transform where there is one."""
    names = [MEAN, PLDA] + [TRANSFORM] * (folder / TRANSFORM).exists()
    return {name: folder / name for name in names}
