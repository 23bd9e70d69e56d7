"""Compressed models in a table: method and level, bits, and what every ability scores."""

from __future__ import annotations

from dataclasses import dataclass

from emergence.analysis.adapted import Compressed, compressed_models
from emergence.report.adaptation import LONG, interval_text
from emergence.report.data import ReportData
from emergence.report.numbers import MISSING, decimal, quantity
from emergence.report.texts import Texts

__all__ = ["CompressedTable", "compressed_table"]


@dataclass(frozen=True)
class CompressedTable:
    """A row for every model, method and level; those of all but the largest model of each family apart, where the table
    is long."""

    header: list[str]
    rows: list[list[str]]
    smaller: list[list[str]]


def compressed_table(data: ReportData, texts: Texts) -> CompressedTable | None:
    """Return the table; None where nothing was compressed."""
    models = compressed_models(data.adaptations) if data.adaptations is not None else []
    if not models:
        return None
    places = sorted(dict.fromkeys(place for one in models for place in one.headlines))
    shots = len({place[1] for place in places}) > 1
    header = [
        texts(f"adaptation.{key}" if key == "model" else f"compressed.{key}")
        for key in ("model", "method", "level", "bits")
    ]
    header += [f"{task}{f' · {n}-shot' if shots else ''} · {texts.metric(metric)}" for task, n, metric in places]

    def row(one: Compressed) -> list[str]:
        model = f"{one.model} ({quantity(one.params, 3)})" if one.params else one.model
        cells = [interval_text(one.scores.get(place)) for place in places]
        method = texts("compressed.untouched") if one.method is None else one.method
        return [model, method, one.level or MISSING, decimal(one.bits, 2), *cells]

    largest: dict[str, str] = {}
    for one in models:
        largest.setdefault(one.family, one.model)
    small = [one for one in models if largest[one.family] != one.model] if len(models) > LONG else []
    return CompressedTable(header, [row(one) for one in models if one not in small], [row(one) for one in small])
