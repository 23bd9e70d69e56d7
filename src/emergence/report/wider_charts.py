"""Charts over all abilities: forecasts against the truth, and scores of all families against the validation loss."""

from __future__ import annotations

from collections.abc import Sequence

from emergence.core.collapse import Collapse
from emergence.report.across import sorted_collapses
from emergence.report.data import Ability, models_by_size
from emergence.report.evidence_charts import forecast_chart, loss_curve_chart
from emergence.report.evidence_tables import held_out_table, loss_points
from emergence.report.forecasts import HeldOut, held_out_points
from emergence.report.gallery import Chart, Gallery, extent_of, score_of
from emergence.report.theme import FAMILIES, rung_colours

__all__ = ["MOST_COLLAPSES", "collapse_charts", "collapse_colours", "family_colours", "forecast_charts"]

MOST_COLLAPSES = 6  # scores drawn against the loss; beyond that the table alone
_EXPLAINED = 0.3  # share of the variance that a curve of the loss must explain to be drawn where nothing is decided


def forecast_charts(gallery: Gallery, abilities: Sequence[Ability]) -> list[tuple[HeldOut, Chart]]:
    """Return forecasts of held-out scores against the truth, for each axis that has any."""
    texts, found = gallery.texts, []
    for held in held_out_points(gallery.data, abilities):
        table = held_out_table(gallery.pool, held)
        values = [*held.truths, *(row[2] for row in held.said)]
        low, high = min(values), max(values)
        domain = (0.0, 1.0) if low >= 0 and high <= 1 and high > 0.5 else (low, high if high > low else low + 1)
        methods = [(name, texts.method(name)) for name in held.methods]
        title = texts("forecasts.figure", axis=texts(f"axis.{held.axis}"))
        found.append((held, Chart(forecast_chart(methods, domain, texts), {"forecasts": table}, title)))
    return found


def collapse_charts(gallery: Gallery, abilities: Sequence[Ability]) -> list[tuple[Collapse, Chart]]:
    """Return the scores of the most telling readings against the validation loss."""
    found: list[tuple[Collapse, Chart]] = []
    colours = collapse_colours(gallery)
    for one in sorted_collapses(gallery.data, abilities):
        curve = gallery.curves.across_families(one.task, one.shots, one.metric)
        telling = one.collapses is not None or (one.explained or 0.0) >= _EXPLAINED
        if curve is None or not telling:
            continue
        rows = loss_points(curve, _by_family(gallery))
        if rows["loss"].n_unique() < 2:
            continue
        name = f"collapse{len(found)}"
        columns = ["group", "family", "model", "tokens", "loss", "score"]
        at = [one.onset_loss] if one.onset_loss.estimate is not None else []
        onset = {"at": [i.estimate for i in at], "low": [i.low for i in at], "high": [i.high for i in at]}
        tables = {
            "points": gallery.pool.add_frame(name, rows.sort("params", "tokens"), columns),
            "onset": gallery.pool.add(f"{name}-onset", onset),
        }
        spec = loss_curve_chart(
            score_of(one.metric, str(rows["role"][0] or "headline"), rows),
            extent_of(rows, "loss"),
            [group for group, _, _ in colours],
            [light for _, light, _ in colours],
            gallery.texts,
            legend=gallery.legend,
        )
        title = f"{one.task} · {gallery.texts.metric(one.metric)}"
        found.append((one, gallery.chart(spec, tables, title, "")))
        if len(found) == MOST_COLLAPSES:
            break
    return found


def collapse_colours(gallery: Gallery) -> list[tuple[str, str, str]]:
    """Return what scores against the loss are coloured by, families or else models: name, light and dark colour."""
    if not _by_family(gallery):
        rungs = models_by_size(gallery.scores)
        light, dark = rung_colours([size for _, size in rungs])
        return [(name, a, b) for (name, _), a, b in zip(rungs, light, dark, strict=True)]
    return family_colours(gallery)


def family_colours(gallery: Gallery) -> list[tuple[str, str, str]]:
    """Return every family with its light and dark colour, by name."""
    families = sorted(gallery.scores["family"].unique().to_list())
    return [(name, *FAMILIES[index % len(FAMILIES)]) for index, name in enumerate(families)]


def _by_family(gallery: Gallery) -> bool:
    return gallery.scores["family"].n_unique() > 1
