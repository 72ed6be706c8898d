"""egs/voxceleb/run.sh --data-root on miniature VoxCeleb, MUSAN and RIRS_NOISES: stages 0 to 2, and training."""

import json
import shutil
import subprocess
import time

import numpy as np
import pytest
import soundfile
from augmentation import room, tone
from conftest import RATE_HZ, ROOT, environment, voice
from test_audio import write_mpeg4

RECIPE = ROOT / "egs" / "voxceleb" / "run.sh"
OPTIONS = ["--device", "cpu", "--nj", "2", "--train-opts",
           "--set depth=18 --set channels=2 --set emb_dim=8 --set chunk_frames=40 --set batch_size=8 --set n_epochs=1 "
           "--set warmup_epochs=0.5 --set margin_start_epoch=0 --set margin_full_epoch=1 --set valid_speakers=2"]
DEV, TEST = [f"id000{12 + i}" for i in range(4)], [f"id102{70 + i}" for i in range(3)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """voxceleb1 (wav), voxceleb2 (m4a and one wav), musan and RIRS_NOISES, as they unpack."""
    folder = tmp_path_factory.mktemp("root")
    for i, spk in enumerate(DEV + TEST):
        for utt in range(2):
            wave = voice(i, utt, 1.3)
            name = f"{spk}/video{utt}/00001"
            path = folder / (f"voxceleb2/dev/aac/{name}.m4a" if spk in DEV else f"voxceleb1/wav/{name}.wav")
            path.parent.mkdir(parents=True, exist_ok=True)
            if spk in DEV and i:
                write_mpeg4(path, wave.astype(np.float32) / 32768, RATE_HZ)
            else:
                soundfile.write(path.with_suffix(".wav"), wave, RATE_HZ)
    (folder / "voxceleb2/vox2_meta.csv").write_text("\ufeffVoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set \r\n" + "".join(
        f"{spk} ,n{spk[2:]} ,m ,dev \r\n" for spk in DEV))
    (folder / "voxceleb1/vox1_meta.csv").write_text("VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\n" + "".join(
        f"{spk}\tA\tf\tUSA\ttest\n" for spk in TEST))
    (folder / "voxceleb1/veri_test2.txt").write_text("".join(
        f"{int(one == other)} {one}/video0/00001.wav {other}/video1/00001.wav\n" for one in TEST for other in TEST))
    rng = np.random.default_rng(0)
    sounds = {"musan/noise/free-sound/noise-free-sound-0000": rng.normal(0, 900, 3 * RATE_HZ),
              "musan/music/fma/music-fma-0000": tone(440, 3.0),
              **{f"musan/speech/us-gov/speech-us-gov-{i:04}": voice(20 + i, 0, 2.0) for i in range(7)},
              **{f"RIRS_NOISES/simulated_rirs/{size}room/Room001/Room001-00001": 32767 * room(0.3)
                 for size in ("small", "medium", "large")},
              "RIRS_NOISES/real_rirs_isotropic_noises/air_booth_0_1": 32767 * room(0.2),
              "RIRS_NOISES/real_rirs_isotropic_noises/air_noise_1": rng.normal(0, 900, RATE_HZ),
              "RIRS_NOISES/pointsource_noises/noise-free-sound-0001": rng.normal(0, 900, RATE_HZ)}
    for name, wave in sounds.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{name}.wav", wave.astype(np.int16), RATE_HZ)
    for size in ("small", "medium", "large"):
        place = f"RIRS_NOISES/simulated_rirs/{size}room"
        (folder / place / "rir_list").write_text(
            f"--rir-id {size}-1 --room-id {size}-Room001 {place}/Room001/Room001-00001.wav\n")
    real = "RIRS_NOISES/real_rirs_isotropic_noises"
    (folder / real / "rir_list").write_text(f"--rir-id 1 --room-id booth {real}/air_booth_0_1.wav\n")
    (folder / real / "noise_list").write_text(
        f"--noise-id 1 --noise-type isotropic --room-linkage booth {real}/air_noise_1.wav\n")
    return folder


def command(root, work, *arguments):
    return [RECIPE, "--data-root", root, "--work-dir", work, *OPTIONS, *map(str, arguments)]


def recipe(root, work, *arguments, code=0):
    done = subprocess.run(command(root, work, *arguments), env=environment(), text=True, capture_output=True)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def made(root, tmp_path_factory):
    work = tmp_path_factory.mktemp("made")
    recipe(root, work, "--stop-stage", 2)
    return work


def features(work):
    return {str(path.relative_to(work)): path.read_bytes() for path in sorted(work.glob("data/*/data/*.ark"))}


def keys(path):
    return [line.split()[0] for line in path.read_text().splitlines()]


def test_stages_0_to_2_lead_from_the_corpora_to_features_and_copies(made):
    train, everything = made / "data" / "train", made / "data" / "train_all"
    recorded = [f"{spk}-video{i}-00001" for spk in DEV for i in (0, 1)]
    assert keys(train / "feats.scp") == keys(train / "vad.scp") == recorded
    assert keys(made / "data/eval/feats.scp") == [f"{spk}-video{i}-00001" for spk in TEST for i in (0, 1)]
    assert len((made / "data/trials/eval").read_text().splitlines()) == 9
    utts = keys(everything / "feats.scp")
    assert len(utts) == 6 * 8 and utts == keys(everything / "vad.scp") == keys(everything / "utt2num_frames")
    assert set(keys(everything / "spk2utt")) == {f"{speed}{spk}" for speed in ("", "sp0.9-", "sp1.1-") for spk in DEV}
    frames = {line.split()[0]: int(line.split()[1]) for line in (everything / "utt2num_frames").open()}
    plain, slow, noisy = (frames[name] for name in (utts[0], f"sp0.9-{utts[0]}", f"{utts[0]}-aug1"))
    assert plain == noisy and slow == pytest.approx(plain / 0.9, abs=1)


def test_a_second_run_makes_nothing_again(root, made):
    before = features(made)
    assert "wrote" not in recipe(root, made, "--stop-stage", 2)
    assert features(made) == before


def test_killed_among_the_features_and_started_again_equals_never_killed(root, made, tmp_path):
    running = subprocess.Popen(command(root, tmp_path, "--stop-stage", 2), env=environment(),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob("data/train_copies/data/raw_fbank_*.1.ark")):
        assert running.poll() is None, "ended before it could be killed"
        time.sleep(0.01)
    running.kill()
    running.wait()
    time.sleep(2)                                                      # what it started ends by itself
    recipe(root, tmp_path, "--stop-stage", 2)
    assert features(tmp_path) == features(made)


def test_only_the_failed_job_runs_again(root, made, tmp_path):
    shutil.copytree(made / "data" / "eval", tmp_path / "data" / "eval")
    data = tmp_path / "data" / "eval"
    for path in (data / "feats.scp", data / "data" / "raw_fbank_eval.2.scp"):
        path.unlink()
    first = data / "data" / "raw_fbank_eval.1.ark"
    before = first.stat().st_mtime_ns
    subprocess.run(["make_fbank.py", "--nj", "2", "--config", RECIPE.parent / "conf" / "fbank.conf", data], check=True,
                   env=environment(), capture_output=True)
    assert first.stat().st_mtime_ns == before and (data / "feats.scp").exists()
    assert "is current" in (data / "log" / "raw_fbank_eval.1.log").read_text()
    assert "is current" not in (data / "log" / "raw_fbank_eval.2.log").read_text()


@pytest.mark.parametrize("online", ["", "workers", "device"])
def test_the_network_trains_on_copies_made_before_or_on_the_way(root, made, online):
    options = ["--online", online] if online else []
    recipe(root, made, "--stage", 3, "--stop-stage", 5, "--exp", f"exp{online}", *options)
    exp = made / "exp" / f"exp{online}"
    said = (exp / "log" / "train.log").read_text()
    assert "6 speakers, " in said and "2 speakers held out" in said       # two of four, each at three speeds
    assert (exp / "scores" / "eval.metrics").read_text().count("eval.") == 2
    report = json.loads((exp / "log" / "train.jsonl").read_text())
    assert np.isfinite(report["loss"]) and 0 <= report["valid_eer"] <= 1


def test_fine_tuning_begins_with_another_experiments_network(root, made):
    recipe(root, made, "--stage", 3, "--stop-stage", 3, "--exp", "first")
    recipe(root, made, "--stage", 3, "--stop-stage", 3, "--exp", "tuned", "--init-exp", "first", "--train-config",
           RECIPE.parent / "conf" / "large_margin.toml", "--num-gpus", 2)
    said = (made / "exp" / "tuned" / "log" / "train.log").read_text()
    assert "starting from the network of" in said and "with its weights of the speakers" in said
    assert "in 2 processes" in said and "margin 0.250" in said


@pytest.mark.parametrize(("gone", "said"), [
    (["musan", "voxceleb1"], "lacks: voxceleb1 musan; unpack them there"),
    (["voxceleb1/veri_test2.txt"], "veri_test2.txt: no such file; download it from"),
])
def test_what_is_not_there_is_named(root, tmp_path, gone, said):
    shutil.copytree(root, tmp_path / "root")
    for name in gone:
        path = tmp_path / "root" / name
        path.unlink() if path.is_file() else shutil.rmtree(path)
    assert said in recipe(tmp_path / "root", tmp_path / "work", "--stop-stage", 1, code=1).splitlines()[-1]
