"""The report: what it says of trials small enough to count by hand, and that nothing in a name or a file breaks it."""

import base64
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
from conftest import RATE_HZ, ROOT, kill_before_write, voice

from pyspk.errors import UserError
from pyspk.report import clips, svg
from pyspk.report.experiment import find_experiments, find_trial_data
from pyspk.report.findings import false_alarms, measure, misses
from pyspk.report.html import Markup, join, tag
from pyspk.report.make import make_report
from pyspk.report.style import CSS
from pyspk.report.verdict import _ahead_of, _how_good
from pyspk.scoring.groups import GroupResult
from pyspk.scoring.table import speakers_of
from pyspk.scoring.trials import read_trials

# What a hostile corpus would call its speakers; a name in Kaldi's tables holds no blank.
HOSTILE = "<img/src=x/onerror=alert(1)>\"'&amp;"
SPEAKERS = ("ann", "bob", HOSTILE)
# Utterance 1 of each speaker against utterance 2 of each: three targets, six nontargets.
SCORES = {("ann", "ann"): 0.9, ("bob", "bob"): 0.8, (HOSTILE, HOSTILE): 0.4,
          ("ann", "bob"): 0.85, ("bob", "ann"): 0.3, ("ann", HOSTILE): 0.1, (HOSTILE, "ann"): 0.05,
          ("bob", HOSTILE): 0.15, (HOSTILE, "bob"): 0.12}


