"""Figures for files and notebooks: each holds its own data and renders without a browser."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emergence.core.errors import UserError
from emergence.core.store import write_bytes
from emergence.report.adaptation_charts import adaptation_charts
from emergence.report.data import ReportData, find_abilities
from emergence.report.encodings import Spec
from emergence.report.families import family_charts
from emergence.report.gallery import Gallery
from emergence.report.onset_shift_chart import onset_shift_charts
from emergence.report.search import search_charts
from emergence.report.texts import Texts
from emergence.report.theme import CONFIG
from emergence.report.wider_charts import collapse_charts, forecast_charts

__all__ = ["Figure", "figures", "main_figures"]

MOST_FILES = 24  # abilities whose figure is written to a file

_ALWAYS = ("scaling-", "forecasts-", "collapse-", "families-", "onsets-", "search-", "adaptation-")
SUFFIXES = (".svg", ".png", ".pdf", ".json", ".html")


@dataclass(frozen=True)
class Figure:
    """A Vega-Lite specification with its data. A notebook shows it; `save` writes it."""

    spec: Spec

    def save(self, path: str | Path) -> Path:
        """Write the figure as svg, png, pdf, json (the specification) or html, by the suffix of ``path``."""
        import vl_convert

        target = Path(path)
        spec = self._complete()
        writers: dict[str, Callable[[], str | bytes]] = {
            ".svg": lambda: vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]),
            ".png": lambda: vl_convert.vegalite_to_png(spec, scale=2, allowed_base_urls=[]),
            ".pdf": lambda: vl_convert.vegalite_to_pdf(spec, allowed_base_urls=[]),
            ".json": lambda: json.dumps(spec, ensure_ascii=False),
            ".html": lambda: vl_convert.vegalite_to_html(spec, bundle=True),
        }
        writer = writers.get(target.suffix.lower())
        if writer is None:
            raise UserError(f"cannot save a figure as '{target.name}'; use one of {', '.join(SUFFIXES)}")
        content = writer()
        write_bytes(target, content.encode() if isinstance(content, str) else content)
        return target

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """Return the figure for a notebook: the specification, and a picture where Vega-Lite is not at hand."""
        import base64

        import vl_convert

        spec = self._complete()
        picture = base64.b64encode(vl_convert.vegalite_to_png(spec, scale=2, allowed_base_urls=[])).decode()
        return {f"application/vnd.vegalite.v{_major()}+json": spec, "image/png": picture}

    def _complete(self) -> Spec:
        schema = f"https://vega.github.io/schema/vega-lite/v{_major()}.json"
        # A file is seen on any background; a notebook may be dark.
        return {"$schema": schema, "config": {**CONFIG, "background": "white", "padding": 12}, **self.spec}


def figures(data: ReportData, *, limit: int | None = None, language: str = "en") -> dict[str, Figure]:
    """Return every figure of a report by name.

    ``<ability>-<axis>`` holds the headline and the smooth curve side by side, ``<ability>-runs-<axis>`` every run in
    training, ``<ability>-replicas`` the share of able replicas; ``forecasts-<axis>``, ``families-<n>-<axis>``,
    ``collapse-<n>``, ``search-trials``, ``search-<setting>``, ``onsets-<n>``,
    ``adaptation-<task>-<family>-confusion`` and ``-validation``, ``losses`` and
    ``scaling-<metric>-<axis>`` (with the family where there are several) exist where the data does. ``limit`` keeps the
    figures of that many abilities, the most telling ones. Drawing a file takes about a fifth of a second.
    """
    texts = Texts(language)
    gallery = Gallery(data, texts, legend=True)
    found: dict[str, Figure] = {}
    abilities = find_abilities(data)
    for ability in abilities[:limit]:
        charts = gallery.ability(ability)
        for axis, pair in charts.curves.items():
            found[f"{ability.key}-{axis}"] = Figure(gallery.standalone(pair, ability.title))
        for axis, pair in charts.runs.items():
            found[f"{ability.key}-runs-{axis}"] = Figure(
                gallery.standalone(pair, f"{ability.title}: {texts('curves.runs').lower()}")
            )
        if charts.replicas is not None:
            found[f"{ability.key}-replicas"] = Figure(gallery.standalone([charts.replicas], ability.title))
    for held, chart in forecast_charts(gallery, abilities):
        found[f"forecasts-{held.axis}"] = Figure(gallery.standalone([chart], texts("forecasts.title")))
    for number, by_axis in enumerate(family_charts(gallery, abilities), start=1):
        for axis, chart in by_axis.items():
            found[f"families-{number}-{axis}"] = Figure(gallery.standalone([chart], texts("families.title")))
    for number, (_, chart) in enumerate(collapse_charts(gallery, abilities), start=1):
        found[f"collapse-{number}"] = Figure(gallery.standalone([chart], texts("collapse.title")))
    for name, chart in search_charts(gallery).items():
        found[f"search-{name}"] = Figure(gallery.standalone([chart], texts("search.title")))
    for number, (_, chart) in enumerate(onset_shift_charts(gallery), start=1):
        found[f"onsets-{number}"] = Figure(gallery.standalone([chart], texts("onsets.title")))
    for task, chosen in adaptation_charts(gallery).items():
        for one, drawn in chosen:
            for kind, chart in drawn.items():
                name = f"adaptation-{task}-{one.way.family}-{kind}".replace(" ", "-")
                found[name] = Figure(gallery.standalone([chart], task))
    losses = gallery.losses()
    if losses:
        found["losses"] = Figure(gallery.standalone(losses, texts("losses.title")))
    for fit, chart in gallery.scaling():
        name = "-".join(part for part in ("scaling", fit.family, fit.metric, fit.axis) if part)
        found[name] = Figure(gallery.standalone([chart], texts("scaling.title")))
    return found


def main_figures(data: ReportData, *, language: str = "en") -> dict[str, Figure]:
    """Return the figures a report leaves as files: the main curve of the most telling abilities, forecasts, losses
    and scaling."""
    abilities = find_abilities(data)[:MOST_FILES]
    wanted = {f"{ability.key}-{ability.primary.axis}" for ability in abilities if ability.primary is not None}
    return {
        name: figure
        for name, figure in figures(data, limit=MOST_FILES, language=language).items()
        if name in wanted or name == "losses" or name.startswith(_ALWAYS)
    }


@functools.cache
def _major() -> str:
    """Return the major version of the newest Vega-Lite at hand."""
    import vl_convert

    return str(max(int(version.split(".")[0]) for version in vl_convert.get_vegalite_versions()))
