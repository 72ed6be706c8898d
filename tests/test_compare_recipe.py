"""egs/compare as users type it: a small grid on their own recordings, stopped and gone on with, extended."""

import subprocess
import time

import pytest
import soundfile
from conftest import RATE_HZ, ROOT, environment, voice

COMPARE = ROOT / "egs" / "compare" / "run.sh"
GRID = """# what conf says, and another network with another loss

ours
tdnn.aam   net=xvector channels=16 loss=aam_softmax m=0.1
"""
TINY = """depth = 18
channels = 2
emb_dim = 8
chunk_frames = 40
batch_size = 8
n_epochs = 1
warmup_epochs = 0.5
margin_start_epoch = 0
margin_full_epoch = 1
valid_speakers = 0
"""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Options for 9 speakers with 4 utterances, of whom 2 are to choose by and 3 to evaluate on."""
    folder = tmp_path_factory.mktemp("inputs")
    for speaker in range(9):
        (folder / "corpus" / f"s{speaker}").mkdir(parents=True)
        for utt in range(4):
            soundfile.write(folder / "corpus" / f"s{speaker}" / f"{utt}.wav", voice(speaker, utt, 1.3), RATE_HZ)
    for name, text in {"dev": "s0\ns4\n", "eval": "s1\ns3\ns7\n", "grid": GRID, "tiny.toml": TINY}.items():
        (folder / name).write_text(text)
    return {"--corpus-dir": folder / "corpus", "--dev-speakers": folder / "dev", "--eval-speakers": folder / "eval",
            "--grid": folder / "grid", "--train-config": folder / "tiny.toml", "--reference": "tdnn.aam",
            "--seeds": 2, "--device": "cpu"}


def command(work, inputs, **changed):
    options = {f"--{name.replace('_', '-')}": value for name, value in changed.items()}
    options = {**inputs, "--work-dir": work, **options}
    return [str(COMPARE), *(str(word) for option in options.items() for word in option)]


def compare(work, inputs, code=0, **changed):
    done = subprocess.run(command(work, inputs, **changed), env=environment(), text=True, capture_output=True)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory):
    work = tmp_path_factory.mktemp("whole")
    compare(work, inputs)
    return work


def outcome(work):
    """Weights, scores and tables, as bytes by name."""
    paths = [*work.glob("exp/*/[0-9]/final.pt"), *work.glob("exp/*/[0-9]/scores/*.cosine"), *work.glob("results/*")]
    return {str(path.relative_to(work)): path.read_bytes() for path in paths if path.is_file()}


def test_every_system_is_trained_with_every_seed_and_compared_on_both_lists(whole):
    weights = [content for name, content in outcome(whole).items() if name.endswith("final.pt")]
    assert len(weights) == len(set(weights)) == 4
    for name in ("dev", "eval"):
        rows = (whole / "results" / f"{name}.txt").read_text().splitlines()
        assert [row.split()[:2] for row in rows[1:]] == [["ours", "2"], ["tdnn.aam", "2"]]
        assert rows[2].split()[-2:] == ["1.000", "1.000-1.000"]
        assert (whole / "results" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        utts = {line.split()[0] for line in (whole / "data" / "trials" / name).open()}
        assert {utt.split("-")[0] for utt in utts} <= ({"s0", "s4"} if name == "dev" else {"s1", "s3", "s7"})
    config = (whole / "exp" / "tdnn.aam" / "1" / "config.toml").read_text()
    assert 'net = "xvector"' in config and "channels = 16" in config and "seed = 1\n" in config


def test_a_second_run_computes_nothing_again(whole, inputs):
    before = outcome(whole)
    done = compare(whole, inputs)
    assert "wrote" not in done.stderr and "tdnn.aam" in done.stdout
    assert outcome(whole) == before


def test_killed_in_the_middle_of_the_grid_and_started_again_equals_never_killed(whole, inputs, tmp_path):
    running = subprocess.Popen(command(tmp_path, inputs), env=environment(), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob("exp/*/0/final.pt")):
        assert running.poll() is None, "ended before it could be killed"
        time.sleep(0.01)
    running.kill()
    running.wait()
    time.sleep(2)                                                      # what it started ends by itself
    assert not (tmp_path / "results").exists()
    compare(tmp_path, inputs)
    assert outcome(tmp_path) == outcome(whole)
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_system_more_leaves_the_others_as_they_are(whole, inputs, tmp_path):
    before = outcome(whole)
    (tmp_path / "grid").write_text(GRID + "more  loss=am_softmax\n")
    compare(whole, inputs, grid=tmp_path / "grid", stage=3, stop_stage=3, seeds=1)
    after = outcome(whole)
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[1] for name in after.keys() - before.keys()} == {"more"}
    compare(whole, inputs, stage=3, stop_stage=3)                      # as the other tests found it


@pytest.mark.parametrize(("changed", "said"), [
    ({"grid": "ours t 2"}, 'grid: "ours t 2" is not NAME SETTING=VALUE...'),
    ({"grid": "ours\nother\nours  t=2\n"}, 'grid: "ours" comes twice'),
    ({"grid": "ours\ntdnn-aam\n"}, 'grid: no system is called "tdnn.aam"; name the one to divide by with --reference'),
    ({"grid": "../up t=2"}, 'grid: "../up t=2" is not NAME'), ({"grid": "# nothing\n"}, "grid: no system in it"),
    ({"seeds": "none"}, '--seeds must be 1 or more, not "none"'),
    ({"dev_speakers": "nowhere"}, "--dev-speakers nowhere: no such file or folder"),
    ({"stage": 4, "stop_stage": 4}, "exp/cells, which stage 3 makes: run it with --stage 3"),
])
def test_a_wrong_call_ends_with_one_line(inputs, tmp_path, changed, said):
    if "grid" in changed:
        (tmp_path / "grid").write_text(changed["grid"])
        changed = {"grid": tmp_path / "grid", "stage": 3}
        for name in ("train", "eval"):
            (tmp_path / "data" / name).mkdir(parents=True)
            (tmp_path / "data" / name / "feats.scp").touch()
        (tmp_path / "data" / "trials").mkdir()
        for name in ("dev", "eval"):
            (tmp_path / "data" / "trials" / name).touch()
    complaint = compare(tmp_path, inputs, code=1, **changed).stderr.splitlines()
    assert said in complaint[-1] and complaint[-1].startswith("run.sh: ")


def test_a_setting_that_does_not_exist_names_the_log_that_says_so(whole, inputs, tmp_path):
    (tmp_path / "grid").write_text("odd  margins=A\n")
    said = compare(whole, inputs, code=1, stage=3, grid=tmp_path / "grid", reference="odd").stderr
    assert "2 / 2 failed" in said and 'no setting is called "margins"' in said
    compare(whole, inputs, stage=3, stop_stage=3)
