"""What a fine-tuning looks at: its data, and the views that are made of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from accelerate import PartialState

from self1e.dataset import SegmentationSample
from self1e.drawn_examples import DrawnExamples
from self1e.finetune_recipe import FinetuneRecipe
from self1e.predictor import Predictor
from self1e.replay import SAMPLE_PHOTOS, draw, replay_prompts
from self1e.replay_memory import ReplayMemory
from self1e.taught_views import PhotoLesson, lessons
from self1e.view_store import PlannedView, RememberedView, ViewStore, plan_view

# Kept with each remembered view: there is one of each photo, and few prompts fit something in it.
_REMEMBERED_ANSWERS = 64


@dataclass(frozen=True)
class FinetuneData:
    """What to learn from.

    Attributes:
        train: samples to learn.
        validation: samples that say when to stop.
        replay: samples with a truth that keep the model from forgetting.
        former_prompts: prompts that the model was taught by earlier fine-tunings.
        memory: the model's own, if its vision tower is not trained.
    """

    train: Sequence[SegmentationSample]
    validation: Sequence[SegmentationSample]
    replay: Sequence[SegmentationSample] = ()
    former_prompts: Sequence[str] = ()
    memory: ReplayMemory | None = None


def prepare_views(
    predictor: Predictor,
    data: FinetuneData,
    out: Path,
    recipe: FinetuneRecipe,
    pause: Callable[[], None],
    *,
    progress: bool,
) -> tuple[DrawnExamples, ViewStore]:
    """Makes the views that are not there yet.

    Args:
        predictor: the model before it is trained.
        data: what to learn from.
        out: directory of the run.
        recipe: how.
        pause: called before each view; returns when work may go on.
        progress: whether to show a progress bar.

    Returns:
        What the steps see, and what the validation loss is of.
    """
    taught, known = lessons(data.train), lessons(data.replay)
    prompts = replay_prompts({sample.prompt for sample in data.train}, data.former_prompts)
    every = max(1, min(recipe.views_per_photo, recipe.most_views // (len(taught) + len(known))))

    def views(lesson: PhotoLesson, count: int, answers: int) -> list[PlannedView]:
        return [
            plan_view(lesson, number, prompts, answers, seed=recipe.seed) for number in range(count)
        ]

    plan: list[PlannedView | RememberedView] = []
    photos = []
    for lesson in taught:
        photos.append(range(len(plan), len(plan) + every))
        plan += views(lesson, every, recipe.kept_answers)
    new = len(plan)
    for lesson in known:
        plan += views(lesson, every, recipe.kept_answers)
    for photo in SAMPLE_PHOTOS:
        plan += views(
            PhotoLesson(photo, ()), recipe.views_per_package_photo, 2 * recipe.kept_answers
        )
    if data.memory is not None:
        for index in data.memory.taught:
            asked = draw(prompts, _REMEMBERED_ANSWERS, f"{recipe.seed}-memory-{index}")
            plan.append(RememberedView(data.memory, index, tuple(asked)))

    def store(name: str, planned: Sequence[PlannedView | RememberedView]) -> ViewStore:
        made = ViewStore(
            out / name,
            planned,
            predictor.encoder,
            seed=recipe.seed,
            max_tiles=predictor.max_tiles,
            keep_vision=recipe.keep_vision,
        )
        made.prepare(predictor.model, pause, description=name, progress=progress)
        return made

    examples = DrawnExamples(
        store("views", plan),
        photos,
        range(new, len(plan)),
        examples=recipe.steps * recipe.batch_photos * PartialState().num_processes,
        seed=recipe.seed,
        taught=recipe.taught_prompts,
        replayed=recipe.replayed_prompts,
        replay_share=recipe.replay_share,
    )
    plain = [PlannedView(lesson, 0) for lesson in lessons(data.validation)]
    return examples, store("validation", plain)
