"""A teacher at work: one file of answers to prompts of a task, or of texts (`study.lessons`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emergence.core.errors import UserError
from emergence.core.seeds import derive_seed, stream
from emergence.core.store import write_sealed
from emergence.core.teacher_settings import TeacherSettings
from emergence.study.lessons import CORPUS
from emergence.study.teacher import Teacher, load_teacher
from emergence.tasks.catalogue import make_task
from emergence.tasks.task import Example, GeneratedTask

if TYPE_CHECKING:
    from emergence.text import LanguageTokenizer

__all__ = ["write_lesson"]


def write_lesson(job: dict[str, Any], report: Callable[[dict[str, Any]], None]) -> None:
    """Let the teacher write one file of texts; this imports torch. ``job`` is one of `lessons_to_write`."""
    teacher, settings = Teacher(**job["teacher"]), TeacherSettings.model_validate(job["settings"])
    prompts: list[str] = []
    if job["source"] == CORPUS:
        texts, read = _draw_texts(teacher, settings, job)
    else:
        task = make_task(job["source"], job["options"])
        assert isinstance(task, GeneratedTask)
        examples = task.lessons(stream(job["seed"], "teacher", job["source"], job["part"]), job["count"], "train")
        prompts = [example.prompt for example in examples]
        texts, read = _answer(teacher, settings, task, examples, job)
    length = max(1, round(sum(read) / max(1, len(texts))))
    flops = teacher.forward_flops(sum(read), length, read[1] + len(texts))
    found = {"fingerprint": job["fingerprint"], "prompts": prompts, "texts": texts, "flops": flops}
    write_sealed(Path(job["path"]), found)
    report({"event": "written", "source": job["source"], "texts": len(texts)})


def _draw_texts(teacher: Teacher, settings: TeacherSettings, job: dict[str, Any]) -> tuple[list[str], tuple[int, int]]:
    """Return texts of at most a context that the teacher draws; and how many tokens it read and wrote."""
    import torch

    from emergence.evaluation.engine import READERS
    from emergence.generation import SamplingSettings

    network, tokenizer = load_teacher(teacher)
    sample = READERS[network.reads].sample
    if sample is None:
        raise UserError(f"no text can be drawn from the teacher {teacher.shown}; leave the corpus out of the mixture")
    asked = SamplingSettings(max_tokens=job["context"], temperature=settings.softness)
    generator = torch.Generator().manual_seed(derive_seed(job["seed"], "teacher", CORPUS, job["part"]))
    begun = tokenizer.encode_batch(job["beginnings"])
    prompts = [[tokenizer.begin_id, *ids] for ids in begun]
    written = sample(network, prompts, asked, end_id=tokenizer.end_id, generator=generator)
    texts = [tokenizer.decode([*first, *ids]) for first, ids in zip(begun, written, strict=True)]
    return texts, (sum(map(len, prompts)), sum(map(len, written)))


def _answer(
    teacher: Teacher, settings: TeacherSettings, task: GeneratedTask, examples: Sequence[Example], job: dict[str, Any]
) -> tuple[list[str], tuple[int, int]]:
    """Return the teacher's answer to every prompt, what has none as it is; and how many tokens it read and wrote.

    An answer is as long as the right ones are: exactly so where all of a task are equally long, else at most as the
    longest.
    """
    from emergence.evaluation.engine import READERS

    network, tokenizer = load_teacher(teacher)
    reader = READERS[network.reads]
    asked = [index for index, example in enumerate(examples) if example.prompt]
    prompts = _prompts(tokenizer, settings, task, [examples[index].prompt for index in asked], job)
    lengths = [len(ids) for ids in tokenizer.encode_batch([examples[index].target for index in asked])]
    limits = [max(lengths) + 1] * len(lengths) if task.ends and lengths else lengths
    for prompt, limit in zip(prompts, limits, strict=True):
        if reader.cut(network, prompt, limit):
            raise UserError(
                f"a prompt of the task {task.name} with its answer takes {len(prompt) + limit} tokens, but the teacher "
                f"{teacher.shown} reads {network.config.context} at once; lower training.teacher.shots, or ask for a "
                "smaller task"
            )
    beams = settings.beams or 1
    how: dict[str, Any] = {"end_id": tokenizer.separator_id}
    write = reader.write
    if beams > 1:
        assert reader.search is not None  # seen in the plan
        write, how["beams"] = reader.search, beams
    written = write(network, prompts, limits, **how) if asked else []
    texts = [example.target for example in examples]
    for index, ids in zip(asked, written, strict=True):
        texts[index] = tokenizer.decode(ids)
    # Masks are filled one after the other, and the whole row is read for each.
    passes = max(limits, default=1) if network.reads == "masked" else 1
    return texts, (passes * sum(map(len, prompts)), passes * beams * sum(map(len, written)))


def _prompts(
    tokenizer: LanguageTokenizer,
    settings: TeacherSettings,
    task: GeneratedTask,
    texts: Sequence[str],
    job: dict[str, Any],
) -> list[list[int]]:
    """Return the ids of every prompt, after worked examples where the study asks for some."""
    shots = settings.shots or 0
    rng = stream(job["seed"], "teacher", "shots", task.name, job["part"])
    before = task.examples(rng, shots * len(texts), "train") if shots else []
    ids = tokenizer.encode_batch(texts)
    worked = tokenizer.encode_batch([example.prompt + example.target for example in before])
    for text, own in zip(texts, ids, strict=True):
        if tokenizer.unknown_id is not None and tokenizer.unknown_id in own:
            raise UserError(
                f"the teacher's tokenizer cannot write a prompt of the task {task.name}, for example {text!r}; choose "
                "a task with the letters of its training"
            )
    found = []
    for index, own in enumerate(ids):
        start = [tokenizer.begin_id]
        for example in worked[index * shots : (index + 1) * shots]:
            start += [*example, tokenizer.separator_id]
        found.append([*start, *own])
    return found