def write_experiment(work: Path, name: str = "net", change: float = 0.0) -> Path:
    """WORK/exp/NAME with the scores above, and WORK/data once."""
    data, exp = work / "data" / "eval", work / "exp" / name
    for folder in (data, work / "data" / "trials", exp / "scores", exp / "log"):
        folder.mkdir(parents=True, exist_ok=True)
    utts = [f"{spk}-{utt}" for spk in sorted(SPEAKERS) for utt in (1, 2)]
    for number in range(len(utts)):
        path = work / f"{number}.wav"
        if not path.exists():
            soundfile.write(path, voice(number // 2, number % 2, 1 + number), RATE_HZ)
    tables = {"wav.scp": lambda number, utt: work / f"{number}.wav", "utt2spk": lambda number, utt: utt[:-2],
              "utt2dur": lambda number, utt: 1 + number,
              "utt2lang": lambda number, utt: "<b>en" if number < 4 else "de"}
    for table, value in tables.items():
        (data / table).write_text("".join(f"{utt} {value(number, utt)}\n" for number, utt in enumerate(utts)))
    rows = [(f"{a}-1", f"{b}-2", score, "target" if a == b else "nontarget") for (a, b), score in SCORES.items()]
    (work / "data" / "trials" / "eval").write_text("".join(f"{a} {b} {label}\n" for a, b, _, label in rows))
    (exp / "scores" / "eval.cosine").write_text("".join(f"{a} {b} {score + change}\n" for a, b, score, _ in rows))
    (exp / "scores" / "eval.calibrated").write_text("".join(f"{a} {b} {10 * score - 5}\n" for a, b, score, _ in rows))
    (exp / "scores" / "eval.metrics").write_text("scores  EER %\neval.cosine  1.0\n")
    (exp / "scores" / "eval.calibration.toml").write_text("scale = 10.0\n")
    (exp / "log" / "train.jsonl").write_text("".join(json.dumps(
        {"epoch": epoch, "loss": 3.0 / epoch, "valid_eer": 0.2 / epoch, "lr": 10.0 ** -epoch}) + "\n"
        for epoch in (1, 2, 3)))
    (exp / "config.toml").write_text('net = "resnet"\nnote = "</table><script>alert(1)</script>"\n')
    return exp


@pytest.fixture
def exp(tmp_path):
    return write_experiment(tmp_path)


def found(exp: Path, kind: str = "cosine"):
    """(finding, scores, trials, speakers) of an experiment."""
    experiment, = find_experiments([exp])
    trials = read_trials(experiment.trials)
    speakers = speakers_of(trials, exp.parents[1] / "data" / "eval" / "utt2spk")
    return *measure(experiment, kind, trials, speakers, [0.5], n_resamples=20), trials, speakers


# ---- elements and charts

def test_text_is_escaped_and_markup_is_not():
    assert tag("td", "a<b>&\"'", tag("i", "x"), None, class_="n", data_x='"', hidden=True, id=None) == (
        '<td class="n" data-x="&quot;" hidden="">a&lt;b&gt;&amp;&quot;&#x27;<i>x</i></td>')
    assert tag("br") == "<br/>" and tag("td") == "<td></td>"
    assert join("<", Markup("<hr/>"), 5) == "&lt;<hr/>5"
    assert tag("p", "a\x00b\x1b\x85\ufffe\td") == "<p>a\ufffdb\ufffd\ufffd\ufffd\td</p>"      # what no page may hold


@pytest.mark.parametrize(("low", "high", "ticks"), [
    (0, 10, {0: "0", 2: "2", 4: "4", 6: "6", 8: "8", 10: "10"}),
    (-0.3, 0.35, {-0.2: "-0.2", 0: "0", 0.2: "0.2"}),
    (1, 3, {1: "1", 1.5: "1.5", 2: "2", 2.5: "2.5", 3: "3"}),
    (5, 5, {5: "5"}),
])
def test_ticks_are_round(low, high, ticks):
    got = svg.nice_ticks(low, high)
    assert list(got.values()) == list(ticks.values()) and list(got) == pytest.approx(list(ticks))


def test_a_chart_puts_points_where_they_belong_and_says_what_it_shows():
    axis = svg.Axis("x", 0.0, 10.0, {0.0: "0", 10.0: "10"})
    drawn = svg.chart("c", "Title", "a < b", (axis, axis),
                      [svg.Series(np.array([0.0, 5.0, 10.0]), np.array([0.0, 10.0, 5.0]), svg.Style(1, 1))], (158, 150))
    tree = ElementTree.fromstring(drawn)                          # a field of 100 x 100 at (46, 10)
    assert [(part.tag, part.text) for part in tree[:2]] == [("title", "Title"), ("desc", "a < b")]
    assert (tree.get("role"), tree.get("aria-labelledby"), tree.get("aria-describedby")) == ("img", "c-title", "c-desc")
    line, = (part for part in tree.iter("path") if "line c1" in part.get("class"))
    assert line.get("d") == "M46.0 110.0L96.0 10.0L146.0 60.0" and line.get("stroke-dasharray")


# ---- what is found

def test_measures_are_those_of_the_metrics_and_can_be_counted(exp):
    finding, score, *_ = found(exp)
    # above 0.4 lie two of three targets and one of six nontargets: misses jump from 0 to 1/3 there, at P_fa = 1/6
    assert finding.eer == pytest.approx(1 / 6) and finding.threshold == 0.4
    # at P = 0.5 the least cost is P_miss + P_fa = 0 + 1/6, just below 0.4
    assert finding.values["minDCF(0.5)"][0] == pytest.approx(1 / 6)
    assert list(finding.values) == ["EER %", "minDCF(0.5)", "min Cllr"]
    assert list(score) == list(SCORES.values())
    low, high = finding.values["EER %"][1:]
    assert low <= finding.eer <= high
    assert [share.sum() for share in finding.shares] == pytest.approx([100, 100])
    assert finding.quantiles[0][3] == 0.8 and finding.quantiles[1][3] == pytest.approx(0.135)       # medians


def test_only_calibrated_scores_are_judged_by_their_threshold(exp):
    finding, *_ = found(exp, "calibrated")
    # llr = 10 score - 5 above 0 is a score above 0.5: one of three targets is missed, one of six nontargets accepted
    assert finding.values["actDCF(0.5)"][0] == pytest.approx(1 / 3 + 1 / 6)
    llr = {trial: 10 * score - 5 for trial, score in SCORES.items()}
    cost = (np.mean([np.log2(1 + np.exp(-one)) for (a, b), one in llr.items() if a == b])
            + np.mean([np.log2(1 + np.exp(one)) for (a, b), one in llr.items() if a != b])) / 2
    assert finding.values["Cllr"][0] == pytest.approx(cost)


def test_mistakes_are_the_worst_trial_of_each_pair_and_of_each_speaker(exp):
    _, score, trials, speakers = found(exp)
    alarms = false_alarms(trials, score, speakers, 0.13, 2)
    assert [(one.enroll, one.test, one.score, one.n_wrong, one.n_trials) for one in alarms.worst] == [
        ("ann-1", "bob-2", 0.85, 2, 2), ("bob-1", f"{HOSTILE}-2", 0.15, 1, 2)]
    assert (alarms.n_wrong, alarms.n_trials, alarms.commonest) == (3, 6, alarms.worst[0])
    missed = misses(trials, score, speakers, 0.8, 5)
    assert [(one.enroll, one.test, one.score, one.n_wrong, one.n_trials) for one in missed.worst] == [
        (f"{HOSTILE}-1", f"{HOSTILE}-2", 0.4, 1, 1), ("bob-1", "bob-2", 0.8, 1, 1), ("ann-1", "ann-2", 0.9, 0, 1)]
    assert (missed.n_wrong, missed.n_trials, missed.commonest) == (2, 3, missed.worst[1])


def test_a_group_is_worse_when_its_rate_or_its_interval_lies_above_those_of_all(exp):
    finding = replace(found(exp)[0], values={"EER %": (0.1, 0.05, 0.2)})
    for eer, low, worse in ((0.21, 0.05, True), (0.15, 0.11, True), (0.2, 0.1, False), (None, None, False)):
        group = GroupResult("g", 2, 1, 1, eer, low and (low, 0.5), None, None, None)
        assert finding.is_exceeded_by(group) == worse


# ---- sound

def test_a_clip_is_the_loudest_piece_and_comes_back_to_the_sample():
    samples = np.zeros(5 * clips.RATE_HZ, dtype=np.float32)
    samples[3 * clips.RATE_HZ:4 * clips.RATE_HZ] = np.round(1000 * np.sin(np.arange(clips.RATE_HZ)))
    clip = clips.cut(samples, seconds=1.0)
    assert (clip.start_s, clip.seconds, clip.total_s) == (3.0, 1.0, 5.0)
    kind, _, content = clip.uri.partition(",")
    back, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(content)), dtype="int16")
    assert kind == "data:audio/flac;base64" and rate_hz == clips.RATE_HZ
    np.testing.assert_array_equal(back, samples[3 * clips.RATE_HZ:4 * clips.RATE_HZ])
    whole = clips.cut(samples, seconds=9.0)
    assert (whole.start_s, whole.seconds, whole.total_s) == (0.0, 5.0, 5.0)


