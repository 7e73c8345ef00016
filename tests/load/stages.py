"""A run under load: annotators all the time, and one stage after another with a batch each."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from backend.deliveries import pending_deliveries
from tests.load.annotators import Annotators, Prompt
from tests.load.batches import Batch, BatchResult, LabelStudioProjects
from tests.load.memory import MemorySampler, MemoryUse
from tests.load.photos import write_photos
from tests.load.servers import Backend

PHOTOS_PER_ANNOTATOR = 12
# A batch is asked for so long before its stage's fault.
BATCH_HEAD_START_SECONDS = 5.0
_LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class Stage:
    """A part of a run.

    `fault` harms the servers and returns when they are left alone again; the stage lasts at least
    `seconds`, and until its fault is over.
    """

    name: str
    seconds: float
    batch_tasks: int
    fault: Callable[[], None] | None = None


@dataclass(frozen=True)
class StageResult:
    """What happened in a stage; times are in seconds of the monotonic clock.

    A prompt belongs to the stage that it was typed in.
    """

    name: str
    begun_at: float
    fault_at: float
    fault_over_at: float
    ended_at: float
    prompts: Sequence[Prompt]
    batch: BatchResult

    def normal_after(self, longest_normal_wait: float) -> float:
        """Seconds from the fault's beginning to the last answer that was late or failed at first.

        Args:
            longest_normal_wait: in seconds; an answer that took longer was late.
        """
        late = [
            prompt.asked_at + prompt.wait
            for prompt in self.prompts
            if prompt.errors or prompt.wait > longest_normal_wait
        ]
        return max([each - self.fault_at for each in late if each > self.fault_at], default=0.0)


@dataclass(frozen=True)
class LoadResult:
    """What happened in a run."""

    stages: Sequence[StageResult]
    memory: Sequence[MemoryUse]
    redis_mb: float

    @property
    def lost(self) -> int:
        """Prompts and batch tasks without an answer."""
        prompts = (prompt for stage in self.stages for prompt in stage.prompts)
        unanswered = sum(prompt.answered_at is None for prompt in prompts)
        return unanswered + sum(stage.batch.lost for stage in self.stages)

    @property
    def doubled(self) -> int:
        """Batch tasks with more than one prediction."""
        return sum(stage.batch.doubled for stage in self.stages)

    @property
    def growing(self) -> list[str]:
        """Roles of the processes whose memory does not stay flat."""
        return [use.role for use in self.memory if use.is_flat is False]


@dataclass(frozen=True)
class _Course:
    """When a stage was what."""

    begun_at: float
    fault_at: float
    fault_over_at: float
    ended_at: float


def run_stages(
    backend: Backend,
    projects: LabelStudioProjects,
    stages: Sequence[Stage],
    directory: Path,
    *,
    annotators: int,
    settle_seconds: float,
    say: Callable[[str], None],
) -> LoadResult:
    """Runs the stages in their order.

    Args:
        backend: is ready.
        projects: of the Label Studio that the backend reads from and posts to.
        stages: the first one without a fault, to compare the others with.
        directory: for the photos.
        annotators: how many type prompts all the time.
        settle_seconds: longest time that batches may take after the last stage.
        say: told what begins.
    """
    say("Photos are made and uploaded ...")
    photos = write_photos(directory / "annotated", annotators * PHOTOS_PER_ANNOTATOR)
    annotated = projects.interactive(projects.create("Annotated", photos))
    batches = [
        Batch(projects, f"Batch {stage.name}", write_photos(directory / name, stage.batch_tasks))
        for stage in stages
        for name in [stage.name.replace(" ", "-")]
    ]
    with ExitStack() as stack:
        memory = stack.enter_context(MemorySampler())
        at_work = stack.enter_context(Annotators(backend.url, annotated, annotators))
        courses = []
        for stage, batch in zip(stages, batches, strict=True):
            say(f"{stage.name} ...")
            courses.append(_run(stage, batch))
        say("The batches that are left ...")
        _settle(backend, batches, settle_seconds)
    return LoadResult(
        [
            StageResult(
                stage.name,
                course.begun_at,
                course.fault_at,
                course.fault_over_at,
                course.ended_at,
                [
                    prompt
                    for prompt in at_work.prompts
                    if course.begun_at <= prompt.asked_at < course.ended_at
                ],
                batch.result(),
            )
            for stage, course, batch in zip(stages, courses, batches, strict=True)
        ],
        memory.uses(),
        redis_mb=backend.queue.redis.info("memory")["used_memory"] / 2**20,
    )


def _run(stage: Stage, batch: Batch) -> _Course:
    begun = time.monotonic()
    batch.retrieve()
    if stage.fault is not None:
        time.sleep(min(BATCH_HEAD_START_SECONDS, stage.seconds / 3))
    fault_at = time.monotonic()
    if stage.fault is not None:
        stage.fault()
    fault_over = time.monotonic()
    time.sleep(max(0.0, begun + stage.seconds - fault_over))
    return _Course(begun, fault_at, fault_over, time.monotonic())


def _settle(backend: Backend, batches: Sequence[Batch], seconds: float) -> None:
    """Waits for all predictions. A batch that nobody works on any more is asked for again."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        missing = [batch for batch in batches if not batch.is_complete()]
        if not missing:
            return
        is_idle = not (
            pending_deliveries(backend.queue)
            or sum(backend.queue.waiting().values())
            or any(batch.is_being_asked_for for batch in batches)
        )
        if is_idle:
            for batch in missing:
                batch.retrieve()
        time.sleep(_LOOK_SECONDS)
