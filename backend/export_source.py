"""The samples of a JSON export, without any Label Studio."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from backend.annotated_regions import results_of
from backend.errors import AnnotationError
from backend.export_file import read_export
from backend.label_config import (
    CONTROL_KINDS,
    ControlKind,
    Label,
    LabelConfig,
    MaskControl,
    parse_label_config,
)
from backend.task_samples import ANNOTATORS_RULES, AnnotatorsRule, TaskReader
from backend.training_samples import CollectedSamples, sorted_samples


def collect_export(
    path: Path, label_config: str | None = None, rule: AnnotatorsRule = "latest"
) -> CollectedSamples:
    """Reads all annotations of a file that Label Studio exported as JSON.

    Of predictions the Export button gives the ids only: what annotators deleted of a prediction is
    then unknown, and counted as left out. A snapshot made with the serialization options
    `{"predictions": {"only_id": false}}` has all that the API gives.

    Args:
        path: the file.
        label_config: the project's labeling config, which an export lacks. Without it the controls
            are those that the annotations name, labels are asked for in words, and the prompt's
            TextArea is the one called "prompt".
        rule: whose annotation counts where a task has several.

    Raises:
        AnnotationError: the file is no JSON export, or has no regions.
        LabelConfigError: the labeling config has no image with a control for masks.
    """
    if label_config is None:
        config = _guessed_config(read_export(path), path)
    else:
        config = parse_label_config(label_config)
    reader = TaskReader(config, rule)
    samples = [sample for task in read_export(path) for sample in reader.read(task)]
    return CollectedSamples(
        sorted_samples(samples),
        reader.tally.left_out(),
        reader.annotations,
        ANNOTATORS_RULES[rule],
    )


def _guessed_config(tasks: Iterable[Mapping[str, Any]], path: Path) -> LabelConfig:
    """The labeling config as far as the annotations show it."""
    images = Counter[str]()
    kinds: dict[tuple[str, str], ControlKind] = {}
    labels_names: dict[str, str] = {}
    labels: dict[str, Label] = {}
    has_prompt = False
    keys = Counter[str]()
    for task in tasks:
        keys.update(_image_keys(task))
        annotations = task["annotations"]
        for annotation in annotations if isinstance(annotations, list) else []:
            for result in results_of(annotation) if isinstance(annotation, Mapping) else []:
                name, image = str(result.get("from_name")), str(result.get("to_name"))
                kind = str(result.get("type"))
                if kind in CONTROL_KINDS:
                    kinds[name, image] = CONTROL_KINDS[kind]
                    images[image] += 1
                elif kind == "labels":
                    labels_names[image] = name
                elif kind == "textarea" and name == "prompt":
                    has_prompt = True
                value = result.get("value")
                names = value.get(kind) if isinstance(value, Mapping) else None
                for each in names if kind.endswith("labels") and isinstance(names, list) else []:
                    labels[str(each)] = Label(str(each), str(each))
    if not images:
        raise AnnotationError(f"{path} has no regions on an image: there is nothing to learn from.")
    image = images.most_common(1)[0][0]
    if not keys:
        raise AnnotationError(f"{path} has no task with an image's url in its data.")
    return LabelConfig(
        image_name=image,
        image_key=image if image in keys else keys.most_common(1)[0][0],
        prompt_name="prompt" if has_prompt else None,
        outputs=tuple(
            MaskControl(name, image, kind, labels_names.get(image), tuple(labels.values()))
            for (name, target), kind in sorted(kinds.items())
            if target == image
        ),
    )


def _image_keys(task: Mapping[str, Any]) -> list[str]:
    """The keys of a task's data that may hold the image's url."""
    data = task["data"]
    if not isinstance(data, Mapping):
        return []
    return [
        str(key)
        for key, value in data.items()
        if isinstance(value, str) and (value.startswith("/") or "://" in value)
    ]
