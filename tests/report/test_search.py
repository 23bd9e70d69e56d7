"""The search in the report: every trial told, bad ones seen, hostile values escaped, charts that can be drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sample import study

from emergence.core.search import SearchRecord, SearchTrial
from emergence.report import figures, render_html, render_markdown
from emergence.report.costs import run_cost
from emergence.report.data import ReportData
from emergence.report.numbers import percent
from emergence.report.search import search_line

SETTINGS: dict[str, Any] = {
    "settings": {
        "training.learning_rate": {"low": 1e-4, "high": 1e1, "log": True},
        "model.family": {"choices": ["gpt", "<lstm>"]},
    },
    "trials": 4,
}


def trial(number: int, rate: float, family: str, status: Any, value: float | None, **more: Any) -> SearchTrial:
    values = {"training.learning_rate": rate, "model.family": family}
    curve = () if value is None else (2.0, value)
    return SearchTrial(
        number=number,
        values=values,
        status=status,
        value=value,
        curve=curve,
        **{"flops": 2.5e8, "seconds": 1.5, **more},
    )


@pytest.fixture
def data() -> ReportData:
    record = SearchRecord.model_validate(
        {
            "settings": SETTINGS,
            "direction": "minimize",
            "trials": [
                trial(0, 3.0, "gpt", "diverged", None, note="R00-s0 diverged: loss inf at step 3"),
                trial(1, 1e-2, "<lstm>", "complete", 0.5),
                trial(2, 1e-3, "gpt", "complete", 0.0123456),
                trial(3, 1e-4, "gpt", "pruned", 1.75, flops=1e8),
            ],
            "best": 2,
        }
    )
    return replace(study(), search=record)


def test_the_record_knows_what_it_came_to(data: ReportData) -> None:
    assert data.search is not None
    assert data.search.values == {"training.learning_rate": 1e-3, "model.family": "gpt"}
    assert data.search.best_so_far() == [None, 0.5, 0.0123456, 0.0123456]
    assert data.search.flops == pytest.approx(8.5e8)
    assert [data.search.count(s) for s in ("complete", "pruned", "diverged", "invalid")] == [2, 1, 1, 0]


def test_page_and_markdown_and_terminal_say_the_same(data: ReportData) -> None:
    cost = run_cost(data)
    assert cost is not None
    assert cost.flops is not None
    share = percent(8.5e8 / cost.flops)
    page, text, line = render_html(data), render_markdown(data), search_line(data)
    assert line is not None
    for shown in (page, text, line):
        assert "2 complete, 1 pruned, 1 diverged" in shown
        assert f"8.5×10⁸ FLOPs of training ({share} of the ladder's), 6 s" in shown.replace("&#39;", "'")
        assert "training.learning_rate 0.001, model.family gpt" in shown
        assert "0.01235" in shown
    assert "loss inf at step 3" in page
    assert "loss inf at step 3" in text
    assert "<lstm>" not in page.partition('<script type="application/json"')[0]
    assert "&lt;lstm&gt;" in page
    assert "<lstm>" not in text.replace("\\<lstm\\>", "")


def test_a_report_without_a_search_does_not_mention_one() -> None:
    assert 'id="search"' not in render_html(study())
    assert "## Search" not in render_markdown(study())
    assert search_line(study()) is None


def test_there_is_a_figure_by_trial_and_one_for_each_setting(data: ReportData, tmp_path: Any) -> None:
    found = {name: figure for name, figure in figures(data).items() if name.startswith("search-")}
    assert list(found) == ["search-trials", "search-training.learning_rate", "search-model.family"]
    for name, figure in found.items():
        rows = [row for table in figure.spec["datasets"].values() for row in table if "ended" in row]
        assert sorted(row["trial"] for row in rows) == [1, 2, 3, 4]  # the one without a value too
        drawn = figure.save(tmp_path / f"{name}.svg").read_text()
        assert "validation loss" in drawn
    best = next(table for table in found["search-trials"].spec["datasets"].values() if "ended" not in table[0])
    assert [(row["at"], row["value"]) for row in best] == [(2, 0.5), (3, 0.012346), (4, 0.012346)]
