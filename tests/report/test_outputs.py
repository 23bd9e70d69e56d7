"""HTML, Markdown, terminal and figure files: complete, escaped, small."""

from __future__ import annotations

import io
import json
import re
import time
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from sample import EVIL, hostile, outside, study, verdict

from emergence.core.errors import UserError
from emergence.core.schema import Interval, VerdictName
from emergence.report import Figure, ReportData, figures, render_html, render_markdown, verdict_table
from emergence.report.data import VERDICT_ORDER
from emergence.report.html import embed_json
from emergence.report.markdown_marks import code, plain, table, visible
from emergence.report.terminal import telling
from emergence.report.texts import Texts


def _without_scripts(html: str) -> str:
    return re.sub(r"<script\b.*?</script>", "", html, flags=re.DOTALL)


def test_html_is_one_small_file_without_network() -> None:
    html = render_html(study())
    assert len(html.encode()) < 3e6
    assert not re.search(r'(?:src|href)="(?!#|data:)', _without_scripts(html))
    assert "default-src 'none'" in html


def test_html_says_everything_without_scripts() -> None:
    data = study()
    text = _without_scripts(render_html(data))
    assert "Of 2 abilities, 1 is emergent and 1 is a mirage." in text
    for one in data.verdicts:
        assert one.reason in text
    for expected in ("88k", "R07", "R05-s1 diverged at step 1200.", "emergence run quickstart", "春眠不觉晓", "12+30="):
        assert expected in text


def test_nothing_leaves_its_place_in_html() -> None:
    html = render_html(hostile())
    assert EVIL not in html
    assert "<b>R01" not in html
    scripts = re.findall(r"<script\b[^>]*>(.*?)</script>", html, flags=re.DOTALL)
    assert len(scripts) == 4
    document = json.loads(scripts[1])
    assert EVIL in json.dumps(document, ensure_ascii=False)


def test_embedded_json_holds_no_markup() -> None:
    text = {"a": "</script><!--&\u2028\u2029"}
    embedded = embed_json(text)
    assert not set(embedded) & set("<>&\u2028\u2029")
    assert json.loads(embedded) == text


def test_results_from_elsewhere_make_a_page() -> None:
    html = render_html(outside())
    assert 'id="samples"' not in html
    assert 'id="losses"' not in html
    assert 'id="scaling"' not in html
    assert "task_2" in html


def test_no_verdicts_and_no_scores_make_a_page() -> None:
    assert "No verdicts" in render_html(replace(outside(), verdicts=[]))
    empty = ReportData("empty", "", [], pl.DataFrame())
    assert "No verdicts" in render_html(empty)
    assert "No verdicts" in render_markdown(empty)
    assert figures(empty) == {}


def test_a_verdict_without_scores_is_a_card_without_curves() -> None:
    html = render_html(ReportData("t", "", [verdict("addition")], pl.DataFrame()))
    assert "no curve to draw" in html


def test_many_curves_get_a_bounded_page_with_all_of_them_in_the_table() -> None:
    html = render_html(outside(tasks=600))
    assert html.count('class="card ') == 24
    assert html.count('<tr><th scope="row">') + html.count("<tr><th scope='row'>") >= 600
    assert "task_599" in html
    assert len(html.encode()) < 3e6


def test_a_large_study_is_quick_and_under_five_megabytes() -> None:
    render_html(outside())  # the script bundle is made once per process
    data = study(rungs=20, checkpoints=30, tasks=tuple(f"task{i}" for i in range(10)), prompts=6)
    start = time.process_time()
    html = render_html(data)
    assert time.process_time() - start < 10
    assert len(html.encode()) < 5e6


def test_markdown_has_every_verdict_and_score() -> None:
    data = study()
    text = render_markdown(data)
    rows = [line for line in text.splitlines() if line.startswith(("| addition", "| recall"))]
    assert len(rows) == len(data.verdicts)
    for expected in ("# quickstart", "88k (68k–120k)", "R07", "春眠不觉晓", "`12+30=`", "24 runs", "diverged"):
        assert expected in text


def test_markdown_escapes() -> None:
    text = render_markdown(hostile())
    outside_code = re.sub(r"(`+).*?\1", "", text)
    assert "<" not in outside_code.replace("\\<", "")
    assert "\x1b" not in text
    assert plain("a|b <i> *x*\n# y") == "a\\|b \\<i\\> \\*x\\*⏎\\# y"
    assert code("a`|`b") == "``a`|`b``"
    assert table(["a"], [[code("x|y")], [plain("x|y")]]).splitlines()[2:] == ["| `x\\|y` |", "| x\\|y   |"]
    assert code("") == "(empty)"
    assert visible("\x1b[31m\u2028") == "\\x1b[31m⏎"


