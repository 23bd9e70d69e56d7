"""Every task by name; one line each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emergence.core.catalogue import Catalogue
from emergence.tasks.task import Task

__all__ = ["DRAWN", "NAMED_ONLY", "TASKS", "make_task"]

TASKS: Catalogue[Callable[[dict[str, Any]], Task]] = Catalogue("task")
TASKS.add("addition", "emergence.tasks.addition:Addition", "sums of two numbers of a given number of digits")
TASKS.add("analogy", "emergence.tasks.analogy:Analogy", "a is to b as c is to what? of words with stems and endings")
TASKS.add(
    "classification",
    "emergence.tasks.classification:Classification",
    "the class of a text or of a pair of texts, from labelled files",
)
TASKS.add("completion", "emergence.tasks.completion:Completion", "how a text goes on, from labelled files")
TASKS.add("copy", "emergence.tasks.copying:Copy", "repeat a random string")
TASKS.add("modular_addition", "emergence.tasks.modular:ModularAddition", "sums of two numbers modulo a prime")
TASKS.add(
    "question_answering",
    "emergence.tasks.question_answering:QuestionAnswering",
    "the part of a passage that answers a question, from files as SQuAD has them",
)
TASKS.add(
    "recall", "emergence.tasks.recall:Recall", "say which value stood beside a key: the answer is only in the prompt"
)
TASKS.add(
    "reconstruction", "emergence.tasks.reconstruction:Reconstruction", "give a sentence back through the bottleneck"
)
TASKS.add("sampling", "emergence.tasks.sampling:Sampling", "write by itself: how varied the samples are, distinct-n")
TASKS.add("sentiment", "emergence.tasks.sentiment:Sentiment", "praise or blame, with negations and intensifiers")
TASKS.add("regression", "emergence.tasks.classification:Regression", "a number for a text, from labelled files")
TASKS.add("reversal", "emergence.tasks.reversal:Reversal", "write a random string backwards")
TASKS.add("reachability", "emergence.tasks.graphs:Reachability", "say whether a graph has a way between two nodes")
TASKS.add("shortest_path", "emergence.tasks.graphs:ShortestPath", "say how many edges the shortest way in a graph has")
TASKS.add(
    "summarisation",
    "emergence.tasks.completion:Summarisation",
    "a short text for a long one, from labelled files: ROUGE",
)
TASKS.add("text", "emergence.tasks.text:Text", "continue the corpus: next-token accuracy, loss, bits per byte, samples")
TASKS.add(
    "translation",
    "emergence.tasks.translation:Translation",
    "English into Chinese, from a file of pairs: BLEU and chrF",
)

#: Tasks that ask for what most models do not have (a bottleneck): a family can do them only where it says so.
NAMED_ONLY = frozenset({"reconstruction"})
#: Tasks that ask for several answers, drawn at random.
DRAWN = frozenset({"sampling"})


def make_task(name: str, options: dict[str, Any]) -> Task:
    """Return the task ``name`` with its options; raise UserError for an unknown name or option.

    The option ``task`` names the kind where that is not the task's name.
    """
    kind: Any = TASKS.load(options.get("task", name))
    # A class of its own, so that what goes wrong while it is made says its name too.
    named = kind if kind.name == name else type(kind.__name__, (kind,), {"name": name})
    made: Task = named({key: value for key, value in options.items() if key != "task"})
    return made
