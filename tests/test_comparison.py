"""Systems beside each other: numbers by hand and by naive loops, the picture, the step as a user runs it."""

import math
import re
import statistics
import xml.etree.ElementTree

import numpy as np
import PIL.Image
import pytest

from pyspk.errors import UserError
from pyspk.metrics import eer, min_dcf
from pyspk.pictures import picture_kind
from pyspk.scoring.comparison import Measured, System, comparison_table, measure_systems, plot_comparison

N_SPK = 6
UTTS = [f"s{spk}-{utt}" for spk in range(N_SPK) for utt in range(4)]
PAIRS = [(a, b) for a in UTTS for b in UTTS if a < b]
IS_TARGET = np.array([a[:2] == b[:2] for a, b in PAIRS])


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.fixture
def evaluation(tmp_path):
    """A folder with trials, utt2spk and the score files NAME-SEED; name -> an array of scores a seed."""
    write(tmp_path / "trials", (f"{a} {b} {'target' if t else 'nontarget'}"
                                for (a, b), t in zip(PAIRS, IS_TARGET, strict=True)))
    write(tmp_path / "utt2spk", (f"{utt} {utt[:2]}" for utt in UTTS))
    rng = np.random.default_rng(0)
    scores = {}
    for name, n_seeds, gain in (("good", 3, 2.5), ("fair", 2, 1.5), ("flat", 1, 0.0), ("perfect", 1, 100.0)):
        scores[name] = [np.round(gain * IS_TARGET + rng.normal(size=len(PAIRS)), 1) for _ in range(n_seeds)]
        for seed, score in enumerate(scores[name]):
            lines = [f"{a} {b} {s}" for (a, b), s in zip(PAIRS, score, strict=True)]
            write(tmp_path / f"{name}-{seed}", rng.permutation(lines))
    return tmp_path, scores


def files(folder, scores):
    return {name: [folder / f"{name}-{seed}" for seed in range(len(scores[name]))] for name in scores}


def naive_replicates(seeds, n_resamples):
    """The means over `seeds` of EER and minDCF of trials written out as often as the speakers drawn make them count."""
    spk = [(int(a[1]), int(b[1])) for a, b in PAIRS]
    rng = np.random.default_rng(0)
    means = []
    while len(means) < n_resamples:
        drawn = np.bincount(rng.integers(N_SPK, size=N_SPK), minlength=N_SPK)
        times = [drawn[a] * (1 if a == b else drawn[b]) for a, b in spk]
        again = [n for n in range(len(PAIRS)) for _ in range(times[n])]
        if len({bool(IS_TARGET[n]) for n in again}) == 2:
            sides = [([score[n] for n in again if IS_TARGET[n]], [score[n] for n in again if not IS_TARGET[n]])
                     for score in seeds]
            means.append([statistics.fmean(eer(*pair) for pair in sides),
                          statistics.fmean(min_dcf(*pair, p_target=0.1) for pair in sides)])
    return means


@pytest.mark.parametrize("is_told", [True, False])
def test_systems_are_measured_as_a_naive_loop_does(evaluation, is_told):
    folder, scores = evaluation
    measured = measure_systems(folder / "trials", files(folder, scores), folder / "utt2spk" if is_told else None,
                               p_target=0.1, n_resamples=12)
    assert list(measured) == ["good", "fair", "flat", "perfect"]
    for name, system in measured.items():
        sides = [(score[IS_TARGET], score[~IS_TARGET]) for score in scores[name]]
        assert system.eer.values.tolist() == [eer(*pair) for pair in sides]
        assert system.min_dcf.values.tolist() == [min_dcf(*pair, p_target=0.1) for pair in sides]
        replicates = np.transpose([system.eer.replicates, system.min_dcf.replicates])
        np.testing.assert_allclose(replicates, naive_replicates(scores[name], 12), atol=1e-12)


# ---- the table

REPLICATES = np.linspace(0.08, 0.16, 81)                   # 0.082 is above 2.5% of them, 0.158 above 97.5%
TWO = System(Measured(np.array([0.10, 0.14]), REPLICATES), Measured(np.array([0.5, 0.7]), 5 * REPLICATES))
TWICE = System(Measured(np.array([0.2]), 2 * REPLICATES), Measured(np.array([0.8]), 10 * REPLICATES))
NONE = System(Measured(np.zeros(3), np.zeros(81)), Measured(np.zeros(3), np.zeros(81)))
SELDOM = System(Measured(np.array([0.2]), np.where(REPLICATES > 0.08, REPLICATES, 0.0)), TWICE.min_dcf)


