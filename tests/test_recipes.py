"""The recipes as users type them: on Kaldi directories made elsewhere, on own recordings, killed and resumed."""

import subprocess
import time

import kaldi_native_io as kio
import numpy as np
import pytest
import soundfile
from conftest import RATE_HZ, ROOT, environment, voice, wait_until_nothing_mentions

from pyspk.tables.archive import ArchiveReader, read_scp

VOXCELEB, MINI = ROOT / "egs" / "voxceleb" / "run.sh", ROOT / "egs" / "mini" / "run.sh"
TINY = ["--device", "cpu", "--nj", "2", "--train-opts",
        "--set depth=18 --set channels=2 --set emb_dim=8 --set chunk_frames=40 --set batch_size=8 --set n_epochs=3 "
        "--set samples_per_epoch=0 --set warmup_epochs=1 --set margin_start_epoch=0 --set margin_full_epoch=1 "
        "--set valid_speakers=2 --set lr=0.05 --set final_lr=0.01 --set precision=float32 --set n_workers=1"]


def recipe(script, *arguments, code=0):
    """stdout and stderr of a run of the recipe; asserts its exit code and that nobody sees a traceback."""
    done = subprocess.run([script, *map(str, arguments)], env=environment(), text=True, capture_output=True)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize(("arguments", "said"), [
    (["--colour", "red"], "unknown option --colour; valid options: --stage --stop-stage"),
    (["--stage"], "--stage needs a value"),
    (["--stage", "five"], '--stage must be a whole number, not "five"'),
    (["--stage", "4", "--stop-stage", "3"], "--stage 4 comes after --stop-stage 3"),
    (["--subtract-mean", "maybe"], '--subtract-mean takes true or false, not "maybe"'),
    (["--overwrite", "yes"], '--overwrite takes true or false, not "yes"'),
    (["stray"], 'unexpected argument "stray"'),
    (["--stage", "0"], "this recipe needs a corpus: give it VoxCeleb (--data-root DIR)"),
    (["--stage", "2"], "data/train/wav.scp, which stage 1 makes: run it with --stage 1"),
    (["--stage", "3"], "data/train/feats.scp, which stage 2 makes: run it with --stage 2"),
    (["--stage", "4"], "exp/resnet34p/final.pt, which stage 3 makes: run it with --stage 3"),
    (["--stage", "5"], "data/trials/eval, which stage 1 makes: run it with --stage 1"),
    (["--train-data", ROOT / "tests", "--eval-data", ROOT / "tests"], "are both called tests"),
    (["--trials", "nowhere"], "--trials nowhere: no such file or folder"),
    (["--train-config", "no.toml"], "--train-config no.toml: no such file or folder"),
])
def test_a_wrong_call_ends_with_one_line_that_says_what_to_do(tmp_path, arguments, said):
    complaint = recipe(VOXCELEB, "--work-dir", tmp_path, *arguments, code=1).stderr.splitlines()
    assert said in complaint[-1] and complaint[-1].startswith("run.sh: ")
    assert all(line.startswith("run.sh: stage ") for line in complaint[:-1])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("script", [VOXCELEB, MINI])
def test_help_names_every_option(script):
    said = recipe(script, "--help").stdout
    for option in ("--stage", "--stop-stage", "--nj", "--train-cmd", "--cuda-cmd", "--train-data", "--eval-data",
                   "--trials", "--exp", "--train-config", "--train-opts", "--device", "--corpus-dir", "--work-dir"):
        assert option in said


def kaldi_data(folder, speakers, compress, vad, dim=40):
    """A data directory written by kaldi-native-io alone; features follow the speaker's own wave."""
    folder.mkdir()
    rng = np.random.default_rng(len(speakers))
    writer = kio.CompressedMatrixWriter if compress else kio.FloatMatrixWriter
    method = [kio.CompressionMethod.kSpeechFeature] if compress else []
    with writer(f"ark,scp:{folder}/f.ark,{folder}/feats.scp") as feats, \
            kio.FloatVectorWriter(f"ark,scp:{folder}/v.ark,{folder}/v.scp") as decisions, \
            (folder / "utt2spk").open("w") as utt2spk:
        for spk in speakers:
            for utt in range(6):
                n = int(rng.integers(60, 120))
                wave = np.sin(np.arange(n)[:, None] * (0.1 + 0.1 * spk) + np.arange(dim))
                name = f"spk{spk:02}-{utt}"
                value = (10 + 3 * wave + rng.normal(0, 0.5, (n, dim))).astype(np.float32)
                feats.write(name, value, *method)
                decisions.write(name, (np.arange(n) % 10 > 1).astype(np.float32))
                utt2spk.write(f"{name} spk{spk:02}\n")
    if vad:
        (folder / "v.scp").rename(folder / "vad.scp")
    return folder


