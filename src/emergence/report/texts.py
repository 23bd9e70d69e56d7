"""The sentences of the report by language, and those that are put together from others."""

from __future__ import annotations

from dataclasses import dataclass

from emergence.core.schema import Axis, Interval, Verdict, VerdictName
from emergence.report import adaptation_texts, evidence_texts, name_texts, page_texts
from emergence.report.numbers import axis_value, decimal

__all__ = ["Texts"]

_LANGUAGES = {
    "en": name_texts.ENGLISH | page_texts.ENGLISH | evidence_texts.ENGLISH | adaptation_texts.ENGLISH,
}


@dataclass(frozen=True)
class Texts:
    """The sentences of one language; call it with a key and the values that go in."""

    language: str = "en"

    def __call__(self, key: str, **values: object) -> str:
        """Return the sentence called ``key``."""
        return _LANGUAGES[self.language][key].format(**values)

    def verdict(self, name: VerdictName | None) -> str:
        """Return the word for a verdict."""
        return self(f"verdict.{name.value}" if name else "verdict.none")

    def level(self, kind: str, axis: Axis) -> str:
        """Return the word for an onset or a threshold on an axis."""
        own = f"card.{kind}.{axis}"
        return self(own if own in _LANGUAGES[self.language] else f"card.{kind}")

    def metric(self, name: str) -> str:
        """Return a metric's name in words; an unknown one with spaces for underscores."""
        return _LANGUAGES[self.language].get(f"metric.{name}", name.replace("_", " "))

    def method(self, name: str) -> str:
        """Return a method of forecasting or a candidate curve in words."""
        return _LANGUAGES[self.language].get(f"method.{name}", name.replace("_", " "))

    def place(self, interval: Interval, axis: Axis) -> str:
        """Return a position on an axis with its interval and unit, or why there is none."""
        if interval.estimate is None:
            return interval.reason or self("interval.missing")
        kind = (
            ("above" if interval.high is None else "range")
            if interval.low is not None
            else ("below" if interval.high is not None else "bare")
        )
        return self(
            f"interval.{kind}",
            estimate=axis_value(interval.estimate, axis),
            unit=self(f"unit.{axis}"),
            low=axis_value(interval.low, axis),
            high=axis_value(interval.high, axis),
        )

    def reach(self, interval: Interval, axis: Axis) -> str:
        """Return the interval alone, open where one of its ends is."""
        key = (
            "interval.reach"
            if None not in (interval.low, interval.high)
            else "interval.reach.above"
            if interval.high is None
            else "interval.reach.below"
        )
        return self(key, low=axis_value(interval.low, axis), high=axis_value(interval.high, axis))

    def amount(self, interval: Interval) -> str:
        """Return a score or a difference of scores with its interval, or why there is none."""
        if interval.estimate is None:
            return interval.reason or self("interval.missing")
        if interval.low is None or interval.high is None:
            return decimal(interval.estimate)
        return self(
            "interval.plain",
            estimate=decimal(interval.estimate),
            low=decimal(interval.low),
            high=decimal(interval.high),
        )

    def summary(self, verdicts: list[tuple[str, Verdict]], order: tuple[VerdictName, ...]) -> str:
        """Return the one sentence that says what was found; takes a title and the deciding verdict per ability."""
        if not verdicts:
            return self("summary.none")
        if len(verdicts) == 1:
            return self("summary.one", task=verdicts[0][0], verdict=self(f"one.{verdicts[0][1].verdict.value}"))
        names = {verdict.verdict for _, verdict in verdicts}
        if len(names) == 1:
            word = self(f"many.{names.pop().value}")
            return self("summary.both" if len(verdicts) == 2 else "summary.all", n=len(verdicts), verdict=word)
        parts = []
        for name in order:
            n = sum(verdict.verdict == name for _, verdict in verdicts)
            if n:
                parts.append(f"{n} " + self(f"{'one' if n == 1 else 'many'}.{name.value}"))
        listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + self("summary.and") + parts[-1]
        return self("summary.many", n=len(verdicts), parts=listed)
