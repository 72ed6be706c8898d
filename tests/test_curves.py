"""Training curves: what is drawn of what logs say."""

import json

import pytest
from matplotlib.axes import Axes

from pyspk.errors import UserError
from pyspk.training.curves import plot_runs, read_reports

SPHERE = [{"epoch": i, "loss": 5.0 / i, "positive": 3.0 / i, "negative": 2.0 / i, "grad_norm": 1.0, "lr": 0.1 / i,
           "margin": 0.1 * i, "b": 3.0 - i, "samples_per_s": 100.0, "waited_share": 0.01, "valid_eer": 0.3 / i}
          for i in (1, 2, 3)]
SOFTMAX = [{key: value for key, value in done.items() if key not in ("positive", "negative", "b")} | {"valid_eer": None}
           for done in SPHERE[:2]]


def write_log(folder, reports):
    (folder / "log").mkdir(parents=True)
    (folder / "log" / "train.jsonl").write_text("".join(f"{json.dumps(done)}\n" for done in reports))
    return folder


def test_every_curve_of_every_run_is_drawn(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Axes, "plot", lambda self, x, y, **style: drawn.append((x, y, style.get("linestyle"))))
    monkeypatch.setattr(Axes, "legend", lambda self, **_: None)
    plot_runs({"sphere": SPHERE, "softmax": SOFTMAX}, tmp_path / "a.png")
    assert ((1, 2, 3), (5.0, 2.5, 5.0 / 3), None) in drawn and ((1, 2), (5.0, 2.5), None) in drawn
    assert ((1, 2, 3), (3.0, 1.5, 1.0), ":") in drawn                  # the positive part
    assert ((1, 2, 3), (30.0, 15.0, pytest.approx(10.0)), None) in drawn
    assert len(drawn) == (8 + 2) + 6                                   # softmax has neither parts, b nor EER


def test_plot_training_draws_a_picture(step, tmp_path):
    for name, reports in (("a", SPHERE), ("b", SOFTMAX)):
        write_log(tmp_path / name, reports)
    said = step("plot_training.py", "--output", tmp_path / "p.svg", tmp_path / "a", tmp_path / "b")
    assert "wrote the curves of 2 experiments" in said
    picture = (tmp_path / "p.svg").read_text()
    assert "learning rate" in picture or "<use" in picture
    assert "a picture's name ends with .png" in step("plot_training.py", "--output", "p.gif", tmp_path / "a", code=1)
    assert "train.jsonl: no such file; training" in step("plot_training.py", tmp_path, code=1)


def test_a_damaged_log_is_named(tmp_path):
    folder = write_log(tmp_path / "a", SPHERE)
    with (folder / "log" / "train.jsonl").open("a") as file:
        file.write('{"epoch": 4, "lo')
    with pytest.raises(UserError, match=r"train\.jsonl:4: not a JSON object"):
        read_reports(folder)
    for content, said in (("3\n", r"train\.jsonl:1: not a JSON object"),
                          ('{"loss": 1}\n', r"train\.jsonl:1: not a JSON object with an epoch"),
                          ("", r"train\.jsonl: empty; training")):
        (folder / "log" / "train.jsonl").write_text(content)
        with pytest.raises(UserError, match=said):
            read_reports(folder)
