"""Baselines: right by hand and by scikit-learn, and as good on real data as others report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emergence.core.errors import UserError
from emergence.tasks.baselines import BASELINES, Logistic, NaiveBayes, make_baseline
from emergence.tasks.catalogue import make_task
from emergence.tasks.label_scores import ClassificationReport, classification_report
from emergence.tasks.labelled import Labelled, LabelledTask
from emergence.text.bag import Bag

WORDS = ["sun", "sea", "tree", "bird", "book", "road", "tea", "rain", "very", "not"]


def drawn(n: int, classes: int, seed: int = 0) -> tuple[list[Labelled], list[str]]:
    """Texts in which the words of a class are more frequent."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(len(WORDS), 0.7), classes)
    labels = [f"c{k}" for k in range(classes)]
    truth = rng.integers(0, classes, n)
    return [Labelled(" ".join(rng.choice(WORDS, 12, p=shares[k])), label=labels[k]) for k in truth], labels


@pytest.mark.parametrize("name", sorted(set(BASELINES) - {"lexicon"}))
@pytest.mark.parametrize("n", [4, 400])
def test_probabilities_sum_to_one_in_the_order_of_the_labels(name: str, n: int) -> None:
    examples, labels = drawn(n, 3)
    model = make_baseline(name).fit(examples, labels)
    unseen = [*drawn(50, 3, seed=1)[0], Labelled("words of nobody"), Labelled("")]
    found = model.predict_proba(unseen)
    assert found.shape == (52, 3)
    assert found.sum(axis=1) == pytest.approx(np.ones(52))
    turned = make_baseline(name).fit(examples, labels[::-1]).predict_proba(unseen)
    assert turned[:, ::-1] == pytest.approx(found, abs=1e-3)


def test_naive_bayes_and_logistic_regression_are_scikit_learn_s() -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text", reason="scikit-learn is not installed")
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import MultinomialNB

    examples, labels = drawn(300, 3)
    test = [example.text for example in drawn(80, 3, seed=2)[0]]
    counter = text.CountVectorizer(analyzer=Bag((1, 2), frozenset()), min_df=1)
    counts = counter.fit_transform([example.text for example in examples])
    seen = np.asarray(counts.sum(axis=0)).ravel() >= 2
    truth = [example.label for example in examples]
    own = NaiveBayes(smoothing=0.5).fit(examples, labels).predict_proba([Labelled(t) for t in test])
    theirs = MultinomialNB(alpha=0.5).fit(counts[:, seen], truth).predict_proba(counter.transform(test)[:, seen])
    assert own == pytest.approx(theirs)
    own = Logistic(strength=2.0).fit(examples, labels).predict_proba([Labelled(t) for t in test])
    other = LogisticRegression(C=0.5, tol=1e-8, max_iter=5000).fit(counts[:, seen] > 0, truth)
    assert own == pytest.approx(other.predict_proba(counter.transform(test)[:, seen] > 0), abs=2e-3)


def test_smoothing_is_chosen_where_it_matters() -> None:
    examples, labels = drawn(500, 4)
    model = NaiveBayes()
    model.fit(examples, labels)
    chosen = model.smoothing
    assert chosen is not None
    again = NaiveBayes()
    again.fit(examples, labels)
    assert again.smoothing == chosen


def test_a_second_text_has_words_of_its_own() -> None:
    examples = [Labelled("a b", "a", label="x"), Labelled("a b", "b", label="y")] * 80
    for name in ("naive_bayes", "logistic"):
        model = make_baseline(name).fit(examples, ["x", "y"])
        found = model.predict_proba([Labelled("a b", "a"), Labelled("a b", "b")])
        assert found.argmax(axis=1).tolist() == [0, 1]


def test_the_lexicon_reads_praise_and_blame_in_two_languages() -> None:
    """With one example of each class what decides is what the words mean, not what was learnt."""
    model = make_baseline("lexicon").fit(
        [Labelled("x", label="negative"), Labelled("y", label="positive")], ["negative", "positive"]
    )
    texts = ["The food was not very good", "a superb film", "电影很精彩", "饭菜并不好，糟糕", "no word of either"]
    found = model.predict_proba(list(map(Labelled, texts)))
    assert found[:4].argmax(axis=1).tolist() == [0, 1, 1, 0]
    assert found[4] == pytest.approx([0.5, 0.5])
    three = make_baseline("lexicon").fit([Labelled("x", label="neutral")], ["negative", "neutral", "positive"])
    assert three.predict_proba([Labelled("nothing said")]).argmax() == 1
    with pytest.raises(UserError, match="the lexicon knows positive, negative and neutral, not x, y"):
        make_baseline("lexicon").fit([Labelled("a", label="x")], ["x", "y"])


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(UserError, match=r"unknown baseline 'naive_bays'; did you mean 'naive_bayes'\?"):
        make_baseline("naive_bays")
    with pytest.raises(UserError, match="no examples"):
        make_baseline("majority").fit([], ["a"])
    with pytest.raises(UserError, match="labels such as 'c'"):
        make_baseline("majority").fit([Labelled("t", label="c")], ["a", "b"])


def report(baseline: str, *options: dict[str, Any]) -> ClassificationReport:
    """The report of a baseline on the test sets of all these tasks together."""
    truth, found = [], []
    for one in options:
        task = make_task("classification", one)
        assert isinstance(task, LabelledTask)
        data = task.data()
        assert sum(data.leaks.values()) < 10
        test = data.tests["test"]
        found.append(make_baseline(baseline).fit(data.train, data.labels).predict_proba(test))
        truth += [data.labels.index(example.label) for example in test]
    return classification_report(truth, np.concatenate(found), data.labels, np.random.default_rng(0))


def folds(**options: Any) -> list[dict[str, Any]]:
    return [options | {"split": {"test": 0.2, "validation": 0, "fold": k}} for k in range(5)]


def test_naive_bayes_is_as_good_on_real_data_as_others_report(shared_data: Path) -> None:
    """The references are in the README of the data: 77.4 % (5-fold), 84.2 %, and 73.3 % with macro-F1 67.0."""
    reviews = shared_data / "open" / "sentiment" / "sentence_polarity_mr"
    found = report(
        "naive_bayes",
        *folds(files={"positive": [f"{reviews}/rt-polarity.pos"], "negative": [f"{reviews}/rt-polarity.neg"]}),
    )
    assert found.n == 10_662
    assert found.accuracy == pytest.approx(0.774, abs=0.012)
    bank = shared_data / "open" / "customer_service" / "banking77"
    tests = {"test": f"{bank}/test.csv"}
    found = report("naive_bayes", {"files": f"{bank}/train.csv", "tests": tests, "split": {"validation": 0}})
    assert found.n == 3080
    assert len(found.classes) == 77
    assert found.accuracy > 0.842
    news = shared_data / "open" / "financial" / "financial_phrasebank" / "Sentences_50Agree.txt"
    found = report("naive_bayes", *folds(files=str(news), separator="@", encoding="latin-1"))
    assert found.n == 4846
    assert found.accuracy == pytest.approx(0.733, abs=0.012)
    assert found.macro_f1 == pytest.approx(0.670, abs=0.012)
