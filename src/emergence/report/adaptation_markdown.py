"""The section on adaptation in the Markdown report."""

from __future__ import annotations

from collections.abc import Sequence

from emergence.report.adaptation_section import ChosenPart, adaptation_section
from emergence.report.data import ReportData
from emergence.report.markdown_marks import plain, table
from emergence.report.texts import Texts

__all__ = ["adaptation_parts"]

_CLASSES = 20  # in a table; of more, those with the lowest F1


def adaptation_parts(data: ReportData, texts: Texts) -> list[str]:
    """Return the paragraphs of the section; none where nothing was adapted."""
    found = adaptation_section(data, texts)
    if found is None:
        return []
    parts = [f"## {texts('adaptation.title')}"]
    parts += [plain(found.lead), plain(found.choice)] if found.tasks else []
    for task in found.tasks:
        parts += [f"### {plain(task.table.title)}", *([plain(task.table.lead)] if task.table.lead else [])]
        parts.append(_table(task.table.header, [*task.table.rows, *task.table.smaller]))
        parts += [part for one in task.chosen for part in _chosen(one, texts)]
    if found.compressed is not None:
        rows = [*found.compressed.rows, *found.compressed.smaller]
        parts += [f"### {texts('compressed.title')}", texts("compressed.lead"), _table(found.compressed.header, rows)]
    return parts


def _chosen(one: ChosenPart, texts: Texts) -> list[str]:
    parts = []
    if one.pairs_title:
        parts.append(f"**{plain(one.pairs_title)}**")
        parts += [_table(one.pair_header, one.pairs)] if one.pairs else []
    if one.classes:
        parts += [
            f"**{texts('adaptation.classes')}: {plain(one.name)}**",
            _table(one.class_header, one.classes[:_CLASSES]),
        ]
        if len(one.classes) > _CLASSES:
            parts.append(texts("markdown.more", n=len(one.classes) - _CLASSES))
    return parts


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return table([plain(name) for name in header], [[plain(cell) for cell in row] for row in rows], numeric=True)
