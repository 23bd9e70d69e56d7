"""The report as one HTML file that needs no network."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergence.core.schema import PER_MODEL, Interval
from emergence.report.across import carry_table, collapse_table, sorted_collapses
from emergence.report.adaptation_section import AdaptationSection, adaptation_section
from emergence.report.costs import cost_line, cost_table
from emergence.report.data import VERDICT_ORDER, Ability, ReportData, complete, find_abilities, models_by_size
from emergence.report.evidence import change_lines, find_evidence, next_cards, next_forecasts, resolution_line
from emergence.report.families import family_charts
from emergence.report.forecasts import forecast_tables, held_out_line
from emergence.report.gallery import Chart, Gallery
from emergence.report.numbers import axis_value, decimal, quantity
from emergence.report.onset_shift_chart import onset_shift_charts
from emergence.report.samples import sample_sets
from emergence.report.search import search_charts, search_table, status_colours
from emergence.report.texts import Texts
from emergence.report.theme import CONFIG, DARK, VERDICT_COLOURS, rung_colours
from emergence.report.trust import find_trust
from emergence.report.wider_charts import collapse_charts, collapse_colours, family_colours, forecast_charts

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["render_html"]

_TEMPLATES = Path(__file__).parent / "templates"
_CARDS = 24  # abilities with a card and charts; beyond that the table alone
_ROWS = 12  # of a long table before the rest is folded
_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def render_html(data: ReportData, *, language: str = "en") -> str:
    """Return the report as a single HTML page.

    Charts are drawn in the page from specifications and tables held once as JSON; without JavaScript the verdicts and
    all tables remain. Every text from models and data is escaped.
    """
    from markupsafe import Markup

    texts = Texts(language)
    gallery = Gallery(data, texts)
    abilities = find_abilities(data)
    page = _Page()
    shown = [gallery.ability(ability) for ability in abilities[:_CARDS]]
    sections = [
        {
            "ability": charts.ability,
            "curves": {axis: [page.chart(chart) for chart in pair] for axis, pair in charts.curves.items()},
            "runs": {axis: [page.chart(chart) for chart in pair] for axis, pair in charts.runs.items()},
            "numbers": charts.numbers,
            "legend": _legend(gallery, charts.ability.family),
            "next": charts.next,
            "replicas": page.chart(charts.replicas) if charts.replicas else None,
            "evidence": find_evidence(charts.ability, data, texts),
            "forecast": _card_forecast(charts.ability, data, texts),
        }
        for charts in shown
    ]
    samples = sample_sets(data.samples)
    losses = [page.chart(chart) for chart in gallery.losses()]
    scaling = [(fit, page.chart(chart)) for fit, chart in gallery.scaling()]
    held_out = forecast_charts(gallery, abilities)
    collapses = collapse_charts(gallery, abilities)
    onsets = onset_shift_charts(gallery)
    families = [list(charts.values()) for charts in family_charts(gallery, abilities)]
    judged = [(ability.title, ability.primary) for ability in abilities if ability.primary is not None]
    document = {
        "config": CONFIG,
        "dark": DARK | _dark_rungs(gallery),
        "specs": page.specs,
        "charts": page.charts,
        "tables": gallery.pool.tables,
        "samples": [found.document() for found in samples],
        "texts": {key: texts(f"samples.{key}") for key in ("right", "wrong", "target")}
        | {"tokens": texts("unit.tokens")},
    }
    return (
        _environment(texts)
        .get_template("page.html.j2")
        .render(
            data=data,
            language=language,
            summary=texts.summary(judged, VERDICT_ORDER),
            abilities=abilities,
            sections=sections,
            losses=losses,
            scaling=scaling,
            samples=samples,
            whole_legend=_legend(gallery, None),
            forecasts=forecast_tables(data, abilities, texts),
            held_out={
                "panels": {held.axis: [page.chart(chart)] for held, chart in held_out},
                "captions": {held.axis: [held_out_line(held, texts)] for held, _ in held_out},
            }
            if held_out
            else None,
            families=[[page.chart(chart) for chart in charts] for charts in families],
            family_legend=[(name, "", light, dark) for name, light, dark in family_colours(gallery)],
            collapses=[(one, page.chart(chart)) for one, chart in collapses],
            collapse_table=collapse_table(sorted_collapses(data, abilities), texts),
            collapse_legend=[(name, "", light, dark) for name, light, dark in collapse_colours(gallery)],
            carry=carry_table(data.carry_overs, texts),
            onsets=[(shift, page.chart(chart)) for shift, chart in onsets],
            trust=find_trust(data, abilities, texts),
            adaptation=_adaptation(adaptation_section(data, texts, gallery), page),
            search=search_table(data, texts),
            search_charts=[page.chart(chart) for chart in search_charts(gallery).values()],
            search_legend=_search_legend(data, texts),
            first_rows=_ROWS,
            many_metrics=len({verdict.metric for verdict in data.verdicts}) > 1,
            linked=abilities[:_CARDS],
            cost=cost_line(data, texts),
            cost_table=cost_table(data, texts),
            verdict_order=VERDICT_ORDER,
            verdict_colours=VERDICT_COLOURS,
            css=Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8")),
            script=Markup((_TEMPLATES / "page.js").read_text(encoding="utf-8")),
            bundle=Markup(_bundle()),
            document=Markup(embed_json(document)),
        )
    )


def embed_json(document: Any) -> str:
    """Return JSON that is safe inside a script element: it holds no ``<``, ``>``, ``&`` or line separator."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).translate(_ESCAPES)