def rows(lines):
    return [re.split(" {2,}", line.strip()) for line in lines]


def test_the_table_equals_the_values_worked_out_by_hand():
    two = ["two", "2", "12.00", "2.83", "8.20-15.80", "0.600", "0.141", "0.410-0.790"]  # sd: 4 and 0.2 over root 2
    twice = ["twice", "1", "20.00", "0.00", "16.40-31.60", "0.800", "0.000", "0.820-1.580"]
    head = ["system", "seeds", "EER %", "sd", "95% interval", "minDCF(0.05)", "sd", "95% interval"]
    systems = {"two": TWO, "twice": TWICE}
    assert rows(comparison_table(systems, p_target=0.05)) == [head, two, twice]
    lines = comparison_table(systems, "twice", p_target=0.05)
    assert rows(lines) == [[*head, "/ twice", "95% interval"],
                           [*two, "0.600", "0.500-0.500"], [*twice, "1.000", "1.000-1.000"]]
    assert len({len(line) for line in lines}) == 1


def test_a_system_is_once_itself(evaluation):
    folder, scores = evaluation
    measured = measure_systems(folder / "trials", files(folder, scores), n_resamples=50)
    for name in ("good", "fair", "flat"):
        assert measured[name].eer.ratio_to(measured[name].eer) == (1, 1, 1)
    ratio, low, high = measured["good"].eer.ratio_to(measured["flat"].eer)
    means = [statistics.fmean(eer(score[IS_TARGET], score[~IS_TARGET]) for score in scores[name])
             for name in ("good", "flat")]
    assert ratio == pytest.approx(means[0] / means[1]) and low < ratio < high < 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("system", "reference", "expected"), [
    (TWO, NONE, ["-", "-"]), (NONE, NONE, ["-", "-"]),
    (TWO, SELDOM, ["0.600", "-"]), (SELDOM, SELDOM, ["1.000", "-"]),
    (NONE, TWICE, ["0.000", "0.000-0.000"]),
])
def test_a_ratio_that_would_divide_by_zero_is_a_dash(system, reference, expected):
    assert rows(comparison_table({"system": system, "reference": reference}, "reference"))[1][-2:] == expected
    ratio, low, _ = system.eer.ratio_to(reference.eer)
    assert [text == "-" for text in expected] == [math.isnan(ratio), math.isnan(low)]


def test_an_unknown_reference_is_refused():
    with pytest.raises(UserError, match='reference "three": the systems are two, twice'):
        comparison_table({"two": TWO, "twice": TWICE}, "three")


# ---- the picture

def many_systems(suffix=""):
    rng = np.random.default_rng(0)
    eers = rng.permutation(np.linspace(0.08, 0.16, 20))
    return {f"system_{n}{suffix}": System(Measured(rate + rng.normal(0, 0.001, 3), rng.normal(rate, 0.02, 100)),
                                          Measured(rng.uniform(0.8, 0.9, 3), rng.normal(0.85, 0.02, 100)))
            for n, rate in enumerate(eers)}


def pixels(path):
    with PIL.Image.open(path) as image:
        return np.asarray(image.convert("L"))                                                   # (height, width)


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_the_picture_is_of_its_kind_and_the_same_again(tmp_path, monkeypatch, kind):
    systems = many_systems()
    for seconds, name in enumerate(("one", "two")):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(seconds))                                   # were there a date
        plot_comparison(systems, "eval", tmp_path / f"{name}.{kind}")
    data = (tmp_path / f"one.{kind}").read_bytes()
    assert data == (tmp_path / f"two.{kind}").read_bytes()
    if kind == "png":
        assert pixels(tmp_path / "one.png").std() > 0
    elif kind == "svg":
        assert xml.etree.ElementTree.fromstring(data).tag == "{http://www.w3.org/2000/svg}svg"
    else:
        assert data.startswith(b"%PDF-") and data.endswith(b"%%EOF\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"one.{kind}", f"two.{kind}"]


def test_the_best_system_is_on_top(tmp_path):
    systems = many_systems()
    plot_comparison(systems, "eval", tmp_path / "p.svg")
    drawn = (tmp_path / "p.svg").read_text()
    places = re.findall(r"<!-- (system_\d+) -->\s*<g [^>]*translate\([\d.]+ ([\d.]+)\)", drawn)
    from_top = [name for name, _ in sorted(places, key=lambda place: float(place[1]))]
    assert from_top == sorted(systems, key=lambda name: systems[name].eer.mean)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("systems", "title"), [
    (many_systems(" with a name so long that it would not fit into half of the picture: $x^$"), "eval"),
    ({"a": TWO}, r"a title of which only the middle would be seen, $\nothing {is a formula$, " * 3),
    ({"nothing": NONE}, "eval"),
])
def test_nothing_is_cut_off_and_nothing_is_a_formula(tmp_path, systems, title):
    plot_comparison({"a": TWO}, "eval", tmp_path / "small.png")
    plot_comparison(systems, title, tmp_path / "p.png")
    picture, small = pixels(tmp_path / "p.png"), pixels(tmp_path / "small.png")
    for edge in (picture[:4], picture[-4:], picture[:, :4], picture[:, -4:]):
        assert (edge == 255).all()
    assert picture.shape[1] >= small.shape[1]                  # names take nothing from the width of the rates


