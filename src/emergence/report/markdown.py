"""The report as Markdown that reads well raw, in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from emergence.core.schema import Axis, Interval
from emergence.report.across import carry_table, collapse_table, sorted_collapses
from emergence.report.adaptation_markdown import adaptation_parts
from emergence.report.costs import cost_line, cost_table
from emergence.report.data import VERDICT_ORDER, Ability, ReportData, find_abilities
from emergence.report.evidence import change_lines, find_evidence, next_cards, next_forecasts
from emergence.report.forecasts import forecast_tables
from emergence.report.gallery import Gallery
from emergence.report.markdown_marks import code, plain, table
from emergence.report.numbers import MISSING, axis_value, decimal, quantity
from emergence.report.samples import SampleSet, sample_sets
from emergence.report.search import search_table
from emergence.report.texts import Texts
from emergence.report.trust import find_trust

__all__ = ["render_markdown"]

_ABILITIES = 60  # score tables beyond that are left to the scores file
_LONGEST_TEXT = 240
_ROWS = 40  # of a table on forecasts or pairs; the files hold the rest


def render_markdown(data: ReportData, *, language: str = "en") -> str:
    """Return the report as Markdown: verdicts, scores by model, samples of the last checkpoint, and the cost."""
    texts = Texts(language)
    abilities = find_abilities(data)
    judged = [(ability.title, ability.primary) for ability in abilities if ability.primary is not None]
    parts = [f"# {plain(data.title)}"]
    if data.description:
        parts.append(plain(data.description))
    parts.append(f"**{plain(texts.summary(judged, VERDICT_ORDER))}**")
    if data.verdicts:
        parts += [f"## {texts('nav.verdicts')}", _verdicts(data, texts)]
        parts.append(
            "\n".join(f"- **{plain(title)}**: {texts.verdict(v.verdict)}. {plain(v.reason)}" for title, v in judged)
        )
    numbers = _numbers(data, texts)
    if numbers:
        parts += [f"## {texts('markdown.scores')}", texts("markdown.scores.lead"), *numbers]
    parts += adaptation_parts(data, texts)
    parts += [*_forecasts(data, abilities, texts), *_across(data, abilities, texts), *_trust(data, abilities, texts)]
    scaling = [
        [
            f"{fit.family}: {texts.metric(fit.metric)}" if fit.family else texts.metric(fit.metric),
            texts(f"axis.{fit.axis}"),
            texts.amount(Interval(estimate=fit.exponent, low=fit.low, high=fit.high)),
            decimal(fit.r2),
        ]
        for fit in data.scaling
    ]
    if scaling:
        header = [texts("column.metric"), texts("column.axis"), texts("column.exponent"), texts("column.r2")]
        parts += [f"## {texts('scaling.title')}", texts("scaling.lead"), table(header, scaling)]
    sets = sample_sets(data.samples)
    if sets:
        parts += [f"## {texts('samples.title')}", texts("samples.final") + "."]
        parts += [part for found in sets for part in _samples(found, texts)]
    parts += [
        f"## {texts('reading.title')}",
        "\n".join(f"- **{texts.verdict(name)}**: {texts(f'meaning.{name.value}')}" for name in VERDICT_ORDER),
    ]
    parts.append(" ".join(texts(f"reading.{key}") for key in ("smooth", "explained", "onset", "loss", "intervals")))
    parts += [*_search(data, texts), *_run(data, texts)]
    if data.notes:
        parts += [f"## {texts('notes.title')}", "\n".join(f"- {plain(note)}" for note in data.notes)]
    return "\n\n".join(parts) + "\n"


def _verdicts(data: ReportData, texts: Texts) -> str:
    rows = [
        [
            plain(ability.title) + (f" ({plain(verdict.model)})" if verdict.model else ""),
            texts.verdict(verdict.verdict),
            texts(f"axis.{verdict.axis}.short"),
            axis_value(verdict.onset.estimate, verdict.axis),
            _with_reach(verdict.threshold, texts, axis_value(verdict.threshold.estimate, verdict.axis), verdict.axis),
            decimal(verdict.gain.estimate),
        ]
        for ability in find_abilities(data)
        for verdict in ability.verdicts
    ]
    return table([texts(f"column.{key}") for key in ("task", "verdict", "axis", "onset", "threshold", "gain")], rows)


def _with_reach(interval: Interval, texts: Texts, estimate: str, axis: Axis) -> str:
    if interval.estimate is None or (interval.low is None and interval.high is None):
        return estimate
    return f"{estimate} ({texts.reach(interval, axis)})"


def _numbers(data: ReportData, texts: Texts) -> list[str]:
    gallery = Gallery(data, texts)
    parts = []
    for ability in find_abilities(data)[:_ABILITIES]:
        numbers = gallery.ability(ability).numbers
        if not numbers:
            continue
        shown = [("headline", ability.metric), ("smooth", ability.smooth)]
        columns = [(role, str(metric)) for role, metric in shown if any(role in row for row in numbers)]
        header = [
            texts("column.rung"),
            texts("column.params"),
            texts("column.seeds"),
            *(texts.metric(metric) for _, metric in columns),
        ]
        rows = [
            [
                plain(row["model"]),
                quantity(row["params"], 3),
                str(row["replicas"]),
                *(texts.amount(row[role]) if role in row else MISSING for role, _ in columns),
            ]
            for row in numbers
        ]
        parts += [f"### {plain(ability.title)}", table(header, rows, numeric=True)]
        behind = _behind(ability, data, texts)
        parts += ["\n".join(f"- {line}" for line in behind)] if behind else []
    return parts


def _behind(ability: Ability, data: ReportData, texts: Texts) -> list[str]:
    """Return what stands behind a verdict, a line each: forecast, replicas, change points, candidates, measures."""
    verdict, found = ability.primary, find_evidence(ability, data, texts)
    if verdict is None or found is None:
        return []
    following = [f for f in next_forecasts(ability, data) if f.axis == verdict.axis and f.model == verdict.model]
    lines = [
        f"**{texts('forecasts.card')}**: {texts.amount(score)} {plain(where)}"
        for score, where in next_cards(following, texts)
    ]
    if found.able:
        shares = ", ".join(f"{at}: {count}" for at, count, _ in found.able)
        title = texts("replicas.mixture" if found.mixture else "replicas.title")
        halves = "; ".join(f"{one.name}: {one.value}" for one in found.replicas)
        lines.append(f"**{title}**: {shares}. {plain(halves)}. {plain(found.replicas_reason)}")
    for other in ability.by_model:
        lines += [f"{plain(other.model or '')}: {plain(line)}" for line in change_lines(other, texts)]
    if found.candidates:
        fits = ", ".join(f"{name} ({aicc}; {error})" for name, aicc, _, error in found.candidates)
        lines.append(f"{texts('markdown.candidates')}: {fits}")
    lines.append("; ".join(f"{one.name}: {plain(one.value)}" for one in found.measures))
    return lines


def _forecasts(data: ReportData, abilities: Sequence[Ability], texts: Texts) -> list[str]:
    found = forecast_tables(data, abilities, texts)
    if found is None:
        return []
    parts = [f"## {texts('forecasts.title')}"]
    if found.scores:
        parts += [texts("forecasts.lead"), table(found.score_header, found.scores, numeric=True)]
    parts += ["\n".join(f"- {plain(line)}" for line in found.undefined)] if found.undefined else []
    if found.next:
        parts += [f"### {texts('forecasts.next')}", *_first(found.next_header, found.next, texts)]
    if found.kept:
        parts += [f"### {texts('forecasts.kept')}", found.kept_count, *_first(found.kept_header, found.kept, texts)]
    return parts


def _across(data: ReportData, abilities: Sequence[Ability], texts: Texts) -> list[str]:
    parts: list[str] = []
    collapses = collapse_table(sorted_collapses(data, abilities), texts)
    if collapses is not None:
        rows = _first(collapses.header, collapses.rows, texts)
        parts += [f"### {texts('collapse.title')}", collapses.count, *rows]
    carry = carry_table(data.carry_overs, texts)
    if carry is not None:
        parts += [f"### {texts('carry.title')}", carry.count]
        parts += _first(carry.header, carry.decided, texts) if carry.decided else []
    if data.onset_shifts:
        told = "\n".join(
            f"- {plain(f'{one.family} {one.task}'.strip())}: {plain(one.reason)}" for one in data.onset_shifts
        )
        parts += [f"### {texts('onsets.title')}", told]
    return [f"## {texts('across.title')}", *parts] if parts else []


def _trust(data: ReportData, abilities: Sequence[Ability], texts: Texts) -> list[str]:
    found = find_trust(data, abilities, texts)
    if found is None:
        return []
    parts = [f"## {texts('trust.title')}"]
    for key, lines in (("alarms", found.alarms), ("looked", found.looked), ("blind", found.blind)):
        if lines:
            parts += [f"**{texts(f'trust.{key}')}**", "\n".join(f"- {plain(line)}" for line in lines)]
    return parts


def _first(header: Sequence[str], rows: Sequence[Sequence[str]], texts: Texts) -> list[str]:
    """Return the first rows as a table, and how many more there are."""
    shown = table(header, [[plain(cell) for cell in row] for row in rows[:_ROWS]])
    return [shown, texts("markdown.more", n=len(rows) - _ROWS)] if len(rows) > _ROWS else [shown]


def _samples(found: SampleSet, texts: Texts) -> list[str]:
    """Return what every model wrote at its last checkpoint: a table, or a list where the text is free."""
    last = [[row[-1] for row in by_model] for by_model in found.cells]
    if found.free:
        prompt, _ = found.prompts[0]
        lines = [
            f"- {plain(name)} ({size}): {code(cell[0], _LONGEST_TEXT) if cell else MISSING}"
            for (name, size), cell in zip(found.models, last[0], strict=True)
        ]
        return [
            f"### {plain(found.task)}",
            f"{texts('samples.prompt')}: {code(prompt, _LONGEST_TEXT)}",
            "\n".join(lines),
        ]
    chosen = range(min(3, len(found.prompts)))
    header = [texts("column.rung"), *(code(found.prompts[index][0]) for index in chosen)]
    rows = [[texts("samples.target"), *(code(found.prompts[index][1]) for index in chosen)]]
    for position, (name, size) in enumerate(found.models):
        cells = [last[index][position] for index in chosen]
        rows.append([f"{plain(name)} ({size})", *(_answer(cell) for cell in cells)])
    return [f"### {plain(found.task)}", table(header, rows)]


def _answer(cell: tuple[str, bool | None, float | None] | None) -> str:
    if cell is None:
        return MISSING
    return code(cell[0]) + (" ✓" if cell[1] else "")


def _search(data: ReportData, texts: Texts) -> list[str]:
    found = search_table(data, texts)
    if found is None:
        return []
    rows = _first([plain(name) for name in found.header], found.rows, texts)
    return [f"## {texts('search.title')}", plain(found.lead), plain(found.cost), texts("search.values"), *rows]


def _run(data: ReportData, texts: Texts) -> list[str]:
    parts = [f"## {texts('run.title')}"]
    cost = cost_line(data, texts)
    parts += [cost] if cost else []
    if data.facts:
        parts.append("\n".join(f"- {plain(name)}: {plain(value)}" for name, value in data.facts.items()))
    by_model = cost_table(data, texts)
    if by_model is not None:
        rows = [[plain(row[0]), *row[1:]] for row in by_model.rows]
        parts += [f"### {texts('run.ladder')}", table(by_model.header, rows, numeric=True)]
    return parts if len(parts) > 1 else []