class _Page:
    """The charts of a page; a specification used twice is stored once."""

    def __init__(self) -> None:
        self.specs: list[Any] = []
        self.charts: list[dict[str, Any]] = []
        self._known: dict[str, int] = {}

    def chart(self, chart: Chart) -> dict[str, Any]:
        """Keep a chart and return what the template needs to place it."""
        key = json.dumps(chart.spec, sort_keys=True)
        if key not in self._known:
            self._known[key] = len(self.specs)
            self.specs.append(chart.spec)
        self.charts.append({"spec": self._known[key], "tables": chart.tables})
        return {"number": len(self.charts) - 1, "title": chart.title, "role": chart.role}


def _card_forecast(ability: Ability, data: ReportData, texts: Texts) -> list[tuple[Interval, str]]:
    """Return the forecasts for the next scale along the axis that the card is about."""
    verdict = ability.primary
    if verdict is None:
        return []
    found = next_forecasts(ability, data)
    return next_cards([f for f in found if f.axis == verdict.axis and f.model == verdict.model], texts)


def _adaptation(found: AdaptationSection | None, page: _Page) -> dict[str, Any] | None:
    """Return the section with its charts placed in the page."""
    if found is None:
        return None
    tasks = [
        vars(task) | {"chosen": [vars(one) | {"charts": [page.chart(c) for c in one.charts]} for one in task.chosen]}
        for task in found.tasks
    ]
    return {"lead": found.lead, "choice": found.choice, "tasks": tasks, "compressed": found.compressed}


def _search_legend(data: ReportData, texts: Texts) -> list[tuple[str, str, str, str]]:
    found = [] if data.search is None else status_colours(data.search, texts)
    return [(name, "", light, DARK[light]) for name, light in found]


def _legend(gallery: Gallery, family: str | None) -> list[tuple[str, str, str, str]]:
    """Return name, size in words, light and dark colour of every model."""
    sizes = dict(_sizes(gallery, family))
    light, dark = rung_colours(list(sizes.values()))
    return [(name, quantity(size), a, b) for (name, size), a, b in zip(sizes.items(), light, dark, strict=True)]


def _sizes(gallery: Gallery, family: str | None) -> list[tuple[str, float | None]]:
    sizes = dict(models_by_size(complete(gallery.data.scores), family))
    return [(name, sizes.get(name)) for name in gallery.rungs(family).names]


def _dark_rungs(gallery: Gallery) -> dict[str, str]:
    """Return the dark counterpart of every rung colour in use."""
    families = [None, *complete(gallery.data.scores)["family"].unique().to_list()]
    return {light: dark for family in families for _, _, light, dark in _legend(gallery, family)}


@functools.cache
def _bundle() -> str:
    """Return Vega and Vega-Lite as one script. Bundling takes a second, so once per process is enough."""
    import vl_convert

    # No closing tag of a script may stand in a script, not even inside a JavaScript string.
    return (
        str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
        .replace("</script", "<\\/script")
        .replace("<!--", "<\\!--")
    )


def _environment(texts: Texts) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        t=texts,
        per_model=PER_MODEL,
        with_start=("examples", "training_tasks"),
        score_text=_score_text,
        changes=lambda verdict: change_lines(verdict, texts),
        resolution=lambda verdict: resolution_line(verdict, texts),
    )
    environment.filters.update(
        sentence=_sentence, quantity=quantity, decimal=decimal, axis_value=axis_value, anchor=_anchor
    )
    return environment


def _score_text(interval: Interval | None) -> str:
    if interval is None or interval.estimate is None:
        return "–"
    if interval.low is None or interval.high is None:
        return decimal(interval.estimate)
    return f"{decimal(interval.estimate)} ({decimal(interval.low)} – {decimal(interval.high)})"


def _sentence(text: str) -> str:
    """Return ``text`` with a capital letter in front."""
    return text[:1].upper() + text[1:]


def _anchor(ability: Ability) -> str:
    return f"ability-{ability.key}"