@pytest.mark.parametrize(("compress", "vad"), [(False, False), (True, True)])
def test_stages_3_to_5_on_data_directories_that_kaldi_native_io_wrote(tmp_path, compress, vad):
    train = kaldi_data(tmp_path / "train40", range(8), compress, vad)
    evaluation = kaldi_data(tmp_path / "eval40", range(8, 12), compress, vad)
    before = sorted(path.name for path in train.iterdir())
    utts = [line.split() for line in (evaluation / "utt2spk").open()]
    trials = [f"{a} {b} {'target' if s == t else 'nontarget'}\n" for i, (a, s) in enumerate(utts) for b, t in utts[:i]]
    (tmp_path / "list").write_text("".join(trials))
    done = recipe(VOXCELEB, "--stage", 3, "--stop-stage", 5, "--train-data", train, "--eval-data", evaluation,
                  "--trials", tmp_path / "list", "--work-dir", tmp_path / "w", "--exp", "tiny", *TINY)
    assert "minDCF(0.01)" in done.stdout
    exp = tmp_path / "w" / "exp" / "tiny"
    assert (exp / "scores" / "list.metrics").read_text() == done.stdout
    for kind in ("cosine", "asnorm"):
        lines = (exp / "scores" / f"list.{kind}").read_text().splitlines()
        assert [line.split()[:2] for line in lines] == [trial.split()[:2] for trial in trials]
    assert len(read_scp(exp / "xvectors_eval40" / "xvector.scp")) == 24
    assert sorted(path.name for path in train.iterdir()) == before      # what is not ours stays as it was
    again = ["--train-data", train, "--eval-data", evaluation, "--trials", tmp_path / "list", "--work-dir",
             tmp_path / "w", "--exp", "tiny"]
    said = recipe(VOXCELEB, "--stage", 6, *again).stderr
    assert f"stage 7 leaves out model.json: how {train}/feats.scp was made, only you can say (--export-opts)" in said
    made_with = [f"--{kind}-config {ROOT}/egs/mini/conf/{kind}.conf" for kind in ("fbank", "vad")[:1 + vad]]
    recipe(VOXCELEB, "--stage", 7, *again, "--export-opts", " ".join(made_with), "--overwrite", "true")
    assert (exp / "model.json").exists()
    recipe(VOXCELEB, "--stage", 5, "--stop-stage", 5, *again, "--subtract-mean", "false", "--overwrite", "true")
    assert difference_from_plain_cosines(exp / "scores" / "list.cosine", exp / "xvectors_eval40" / "xvector.scp") < 1e-5


def difference_from_plain_cosines(scores, xvectors):
    """The largest difference between `scores` and the cosines of the embeddings as they are."""
    reader = ArchiveReader()
    unit = {utt: (emb := reader.vector(place)) / np.linalg.norm(emb) for utt, place in read_scp(xvectors).items()}
    return max(abs(float(score) - unit[a] @ unit[b]) for a, b, score in map(str.split, scores.open()))


@pytest.fixture(scope="module")
def own_recordings(tmp_path_factory):
    """DIR/SPEAKER/**: 9 speakers, several formats and sampling rates, a file too short to use."""
    folder = tmp_path_factory.mktemp("own") / "my recordings"
    for speaker in range(9):
        (folder / f"spk{speaker}" / "session 1").mkdir(parents=True)
        for utt in range(5):
            rate_hz, suffix = [(16000, "wav"), (16000, "flac"), (8000, "ogg"), (44100, "mp3"), (22050, "wav")][utt]
            samples = voice(speaker, utt, 1.5 * rate_hz / RATE_HZ).astype(np.int16)
            soundfile.write(folder / f"spk{speaker}" / "session 1" / f"take {utt}.{suffix}", samples, rate_hz)
    soundfile.write(folder / "spk0" / "click.wav", voice(0, 9, 0.1), RATE_HZ)
    return folder


