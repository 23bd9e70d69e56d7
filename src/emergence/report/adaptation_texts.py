"""The sentences on fine-tuned and compressed models."""

from __future__ import annotations

__all__ = ["ENGLISH"]

ENGLISH: dict[str, str] = {
    "nav.adaptation": "Adaptation",
    "adaptation.title": "Adaptation",
    "adaptation.lead": "All models and baselines of one seed learn from the same examples, and all seeds answer the "
    "same test examples. A score is the mean over seeds; its 90 % interval joins the luck of a seed and that of "
    "the test examples: mean ± √((t·s/√K)² + (1.645·e)²), with s the standard deviation over K seeds, t Student's 95 % "
    "quantile, and e the standard error of one seed over the test examples.",
    "adaptation.choice": "{mark} marks the variant of each model that did best on the validation examples, mean over "
    "seeds. The test sets had no part in that choice: the best of several test scores would be too good. Charts and "
    "classes below a table are those of the chosen variant of the largest model of each family: classes are counted "
    "over all seeds, a cell is a share of its row, curves have one line per seed, and the large dot is the step whose "
    "weights were kept.",
    "adaptation.task": "{task}, {n} examples",
    "adaptation.task.unknown": "{task}",
    "adaptation.majority": "Always giving the largest class would score {share}.",
    "adaptation.model": "Model",
    "adaptation.way": "Variant",
    "adaptation.baseline": "baseline",
    "adaptation.after": "{variant}, after {n} tasks",
    "adaptation.after.one": "{variant}, after 1 task",
    "adaptation.validation": "Validation: {metric}",
    "adaptation.share": "Learnt",
    "adaptation.flops": "FLOPs",
    "adaptation.loss": "loss",
    "adaptation.seeds": "Seeds",
    "adaptation.diverged": "{n} diverged",
    "adaptation.on": "{metric}, {test}",
    "adaptation.smaller": "Smaller models ({n} rows)",
    "adaptation.more": "{n} more rows",
    "adaptation.chosen": "{model}, {variant}",
    "adaptation.confusion": "Confusion: {model}, {variant}",
    "adaptation.confusion.on": "Confusion: {model}, {variant}, on {test}",
    "adaptation.is": "is",
    "adaptation.called": "called",
    "adaptation.count": "times",
    "adaptation.of_class": "share of the class",
    "adaptation.pairs": "The most confused pairs of {n} classes: {model}, {variant}",
    "adaptation.pairs.none": "{model}, {variant}: no class is taken for another.",
    "adaptation.classes": "Precision, recall and F1 by class",
    "adaptation.class": "Class",
    "adaptation.precision": "Precision",
    "adaptation.recall": "Recall",
    "adaptation.f1": "F1",
    "adaptation.support": "Examples",
    "adaptation.curve": "Validation over steps: {model}, {variant}",
    "adaptation.step": "step",
    "adaptation.best": "Fine-tuned for {task}",
    "adaptation.best.none": "no variant came to an end",
    "adaptation.score": "Test score",
    "adaptation.best.baseline": "Best baseline",
    "adaptation.line": "Chosen on validation; of the baselines, which have none, the best on the test set is shown.",
    "adaptation.cost": "{n} fine-tunings besides: {flops} FLOPs{share}, {time} of computing.",
    "adaptation.cost.share": " ({share} of pre-training)",
    "compressed.title": "Compressed models",
    "compressed.lead": "What every ability scores after pruning (by the share of weights set to zero) and quantising "
    "(by bits), mean over seeds with the same kind of interval. Bits are those stored for a weight.",
    "compressed.method": "Method",
    "compressed.level": "Level",
    "compressed.bits": "Bits",
    "compressed.untouched": "untouched",
    "metric.accuracy": "accuracy",
    "metric.macro_f1": "macro-F1",
    "metric.roc_auc": "ROC-AUC",
    "metric.rmse": "RMSE",
    "metric.spearman": "Spearman",
    "metric.f1": "F1",
    "metric.bleu": "BLEU",
    "metric.chrf": "chrF",
    "metric.rouge_1": "ROUGE-1",
    "metric.rouge_2": "ROUGE-2",
    "metric.rouge_l": "ROUGE-L",
}
