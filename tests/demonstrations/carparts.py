"""Shows that fine-tuning teaches a model what it does not know: parts of cars.

A Label Studio of this run's own gets a project of photos, annotated through its API as an annotator
would. `python -m backend.finetune` learns from it, as a user would start it. Before and after, the
model is asked for the same parts on photos that were kept aside and, if samples are given, for
other things, which it should not have forgotten.

`python -m tests.demonstrations.carparts --data DIR --general DIR --out DIR`
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from tqdm import tqdm

from backend.child_process import ChildProcess
from backend.errors import BackendError
from backend.finetune_exit import FinetuneExit
from backend.label_studio_admin import LabelStudioAdmin
from backend.service_process import ServiceStartError
from backend.version_store import VersionStore
from backend.versions import model_version
from self1e.adapter import load_adapted
from self1e.dataset import SegmentationSample, read_samples
from self1e.evaluate import SampleResult, evaluate
from self1e.hub import CheckpointError
from self1e.predictor import Predictor
from tests.conftest import LABEL_STUDIO_PROGRAM, ROOT, environment_without_settings
from tests.demonstrations.learning import Learning, compare_groups
from tests.demonstrations.part_photos import (
    PARTS,
    PartPhoto,
    annotation_results,
    label_config,
    prompt,
    read_part_photos,
    split,
    write_samples,
)
from tests.load.servers import LabelStudio

Questions = Mapping[str, Sequence[SegmentationSample]]
"""Samples by the name of their group."""
Answers = dict[str, list[SampleResult]]

_EPILOG = """\
exit codes:
  0  all claims hold
  1  a claim does not hold, or it could not be tried; the message says why
"""
_UPLOAD_AT_ONCE = 20
_LEAD_SECONDS = 30.0  # Label Studio keeps how long an annotation took
_STOP_SECONDS = 30.0


class DemonstrationError(Exception):
    """It could not be shown; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demonstration, prints table and JSON, and returns the exit code."""
    options = _parser().parse_args(arguments)
    with ExitStack() as stack:
        out = options.out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            learning = demonstrate(options, out.absolute())
        except (
            BackendError,
            CheckpointError,
            DemonstrationError,
            OSError,
            ServiceStartError,
            ValueError,
        ) as error:
            sys.stderr.write(f"{error}\n")
            return 1
    print(learning.table())
    print(json.dumps(learning.as_json()))
    return 0 if all(learning.claims().values()) else 1


def demonstrate(options: argparse.Namespace, out: Path) -> Learning:
    """Measures, teaches, and measures again.

    Args:
        options: of the command line.
        out: an absolute directory for Label Studio, the version and the masks.

    Raises:
        DemonstrationError: it was run in `out` before, or no version was published.
        BackendError, ServiceStartError, OSError: Label Studio does not do what it should.
        CheckpointError: there is no such model.
        OSError, ValueError: the photos or the samples cannot be used.
    """
    if not LABEL_STUDIO_PROGRAM.exists():
        raise DemonstrationError("Label Studio is not installed: run `make label-studio`.")
    taught, aside = split(read_part_photos(options.data), options.photos)
    samples = write_samples(aside, out / "aside")
    by_part = {part: [s for s in samples if s.prompt == prompt(part)] for part in PARTS}
    questions = {name: group for name, group in by_part.items() if group}
    general = {} if options.general is None else _general_questions(options.general)
    store = VersionStore(out / "backend", model_version(options.model))
    if store.current() != store.base:
        raise DemonstrationError(f"{out} holds what an earlier run has learned: give another --out")
    _say(f"{len(taught)} photos to teach, {len(aside)} kept aside; the model before:")
    predictor = load_adapted(options.model, None, device=options.device)
    before = _answers(predictor, questions), _answers(predictor, general)
    del predictor  # its memory is needed for the fine-tuning
    with ExitStack() as stack:
        _say("Label Studio starts ...")
        label_studio = LabelStudio(out)
        stack.callback(label_studio.stop)
        label_studio.wait_until_ready()
        api_key = label_studio.login.api_key
        project = annotated_project(label_studio.url, api_key, taught)
        minutes = _finetune(options, project, label_studio.url, api_key, out / "backend")
    version = store.read(store.current())
    if version is None:
        raise DemonstrationError(f"{store.base} goes on being served, though one was published")
    _say(f"{version.name} after {minutes:.1f} minutes:")
    predictor = load_adapted(options.model, store.adapter(version.name), device=options.device)
    return Learning(
        version=version.name,
        verdict=version.verdict,
        forced=version.forced,
        minutes=minutes,
        taught_photos=len(taught),
        aside=compare_groups(before[0], _answers(predictor, questions)),
        general=compare_groups(before[1], _answers(predictor, general)),
    )


def annotated_project(url: str, api_key: str, photos: Sequence[PartPhoto]) -> int:
    """Makes a project in which every photo's parts are annotated; returns its id."""
    admin = LabelStudioAdmin(url, api_key)
    project = admin.create_project("Car parts", label_config())
    paths = [photo.path for photo in photos]
    for start in range(0, len(paths), _UPLOAD_AT_ONCE):
        admin.upload_images(project, paths[start : start + _UPLOAD_AT_ONCE])
    by_name = {photo.path.name: photo for photo in photos}
    for task in tqdm(admin.tasks(project), desc="annotate", unit="photo"):
        # An upload is named after the file, with some characters in front.
        name = task["data"]["image"].rpartition("/")[2].partition("-")[2]
        admin.annotate(task["id"], annotation_results(by_name[name]), _LEAD_SECONDS)
    return project


