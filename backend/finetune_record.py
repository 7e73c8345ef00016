"""What is written down of a fine-tuning: a version's metrics, and what its report shows."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from backend.finetune_comparison import Candidate
from backend.finetune_report import FinetuneReport
from backend.report_pictures import draw_pictures, most_changed
from backend.training_samples import CollectedSamples
from backend.training_set import TrainingSet
from self1e.finetune_recipe import FinetuneRecipe

History = Sequence[Mapping[str, float]]


def version_metrics(
    candidate: Candidate,
    data: TrainingSet,
    history: History,
    recipe: FinetuneRecipe,
    margin: float,
) -> dict[str, Any]:
    """The metrics.json of a version.

    Args:
        candidate: the adapter that becomes the version.
        data: what it was trained and judged on.
        history: losses (`FinetuneResult`).
        recipe: how it was trained.
        margin: largest loss of gIoU on what was not taught that was allowed, 0..1.
    """
    compared = candidate.compared
    return {
        "held_out": asdict(compared.held_out),
        "general": asdict(compared.general),
        "general_measure": compared.measure,
        "kept_share": candidate.kept_share,
        "margin": margin,
        "samples": {
            "train": len(data.train),
            "validation": len(data.validation),
            "held_out": len(data.held_out),
        },
        "recipe": asdict(recipe),
        "history": history,
    }


def run_report(
    collected: CollectedSamples,
    data: TrainingSet,
    candidate: Candidate,
    history: History,
    recipe: FinetuneRecipe,
    *,
    margin: float,
    command: str,
) -> FinetuneReport:
    """What the report shows; its pictures are drawn now, from the training set's files.

    Args:
        collected: all that was collected.
        data: what of it was used.
        candidate: the adapter that was judged, with its answers.
        history, recipe, margin: as for `version_metrics`.
        command: as it was typed.
    """
    compared = candidate.compared
    improved, worsened = most_changed(compared.results)
    split = {
        "to learn": data.train,
        "to say when to stop": data.validation,
        "held out": data.held_out,
    }
    return FinetuneReport(
        command=command,
        collected=collected,
        left_out=data.left_out,
        split={
            use: (len(samples), len({sample.image for sample in samples}))
            for use, samples in split.items()
        },
        recipe=asdict(recipe),
        history=history,
        held_out=compared.held_out,
        general=compared.general,
        measure=compared.measure,
        kept_share=candidate.kept_share,
        margin=margin,
        results=compared.results,
        improved=[draw_pictures(each) for each in improved],
        worsened=[draw_pictures(each) for each in worsened],
    )
