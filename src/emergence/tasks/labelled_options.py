"""How labelled data are described: files and their columns, classes, further test sets, and the split."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from emergence.core.errors import nearest
from emergence.tasks.task import TaskOptions
from emergence.text.perturbation import PERTURBATIONS
from emergence.text.tables import TableFormat

__all__ = ["Files", "LabelledOptions", "ReadingOptions", "SplitOptions"]


def _names(value: Any) -> Any:
    """Take one name for a list of one, and numbers for names: ids of classes are often written bare."""
    if isinstance(value, list | tuple):
        return tuple(str(v) if isinstance(v, int | float) and not isinstance(v, bool) else v for v in value)
    return (str(value),) if isinstance(value, str | int | float) and not isinstance(value, bool) else value


def _files(value: Any) -> Any:
    return value if isinstance(value, dict) else _names(value)


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
#: Names or patterns of files; or the files of each class, with a text on every line.
Files = Annotated[dict[str, Names] | tuple[str, ...], BeforeValidator(_files)]
Column = str | Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


class ReadingOptions(TaskOptions):
    """How one set of files is read.

    ``columns`` says where ``text``, ``second``, ``label``, ``value`` and ``answer`` stand: by names of the header, or
    by numbers from 1 where the file has no header. ``labels`` maps names of classes to what stands in the file; a cell
    with several of these ("2, 5") counts where all that are known belong to one class.
    """

    files: Files = ()
    format: TableFormat | None = None
    columns: dict[Literal["text", "second", "label", "value", "answer"], Column] = Field(default_factory=dict)
    separator: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    encoding: str = "utf-8"
    labels: dict[str, Names] | None = None

    @field_validator("labels")
    @classmethod
    def _one_class_each(cls, value: dict[str, tuple[str, ...]] | None) -> dict[str, tuple[str, ...]] | None:
        owners: dict[str, str] = {}
        for name, raws in (value or {}).items():
            for raw in raws:
                if owners.setdefault(raw, name) != name:
                    raise ValueError(f"'{raw}' cannot mean both {owners[raw]} and {name}; keep one")
        return value


def _as_set(value: Any) -> Any:
    """Take bare files for a set that is read like the rest of the task."""
    return (
        value
        if isinstance(value, ReadingOptions) or (isinstance(value, dict) and "files" in value)
        else {"files": value}
    )


OneSet = Annotated[ReadingOptions, BeforeValidator(_as_set)]


class SplitOptions(TaskOptions):
    """Shares of what is split by a hash of the group. Folds 0, 1, 2 ... are test sets without anything in common; with
    a ``test`` of 1/k, k of them cover everything."""

    test: Share = 0.2
    validation: Share = 0.1
    fold: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _fits(self) -> SplitOptions:
        if self.test + self.validation >= 1:
            raise ValueError("test and validation leave nothing to train on; lower one of them")
        if self.fold and (self.fold + 1) * self.test > 1 + 1e-9:
            raise ValueError(f"with test: {self.test:g} there is no fold {self.fold}; they are numbered from 0")
        return self


class LabelledOptions(ReadingOptions):
    """``files`` are trained on. ``validation`` and ``tests`` name sets of their own, each files or a mapping with
    ``files`` and whatever is read otherwise there; without ``validation``, or without a set ``test``, that part is
    ``split`` off the training files.

    ``group`` is what a split must not part: examples with the same value in that column, or (``text``) with the same
    first text; by default those with the same texts. ``read`` leaves one text of a pair out, ``longest`` the examples
    of more characters, and ``limit`` keeps so many of training. ``template`` is the prompt, with ``{text}`` and
    ``{second}`` in it.

    ``synthetic`` are files that a model wrote (`tasks.synthetic`), trained on beside the others. ``perturb`` names
    perturbations (`text.perturbation`): "test typos" is the set "test" after ``typos``. Those of ``names`` come from
    the lists of the file ``lexicon``.
    """

    validation: OneSet | None = None
    tests: dict[str, OneSet] = Field(default_factory=dict)
    split: SplitOptions = SplitOptions()
    group: Column | None = None
    read: Literal["both", "first", "second"] = "both"
    longest: Annotated[int, Field(ge=1)] | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    template: str | None = None
    synthetic: Names = ()
    perturb: Names = ()
    lexicon: str | None = None

    @field_validator("template")
    @classmethod
    def _reads_the_text(cls, value: str | None) -> str | None:
        if value is not None and "{text}" not in value:
            raise ValueError("the template has no {text}; write, for example, '{text}\\nlabel: '")
        return value

    @field_validator("perturb")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in PERTURBATIONS:
                hint = nearest(name, PERTURBATIONS)
                raise ValueError(f"unknown perturbation '{name}'{hint} (known: {', '.join(PERTURBATIONS)})")
        return value

    @model_validator(mode="after")
    def _names_from_somewhere(self) -> LabelledOptions:
        if ("names" in self.perturb) != (self.lexicon is not None):
            raise ValueError("perturb: [names] and lexicon, the file of its lists of names, are given together")
        return self

    @model_validator(mode="after")
    def _one_test(self) -> LabelledOptions:
        given = self.split.model_fields_set
        if "test" in self.tests and given & {"test", "fold"}:
            raise ValueError("the test set has files of its own (tests.test); leave out split.test and split.fold")
        if self.validation is not None and "validation" in given:
            raise ValueError("the validation set has files of its own; leave out split.validation")
        if {"train", "validation"} & set(self.tests):
            raise ValueError("a test set cannot be called train or validation; give it another name")
        return self