def _finetune(
    options: argparse.Namespace, project: int, url: str, api_key: str, data_dir: Path
) -> float:
    """Learns from the project; returns the minutes it took."""
    command = [sys.executable, "-m", "backend.finetune", "--project", str(project)]
    command += [] if options.steps is None else ["--steps", str(options.steps)]
    command += ["--force"] if options.force else []
    environment = environment_without_settings() | {
        "LABEL_STUDIO_URL": url,
        "LABEL_STUDIO_API_KEY": api_key,
        "SELF1E_DATA_DIR": str(data_dir),
        "SELF1E_DEVICE": options.device,
        "SELF1E_MODEL": options.model,
    }
    _say(" ".join(["python", *command[1:]]))
    start = time.monotonic()
    process = ChildProcess(command, cwd=ROOT, environment=environment)
    try:
        code = process.wait()
    finally:
        process.stop(_STOP_SECONDS)
    minutes = (time.monotonic() - start) / 60
    if code != FinetuneExit.PUBLISHED:
        raise DemonstrationError(
            f"The fine-tuning ended with exit code {code} after {minutes:.1f} minutes. With "
            "--force, what the gate refuses is measured, too."
        )
    return minutes


def _answers(predictor: Predictor, questions: Questions) -> Answers:
    """How each sample went; those of one photo run next to each other."""
    samples = {sample for group in questions.values() for sample in group}
    if not samples:
        return {}
    ordered = sorted(samples, key=lambda each: (str(each.image), each.prompt, str(each.mask)))
    found = {result.sample: result for result in evaluate(predictor, ordered).results}
    return {name: [found[sample] for sample in group] for name, group in questions.items()}


def _general_questions(directory: Path) -> Questions:
    """The samples of each JSONL file."""
    questions = {path.stem: read_samples(path) for path in sorted(directory.glob("*.jsonl"))}
    if not all(questions.values()) or not questions:
        raise DemonstrationError(f"{directory} has no JSONL files, or an empty one")
    return questions


def _say(text: str) -> None:
    print(text, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.demonstrations.carparts",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="images/NAME.jpg, labels/NAME.png and labels.json of Car-Parts-Segmentation",
    )
    parser.add_argument(
        "--photos", type=int, default=60, metavar="N", help="to teach (default: %(default)s)"
    )
    parser.add_argument(
        "--general",
        type=Path,
        metavar="DIR",
        help="JSONL files of other samples, as `python -m self1e evaluate` reads them",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="keeps Label Studio's data, the version and the masks (default: nothing is kept)",
    )
    parser.add_argument(
        "--model", default="demo", help="demo (bundled), a directory or a hub id (default: demo)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--steps", type=int, metavar="N", help="passed on to the fine-tuning")
    parser.add_argument("--force", action="store_true", help="passed on to the fine-tuning")
    return parser


if __name__ == "__main__":
    sys.exit(main())
