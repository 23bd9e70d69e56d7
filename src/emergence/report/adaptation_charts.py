"""Charts of fine-tuned models: which classes they take for which, and their validation score over the steps."""

from __future__ import annotations

from typing import Any

from emergence.analysis.adapted import VALIDATION
from emergence.report.adaptation import Chosen, chosen_models, measure_name, way_name
from emergence.report.encodings import Spec, tip
from emergence.report.gallery import Chart, Gallery
from emergence.report.theme import HEADLINE, INK, SMOOTH

__all__ = ["MOST_CLASSES", "adaptation_charts"]

MOST_CLASSES = 20  # that a matrix is drawn for
_NUMBERED = 12  # up to so many classes a cell says its share
_HEIGHT = 250


def adaptation_charts(gallery: Gallery) -> dict[str, list[tuple[Chosen, dict[str, Chart]]]]:
    """Return by task, for the chosen variant of the largest model of each family, the charts ``confusion`` (where there
    are few enough classes) and ``validation``."""
    found: dict[str, list[tuple[Chosen, dict[str, Chart]]]] = {}
    for number, (task, chosen) in enumerate(chosen_models(gallery.data).items()):
        for place, one in enumerate(chosen):
            name, charts = f"adapted-{number}-{place}", {}
            if 2 <= len(one.labels) <= MOST_CLASSES:
                charts["confusion"] = _confusion(one, f"{name}-confusion", gallery)
            if any(record.history for record in one.way.records):
                charts["validation"] = _validation(one, f"{name}-validation", gallery)
            found.setdefault(task, []).append((one, charts))
    return found


def _confusion(one: Chosen, name: str, gallery: Gallery) -> Chart:
    texts, labels = gallery.texts, one.labels
    cells: dict[str, list[Any]] = {"is": [], "called": [], "count": [], "share": []}
    for label, row in zip(labels, one.confusion, strict=True):
        for other, count in zip(labels, row, strict=True):
            cells["is"].append(label)
            cells["called"].append(other)
            cells["count"].append(count)
            cells["share"].append(count / sum(row) if sum(row) else None)
    x: Spec = _classes("called", labels, texts("adaptation.called"), flat=len(labels) <= 6)
    y: Spec = _classes("is", labels, texts("adaptation.is"), flat=True)
    tooltip = [
        {"field": "is", "type": "nominal", "title": texts("adaptation.is")},
        {"field": "called", "type": "nominal", "title": texts("adaptation.called")},
        {"field": "count", "type": "quantitative", "title": texts("adaptation.count"), "format": ","},
        {"field": "share", "type": "quantitative", "title": texts("adaptation.of_class"), "format": ".1%"},
    ]
    # Opacity, not a ramp of colours: it holds on a dark page too. Ink stays readable on the darkest cell.
    opacity: Spec = {
        "field": "share",
        "type": "quantitative",
        "scale": {"domain": [0, 1], "range": [0.03, 0.6]},
        "legend": None,
    }
    cell: Spec = {"type": "rect", "color": HEADLINE}
    layers: list[Spec] = [
        {"data": {"name": "cells"}, "mark": cell, "encoding": {"x": x, "y": y, "opacity": opacity, "tooltip": tooltip}}
    ]
    if len(labels) <= _NUMBERED:
        mark: Spec = {"type": "text", "fontSize": 11, "color": INK}
        text: Spec = {"field": "share", "type": "quantitative", "format": ".0%"}
        layers.append({"data": {"name": "cells"}, "mark": mark, "encoding": {"x": x, "y": y, "text": text}})
    high = max(_HEIGHT - 60, 22 * len(labels))
    words = {"model": one.name, "variant": way_name(one.way, texts)}
    title = texts("adaptation.confusion", **words)
    if one.test != "test":
        title = texts("adaptation.confusion.on", **words, test=one.test)
    return Chart(
        {"width": "container", "height": high, "layer": layers}, {"cells": gallery.pool.add(name, cells)}, title
    )


def _validation(one: Chosen, name: str, gallery: Gallery) -> Chart:
    texts = gallery.texts
    metric, _ = VALIDATION[one.way.kind]
    columns: dict[str, list[Any]] = {"step": [], "value": [], "seed": []}
    kept: dict[str, list[Any]] = {"step": [], "value": [], "seed": []}
    for record in one.way.records:
        for reading in record.history:
            for table in (columns, kept) if reading["step"] == record.best_step else (columns,):
                table["step"].append(int(reading["step"]))
                table["value"].append(reading[metric])
                table["seed"].append(record.seed)
    x: Spec = {
        "field": "step",
        "type": "quantitative",
        "scale": {"zero": True, "nice": False, "padding": 8},
        "axis": {"title": texts("adaptation.step"), "tickMinStep": 1, "format": "~s"},
    }
    y: Spec = {
        "field": "value",
        "type": "quantitative",
        "scale": {"zero": False, "nice": True},
        "axis": {
            "title": texts("adaptation.validation", metric=measure_name(one.way, texts)),
            "grid": True,
            "format": "~g",
        },
    }
    seed: Spec = {"field": "seed", "type": "nominal"}
    tooltip = [tip("seed", texts("column.seeds")), {**tip("step", texts("adaptation.step")), "format": ","}]
    tooltip.append(tip("value", measure_name(one.way, texts)))
    line: Spec = {"type": "line", "color": HEADLINE, "strokeWidth": 1.5, "opacity": 0.75}
    dot: Spec = {"type": "point", "filled": True, "color": HEADLINE, "size": 24, "opacity": 0.75}
    best: Spec = {"type": "point", "filled": True, "color": SMOOTH, "size": 64, "opacity": 1}
    layers = [
        {"data": {"name": "readings"}, "mark": line, "encoding": {"x": x, "y": y, "detail": seed}},
        {"data": {"name": "readings"}, "mark": dot, "encoding": {"x": x, "y": y, "tooltip": tooltip}},
        {"data": {"name": "kept"}, "mark": best, "encoding": {"x": x, "y": y, "tooltip": tooltip}},
    ]
    tables = {"readings": gallery.pool.add(name, columns), "kept": gallery.pool.add(f"{name}-kept", kept)}
    title = texts("adaptation.curve", model=one.name, variant=way_name(one.way, texts))
    return Chart({"width": "container", "height": _HEIGHT, "layer": layers}, tables, title)


def _classes(field: str, labels: list[str], title: str, *, flat: bool) -> Spec:
    axis: Spec = {"title": title, "labelAngle": 0 if flat else -45, "domain": False, "ticks": False, "labelLimit": 140}
    axis |= {"labelOverlap": False, "grid": False}
    return {"field": field, "type": "nominal", "sort": labels, "scale": {"domain": labels}, "axis": axis}