def results(work):
    """Everything that a run is for: embeddings, scores, metrics and the weights, as bytes."""
    exp = work / "exp" / "resnet18p"
    reader = ArchiveReader()
    table = read_scp(exp / "xvectors_eval" / "xvector.scp")
    embs = {utt: reader.vector(place).tobytes() for utt, place in table.items()}
    files = [exp / "final.pt", *(exp / "scores" / f"eval.{kind}" for kind in ("cosine", "asnorm"))]
    return embs, [file.read_bytes() for file in files]


@pytest.fixture(scope="module")
def undisturbed(own_recordings, tmp_path_factory):
    work = tmp_path_factory.mktemp("undisturbed")
    done = recipe(MINI, "--corpus-dir", own_recordings, "--work-dir", work, *TINY)
    assert "click.wav" in done.stderr and "EER" in done.stdout
    return work


def test_own_recordings_of_any_kind_go_through_and_a_second_run_is_current(own_recordings, undisturbed):
    before = results(undisturbed)
    began = time.monotonic()
    done = recipe(MINI, "--corpus-dir", own_recordings, "--work-dir", undisturbed, *TINY)
    assert time.monotonic() - began < 60                               # nothing was computed again
    assert done.stderr.count("is current") == 21 and "wrote" not in done.stderr and "EER" in done.stdout
    assert results(undisturbed) == before


@pytest.mark.parametrize("moment", ["feats", "training", "extraction"])
def test_killed_and_started_again_equals_never_killed(own_recordings, undisturbed, tmp_path, moment):
    command = [MINI, "--corpus-dir", own_recordings, "--work-dir", tmp_path, *TINY]
    exp = tmp_path / "exp" / "resnet18p"
    seen = {"feats": tmp_path / "data" / "train" / "data", "training": exp / "last.pt",
            "extraction": exp / "xvectors_train"}[moment]
    running = subprocess.Popen(list(map(str, command)), env=environment(), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    while not seen.exists():
        assert running.poll() is None, "ended before it could be killed"
        time.sleep(0.005)
    running.kill()                                                     # run.sh alone: what it started ends by itself
    running.wait()
    wait_until_nothing_mentions(tmp_path)
    assert not (exp / "scores" / "eval.asnorm").exists()
    recipe(*command)
    assert results(tmp_path) == results(undisturbed)
    assert not [path for path in tmp_path.rglob("*.tmp")]


def test_the_number_of_jobs_changes_no_feature_and_scores_in_the_last_digit_only(own_recordings, undisturbed, tmp_path):
    recipe(MINI, "--corpus-dir", own_recordings, "--work-dir", tmp_path, *TINY, "--nj", 5)
    reader = ArchiveReader()
    tables = [read_scp(work / "data" / "train" / "feats.scp") for work in (undisturbed, tmp_path)]
    assert tables[0].keys() == tables[1].keys()
    assert all(reader.matrix(tables[0][utt]).tobytes() == reader.matrix(tables[1][utt]).tobytes() for utt in tables[0])
    for kind in ("cosine", "asnorm"):
        scores = [np.loadtxt(work / "exp" / "resnet18p" / "scores" / f"eval.{kind}", usecols=2)
                  for work in (undisturbed, tmp_path)]
        np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)


def test_each_corpus_has_its_own_work_folder(tmp_path):
    for name in ("a/voices", "b/voices"):
        (tmp_path / name).mkdir(parents=True)
    said = [recipe(MINI, "--corpus-dir", tmp_path / name, "--stop-stage", 0).stderr
            for name in ("a/voices", "b/voices")]
    places = [line.split("everything lies in ")[1].split("/data")[0] for text in said for line in text.splitlines()
              if "everything lies in " in line]
    assert len(set(places)) == 2 and all("/egs/mini/work/voices-" in place for place in places)


def test_a_missing_corpus_is_named(tmp_path):
    said = recipe(MINI, "--corpus-dir", tmp_path / "nowhere", "--work-dir", tmp_path, code=1).stderr
    assert said.splitlines()[-1].endswith(f"--corpus-dir {tmp_path}/nowhere: no such folder")