def test_markdown_tables_align_wide_characters() -> None:
    lines = table(["任务", "x"], [["加法", "1"], ["a", "22"]]).splitlines()
    assert lines[0] == "| 任务 | x   |"
    assert lines[3] == "| a    | 22  |"


def test_terminal_table_fits_eighty_columns() -> None:
    from rich.console import Console

    names = list(VERDICT_ORDER)
    verdicts = [verdict(f"task_with_a_rather_long_name_{i}", name) for i, name in enumerate(names)]
    verdicts += [verdict("加法", VerdictName.EMERGENT, "flops", metric="acc"), verdict("[red]x[/red]\x1b[0m")]
    for width in (80, 120):
        stream = io.StringIO()
        Console(file=stream, width=width, color_system=None).print(verdict_table(verdicts))
        text = stream.getvalue()
        assert max(len(line) for line in text.splitlines()) <= width
        assert "[red]x" in text
        assert "\x1b" not in text
        for name in names:
            assert name.value in text


def test_terminal_table_shows_single_models_on_request() -> None:
    data = study()
    assert verdict_table(data.verdicts).row_count == 8
    assert verdict_table(data.verdicts, every_model=True).row_count == len(data.verdicts)
    assert len(verdict_table(data.verdicts, reasons=True).columns) == 7


def test_intervals_in_words() -> None:
    texts = Texts()
    assert texts.place(Interval(estimate=1.2e4, low=9.1e3, high=1.6e4), "params") == "12k parameters (9.1k–16k)"
    assert texts.place(Interval(estimate=1.2e4, low=9.1e3), "tokens") == "12k tokens (above 9.1k)"
    assert texts.place(Interval(estimate=1.2e4, high=2e4), "tokens") == "12k tokens (below 20k)"
    assert texts.place(Interval(reason="too short"), "loss") == "too short"
    assert texts.amount(Interval(estimate=-0.2, low=-0.3, high=0.1)) == "−0.200 (−0.300 to 0.100)"


def test_summary_counts_words() -> None:
    texts = Texts()
    names = ("emergent", "mirage", "mirage", "flat")
    judged = [(name, verdict(name, VerdictName(name))) for name in names]
    assert texts.summary(judged, VERDICT_ORDER) == "Of 4 abilities, 1 is emergent, 2 are mirages and 1 is flat."
    assert texts.summary(judged[1:3], VERDICT_ORDER) == "Both abilities are mirages."
    assert texts.summary([*judged[1:3], judged[1]], VERDICT_ORDER) == "All 3 abilities are mirages."
    assert texts.summary(judged[:1], VERDICT_ORDER) == "The one ability looked at, emergent, is emergent."


def test_every_verdict_has_its_words() -> None:
    texts = Texts()
    for name in VerdictName:
        assert texts.verdict(name)
        assert all(texts(f"{kind}.{name.value}") for kind in ("meaning", "one", "many"))


def test_figures_have_names_and_their_own_data() -> None:
    found = figures(study())
    assert {"addition-params", "addition-tokens", "recall-loss", "addition-runs-flops", "losses"} <= set(found)
    assert "scaling-validation_loss-flops" in found
    spec = found["addition-params"].spec
    assert len(spec["hconcat"]) == 2
    assert all(rows for name, rows in spec["datasets"].items() if not name.startswith("marks"))
    assert len(figures(outside(tasks=9), limit=2)) == 2
    assert set(figures(outside())) == {"task_0-params", "task_1-params", "task_2-params"}


def test_figure_files(tmp_path: Path) -> None:
    figure = figures(study())["addition-params"]
    svg = figure.save(tmp_path / "a.svg").read_text()
    assert svg.startswith("<svg")
    assert svg.count("<path") > 20
    assert figure.save(tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(figure.save(tmp_path / "a.json").read_text())["hconcat"]
    with pytest.raises(UserError, match=r"use one of .svg"):
        figure.save(tmp_path / "a.gif")


def test_figures_show_in_notebooks() -> None:
    bundle = Figure(
        {"data": {"values": [{"a": 1}]}, "mark": "point", "encoding": {"x": {"field": "a"}}}
    )._repr_mimebundle_()
    assert "image/png" in bundle
    kind = next(key for key in bundle if "vegalite" in key)
    assert kind.split(".")[2][:2] in bundle[kind]["$schema"]


def test_of_hundreds_of_verdicts_the_terminal_shows_those_that_found_something() -> None:
    few = [verdict("a", VerdictName.EMERGENT), verdict("b", VerdictName.FLAT)]
    assert telling(few) == (few, None)
    many = few + [verdict(f"c{i}", VerdictName.FLAT) for i in range(80)] + [verdict("d", VerdictName.UNDERPOWERED)]
    shown, line = telling(many)
    assert shown == few[:1]
    assert line is not None
    assert line.startswith("Of 83 verdicts")
    assert "81 flat, 1 underpowered" in line