@pytest.mark.parametrize("name", ["p.jpg", "p", "png", "p.PNG"])
def test_another_ending_is_refused(tmp_path, name):
    for refuse in (picture_kind, lambda path: plot_comparison({"a": TWO}, "eval", path)):
        with pytest.raises(UserError, match=f"{name}: a picture's name ends with .png, .svg, .pdf"):
            refuse(tmp_path / name)
    assert not list(tmp_path.iterdir())


# ---- the step

def words(folder, *names):
    """SYSTEM=SCORES of each score file of the systems `names`."""
    return [f"{name}={path}" for name in names for path in sorted(folder.glob(f"{name}-*"))]


def test_the_step_prints_writes_and_draws(evaluation, step):
    folder, scores = evaluation
    (folder / "a=b").mkdir()
    (folder / "flat-0").rename(folder / "a=b" / "flat")
    output, plot = folder / "out" / "table", folder / "out" / "p.svg"
    said = step("compare_systems.py", "--reference", "fair", "--p-target", 0.1, "--utt2spk", folder / "utt2spk",
                "--output", output, "--plot", plot, folder / "trials", *words(folder, "good", "fair"),
                f"flat={folder}/a=b/flat").splitlines()
    paths = files(folder, {name: scores[name] for name in ("good", "fair")}) | {"flat": [folder / "a=b" / "flat"]}
    measured = measure_systems(folder / "trials", paths, folder / "utt2spk", 0.1)
    assert said[1:-1] == output.read_text().splitlines() == comparison_table(measured, "fair", 0.1)
    assert said[0].startswith("compare_systems.py: compare_systems.py --reference fair")
    assert said[-1] == f"compare_systems.py: wrote 3 systems to {output} and {plot}"
    plot_comparison(measured, "trials", folder / "expected.svg")
    assert plot.read_bytes() == (folder / "expected.svg").read_bytes()


def test_what_is_current_stays_and_what_is_missing_is_made(evaluation, step):
    folder, _ = evaluation
    output, plot = folder / "out" / "table", folder / "out" / "p.png"
    call = ("compare_systems.py", "--output", output, "--plot", plot, folder / "trials", *words(folder, "good", "fair"))
    step(*call)
    made = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (output, plot)}
    table = output.read_text()
    assert step(*call).endswith(f"\n{table}compare_systems.py: {output} and {plot} is current\n")
    for missing, kept in ((output, plot), (plot, output)):
        missing.unlink()
        assert step(*call).endswith(f"\n{table}compare_systems.py: wrote 2 systems to {missing}\n")
        assert missing.read_bytes() == made[missing][0]
        assert (kept.read_bytes(), kept.stat().st_mtime_ns) == made[kept]
        made[missing] = missing.read_bytes(), missing.stat().st_mtime_ns
    assert step(call[0], *call[3:]).endswith(f"\n{table}compare_systems.py: wrote 2 systems to standard output\n")

    for changed, said in (((*call[:-1], f"fair={folder}/flat-0"), "its input fair 2 has changed"),
                          ((call[0], "--p-target", 0.5, *call[1:]), "p-target was 0.01, is 0.5")):
        line = step(*changed, code=1).splitlines()[1]
        assert f"error: {output} exists, but " in line and said in line and "--overwrite makes it anew" in line
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (output, plot)} == made
    step(call[0], "--overwrite", "--reference", "good", *call[1:])
    assert "/ good" in output.read_text() and plot.read_bytes() == made[plot][0]


