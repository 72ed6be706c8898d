"""Each command in README.md and docs/*.md runs, in a small world, in the order of its page; or is checked word by word.

A page, a block or a command that is new needs nothing here: it runs. What cannot run here is named below with the
reason, and then its program, its options and its files must exist.
"""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import score_world
import soundfile
import torch
from conftest import RATE_HZ, ROOT, environment, run_step, voice, write_data_dir
from pages import SHELL, Block, Command, blocks, commands, inline_commands, words_of
from test_published import published_state

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])

# The first line of a block that is no list of commands -> what it is.
NOT_COMMANDS = {
    "scores       speakers  targets  nontargets   EER %  95% interval  minDCF(0.01)  minDCF(0.05)": "output",
    "egs/voxceleb/run.sh    the stages; each line calls one step": "the tree",
    "hours = 136,500 / (samples a second of all GPUs)        # train_throughput.py measures it, log/train.jsonl says "
    "it": "a formula",
    "accept when llr > log(C_fa (1 - P) / (C_miss P))": "a formula",
    "llr = offset + sum of scale x score + sum of weight x quality": "a formula",
    "command sbatch --export=PATH --account=speech": "a configuration",
    "from pyspk.calibration import Calibration": "a program without its scores; test_calibration.py calls all of it",
}
# A page for which the world below is too small -> what makes one for it in an empty folder.
OWN_WORLDS: dict[str, Callable[[Path], None]] = {"scores.md": score_world.prepare}
# The beginning of a command that does not run here -> why.
ONLY_CHECKED = {
    "make mini": "fetches its corpus; .ci/run runs it",
    "make test": "runs this very test",
    "egs/mini/run.sh": "trains for minutes; test_recipes.py runs the recipe",
    "egs/voxceleb/run.sh": "needs VoxCeleb, or trains for days; test_voxceleb_recipe.py runs it on a small copy",
    "egs/compare/run.sh": "trains many systems; test_compare_recipe.py runs it",
    "train.py --num-gpus 8": "needs eight GPUs; test_steps_training.py shares a batch among processes",
    "make_report.py --trials FILE": "FILE and DIR are the reader's; test_report.py gives such",
    "slurm.py": "needs Slurm; test_cluster.py runs it",
    "train.py --cmd": "needs Slurm and GPUs; test_cluster.py trains through each engine",
    "torchrun": "needs two machines; test_steps_training.py starts it on one",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory, recordings) -> Path:
    """What the pages take for granted: data directories, trials, a trained experiment, recordings, a checkpoint."""
    folder = tmp_path_factory.mktemp("world")
    for name in ("path.sh", "egs"):
        (folder / name).symlink_to(ROOT / name)
    mine = write_data_dir(folder / "data" / "mine", recordings, [f"s{number}" for number in range(6)])
    utts = [line.split()[0] for line in (mine / "utt2spk").read_text().splitlines()]
    (mine / "text").write_text("".join(f"{utt} something\n" for utt in utts))
    (mine / "spk2gender").write_text("".join(f"s{number} {'mf'[number % 2]}\n" for number in range(6)))
    conf = ROOT / "egs/voxceleb/conf"
    run_step("make_fbank.py", "--nj", 1, "--config", conf / "fbank.conf", mine)
    run_step("compute_vad.py", "--nj", 1, "--fbank-config", conf / "fbank.conf", "--vad-config", conf / "vad.conf",
             mine)
    for name in ("train", "eval", "new_speakers", "sample"):
        shutil.copytree(mine, folder / "data" / name)
    (folder / "data/trials").mkdir()
    (folder / "data/trials/eval").write_text("".join(
        f"{one} {other} {'target' if one[:2] == other[:2] else 'nontarget'}\n" for one in utts[::3] for other in utts))
    shutil.copy(folder / "data/trials/eval", folder / "trials")
    torch.save(published_state(18, channels=2, emb_dim=8), folder / "avg_model.pt")
    (folder / "my.toml").write_text(
        "depth = 18\nchannels = 2\nemb_dim = 8\nbatch_size = 8\nchunk_frames = 40\nn_epochs = 1\nwarmup_epochs = 0\n"
        "margin_start_epoch = 0\nmargin_full_epoch = 1\nvalid_speakers = 2\nspeed_copies = false\n")
    evaluate(folder, folder / "exp/resnet34p", folder / "data/trials/eval")
    for name in ("NAME", "A", "B"):
        (folder / "exp" / name).symlink_to("resnet34p")
    for number, name in enumerate(["a.wav", "b.flac", "ann1.wav", "ann2.wav"]):
        soundfile.write(folder / name, voice(number // 2, number, 1.5), RATE_HZ)
    return folder


def evaluate(folder: Path, exp: Path, trials: Path) -> None:
    """Stages 3 to 5 of the recipe."""
    run_step("train.py", "--device", "cpu", "--config", folder / "my.toml", folder / "data/train", exp)
    for name in ("train", "eval"):
        run_step("extract_xvectors.py", "--nj", 1, "--device", "cpu", exp, folder / "data" / name,
                 exp / f"xvectors_{name}")
    mean, scp = ["--subtract-mean", exp / "xvectors_train/mean.vec"], exp / "xvectors_eval/xvector.scp"
    run_step("score_cosine.py", *mean, trials, scp, scp, exp / "scores/eval.cosine")
    run_step("score_asnorm.py", *mean, exp / "scores/eval.cosine", scp, exp / "xvectors_train/spk_xvector.scp",
             exp / "scores/eval.asnorm")


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> Path:
    """A folder with the command pyspk, as the installation makes it."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "pyspk").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m pyspk "$@"\n')
    (folder / "pyspk").chmod(0o755)
    return folder


def is_only_checked(command: str) -> bool:
    return any(command.startswith(beginning) for beginning in ONLY_CHECKED)


def shell_blocks(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language in SHELL and block.lines[0] not in NOT_COMMANDS
            and not said_by_a_program(block)]


def said_by_a_program(block: Block) -> bool:
    """Whether a block shows what a step says: "make_fbank.py: error: ..."."""
    return block.lines[0].split()[0].endswith(".py:")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_runs(page, programs, request, tmp_path):
    if page.name in OWN_WORLDS:
        OWN_WORLDS[page.name](place := tmp_path)
    else:
        place = request.getfixturevalue("world")
    script = ["set -euo pipefail"]
    for block in blocks(page):
        if block.language == "python":
            program = programs / f"{page.stem}-{block.line}.py"
            program.write_text("\n".join(block.lines))
            script += [f"echo '{page.name}:{block.line}: the program' >&2", f"python3 {shlex.quote(str(program))}"]
        elif block in shell_blocks(page):
            for command in commands(block):
                if not is_only_checked(command.text):
                    script += [f"echo {shlex.quote(f'{page.name}:{command.line}: {command.text}')} >&2", command.text]
        else:
            assert block.lines[0] in NOT_COMMANDS or said_by_a_program(block), f"{page.name}:{block.line}: no commands"
    variables = environment() | {"PATH": f"{programs}:{environment()['PATH']}"}
    done = subprocess.run(["bash", "-c", "\n".join(script)], cwd=place, env=variables, text=True, capture_output=True)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    assert "Traceback" not in done.stderr


@cache
def help_of(program: str, *subcommand: str) -> str:
    """What PROGRAM --help says; PROGRAM as a page names it. Fails when there is no such program."""
    if program == "pyspk":
        call = [sys.executable, "-m", "pyspk"]
    else:
        folders = [""] if "/" in program else ["steps", "steps/cluster", "local", "tests/bench", "egs/voxceleb"]
        there = [place for folder in folders for place in (ROOT / folder).glob(program)]
        assert there, f"there is no {program}"
        if not subcommand and is_sourced(there[0]):
            return ""
        call = [str(there[0])]
    said = subprocess.run([*call, *subcommand, "--help"], capture_output=True, text=True, env=environment())
    assert said.returncode == 0, said.stderr
    return said.stdout


def is_sourced(program: Path) -> bool:
    """Whether it is a part of shell scripts, which has no --help: path.sh, cmd.sh, corpus.sh."""
    return program.suffix == ".sh" and "--help" not in program.read_text()


def check_words(command: str) -> None:
    """Fail unless the program of a command exists, and has its options, and the tree its files."""
    words = words_of(command)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"make has no {words[1]}"
        return
    if words[0] == "torchrun":
        words = words[next(i for i, word in enumerate(words) if ".py" in word):]
        words[0] = re.search(r"[\w.]+\.py", words[0])[0]
    subcommand = words[1:2] if words[0] == "pyspk" and len(words) > 1 else []
    said = help_of(words[0], *subcommand)
    for word in words[1:]:
        option = re.match(r"--[\w-]+", word)
        assert not option or " " in word or option[0] in f"{said} --help", f"{words[0]} has no {option[0]}"
        assert not word.startswith("egs/") or word.endswith("...") or (ROOT / word).exists(), f"there is no {word}"


ALL_COMMANDS = [(page.name, command) for page in PAGES for block in shell_blocks(page) for command in commands(block)]
INLINE = [(page.name, command) for page in PAGES for command in inline_commands(page)]


@pytest.mark.parametrize(("page", "command"), [(page, command) for page, command in ALL_COMMANDS
                                               if is_only_checked(command.text)],
                         ids=lambda one: one if isinstance(one, str) else str(one.line))
def test_what_does_not_run_here_is_right_word_by_word(page, command):
    check_words(command.text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_within_sentences_are_right_word_by_word(page):
    for command in inline_commands(page):
        check_words(command.text)


def test_the_lists_name_nothing_that_no_page_has():
    first_lines = {block.lines[0] for page in PAGES for block in blocks(page)}
    assert set(NOT_COMMANDS) <= first_lines
    assert all(any(command.text.startswith(one) for _, command in ALL_COMMANDS) for one in ONLY_CHECKED)


# ---- the reading of pages itself

PAGE = """# Title

    one.py a \\
        --b c        # why
    . ./path.sh

    two.py

Text
    that goes on, no block. `three.py --x` and `pyspk verify` and `pyspk/nets` and `word`.

```python
print(1)
```

```
four.py | head
```
"""


def test_blocks_and_commands_are_found_where_they_stand(tmp_path):
    (tmp_path / "a.md").write_text(PAGE)
    found = blocks(tmp_path / "a.md")
    assert [(block.line, block.language) for block in found] == [(3, ""), (13, "python"), (17, "")]
    assert commands(found[0]) == [Command(3, "one.py a --b c        # why"), Command(5, ". ./path.sh"),
                                  Command(7, "two.py")]
    assert commands(found[2]) == [Command(17, "four.py | head")]
    assert words_of(commands(found[0])[0].text) == ["one.py", "a", "--b", "c"]


def test_commands_in_sentences_are_those_with_a_program_of_ours(tmp_path):
    (tmp_path / "a.md").write_text("See `three.py --x`, `pyspk verify`, `pyspk/nets/a.py`, `word` and `a/b.sh c`.\n")
    assert [command.text for command in inline_commands(tmp_path / "a.md")] == [
        "three.py --x", "pyspk verify", "a/b.sh c"]


@pytest.mark.parametrize(("command", "said"), [
    ("make nothing", "make has no nothing"),
    ("make_everything.py", "there is no make_everything.py"),
    ("train.py --colour red", "train.py has no --colour"),
    ("egs/mini/run.sh --train-config egs/mini/conf/no.toml", "there is no egs/mini/conf/no.toml"),
    ("pyspk verify --colour a b", "pyspk has no --colour"),
])
def test_a_wrong_word_is_found(command, said):
    with pytest.raises(AssertionError, match=said):
        check_words(command)
