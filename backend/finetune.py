"""Learns from accepted labels: `python -m backend.finetune --project ID` or `--export FILE`."""

import argparse
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from backend.command_line import positive, settings_errors
from backend.errors import BackendError, TrainingRunsError
from backend.export_images import ExportImages
from backend.export_source import collect_export
from backend.finetune_exit import FinetuneExit
from backend.image_embeddings import ImageSource
from backend.label_studio_files import LabelStudioFiles
from backend.project_source import collect_project
from backend.projects_api import ProjectsApi
from backend.prompts_first import PromptsFirst, give_way
from backend.queue import JobQueue
from backend.settings import Settings
from backend.task_samples import ANNOTATORS_RULES
from backend.training_group import dismiss, follow, leads
from backend.training_samples import CollectedSamples

_DESCRIPTION = "Learn from the annotations of a Label Studio project, or of a JSON export."
_EPILOG = """\
exit codes:
  0  a better version is served now (or the dry run is done)
  1  it could not be done; the message says why
  3  what was learned is not better, or something was forgotten: the former version stays
  4  another training runs on this device

several GPUs: accelerate launch --multi_gpu --num_processes N -m backend.finetune --project ID
"""
_MOST_LABELS = 20
_COMMAND = ("python", "-m", "backend.finetune")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what to learn from, and how."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--project", type=int, metavar="ID", help="a project of LABEL_STUDIO_URL")
    source.add_argument(
        "--export", type=Path, metavar="FILE", help="what Label Studio exported as JSON"
    )
    parser.add_argument(
        "--image-root",
        type=Path,
        metavar="DIR",
        help="with --export: where the images are; without, they are fetched by their urls",
    )
    parser.add_argument(
        "--label-config",
        type=Path,
        metavar="FILE",
        help="with --export: the project's labeling config, which an export lacks; without, labels "
        "are asked for in words",
    )
    parser.add_argument(
        "--annotators",
        choices=list(ANNOTATORS_RULES),
        default="latest",
        help="whose annotation counts where a task has several: "
        + "; ".join(f"{name}: {rule}" for name, rule in ANNOTATORS_RULES.items())
        + " (default: latest)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what it would learn from")
    parser.add_argument(
        "--replay",
        type=Path,
        metavar="SAMPLES.jsonl",
        help="what the model must not forget, as `self1e evaluate` reads it; without, its own "
        "former answers to everyday prompts",
    )
    parser.add_argument(
        "--margin",
        type=_share,
        default=0.02,
        metavar="GIOU",
        help="largest loss on that which is still published (default: %(default)s)",
    )
    parser.add_argument("--force", action="store_true", help="publish whatever the comparison says")
    parser.add_argument(
        "--steps", type=positive, metavar="N", help="most training steps (default: the recipe's)"
    )


def main(argv: Sequence[str] | None = None, say: Callable[[str], None] = print) -> int:
    """Runs the command; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog=" ".join(_COMMAND),
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    arguments = parser.parse_args(argv)
    if arguments.export is None and (arguments.image_root or arguments.label_config):
        parser.error("--image-root and --label-config go with --export")
    try:
        settings = Settings()
    except ValidationError as error:
        sys.stderr.write(f"{settings_errors(error)}\n")
        return FinetuneExit.FAILED
    try:
        if leads():
            return _lead(arguments, settings, say, shlex.join([*_COMMAND, *argv]))
        follow(settings)
    except (BackendError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return FinetuneExit.BUSY if isinstance(error, TrainingRunsError) else FinetuneExit.FAILED
    return FinetuneExit.PUBLISHED


def _lead(
    arguments: argparse.Namespace, settings: Settings, say: Callable[[str], None], command: str
) -> int:
    collected = collect(arguments, settings)
    say("\n".join(summary(collected)))
    code = (
        FinetuneExit.PUBLISHED
        if arguments.dry_run
        else _learn(arguments, settings, collected, say, command)
    )
    # Where an error ends this process before, the launcher ends the others.
    dismiss(settings)
    return code


def _learn(
    arguments: argparse.Namespace,
    settings: Settings,
    collected: CollectedSamples,
    say: Callable[[str], None],
    command: str,
) -> int:
    # Torch takes seconds to import, which a dry run need not pay.
    from backend.finetune_run import FinetuneOptions, run_finetune

    images: ImageSource = (
        LabelStudioFiles(settings)
        if arguments.export is None
        else ExportImages(settings, arguments.image_root)
    )
    queue = JobQueue.from_settings(settings)
    try:
        outcome = run_finetune(
            settings,
            collected,
            images,
            FinetuneOptions(
                replay=arguments.replay,
                margin=arguments.margin,
                force=arguments.force,
                steps=arguments.steps,
                command=command,
            ),
            say=say,
            pause=PromptsFirst(queue),
        )
    finally:
        queue.close()
    return FinetuneExit.REFUSED if outcome.version is None else FinetuneExit.PUBLISHED


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError("must be from 0 to 1")
    return number


def collect(arguments: argparse.Namespace, settings: Settings) -> CollectedSamples:
    """The samples that the arguments name.

    Raises:
        BackendError: Label Studio or the export cannot be read.
        OSError: the labeling config cannot be read.
    """
    if arguments.export is None:
        return collect_project(ProjectsApi(settings), arguments.project, arguments.annotators)
    config = arguments.label_config
    return collect_export(
        arguments.export,
        None if config is None else config.read_text(encoding="utf-8"),
        arguments.annotators,
    )


def summary(collected: CollectedSamples) -> list[str]:
    """Lines that say what was collected, and what was not."""
    samples = collected.samples
    tasks = len({sample.task_id for sample in samples})
    kinds = Counter(sample.kind for sample in samples)
    labels = Counter(sample.label or "(none)" for sample in samples)
    lines = [
        f"{len(samples)} samples of {tasks} tasks from {collected.annotations} annotations",
        f"  of several annotations of a task: {collected.annotators_rule}",
        f"  accepted from a prompt: {kinds['accepted']}, drawn by hand: {kinds['drawn']}, "
        f"prompts with nothing left: {kinds['negative']}",
        "by label:",
        *(f"  {count:6} {label}" for label, count in labels.most_common(_MOST_LABELS)),
    ]
    if len(labels) > _MOST_LABELS:
        lines.append(f"         and {len(labels) - _MOST_LABELS} other labels")
    lines.append("left out:" if collected.left_out else "left out: nothing")
    for reason, left_out in collected.left_out.items():
        named = ", ".join(map(str, left_out.task_ids))
        lines.append(f"  {left_out.count:6} {reason}" + (f" (tasks {named})" if named else ""))
    lines.append(f"fingerprint: {collected.fingerprint}")
    return lines


if __name__ == "__main__":
    give_way()
    sys.exit(main())