def test_a_picture_made_by_hand_is_left_alone(evaluation, step):
    folder, _ = evaluation
    write(folder / "p.png", ["mine"])
    said = step("compare_systems.py", "--output", folder / "table", "--plot", folder / "p.png", folder / "trials",
                *words(folder, "flat"), code=1)
    assert f"error: {folder}/p.png exists, but it was not made by this step" in said
    assert (folder / "p.png").read_text() == "mine\n" and not (folder / "table").exists()


def test_only_our_lines_are_seen_where_matplotlib_can_keep_nothing(evaluation, step, monkeypatch):
    folder, _ = evaluation
    for name in ("DISPLAY", "MPLBACKEND", "MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/dev/null/none")
    call = ("compare_systems.py", "--plot", folder / "p.png", folder / "trials", f"flat={folder}/flat-0")
    said = step(*call).splitlines()
    assert [line.split(" ")[0] for line in said] == ["compare_systems.py:", "system", "flat", "compare_systems.py:"]
    assert said[-1].endswith(f"wrote 1 systems to {folder}/p.png")


def test_a_reference_without_errors_gives_dashes(evaluation, step):
    folder, _ = evaluation
    said = step("compare_systems.py", "--reference", "perfect", folder / "trials", *words(folder, "flat", "perfect"))
    assert [row[-2:] for row in rows(said.splitlines()[2:4])] == [["-", "-"]] * 2
    assert len(said.splitlines()) == 5                                                        # no warning of numpy's


@pytest.mark.parametrize(("call", "said"), [
    (["TRIALS"], "Missing argument 'SYSTEM=SCORES...'. .see compare_systems.py --help."),
    (["TRIALS", "FLAT"], 'flat-0": not SYSTEM=SCORES, say aam=exp/aam-0/scores/eval.cosine'),
    (["TRIALS", "=FLAT"], 'flat-0": not SYSTEM=SCORES'), (["TRIALS", "flat="], '"flat=": not SYSTEM=SCORES'),
    (["TRIALS", "flat=FLAT", "a=FLAT", "flat=FLAT"], 'flat-0" comes twice; each score file is a seed of its own'),
    (["none", "flat=FLAT"], "none: no such file"), (["TRIALS", "flat=none"], "none: no such file"),
    (["TRIALS", "flat=FLAT", "short=SHORT"], "short does not fit .*trials: 2 of 276 trials have no score "
                                             ".s0-0 s0-1, s0-0 s0-2.; score this trial list"),
    (["--reference", "best", "TRIALS", "flat=FLAT", "a=SHORT"], 'reference "best": the systems are flat, a'),
    (["--plot", "p.jpg", "TRIALS", "flat=FLAT"], "p.jpg: a picture's name ends with .png, .svg, .pdf"),
    (["--plot", "OUT.png", "--output", "OUT.png", "TRIALS", "flat=FLAT"], "--output and --plot are both .*out.png"),
    (["--p-target", "0", "TRIALS", "flat=FLAT"], "0.0 is not in the range 0<x<1"),
    (["--utt2spk", "SHORT", "TRIALS", "flat=FLAT"], "short:2: "),
])
def test_a_mistake_is_one_line_and_costs_nothing(evaluation, step, call, said):
    folder, _ = evaluation
    write(folder / "short", (folder / "trials").read_text().replace(" target", " 1").replace(" nontarget", " 0")
          .splitlines()[2:])
    places = {"TRIALS": "trials", "FLAT": "flat-0", "SHORT": "short", "OUT": "out"}
    call = [re.sub("[A-Z]{3,}", lambda match: str(folder / places[match[0]]), word) for word in call]
    lines = step("compare_systems.py", *call, code=1).splitlines()
    assert len(lines) == 2 and re.search(said, lines[1]) and lines[1].startswith("compare_systems.py: error: ")
    assert not (folder / ".made").exists()


@pytest.mark.parametrize("mistake", [["--reference", "best"], ["--plot", "p.jpg"]])
def test_a_mistake_is_found_before_the_old_table_goes(evaluation, step, mistake):
    folder, _ = evaluation
    call = ("--output", folder / "table", folder / "trials", *words(folder, "flat"))
    step("compare_systems.py", *call)
    table = (folder / "table").read_text()
    step("compare_systems.py", "--overwrite", "--p-target", 0.5, *mistake, *call, code=1)
    assert (folder / "table").read_text() == table
