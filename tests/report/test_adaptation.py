"""What fine-tuned and compressed models score, in every form of the report of a real study."""

from __future__ import annotations

import json
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from adapted_study import MANY, run_adapted
from browser import visit
from sample import EVIL, study
from tests.tiny import emergence

import emergence as em
from emergence.core.adaptation import AdaptationFile, TunedRecord
from emergence.core.errors import UserError
from emergence.report import figures, render_html, render_markdown
from emergence.report.adaptation import MARK, adaptation_table, chosen_models, task_tables
from emergence.report.costs import cost_line
from emergence.report.data import ReportData
from emergence.report.study import read_study
from emergence.report.texts import Texts
from emergence.study.adapted import read_adaptations

TASKS = ("colours", "many", "lengths", "passages", "copy")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study."""
    return run_adapted(tmp_path_factory.mktemp("adapted"))


@pytest.fixture(scope="module")
def data(folder: Path) -> ReportData:
    return read_study(folder)


def records(data: ReportData) -> AdaptationFile:
    assert data.adaptations is not None
    return data.adaptations


def tuned(**changes: Any) -> TunedRecord:
    """Return a record of a classifier of two classes."""
    report = {
        "n": 10,
        "majority": 0.5,
        "classes": [{"label": "no"}, {"label": "yes"}],
        "confusion": [[4, 1], [2, 3]],
    }
    values: dict[str, Any] = {
        "name": "one",
        "task": "mood",
        "kind": "classification",
        "family": "gpt",
        "model": "R01",
        "seed": 0,
        "variant": "tuned",
        "examples": 100,
        "params": 2e4,
        "scores": ({"test": "test", "metric": "accuracy", "score": 0.7, "error": 0.1, "n": 10},),
        "reports": {"test": report},
        "validation": {"accuracy": 0.6, "loss": 1.0},
        "best_step": 8,
        "history": ({"step": 4, "accuracy": 0.5}, {"step": 8, "accuracy": 0.6}),
        "share": 1.0,
        "flops": 1e9,
        "seconds": 2.0,
    }
    return TunedRecord(**values | changes)


def test_every_job_has_its_record_and_the_scores_of_the_table(folder: Path, data: ReportData) -> None:
    file = records(data)
    assert len(file.tuned) == 2 * 2 * len(TASKS) + 2 * 2 * 2  # models; baselines for two tasks
    assert len(file.compressed) == 2 * 2 * 3
    table = data.scores.filter(pl.col("examples").is_not_null())
    for one in file.tuned:
        family = one.family if one.baseline else f"{one.family} {one.variant}"
        own = table.filter(
            pl.col("family") == family, pl.col("seed") == one.seed, pl.col("examples") == float(one.examples or 0)
        )
        for score in one.scores:
            name = one.task if score.test == "test" else f"{one.task} {score.test}"
            row = own.filter(pl.col("task") == name, pl.col("metric") == score.metric)
            if score.metric in ("roc_auc", "rmse", "spearman"):
                assert row.is_empty()
                assert score.score == one.reports[score.test][score.metric]
            else:
                assert row["score"].to_list() == [score.score]
                assert row["stderr"].to_list() == [score.error]
    metrics = {task: {s.metric for r in file.tuned if r.task == task for s in r.scores} for task in TASKS}
    assert {"accuracy", "macro_f1", "roc_auc"} <= metrics["colours"]
    assert {"rmse", "spearman"} <= metrics["lengths"]
    assert {"exact_match", "f1"} <= metrics["passages"]
    assert "exact_match" in metrics["copy"]
    assert json.loads((folder / "manifest.json").read_text())["files"]["adaptations.json"]


def test_the_error_of_a_root_mean_squared_error_is_that_of_its_records(folder: Path, data: ReportData) -> None:
    one = next(r for r in records(data).tuned if r.task == "lengths" and r.variant == "tuned")
    squares = pl.read_parquet(folder / "adapted" / one.name / "records.parquet")["score_squared_error"]
    score = next(s for s in one.scores if s.metric == "rmse")
    # The delta method against a bootstrap.
    drawn = [squares.sample(len(squares), with_replacement=True, seed=n).mean() for n in range(2000)]
    spread = pl.Series([float(mean) ** 0.5 for mean in drawn if isinstance(mean, float)]).std()
    assert score.error == pytest.approx(spread, rel=0.15)


def test_tables_show_every_way_with_the_choice_first(data: ReportData) -> None:
    tables = task_tables(data, Texts())
    assert [table.title for table in tables] == [f"{task}, 60 examples" for task in TASKS]
    colours = tables[0]
    assert colours.header[:6] == [
        "Model",
        "Variant",
        "Accuracy, test",
        "Macro-F1, test",
        "ROC-AUC, test",
        "Accuracy, other",
    ]
    assert [row[1].removesuffix(f" {MARK}") for row in colours.rows[2:]] == ["majority", "naive bayes"]
    assert {row[1].removesuffix(f" {MARK}") for row in colours.rows[:2]} == {"tuned", "slow"}
    for table in tables:
        assert table.marked[:2] == [True, False]  # the best validation score is first
        assert [MARK in row[1] for row in table.rows] == table.marked
    own = [r for r in records(data).tuned if (r.task, r.variant) == ("colours", "tuned")]
    mean = sum(s.score for r in own for s in r.scores if (s.test, s.metric) == ("test", "accuracy")) / 2
    shown = next(row for row in colours.rows if row[1].startswith("tuned"))
    assert shown[2].startswith(f"{mean:.3f} (")
    assert tables[2].header[2:4] == ["RMSE", "Spearman"]
    assert tables[3].header[2:4] == ["Exact match", "F1"]


def test_confusion_is_counted_over_all_seeds(data: ReportData) -> None:
    (one,) = chosen_models(data)["colours"]
    reports = [r.reports["test"]["confusion"] for r in one.way.records]
    assert one.confusion == [[a + b for a, b in zip(x, y, strict=True)] for x, y in zip(*reports, strict=True)]
    assert len(chosen_models(data)["many"][0].labels) == MANY
    (hand,) = chosen_models(replace(study(), adaptations=AdaptationFile(tuned=(tuned(),))))["mood"]
    assert hand.classes == [
        ("no", pytest.approx(4 / 6), 0.8, pytest.approx(8 / 11), 5),
        ("yes", 0.75, 0.6, pytest.approx(6 / 9), 5),
    ]
    assert hand.pairs == [("yes", "no", 2, 0.4), ("no", "yes", 1, 0.2)]


def test_page_markdown_terminal_and_json_say_the_same(folder: Path, data: ReportData) -> None:
    page = unescape(render_html(data))
    text = render_markdown(data)
    for table in task_tables(data, Texts()):
        for shown in (page, text):
            assert table.title in shown
            assert all(cell in shown for row in table.rows for cell in row)
    for shown in (page, text):
        assert "The most confused pairs of 24 classes" in shown
        assert "√((t·s/√K)² + (1.645·e)²)" in shown
        assert "Compressed models" in shown
        assert cost_line(data, Texts()) in shown
    document = em.open_study(folder).to_json()["adaptation"]
    best = [way for way in document["tuned"] if way["task"] == "colours" and way["chosen"]]
    assert len(best) == 1
    accuracy = next(s for s in best[0]["scores"] if (s["test"], s["metric"]) == ("test", "accuracy"))
    shown = f"{accuracy['estimate']:.3f} ({accuracy['low']:.3f}–{accuracy['high']:.3f})"
    assert shown in page
    assert shown in text
    printed = (folder.parent.parent / "shown.txt").read_text()
    assert all(part in printed for part in ("Best baseline", "colours, 60 examples", *shown.split()))
    assert [row["level"] for row in document["compressed"][:3]] == [None, "8 bits", "2 bits"]


def test_costs_count_fine_tuning_beside_pre_training(data: ReportData) -> None:
    line = cost_line(data, Texts())
    assert "4 runs, " in line
    assert "20 fine-tunings besides: " in line
    assert records(data).flops == pytest.approx(sum(r.flops for r in records(data).tuned))


def test_the_plan_says_how_many_and_how_much(folder: Path) -> None:
    home = folder.parent.parent
    done = emergence("plan", "tiny.yaml", cwd=home)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "Then 20 fine-tunings and 8 baselines: about " in said
    assert "Then 8 compressed models to ask everything again: about " in said
    planned = json.loads(emergence("plan", "tiny.yaml", "--json", cwd=home).stdout)["adaptation"]
    spent = records(read_study(folder)).flops
    assert planned["finetune"]["jobs"] == 20
    assert 0.3 < planned["finetune"]["flops"] / spent < 3


def test_the_section_is_drawn_in_a_browser(data: ReportData, tmp_path: Path) -> None:
    script = """
    const section = document.querySelector("#adaptation");
    const drawings = Array.from(section.querySelectorAll(".chart"));
    window.extra = [drawings.length, section.querySelectorAll("table").length, section.scrollWidth <= innerWidth];
    """
    alone = replace(data, verdicts=(), scores=data.scores.clear(), samples=None, history=None, scaling=())
    told = visit(render_html(alone), tmp_path, width=1240, script=script)
    assert told["faults"] == []
    assert told["drawn"] == told["charts"]
    charts, tables, fits = told["extra"]
    assert charts == 1 + len(TASKS)  # one confusion matrix of few classes, and validation over steps
    assert tables >= len(TASKS) + 3
    assert fits


def test_there_are_figures_of_both_kinds(data: ReportData, tmp_path: Path) -> None:
    names = [name for name in figures(data) if name.startswith("adaptation-")]
    assert "adaptation-colours-gpt-confusion" in names
    assert {f"adaptation-{task}-gpt-validation" for task in TASKS} <= set(names)
    drawn = figures(data)["adaptation-colours-gpt-confusion"].save(tmp_path / "confusion.svg").read_text()
    assert "green" in drawn


def test_hostile_names_stay_text() -> None:
    report = {"n": 10, "majority": 0.5, "confusion": [[4, 1], [2, 3]]}
    report["classes"] = [{"label": EVIL}, {"label": "a|b"}]
    data = replace(study(), adaptations=AdaptationFile(tuned=(tuned(task=EVIL, reports={"test": report}),)))
    assert EVIL not in render_html(data)
    assert "<script>" not in render_markdown(data).replace("\\<script\\>", "")


def test_smaller_models_are_folded_where_the_table_is_long() -> None:
    many = [tuned(variant=f"way {n}", name=f"a{n}") for n in range(9)]
    few = [tuned(variant=f"way {n}", name=f"b{n}", model="R00", params=1e3) for n in range(3)]
    (short,) = task_tables(replace(study(), adaptations=AdaptationFile(tuned=(*few, *many))), Texts())
    assert (len(short.rows), short.smaller) == (12, [])
    assert [row[0] for row in short.rows[-3:]] == ["R00 (1k)"] * 3
    more = [*few, tuned(variant="way 3", name="b3", model="R00", params=1e3)]
    data = replace(study(), adaptations=AdaptationFile(tuned=(*more, *many)))
    (table,) = task_tables(data, Texts())
    assert (len(table.rows), len(table.smaller)) == (9, 4)
    assert "Smaller models (4 rows)" in render_html(data)


def test_what_diverged_and_what_was_learnt_before_is_said() -> None:
    gone = tuned(
        variant="wild", status="diverged", scores=(), reports={}, validation={}, history=(), best_step=None, flops=0.0
    )
    after = tuned(variant="multitask", before=2)
    file = AdaptationFile(tuned=(tuned(), gone, after))
    (table,) = task_tables(replace(study(), adaptations=file), Texts())
    cells = {row[1].removesuffix(f" {MARK}"): row for row in table.rows}
    assert cells["wild"][2] == "–"
    assert cells["wild"][-1] == "0 (1 diverged)"
    assert "multitask, after 2 tasks" in cells
    alone = replace(study(), adaptations=AdaptationFile(tuned=(gone,)))
    assert "wild" in render_markdown(alone)
    assert adaptation_table(alone) is not None


def test_a_report_without_adaptation_does_not_mention_it() -> None:
    assert 'id="adaptation"' not in render_html(study())
    assert "## Adaptation" not in render_markdown(study())
    assert adaptation_table(study()) is None
    assert "besides" not in cost_line(study(), Texts())


def test_a_damaged_file_is_told(folder: Path, tmp_path: Path) -> None:
    for name in ("study.yaml", "verdicts.json", "manifest.json", "scores.parquet"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "adaptations.json").write_text('{"tuned": [{}]}')
    with pytest.raises(UserError, match="damaged"):
        read_study(tmp_path)
    assert read_adaptations(tmp_path / "nowhere") is None
