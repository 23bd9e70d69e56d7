"""The search of a study in words, in a table and in charts: what was tried, what was best, what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emergence.core.search import SearchRecord, SearchTrial, TrialStatus
from emergence.core.search_settings import SearchedSetting
from emergence.report.costs import run_cost
from emergence.report.data import ReportData
from emergence.report.encodings import Spec, log_ticks
from emergence.report.gallery import Chart, Gallery
from emergence.report.numbers import MISSING, duration, percent, power
from emergence.report.texts import Texts
from emergence.report.theme import HEADLINE, INK, MUTED, ONSET, OUTSIDE

__all__ = ["SearchTable", "search_charts", "search_line", "search_table", "status_colours"]

_HEIGHT = 220
_WIDE = 20.0  # ratio of values from which they are drawn on a logarithmic axis
_COLOURS: dict[TrialStatus, str] = {"complete": HEADLINE, "pruned": MUTED, "diverged": OUTSIDE, "invalid": ONSET}


@dataclass(frozen=True)
class SearchTable:
    """``lead`` says what was searched and found, ``cost`` what that cost; one row per trial, the best one marked."""

    lead: str
    cost: str
    header: list[str]
    rows: list[list[str]]


def search_table(data: ReportData, texts: Texts) -> SearchTable | None:
    """Return the search in words and numbers; None for a study without one."""
    record = data.search
    if record is None:
        return None
    settings = record.settings.settings
    ranges = "; ".join(f"{name} {_range(setting, texts)}" for name, setting in settings.items())
    lead = texts(
        "search.lead", n=len(record.trials), ranges=ranges, goal=record.settings.goal.words, best=_best(record, texts)
    )
    header = [texts("search.trial"), *settings, texts("search.value"), texts("search.ended")]
    header += [texts("search.flops"), texts("search.seconds")]
    return SearchTable(lead, _cost(data, record, texts), header, [_row(record, one, texts) for one in record.trials])


def search_line(data: ReportData, *, language: str = "en") -> str | None:
    """Return what was searched, found and spent as one line for the terminal; None for a study without a search."""
    texts = Texts(language)
    if data.search is None:
        return None
    return f"{texts('search.title')}: {_best(data.search, texts)} {_cost(data, data.search, texts)}"


def search_charts(gallery: Gallery) -> dict[str, Chart]:
    """Return the value of every trial in their order, with the best so far, and against each setting, by name.

    A trial without a value, which diverged at once or could not be, is a cross at the edge of the worst.
    """
    record = gallery.data.search
    if record is None:
        return {}
    texts = gallery.texts
    y, colour = _height(record), _colour(record, texts, gallery.legend)
    worst: Spec = {"value": 6 if record.direction == "minimize" else _HEIGHT - 6}  # pixels from above
    places: dict[str, list[Any]] = {"trials": [trial.number + 1 for trial in record.trials]}
    for name, searched in record.settings.settings.items():
        at = [trial.values[name] for trial in record.trials]
        places[name] = at if searched.choices is None else [_shown(value) for value in at]
    charts: dict[str, Chart] = {}
    for index, (name, at) in enumerate(places.items()):
        setting = record.settings.settings.get(name)
        x = _trial_axis(len(record.trials), texts) if setting is None else _setting_axis(name, setting)
        layers, tables = [], {}
        if setting is None:
            so_far = [(n + 1, value) for n, value in enumerate(record.best_so_far()) if value is not None]
            best: dict[str, list[Any]] = {"at": [n for n, _ in so_far], "value": [value for _, value in so_far]}
            layers, tables = [_best_line(x, y)], {"best": gallery.pool.add("search-best", best)}
        for kind, known in (("trials", True), ("lost", False)):
            rows = [n for n, trial in enumerate(record.trials) if (trial.value is not None) == known]
            if rows:
                layers.append(_points(kind, x, y if known else worst, colour, texts))
                tables[kind] = gallery.pool.add(f"search-{index}-{kind}", _columns(record, rows, at, texts))
        title = texts("search.chart") if setting is None else name
        charts[name] = Chart({"width": "container", "height": _HEIGHT, "layer": layers}, tables, title)
    return charts


def status_colours(record: SearchRecord, texts: Texts) -> list[tuple[str, str]]:
    """Return how trials ended, in words, with the colour of each."""
    return [(texts(f"search.{status}"), colour) for status, colour in _COLOURS.items() if record.count(status)]


def values_text(values: Mapping[str, Any]) -> str:
    """Return ``name value, name value``."""
    return ", ".join(f"{name} {_shown(value)}" for name, value in values.items())


def _best(record: SearchRecord, texts: Texts) -> str:
    return texts(
        "search.best",
        values=values_text(record.values),
        goal=record.settings.goal.words,
        value=_shown(record.trials[record.best].value, 4),
        trial=record.best + 1,
    )


def _cost(data: ReportData, record: SearchRecord, texts: Texts) -> str:
    """Return how the trials ended and what they cost, beside the ladder where that is known."""
    counts = {status: record.count(status) for status in _COLOURS}
    ended = ", ".join(f"{n} {texts(f'search.{status}')}" for status, n in counts.items() if n)
    ladder = run_cost(data)
    share = ""
    if ladder is not None and ladder.flops:
        share = texts("search.share", share=percent(record.flops / ladder.flops))
    return texts("search.cost", ended=ended, flops=power(record.flops), share=share, time=duration(record.seconds))


def _row(record: SearchRecord, trial: SearchTrial, texts: Texts) -> list[str]:
    ended = texts(f"search.{trial.status}")
    if trial.number == record.best:
        ended = texts("search.is_best")
    elif trial.note:
        ended += f": {trial.note}"
    value = MISSING if trial.value is None else _shown(trial.value, 4)
    cells = [_shown(trial.values[name]) for name in record.settings.settings]
    return [str(trial.number + 1), *cells, value, ended, power(trial.flops), duration(trial.seconds)]


def _shown(value: Any, digits: int = 3) -> str:
    return f"{value:.{digits}g}".replace("-", "−") if isinstance(value, float) else str(value)


def _range(setting: SearchedSetting, texts: Texts) -> str:
    if setting.choices is not None:
        return texts("search.choices", choices=", ".join(map(str, setting.choices)))
    assert setting.low is not None
    assert setting.high is not None
    key = "search.log" if setting.log else "search.range" if setting.step is None else "search.steps"
    return texts(key, low=_shown(setting.low), high=_shown(setting.high), step=_shown(setting.step))


def _columns(record: SearchRecord, rows: Sequence[int], at: Sequence[Any], texts: Texts) -> dict[str, list[Any]]:
    """Return the table of some trials, each at its place on the horizontal axis."""
    shown = [record.trials[row] for row in rows]
    return {
        "at": [at[row] for row in rows],
        "trial": [trial.number + 1 for trial in shown],
        "value": [trial.value for trial in shown],
        "ended": [texts(f"search.{trial.status}") for trial in shown],
        "values": [values_text(trial.values) for trial in shown],
    }


def _height(record: SearchRecord) -> Spec:
    values = [trial.value for trial in record.trials if trial.value is not None]
    wide = bool(values) and min(values) > 0 and max(values) / min(values) > _WIDE
    scale: Spec = {"type": "log", "nice": False, "padding": 8} if wide else {"zero": False, "nice": True}
    axis: Spec = {"title": record.settings.goal.words, "grid": True, "format": "~g"}
    axis |= {"values": list(log_ticks(min(values), max(values)))} if wide else {}
    return {"field": "value", "type": "quantitative", "scale": scale, "axis": axis}


def _colour(record: SearchRecord, texts: Texts, legend: bool) -> Spec:
    found = status_colours(record, texts)
    return {
        "field": "ended",
        "type": "nominal",
        "scale": {"domain": [name for name, _ in found], "range": [colour for _, colour in found]},
        "legend": {"title": None, "symbolType": "circle", "symbolOpacity": 1} if legend else None,
    }


def _trial_axis(trials: int, texts: Texts) -> Spec:
    scale: Spec = {"domain": [0.5, trials + 0.5], "nice": False}
    axis: Spec = {"title": texts("search.trial"), "tickMinStep": 1, "format": "d"}
    return {"field": "at", "type": "quantitative", "scale": scale, "axis": axis}


def _setting_axis(name: str, setting: SearchedSetting) -> Spec:
    if setting.choices is not None:
        scale: Spec = {"domain": [_shown(choice) for choice in setting.choices], "padding": 0.5}
        return {"field": "at", "type": "nominal", "scale": scale, "axis": {"title": name, "labelAngle": 0}}
    low, high = setting.low, setting.high
    assert low is not None
    assert high is not None
    kind: Spec = {"type": "log"} if setting.log else {"zero": False}
    axis: Spec = {"title": name, "format": "~g", **({"values": list(log_ticks(low, high))} if setting.log else {})}
    scale = kind | {"domain": [low, high], "nice": False, "padding": 10}
    return {"field": "at", "type": "quantitative", "scale": scale, "axis": axis}


def _best_line(x: Spec, y: Spec) -> Spec:
    """Return the best value so far: table ``best``."""
    mark: Spec = {"type": "line", "interpolate": "step-after", "color": INK, "strokeWidth": 1.4}
    return {"data": {"name": "best"}, "mark": mark, "encoding": {"x": x, "y": y}}


def _points(kind: str, x: Spec, y: Spec, colour: Spec, texts: Texts) -> Spec:
    """Return trials with a value (table ``trials``), or without one (table ``lost``)."""
    tooltip = [
        {"field": "trial", "type": "quantitative", "title": texts("search.trial")},
        {"field": "values", "type": "nominal", "title": texts("search.settings")},
        {"field": "value", "type": "quantitative", "title": texts("search.value"), "format": ".4~g"},
        {"field": "ended", "type": "nominal", "title": texts("search.ended")},
    ]
    return {
        "data": {"name": kind},
        "mark": {"type": "point", "filled": kind == "trials", "size": 60, "opacity": 0.85}
        | ({} if kind == "trials" else {"shape": "cross"}),
        "encoding": {"x": x, "y": y, "color": colour, "tooltip": tooltip},
    }