def test_clips_are_made_until_the_page_is_full(exp, caplog):
    data = exp.parents[1] / "data" / "eval"
    all_of_them = clips.make_clips(data, ["ann-1", "a-speaker", "bob-2", "ann-1", "bob-1"], 10)
    assert list(all_of_them) == ["ann-1", "bob-2", "bob-1"]
    room = len(all_of_them["ann-1"].uri) + len(all_of_them["bob-2"].uri)
    assert list(clips.make_clips(data, ["ann-1", "bob-2", "bob-1"], (room + 1) / 1e6)) == ["ann-1", "bob-2"]
    assert "2 are on the page, from bob-1 on they are not (--audio-mb)" in caplog.text


def test_voxceleb_names_are_found_as_kaldi_calls_them(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    soundfile.write(tmp_path / "a.wav", voice(0, 0, 1.0), RATE_HZ)
    (data / "utt2spk").write_text("id1-x-1 id1\n")
    (data / "wav.scp").write_text(f"id1-x-1 {tmp_path}/a.wav\n")
    assert list(clips.make_clips(data, ["id1/x/1.wav"], 10)) == ["id1/x/1.wav"]


# ---- the page

class Outline(HTMLParser):
    """What a browser's parser makes of the page: elements with attributes, and the levels of its headings."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))

    def all(self, *names: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name in names]


def text_of(page: str) -> str:
    """The words of the page's body, as a reader sees them. The page must be well-formed XML as well."""
    def words(element: ElementTree.Element) -> str:
        within = (element.text or "") + "".join(words(part) + (part.tail or "") for part in element)
        return within if element.tag in ("bdi", "strong", "span", "a") else f" {within} "
    return " ".join(words(ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))[1]).split())


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Work folder of an experiment with its report, for reading."""
    folder = tmp_path_factory.mktemp("work")
    experiment, = find_experiments([write_experiment(folder)])
    make_report([experiment], find_trial_data(experiment), experiment.folder / "report.html")
    return folder


@pytest.fixture
def page(work):
    return (work / "exp" / "net" / "report.html").read_text()


def test_the_page_says_how_good_it_is_and_where_it_fails(page, work):
    words = text_of(page)
    head = words[:words.index("Lower is better")]
    assert "net decides 83.3 of 100 trials rightly: its equal error rate is 16.7% (95% interval " in head
    assert "with calibrated scores on 9 trials of 3 speakers." in head
    assert "Most often it takes ann and bob for one speaker (1 of their 2 trials, 100% of all false alarms)." in head
    assert f"Most often it fails to recognise {HOSTILE} (1 of 1 trials, 100% of all misses)." in head
    for said in ("cosine 16.67", "actDCF(0.05)", "DET curves", "false alarms in %", "By language (calibrated scores)",
                 "By duration in s",
                 "<b>en 0.00",
                 "validation EER in %", "learning rate", f"{HOSTILE}-1", '</table><script>alert(1)</script>',
                 "score 3.5, threshold -1; 1 of 2 trials of these two wrong"):
        assert said in words, said
    assert str(work / "exp" / "net" / "scores" / "eval.cosine") in words and "numpy" in words and "UTC" in words
    assert "eval.metrics" not in words and "toml, " not in words


def test_no_name_becomes_markup_and_nothing_is_asked_of_the_network(page):
    outline = Outline(page)
    names = {name for name, _ in outline.elements}
    assert not names & {"script", "img", "iframe", "object", "form", "b"}
    assert not [key for _, attributes in outline.elements for key in attributes if key.startswith("on")]
    for attributes in (attributes for _, attributes in outline.elements):
        for key in ("src", "href"):
            assert re.match(r"#|data:(audio/flac;base64)?,", attributes.get(key) or "#")
    policy, = (meta["content"] for meta in outline.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL).group(1)
    hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (f"default-src 'none'; style-src 'sha256-{hashed}'; img-src data:; media-src data:; "
                      "base-uri 'none'")
    assert "url(" not in CSS and not [one for _, one in outline.elements if "style" in one]


def test_a_screen_reader_finds_its_way(page):
    outline = Outline(page)
    assert outline.all("html")[0]["lang"] == "en" and outline.all("title")
    assert [len(outline.all(name)) for name in ("header", "nav", "main", "footer", "h1")] == [1] * 5
    levels = [int(name[1]) for name, _ in outline.elements if re.fullmatch("h[1-6]", name)]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for link in outline.all("a"):
        assert link["href"].removeprefix("#") in ids
    for section in outline.all("section"):
        assert section["aria-labelledby"] in ids
    pictures = [one for one in outline.all("svg") if one.get("aria-hidden") != "true"]
    assert len(pictures) >= 6 and all(one["role"] == "img" and one["aria-labelledby"] in ids for one in pictures)
    assert len(outline.all("table")) == len(outline.all("caption")) >= 8
    assert all(one.get("scope") in ("col", "row") for one in outline.all("th"))
    assert all(one["aria-label"] and "controls" in one for one in outline.all("audio"))
    assert outline.all("audio")


def contrast(one: str, other: str) -> float:
    """Of two colours #rrggbb: Web Content Accessibility Guidelines 2.1, "contrast ratio"."""
    def luminance(colour: str) -> float:
        parts = [int(colour[place:place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("block", [0, 1], ids=["light", "dark"])
def test_colours_can_be_told_from_the_paper(block):
    text = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[block]
    colour = {name: value if len(value) > 4 else "#" + "".join(2 * digit for digit in value[1:])
              for name, value in re.findall(r"--(\w+): (#\w{3,6})\b", text)}
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    for ink in ("ink", "soft", "accent"):
        for paper in ("paper", "panel"):
            assert contrast(colour[ink], colour[paper]) >= 4.5, (ink, paper)
    for number in range(6):
        assert contrast(colour[f"c{number}"], colour["paper"]) >= 3.0, number


def test_the_same_inputs_give_the_same_bytes_and_others_are_asked_about(exp, step, tmp_path):
    assert step("make_report.py", exp).endswith("make_report.py: wrote the page about 1 experiments, with 6 recordings "
                                                f"to play, to {exp}/report.html\n")
    page = (exp / "report.html").read_text()
    made = (exp / "report.html").stat().st_mtime_ns
    assert step("make_report.py", exp).endswith(f"{exp}/report.html is current\n")
    assert (exp / "report.html").stat().st_mtime_ns == made
    step("make_report.py", exp, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text() == page
    (exp / "config.toml").write_text('net = "tdnn"\n')
    assert "its input net config.toml has changed" in step("make_report.py", exp, code=1)
    assert "scores was ['calibrated'], is ['cosine']" in step("make_report.py", "--scores", "cosine", exp, code=1)
    assert (exp / "report.html").read_text() == page
    step("make_report.py", "--scores", "cosine", "--audio-mb", 0, "--overwrite", exp)
    words = text_of((exp / "report.html").read_text())
    assert "with cosine scores" in words and "The recordings are not on this page" in words
    assert "<audio" not in (exp / "report.html").read_text()


def test_a_killed_run_leaves_no_half_of_a_page(exp, step):
    kill_before_write(1, [ROOT / "steps" / "make_report.py", exp])
    assert not (exp / "report.html").exists()
    step("make_report.py", exp)
    assert "</html>" in (exp / "report.html").read_text()


def test_experiments_are_compared(exp, step, tmp_path):
    other = write_experiment(tmp_path, "<b>other")
    rows = (other / "scores" / "eval.cosine").read_text().replace("0.12\n", "0.95\n")      # one error more
    (other / "scores" / "eval.cosine").write_text(rows)
    step("make_report.py", "--scores", "cosine", exp, other, tmp_path / "both.html")
    words = text_of((tmp_path / "both.html").read_text())
    # above 0.4 lie two of six nontargets there: a third. A replicate without an error leaves no interval of the ratio.
    assert words.startswith("Skip to the measures net and <b>other: speaker verification report net decides 83.3 of "
                            "100 trials rightly: its equal error rate is 16.7%")
    assert "Next is <b>other with 33.3%." in words
    assert "<b>other cosine 33.33" in words and "net cosine 16.67" in words
    assert "Training settings of <b>other" in words and words.count("Taken for one speaker, but two") == 2


def test_the_better_of_two_is_compared_with_the_same_speakers_drawn():
    rng = np.random.default_rng(0)
    rates = 0.1 + 0.02 * rng.random(1000)
    near, far, close_by = (SimpleNamespace(finding=SimpleNamespace(experiment=name, eer=eer, replicates=drawn))
                           for name, eer, drawn in (("a", 0.11, rates), ("b", 0.22, 2 * rates),
                                                    ("c", 0.12, rates + 0.02 * rng.random(1000) - 0.005)))
    assert _ahead_of([near]) is None
    assert _ahead_of([near, far]) == (" That is 0.50 times the rate of the next, <bdi>b</bdi> (95% interval 0.50 to "
                                      "0.50).")
    assert _ahead_of([near, close_by]).endswith("; the interval reaches 1, so it may be chance).")


def test_a_perfect_system_after_one_epoch_has_a_page_too(exp, step):
    scores = (exp / "scores" / "eval.cosine").read_text().replace("0.85\n", "0.1\n")
    (exp / "scores" / "eval.cosine").write_text(scores)
    (exp / "log" / "train.jsonl").write_text('{"epoch": 1, "loss": 2.0, "valid_eer": null, "lr": 0.1}\n')
    step("make_report.py", "--scores", "cosine", exp)
    words = text_of((exp / "report.html").read_text())
    assert "net decides 100 of 100 trials rightly: its equal error rate is 0% (95% interval 0% to 0%)" in words
    assert "It makes no error on these trials." in words
    assert "learning rate" in words and "validation EER" not in words


@pytest.mark.parametrize(("eer", "right"), [(0.1, "90"), (0.00871, "99.1"), (0.0004, "99.96")])
def test_few_errors_are_not_rounded_to_none(exp, eer, right):
    finding = replace(found(exp)[0], values={"EER %": (eer, eer, eer)})
    assert f"net</bdi> decides {right} of 100" in _how_good(finding, SimpleNamespace(n_trials=(1, 2), n_speakers=3))


def test_without_data_and_log_the_page_says_so(tmp_path, exp, step):
    lone = tmp_path / "lone" / "exp" / "net"
    (lone / "scores").mkdir(parents=True)
    (lone / "scores" / "eval.cosine").write_bytes((exp / "scores" / "eval.cosine").read_bytes())
    said = step("make_report.py", lone, code=1)
    assert f"scores on eval, and 0 of these lists in {tmp_path}/lone/data/trials; say which with --trials FILE" in said
    step("make_report.py", "--trials", tmp_path / "data" / "trials" / "eval", lone, tmp_path / "lone.html")
    words = text_of((tmp_path / "lone.html").read_text())
    assert "There is no training log" in words and "Nothing to group by was found" in words
    assert "The recordings are not on this page" in words


# ---- mistakes of the user

@pytest.mark.parametrize(("arguments", "said"), [
    (["{exp}", "{exp}/../net2"], "say where to write a comparison: make_report.py EXP... OUT.html"),
    (["out.html"], "out.html: which experiment is it about?"),
    (["{exp}", "{exp}", "o.html"], "given twice; name each experiment once"),
    (["--scores", "plda", "{exp}"], 'there are no scores "plda" on eval; there are cosine, calibrated'),
    (["--data", "{exp}", "{exp}"], "utt2spk: no such file; --data is the data directory of the trials' utterances"),
    (["--trials", "nowhere", "{exp}"], "nowhere: no such file"),
    (["--trials", "{exp}/config.toml", "{exp}"], "there are no scores on config.toml, only on eval"),
    (["{exp}/log"], "{exp}/log/scores: there are no score files; scoring (stage 5) writes TRIALS.cosine there"),
    (["--groups", "{exp}/config.toml", "{exp}"], "6 of the 6 names wanted are not there (ann-1, ann-2, bob-1, ...)"),
])
def test_a_mistake_is_one_line(exp, step, arguments, said):
    got = step("make_report.py", *(one.format(exp=exp) for one in arguments), code=1)
    assert said.format(exp=exp) in got and got.count("\n") == 2
    assert not (exp / "report.html").exists()


def test_scores_that_are_empty_are_not_left_out_in_silence(exp, step):
    (exp / "scores" / "eval.asnorm").write_text("")
    assert f"{exp}/scores/eval.asnorm: its first line is no score" in step("make_report.py", exp, code=1)


def test_a_table_in_the_data_that_groups_nothing_is_left_out_aloud(exp, step):
    table = exp.parents[1] / "data" / "eval" / "utt2room"
    table.write_text("ann-1 hall\n")
    assert f"not on the page: {table}: 5 of the 6 names wanted are not there" in step("make_report.py", exp)
    assert f"Left out: {table}: 5 of the 6 names wanted" in text_of((exp / "report.html").read_text())


def test_a_recording_that_is_gone_is_named_with_the_way_out(exp, step, tmp_path):
    (tmp_path / "0.wav").unlink()
    said = step("make_report.py", exp, code=1).splitlines()[-1]
    assert f"{tmp_path}/0.wav" in said and said.endswith("; --audio-mb 0 makes the page without recordings")
    assert not (exp / "report.html").exists()


def test_damaged_settings_are_named(exp, step):
    (exp / "config.toml").write_text("net = ")
    assert f"{exp}/config.toml: not TOML (" in step("make_report.py", exp, code=1)


def test_several_lists_and_other_trials_are_asked_about(exp, tmp_path):
    (exp / "scores" / "hard.cosine").write_text("a b 0.5\n")
    trials = tmp_path / "data" / "trials" / "eval"
    assert find_experiments([exp])[0].trials == trials             # scores to calibrate with lie there too
    trials.with_name("hard").write_text("a b target\n")
    with pytest.raises(UserError, match="scores on eval, hard, and 2 of these lists in .*/data/trials; say which with"):
        find_experiments([exp])
    assert list(find_experiments([exp], trials)[0].scores) == ["cosine", "calibrated"]
    (exp / "scores" / "hard.cosine").unlink()
    other = write_experiment(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="holds other trials than"):
        (tmp_path / "elsewhere" / "data" / "trials" / "eval").write_text("a b target\n")
        find_experiments([exp, other])


def test_kinds_come_in_the_order_in_which_they_are_made(exp):
    for kind in ("asnorm", "mine", "fused"):
        (exp / "scores" / f"eval.{kind}").write_text("a b 0.5\n")
    experiment, = find_experiments([exp])
    assert list(experiment.scores) == ["cosine", "asnorm", "mine", "calibrated", "fused"]


def test_tables_are_found_and_two_of_one_name_are_not_taken(exp):
    experiment, = find_experiments([exp])
    data = exp.parents[1] / "data" / "eval"
    (data / "spk2gender").write_text("")
    (data / "utt2uniq").write_text("")
    (data / "utt2num_frames").write_text("")
    assert list(find_trial_data(experiment).found) == ["duration in s", "language", "gender"]
    (data / "utt2dur").unlink()
    assert list(find_trial_data(experiment).found) == ["language", "length in frames", "gender"]
    mine = find_trial_data(experiment, None, [Path("a/utt2lang")])
    assert list(mine.found) == ["length in frames", "gender"] and mine.given == {"language": Path("a/utt2lang")}
    with pytest.raises(UserError, match="b/utt2lang: there are two tables called language; rename one of them"):
        find_trial_data(experiment, None, [Path("a/utt2lang"), Path("b/utt2lang")])
