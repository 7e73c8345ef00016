"""What fine-tuning costs, against training all weights of the model: `python -m` this module.

Three ways to train on the same photos and prompts, in the same batches:
- "kept": `self1e.finetuning` as it is on a CPU, an adapter on vision features computed once;
- "computed": the same adapter, but the frozen vision tower runs in each step;
- "full": plain PyTorch, all weights trained, the vision tower's too.

Each runs in a process of its own, so that each has its own peak of memory. A sample is a prompt
about a photo. Prints JSON; with `--check` it exits with 1 if a ratio misses its aim.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import torch

from self1e.checkpoint import CheckpointError, load_predictor
from self1e.dataset import SegmentationSample
from self1e.drawn_examples import DrawnExamples
from self1e.finetune_recipe import FinetuneRecipe
from self1e.finetune_views import FinetuneData
from self1e.finetuning import finetune
from self1e.hub import find_checkpoint
from self1e.predictor import Predictor
from self1e.taught_views import lessons
from self1e.training import Collator
from self1e.view_store import PlannedView, ViewStore
from tests.taught_photos import write_samples

STEPS: Mapping[str, int] = {"kept": 12, "computed": 6, "full": 5}
AIMS = {"step_kept_to_full": 1 / 2, "peak_kept_to_full": 1.0, "samples_computed_to_kept": 0.6}
PHOTOS, BATCH_PHOTOS = 8, 4
PROMPTS = ("the square", "the yellow thing", "the bright patch", "the box")
WARM_UP_STEPS = 1  # memory is allocated


def train_adapter(
    predictor: Predictor, samples: Sequence[SegmentationSample], directory: Path, way: str
) -> list[float]:
    """Fine-tunes; returns when each step began, in seconds of `time.perf_counter`."""
    began: list[float] = []
    recipe = FinetuneRecipe.of_model(
        predictor.model,
        steps=STEPS[way],
        warmup_steps=0,
        batch_photos=BATCH_PHOTOS,
        taught_prompts=len(PROMPTS),
        # One plain view per photo and nothing to remember: a step is the same work in all ways.
        views_per_photo=1,
        replayed_prompts=0,
        replay_share=0.0,
        kept_answers=0,
        eval_steps=STEPS[way],
        keep_vision=way == "kept",
    )
    finetune(
        predictor,
        FinetuneData(train=samples, validation=samples[:1]),
        directory,
        recipe,
        progress=lambda _step, _steps: began.append(time.perf_counter()),
    )
    return began


def train_all(
    predictor: Predictor, samples: Sequence[SegmentationSample], directory: Path
) -> list[float]:
    """Trains all weights on the examples that `train_adapter` draws; returns the same."""
    model, steps = predictor.model, STEPS["full"]
    plan = [PlannedView(lesson, 0) for lesson in lessons(samples)]
    store = ViewStore(
        directory, plan, predictor.encoder, seed=0, max_tiles=predictor.max_tiles, keep_vision=False
    )
    store.prepare(model, lambda: None, description="views", progress=False)
    examples = DrawnExamples(
        store,
        [range(index, index + 1) for index in range(len(plan))],
        range(0),
        examples=steps * BATCH_PHOTOS,
        seed=0,
        taught=len(PROMPTS),
        replayed=0,
        replay_share=0.0,
    )
    collate = Collator(predictor.encoder)
    model.requires_grad_(True)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    began = []
    for first in range(0, len(examples), BATCH_PHOTOS):
        began.append(time.perf_counter())
        batch = collate([examples[first + place] for place in range(BATCH_PHOTOS)])
        optimizer.zero_grad()
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return began


def measure(way: str, model: str) -> dict[str, float]:
    """One way in this process: median seconds of a step, peak of resident megabytes."""
    predictor = load_predictor(model, device="cpu", dtype="float32")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        samples = [
            sample
            for prompt in PROMPTS
            for sample in write_samples(directory / "photos", range(PHOTOS), prompt)
        ]
        train: Callable[[], list[float]] = (
            (lambda: train_all(predictor, samples, directory / "run"))
            if way == "full"
            else (lambda: train_adapter(predictor, samples, directory / "run", way))
        )
        began = train()
    if len(began) != STEPS[way]:
        raise AssertionError(f"{len(began)} steps instead of {STEPS[way]}: the times mean nothing")
    seconds = [after - before for before, after in pairwise(began)]
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "step_s": statistics.median(seconds[WARM_UP_STEPS:]),
        "peak_mb": kilobytes * 1024 / 1e6,
    }


def measure_in_child(way: str, model: str) -> dict[str, float]:
    command = [sys.executable, "-m", __spec__.name, "--model", model, "--way", way]
    ran = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    figures: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="demo", help="demo (bundled) or a directory")
    parser.add_argument("--way", choices=list(STEPS), help="only this one, in this process")
    parser.add_argument("--check", action="store_true", help="exit with 1 if an aim is missed")
    options = parser.parse_args(arguments)
    try:
        find_checkpoint(options.model)
    except CheckpointError as error:
        parser.error(str(error))
    if options.way:
        print(json.dumps(measure(options.way, options.model)))
        return 0
    measured = {way: measure_in_child(way, options.model) for way in STEPS}
    step = {way: figures["step_s"] for way, figures in measured.items()}
    peak = {way: figures["peak_mb"] for way, figures in measured.items()}
    rate = {way: BATCH_PHOTOS * len(PROMPTS) / seconds for way, seconds in step.items()}
    ratios = {
        "step_kept_to_full": step["kept"] / step["full"],
        "peak_kept_to_full": peak["kept"] / peak["full"],
        "samples_computed_to_kept": rate["computed"] / rate["kept"],
    }
    met = all(ratios[name] <= aim for name, aim in AIMS.items())
    print(
        json.dumps(
            {
                "model": options.model,
                "step_s": {way: round(value, 3) for way, value in step.items()},
                "samples_per_s": {way: round(value, 2) for way, value in rate.items()},
                "peak_mb": {way: round(value, 1) for way, value in peak.items()},
                "ratios": {name: round(value, 3) for name, value in ratios.items()},
                "aims": {name: round(value, 3) for name, value in AIMS.items()},
                "met": met,
            }
        )
    )
    return 1 if options.check and not met else 0


if __name__ == "__main__":
    sys.exit(main())
