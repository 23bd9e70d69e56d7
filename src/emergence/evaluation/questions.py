"""The questions of a task, as the tokenizer of a model writes them. No torch here."""

from __future__ import annotations

from emergence.core.errors import UserError
from emergence.tasks.task import Question, Task, TaskContext

__all__ = ["writable_questions"]


def writable_questions(task: Task, context: TaskContext, examples: int, shots: int) -> list[Question]:
    """Return up to ``examples`` questions, none where the task takes no ``shots``.

    Raises UserError where the tokenizer cannot write one of them.
    """
    questions = task.questions(context, examples, shots)
    tokenizer = context.tokenizer
    for question in questions if task.trains else ():
        unknown = tokenizer.unknown_id in (*question.prompt_ids, *question.target_ids)
        # Some tokenizers keep a space before a word to themselves.
        if unknown or tokenizer.decode(question.target_ids).strip() != question.target.strip():
            raise UserError(
                f"the model's tokenizer cannot write the task {task.name}, for example {question.prompt!r} and "
                f"{question.target!r}; choose a task with the letters of its training"
            )
    return questions
