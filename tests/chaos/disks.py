"""Disks that are full or may not be written, on a file system of a few megabytes in the machine's memory."""

import subprocess
from collections.abc import Iterator

import pytest

from chaos.conftest import STAGES, outputs

PAGE = 4096
SIZE_MB = 64


@pytest.fixture
def disk(recipe) -> Iterator:
    """The recipe with a small disk of its own in place of its folder."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "none", recipe.work], capture_output=True,
                          text=True)
    if done.returncode:
        pytest.skip(f"a small disk needs mount ({done.stderr.strip()})")
    yield recipe
    subprocess.run(["umount", "--lazy", recipe.work], check=True)


def pages(files: dict[str, bytes]) -> int:
    return sum(-(-len(content) // PAGE) for content in files.values())


def fill(recipe, free_bytes: int):
    """A file that leaves so many bytes of the disk."""
    stat = subprocess.run(["df", "--output=avail", "-B1", recipe.work], capture_output=True, text=True, check=True)
    filler = recipe.work / "filler"
    with filler.open("wb") as file:
        for _ in range((int(stat.stdout.split()[1]) - free_bytes) // PAGE):
            file.write(bytes(PAGE))
    return filler


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_fills(disk, happened, stage, share):
    disk.back_to(stage)
    before, after = outputs(disk.work), outputs(disk.before(stage + 1))
    filler = fill(disk, int(share * (pages(after) - pages(before))) * PAGE)
    said = disk.run(stage, code=1)
    clear = [line for line in said.splitlines() if "No space left on device" in line or "are free there" in line]
    assert clear, said
    filler.unlink()
    left = {name: content for name, content in outputs(disk.work).items() if ".made" not in name}
    assert all(content == after[name] for name, content in left.items() if name in after), "half-written"
    assert not [name for name in left if name.endswith(".tmp")]
    disk.run(stage)
    disk.assert_as_undisturbed(stage)
    happened(stage, f"a disk with {100 * share:.0f}% of what it takes", "exit 1, said; with room, the same bytes")


@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_may_not_be_written(disk, happened, stage):
    disk.back_to(stage)
    subprocess.run(["mount", "-o", "remount,ro", disk.work], check=True)
    said = disk.run(stage, code=1)
    subprocess.run(["mount", "-o", "remount,rw", disk.work], check=True)
    assert "Read-only file system" in said.splitlines()[-1] or "Read-only file system" in said, said
    assert outputs(disk.work) == outputs(disk.before(stage))
    disk.run(stage)
    disk.assert_as_undisturbed(stage)
    happened(stage, "a disk that may not be written", "exit 1, said, nothing changed; then the same bytes")
