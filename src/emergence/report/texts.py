"""Every sentence of the report in one place, by language."""

from __future__ import annotations

from dataclasses import dataclass

from emergence.core.schema import Axis, Interval, Verdict, VerdictName
from emergence.report.adaptation_texts import ENGLISH as _ON_ADAPTATION
from emergence.report.numbers import axis_value, decimal

__all__ = ["Texts"]

_ENGLISH: dict[str, str] = {
    # verdicts
    "verdict.flat": "flat",
    "verdict.gradual": "gradual",
    "verdict.inverse": "inverse",
    "verdict.mirage": "mirage",
    "verdict.emergent": "emergent",
    "verdict.sudden": "sudden",
    "verdict.underpowered": "underpowered",
    "verdict.none": "not judged",
    "meaning.flat": "No gain that can be told from zero.",
    "meaning.gradual": "It improves, and it does so from the smallest scale on.",
    "meaning.inverse": "It gets worse with scale.",
    "meaning.mirage": "The jump is made by the metric: the smooth metric improves steadily throughout and explains it.",
    "meaning.emergent": "Absent at first, then a real break: the smooth metric breaks too, and "
    "small scales do not forecast it.",
    "meaning.sudden": "The headline jumps, but no smooth metric can say whether the jump is real.",
    "meaning.underpowered": "The evidence leaves more than one answer open.",
    # axes
    "axis.params": "parameters",
    "axis.tokens": "training tokens",
    "axis.flops": "training FLOPs",
    "axis.loss": "validation loss",
    "axis.examples": "fine-tuning examples",
    "axis.bits": "bits per weight",
    "axis.training_tasks": "training tasks",
    "axis.params.short": "parameters",
    "axis.tokens.short": "tokens",
    "axis.flops.short": "FLOPs",
    "axis.loss.short": "loss",
    "axis.examples.short": "examples",
    "axis.bits.short": "bits",
    "axis.training_tasks.short": "tasks",
    "axis.params.long": "Non-embedding parameters",
    "axis.tokens.long": "Training tokens",
    "axis.flops.long": "Training FLOPs",
    "axis.loss.long": "Validation loss (nats per token, better to the right)",
    "axis.examples.long": "Fine-tuning examples",
    "axis.bits.long": "Bits stored per weight",
    "axis.training_tasks.long": "Tasks trained on",
    "unit.params": "parameters",
    "unit.tokens": "tokens",
    "unit.flops": "FLOPs",
    "unit.loss": "nats per token",
    "unit.examples": "examples",
    "unit.bits": "bits per weight",
    "unit.training_tasks": "tasks",
    # metrics
    "metric.exact_match": "exact match",
    "metric.acc": "accuracy",
    "metric.acc_norm": "accuracy, length-normalised",
    "metric.target_logprob": "target log-likelihood per token",
    "metric.target_prob": "target probability",
    "metric.brier": "Brier score",
    "metric.token_edit_distance": "token edit distance",
    "metric.ppl": "perplexity",
    "metric.validation_loss": "validation loss",
    "metric.train_loss": "training loss",
    "metric.loss": "validation loss",
    "role.headline": "headline metric",
    "role.smooth": "smooth metric",
    "role.lower": "lower is better",
    # search
    "nav.search": "Search",
    "search.title": "Search",
    "search.lead": "Before the ladder was trained, {n} trials searched its settings: {ranges}. Each was judged by the "
    "{goal}. {best} The whole ladder has these values.",
    "search.best": "The best values were {values}: {goal} {value} (trial {trial}).",
    "search.cost": "{ended}; {flops} FLOPs of training{share}, {time}.",
    "search.share": " ({share} of the ladder's)",
    "search.range": "from {low} to {high}",
    "search.log": "from {low} to {high}, equal ratios equally likely",
    "search.steps": "from {low} to {high} in steps of {step}",
    "search.choices": "one of {choices}",
    "search.trial": "Trial",
    "search.settings": "Settings",
    "search.value": "Value",
    "search.ended": "Ended",
    "search.flops": "FLOPs",
    "search.seconds": "Time",
    "search.complete": "complete",
    "search.pruned": "pruned",
    "search.diverged": "diverged",
    "search.invalid": "not possible",
    "search.is_best": "the best",
    "search.chart": "Value by trial, and the best so far",
    "search.table": "All trials",
    "search.values": "The value of a trial that was pruned is that of the checkpoint where it was stopped.",
    # page
    "page.kicker": "Emergent abilities report",
    "summary.none": "No verdicts: the results hold no curve that could be judged.",
    "summary.one": "The one ability looked at, {task}, {verdict}.",
    "summary.many": "Of {n} abilities, {parts}.",
    "summary.both": "Both abilities {verdict}.",
    "summary.all": "All {n} abilities {verdict}.",
    "summary.and": " and ",
    "one.flat": "is flat",
    "one.gradual": "is gradual",
    "one.inverse": "is inverse",
    "one.mirage": "is a mirage",
    "one.emergent": "is emergent",
    "one.sudden": "is sudden",
    "one.underpowered": "is underpowered",
    "many.flat": "are flat",
    "many.gradual": "are gradual",
    "many.inverse": "are inverse",
    "many.mirage": "are mirages",
    "many.emergent": "are emergent",
    "many.sudden": "are sudden",
    "many.underpowered": "are underpowered",
    "nav.verdicts": "Verdicts",
    "nav.table": "All verdicts",
    "nav.curves": "Curves",
    "nav.losses": "Losses",
    "nav.scaling": "Scaling",
    "nav.samples": "Samples",
    "nav.reading": "How to read this",
    "nav.run": "What was run",
    "nav.notes": "Notes",
    "card.onset": "Onset",
    "card.threshold": "Threshold",
    "card.onset.bits": "Gone below",
    "card.threshold.bits": "Breaks at",
    "card.gain": "Gain",
    "card.explained": "Due to metric",
    "card.along": "Judged along {axis}",
    "card.model.tokens": "Judged over the training of {model}",
    "card.model.examples": "Judged over the fine-tuning examples of {model}",
    "card.model.bits": "Judged over the compression of {model}",
    "card.model.training_tasks": "Judged over the number of tasks that {model} was trained on",
    "card.intervals": "Ranges in grey are 90 % intervals.",
    "card.smooth": "smooth metric ({metric}):",
    "card.others": "Along other axes, with the threshold",
    "card.models.tokens": "In training, model by model, with the threshold in tokens",
    "card.models.examples": "In fine-tuning, model by model, with the threshold in examples",
    "card.models.bits": "Compressed, model by model, with the bits per weight where it breaks",
    "card.models.training_tasks": "By tasks trained on, model by model, with the threshold in tasks",
    "card.curves": "See the curves",
    "card.more": "Cards are shown for the {shown} most telling of {n} abilities. The table holds all of them.",
    "table.filter": "Filter by task, axis or verdict",
    "table.count": "{n} verdicts",
    "column.task": "Task",
    "column.family": "Family",
    "column.metric": "Metric",
    "column.shots": "Shots",
    "column.axis": "Along",
    "column.model": "Model",
    "column.verdict": "Verdict",
    "column.onset": "Onset",
    "column.threshold": "Threshold",
    "column.gain": "Gain",
    "column.reason": "Why",
    "column.rung": "Model",
    "column.params": "Parameters",
    "column.seeds": "Replicas",
    "column.tokens": "Tokens",
    "column.flops": "FLOPs",
    "column.seconds": "Time",
    "column.rate": "Tokens/s",
    "column.utilisation": "Utilisation",
    "column.loss": "Validation loss",
    "column.validation_reconstruction": "of it reconstruction",
    "column.validation_kl": "of it KL",
    "column.width": "Width",
    "column.depth": "Depth",
    "column.heads": "Heads",
    "column.exponent": "Exponent",
    "column.fit": "Fit",
    "column.r2": "R²",
    "column.total": "All runs",
    "column.output": "Output",
    "interval.range": "{estimate} {unit} ({low}–{high})",
    "interval.bare": "{estimate} {unit}",
    "interval.above": "{estimate} {unit} (above {low})",
    "interval.below": "{estimate} {unit} (below {high})",
    "interval.reach": "{low}–{high}",
    "interval.between": "{low} to {high}",
    "interval.reach.above": "above {low}",
    "interval.reach.below": "below {high}",
    "interval.missing": "not shown by this ladder",
    "interval.plain": "{estimate} ({low} to {high})",
    "curves.title": "Headline and smooth curve, side by side",
    "curves.lead": "Points are means over replicas with their 90 % interval, faint dots "
    "the replicas, the dashed line the score of guessing.",
    "curves.models": "One line per model; a diamond marks its threshold.",
    "curves.start": "A short line at the left edge is the score at 0, which no logarithmic axis has a place for.",
    "curves.runs": "Every run in training",
    "curves.runs.lead": "One line per replica, coloured by model size.",
    "curves.numbers": "The numbers, at the last checkpoint",
    "curves.none": "These results have no axis with two different values, so there is no curve to draw.",
    "curves.headline": "headline",
    "chart.save": "SVG",
    "chart.save.title": "Save this chart as SVG",
    "chart.noscript": "Charts need JavaScript. The same numbers are in the tables.",
    "chart.floor": "guessing",
    "chart.label": "{metric} of {task} against {axis}",
    "losses.title": "Training and validation loss",
    "losses.lead": "One line per run, coloured by model size; both axes logarithmic.",
    "losses.train": "Training loss",
    "losses.validation": "Validation loss",
    "losses.unit": "nats per token",
    "scaling.title": "Loss against scale",
    "scaling.lead": "On logarithmic axes the loss falls in a straight line: it goes as "
    "scale to the power of minus the exponent.",
    "scaling.exponent": "exponent {exponent}",
    "samples.title": "What the models write",
    "samples.lead": "Down: models from small to large. Across: training from early to late. Marked cells are right.",
    "samples.text.lead": "Move the slider through training to see the text of every model change.",
    "samples.across": "tokens seen →",
    "samples.prompt": "Prompt",
    "samples.target": "Right answer",
    "samples.every": "Every checkpoint",
    "samples.checkpoint": "Checkpoint",
    "samples.seed": "Replica {seed}.",
    "samples.right": "right",
    "samples.wrong": "wrong",
    "samples.final": "The last checkpoint of every model",
    "reading.title": "How to read this",
    "reading.intervals": "Every interval in this report is a 90 % interval.",
    "reading.onset": "The onset is where the expected score has come 5 % of the way from "
    "guessing to the ceiling, the threshold half of the way.",
    "reading.smooth": "A headline metric such as exact match can jump although nothing jumps inside the model. "
    "So each is read beside a smooth metric computed from the same outputs.",
    "reading.explained": "“Due to metric” is the share of the headline's rise that follows from the smooth metric "
    "by the headline's own formula.",
    "reading.bits": "Along the bits per weight read from right to left: an ability breaks at its threshold and is gone "
    "below its onset.",
    "reading.loss": "On the axis of the loss, less loss lies to the right.",
    "run.title": "What was run",
    "run.ladder": "The models and what they cost",
    "run.cost": "{runs} runs, {flops} FLOPs, {time} of computing.",
    "markdown.scores": "Scores by model",
    "markdown.scores.lead": "At the last checkpoint: the mean over replicas and its 90 % interval.",
    "markdown.candidates": "Candidate curves, best first (AICc; held-out error)",
    "markdown.more": "And {n} more.",
    "notes.title": "Notes",
    # methods of forecasting, and candidate curves
    "method.constant": "constant",
    "method.linear": "straight line",
    "method.power_law": "power law",
    "method.hinge": "hinge",
    "method.exact_match_law": "exact-match law",
    "method.logistic": "logistic",
    "method.broken_law": "broken law",
    "method.bnsl1": "broken power law, one break",
    "method.bnsl2": "broken power law, two breaks",
    "method.loss_mediated": "through the loss",
    "method.smooth_mediated": "through the smooth metric",
    "method.principal_components": "principal components",
    "method.recommended": "as recommended",
    # what stands behind a verdict
    "evidence.title": "Candidate curves and measures",
    "evidence.candidates.lead": "AICc weighs the fit against the number of parameters, and less is better; "
    "the held-out error is that of the top rung, forecast from those below, in units of the score.",
    "evidence.unfitted": "Neither can be told of: {names}.",
    "evidence.curve": "Curve",
    "evidence.aicc": "AICc",
    "evidence.behind": "Behind the best",
    "evidence.held_out": "Held-out error",
    "measure.q_value": "q-value",
    "measure.width_decades": "10–90 % rise, in decades",
    "measure.surprise": "surprise after the onset",
    "measure.surprise.value": "{z} forecast standard deviations, at {at}",
    "measure.bimodal": "dip over replicas",
    "measure.bimodal.value": "{dip} (p = {p} of one group)",
    "measure.explained": "due to the metric",
    "measure.breakthroughness": "breakthroughness",
    "measure.linearity": "linearity",
    "measure.emergence_score": "emergence score",
    "measure.undefined": "undefined",
    "measure.resolution": "resolution",
    "resolution.line": "Finest step: {share}, one of {n} examples.",
    "resolution.value": "{share} (1 of {n} examples)",
    "q.none": "not tested",
    # replicas
    "replicas.title": "The share of replicas that have the ability",
    "replicas.mixture": "Emergence of a probability, not of a mean",
    "replicas.axis": "able replicas",
    "replicas.able": "able",
    "replicas.rungs": "Rung by rung",
    "replicas.chart": "able replicas",
    "replicas.half": "Half of the replicas have it at",
    "replicas.width": "From 10 % to 90 % of the replicas",
    "replicas.decades": "{width} decades",
    "replicas.decades.below": "at most {high} decades",
    "replicas.count": "{able} of {replicas}",
    "replicas.lead": "Points: the share with its 90 % interval.",
    "replicas.lead.curve": "Line: the curve fitted to the replicas. Band: where half of them have the ability.",
    # change points
    "changes.one": "pace changes at",
    "changes.before": "gain per decade before",
    "changes.after": "gain per decade after",
    "changes.line": "pace changes at {at}: {before} → {after} per decade",
    "changes.mark": "A triangle marks where the pace of a score changes.",
    # forecasts
    "nav.forecasts": "Forecasts",
    "nav.across": "Families and sizes",
    "nav.trust": "Trust",
    "forecasts.title": "Forecasts",
    "forecasts.lead": "The top of every ladder was held out and forecast from the rungs below it. Errors and widths "
    "are shares of each metric's range; the interval is meant to hold 90 % of the scores. The interval score joins "
    "width and misses, and less is better; the last column is its share of that of “constant” on the same scores, by "
    "which methods can be compared that are defined on different ones.",
    "forecasts.recommended.lead": "“{method}” follows, for each score, the method that did best on other tasks.",
    "forecasts.nothing": "{method} forecasts nothing here: {reason}.",
    "forecasts.none": "No held-out score could be forecast.",
    "forecasts.scores": "How the methods did on scores they had not seen",
    "forecasts.figure": "Forecast against truth, along {axis}",
    "forecasts.figure.lead": "One point per held-out score, with its 90 % interval; on the dashed line "
    "forecast and truth agree. Points in red have the truth outside of their interval.",
    "forecasts.figure.part": "{shown} of {n} held-out scores are drawn, evenly chosen.",
    "forecasts.method": "Method",
    "forecasts.count": "Forecasts",
    "forecasts.undefined": "Undefined",
    "forecasts.median": "Median error",
    "forecasts.mean": "Mean error",
    "forecasts.coverage": "In the interval",
    "forecasts.width": "Width",
    "forecasts.interval_score": "Interval score",
    "forecasts.constant": "of “constant”",
    "forecasts.truth": "observed score, share of its range",
    "forecasts.estimate": "forecast score, share of its range",
    "forecasts.truth.short": "observed",
    "forecasts.estimate.short": "forecast",
    "forecasts.next": "The next scale",
    "forecasts.next.lead": "What each ability is forecast to score beyond the ladder, by the method that did best.",
    "forecasts.next.more": "{n} more forecasts",
    "forecasts.at": "At",
    "forecasts.score": "Forecast",
    "forecasts.why": "Why this method",
    "forecasts.label": "forecast: {method}",
    "forecasts.card": "Next scale",
    "forecasts.card.at": "at {at}, by {method}",
    "forecasts.caption": "Diamond: forecast for {at} by {method}, {score}.",
    "forecasts.unchosen": "No method is recommended: {reason}.",
    "forecasts.kept": "Kept forecasts",
    "forecasts.kept.lead": "Forecasts made earlier stay as they were made, and are compared once their scale exists.",
    "forecasts.kept.count": "Of {n} kept forecasts {known} can be compared with a measurement by now; "
    "{inside} of them hold it in their interval.",
    "forecasts.made": "Made",
    "forecasts.observed": "Truth",
    "forecasts.inside": "Inside",
    "forecasts.inside.yes": "inside",
    "forecasts.inside.no": "outside",
    "forecasts.inside.open": "not measured yet",
    # families and sizes
    "onsets.title": "How fine-tuning moves the onset",
    "onsets.lead": "One line per number of fine-tuning examples. Triangles: onsets, with 90 % intervals. Hollow "
    "diamond: the onset without fine-tuning that the tuned models forecast.",
    "onsets.legend": "Fine-tuned on",
    "onsets.without": "nothing",
    "onsets.amount": "{n} examples",
    "onsets.predicted": "Forecast onset",
    "across.title": "Across families and sizes",
    "families.title": "Families over one another",
    "families.lead": "Means over replicas with 90 % intervals, all families on one scale; along the tokens the largest "
    "model of each. A family without sizes is a level, dashed line.",
    "collapse.title": "One curve of the loss?",
    "collapse.lead": "If only the validation loss mattered, models of every family and size would fall on one curve. "
    "The line marks the loss at which the common curve leaves guessing, the band its 90 % interval.",
    "collapse.count": "Of {n} scores: {yes} on one curve of the loss, {no} not on one, {open} undecided.",
    "count.none": "none",
    "collapse.true": "one curve",
    "collapse.false": "not one curve",
    "collapse.none": "open",
    "collapse.onset": "onset at {onset}",
    "collapse.column": "Curve",
    "collapse.column.onset": "Onset (loss)",
    "collapse.column.offset": "Largest offset (nats)",
    "collapse.column.explained": "Explained",
    "collapse.more": "The table of all {n} scores",
    "carry.title": "Do thresholds carry over?",
    "carry.count": "Of {n} pairs of groups: {yes} with the same threshold, {no} with different ones, {open} undecided.",
    "carry.none": "None of {n} pairs of thresholds could be decided.",
    "carry.pair": "{first} and {second}",
    "carry.column.between": "Between",
    "carry.column.answer": "Carries over",
    "carry.column.difference": "Difference (decades)",
    "carry.true": "yes",
    "carry.false": "no",
    "carry.open": "open",
    "carry.more": "{n} more pairs",
    "carry.undecided": "The {n} undecided pairs",
    "carry.undecided.part": "{shown} of the {n} undecided pairs",
    # trust
    "trust.title": "How far to trust this",
    "trust.alarms": "False alarms",
    "trust.looked": "Number of curves looked at",
    "trust.blind": "What the procedure cannot see",
    "trust.uncalibrated": "The procedure was not calibrated on this table: how often it errs on ladders like these is "
    "not known.",
    "trust.flat.none": "On {n} simulated curves without a trend along {axis}, none was called anything but flat: "
    "the rate of such false alarms is below {high} with 95 % certainty.",
    "trust.flat.open": "On {n} simulated curves without a trend along {axis}, none was said to have one, and {open} "
    "were called underpowered: the rate of false alarms is below {high} with 95 % certainty.",
    "trust.flat.some": "On {n} simulated curves without a trend along {axis}, {wrong} {was} said to have one ({list}): "
    "a rate of {rate} ({low} to {high}).",
    "trust.paired.none": "On {n} simulated headlines along {axis} beside a smooth metric that keeps one law, none was "
    "called emergent: the rate of such false alarms is below {high} with 95 % certainty.",
    "trust.paired.some": "On {n} simulated headlines along {axis} beside a smooth metric that keeps one law, {wrong} "
    "{was} called emergent: a rate of {rate} ({low} to {high}).",
    "trust.alone.none": "On {n} simulated curves that climb steadily along {axis}, without a smooth metric, none was "
    "called {claim}: the rate of such false alarms is below {high} with 95 % certainty.",
    "trust.alone.some": "On {n} simulated curves that climb steadily along {axis}, without a smooth metric, {wrong} "
    "{was} called {claim} ({list}): a rate of {rate} ({low} to {high}).",
    "trust.was.one": "was",
    "trust.was.many": "were",
    "trust.called": "{n} {verdict}",
    "trust.q": "Along {axis} {n} {curves} tested together (Benjamini–Hochberg); {low} {has} a q-value below 0.05, and "
    "of those at most about one in twenty is expected to be chance.",
    "trust.q.one": "curve was",
    "trust.q.many": "curves were",
    "trust.q.has": "has",
    "trust.q.have": "have",
    "trust.q.untested": "{n} of all verdicts rest on no test, for want of rungs or of a spread to test.",
    "trust.blind.rungs": "What happens between two rungs: the ladders have {rungs} rungs, and a rise narrower than one "
    "step looks like a jump.",
    "trust.blind.resolution": "Less than one example: the curve with the fewest has {n}, so that scores below {share} "
    "cannot be told from zero there.",
    "trust.blind.replicas": "The luck of a seed: with one replica a rung, scatter shows only between models.",
    "trust.blind.smooth": "Whether a jump is made by the metric, where there is no smooth metric beside it: {n} of "
    "{all} abilities.",
    "trust.blind.underpowered": "{n} of {all} abilities are underpowered: there the answer is open, and not “no”.",
    "trust.blind.shared": "Errors that all scores share, such as a wrong score of guessing or test items seen in "
    "training: the simulations copy this table, its faults included.",
    "trust.blind.elsewhere": "Other families, data and prompts than these: what is found here holds for them only "
    "where a comparison says so.",
    # terminal
    "terminal.others": "Of {count} verdicts the others are not shown: {others}. --out writes a report of all, --json "
    "prints them.",
    "terminal.breaks": "{name} survives down to about {threshold}; gone below {onset}.",
    "terminal.breaks.only": "{name} survives down to about {threshold}.",
    "terminal.alarms": "False alarms: of {n} simulated curves without a trend, {wrong} said to have one.",
    "terminal.steady": "Steady climbs: of {n} simulated ones, {wrong} said to jump.",
    "terminal.forecasts": "Forecasts: {method} had a median error of {error} on {n} held-out scores; "
    "{coverage} lay in the 90 % interval.",
    "terminal.followed": "Forecasts: following the recommendations had a median error of {error} on {n} held-out "
    "scores; {coverage} lay in the 90 % interval.",
    "terminal.kept": "Kept forecasts that held the score that came: {inside} of {known}.",
    "terminal.collapse": "Loss: of {n} scores, {yes} on one curve of the validation loss, {no} not, {open} undecided.",
    "terminal.carry": "Thresholds: of {n} pairs of groups, {yes} the same, {no} different, {open} undecided.",
}
_LANGUAGES = {"en": _ENGLISH | _ON_ADAPTATION}


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
