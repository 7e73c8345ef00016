"""Reads what a mask from a prompt needs out of a project's labeling config.

https://labelstud.io/guide/setup and https://labelstud.io/tags say what the tags mean; tag and
attribute names are compared without case, as Label Studio's own editor does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from backend.config_tags import ConfigTag, read_config_tags
from backend.errors import LabelConfigError
from backend.parameters import ParameterControls, find_parameter_controls

MAX_MASK_CONTROLS = 100

ControlKind = Literal[
    "brushlabels",
    "brush+labels",
    "bitmasklabels",
    "bitmask+labels",
    "polygonlabels",
    "polygon+labels",
    "rectanglelabels",
    "rectangle+labels",
]

_SHAPES = ("brush", "bitmask", "polygon", "rectangle")
"""From the one that keeps most of a mask to the one that keeps least."""

CONTROL_KINDS: Mapping[str, ControlKind] = {
    "brushlabels": "brushlabels",
    "brush": "brush+labels",
    "bitmasklabels": "bitmasklabels",
    "bitmask": "bitmask+labels",
    "polygonlabels": "polygonlabels",
    "polygon": "polygon+labels",
    "rectanglelabels": "rectanglelabels",
    "rectangle": "rectangle+labels",
}
"""The kind of control that each tag is."""

EXAMPLE_CONFIG = """\
<View>
  <Image name="image" value="$image"/>
  <TextArea name="prompt" toName="image"/>
  <BrushLabels name="mask" toName="image">
    <Label value="car"/>
    <Label value="person"/>
  </BrushLabels>
</View>"""


@dataclass(frozen=True)
class Label:
    """One label: `name` (alias, else value) is what a region carries, `value` what is shown.

    `prompt` is the tag's own attribute of that name: what to ask for this label in a batch.
    """

    name: str
    value: str
    alias: str | None = None
    prompt: str | None = None


@dataclass(frozen=True)
class MaskControl:
    """The control a mask goes to: BrushLabels, or Brush with the Labels of the same image.

    Bitmask, Polygon and Rectangle are like Brush. `labels_name` is the name of that Labels tag; a
    Brush without one (None) has no labels. `labels_key` is the task data key that holds further
    (dynamic) labels, None without.
    """

    from_name: str
    to_name: str
    kind: ControlKind
    labels_name: str | None = None
    labels: tuple[Label, ...] = ()
    labels_key: str | None = None

    @property
    def shape(self) -> str:
        """What it draws: brush, bitmask, polygon or rectangle."""
        return self.kind.removesuffix("labels").removesuffix("+")


@dataclass(frozen=True)
class LabelConfig:
    """The part of a labeling config that concerns masks from prompts.

    `outputs` are the controls that can take a mask, the one that keeps most of it first (brush,
    bitmask, polygon, rectangle), of one shape in the config's order. `image_key` and `prompt_key`
    are task data keys: the image's url, and the text the prompt's TextArea is filled with at first
    (None when its config gives none). `status_name` is the TextArea that tells annotators what
    became of a prompt, None without.
    """

    image_name: str
    image_key: str
    prompt_name: str | None
    outputs: tuple[MaskControl, ...]
    prompt_key: str | None = None
    parameters: ParameterControls = field(default_factory=ParameterControls)
    status_name: str | None = None

    @property
    def control(self) -> MaskControl:
        """The control masks go to: the first of the outputs."""
        return self.outputs[0]

    def for_task(self, task: Mapping[str, Any]) -> "LabelConfig":
        """The config with the dynamic labels (`value="$labels"`) of this task's data."""
        outputs = tuple(_with_dynamic_labels(control, task) for control in self.outputs)
        return replace(self, outputs=outputs)


def parse_label_config(xml: str) -> LabelConfig:
    """Finds the image, the prompt, the mask controls, parameters and status of a labeling config.

    The image is the first Image tag that a mask control names. The prompt is the TextArea of that
    image named "prompt"; without one, the first that the editor sends to us by itself, that is
    neither `smart="false"` nor `perRegion="true"`. The status is the TextArea of that image named
    "status", if it is `smart="false"`: else the editor would send it to us as a prompt.

    Args:
        xml: the labeling config as Label Studio keeps it.

    Raises:
        LabelConfigError: it is no XML, has no image or no control for masks, or a parameter's
            default is out of range.
    """
    tags = read_config_tags(xml)
    image_name, image_key = _find_image(tags)
    prompt = _find_prompt(tags, image_name)
    return LabelConfig(
        image_name=image_name,
        image_key=image_key,
        prompt_name=None if prompt is None else prompt.name,
        outputs=_find_controls(tags, image_name),
        prompt_key=None if prompt is None else prompt.variable,
        parameters=find_parameter_controls(tags, image_name),
        status_name=_find_status(tags, image_name),
    )


def is_blank_config(xml: str) -> bool:
    """Whether nothing is set up yet: Label Studio starts a project with `<View></View>`.

    Raises:
        LabelConfigError: it is no XML.
    """
    return not xml.strip() or not any(tag.name for tag in read_config_tags(xml))


def task_value(task: Mapping[str, Any], key: str | None) -> object:
    """What a task's data holds under the key of `value="$key"`, or None.

    As in Label Studio's editor the key may be a path ("photo.url").
    """
    data = task.get("data")
    if key is None or not isinstance(data, Mapping):
        return None
    if key in data:
        return data[key]
    value: object = data
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _find_image(tags: list[ConfigTag]) -> tuple[str, str]:
    """The image's name and its key in the task's data."""
    targets = {name for tag in tags if tag.kind in CONTROL_KINDS for name in tag.targets}
    images = [tag for tag in tags if tag.kind == "image" and tag.name]
    if not images:
        raise _unusable("has no Image tag with a name")
    image = next((tag for tag in images if tag.name in targets), None)
    if image is None:
        raise _unusable(
            "has no BrushLabels, BitmaskLabels, PolygonLabels or RectangleLabels with "
            f'toName="{images[0].name}"'
        )
    if image.variable is None:
        raise _unusable(
            f'has an Image tag "{image.name}" that names no task data key for one image: '
            'give it value="$image" (valueList is not supported)'
        )
    return image.name, image.variable


def _text_areas(tags: list[ConfigTag], image: str) -> list[ConfigTag]:
    """The TextAreas of the whole image, not of its regions."""
    return [
        tag
        for tag in tags
        if tag.kind == "textarea" and image in tag.targets and not tag.says("perregion", "true")
    ]


def _find_status(tags: list[ConfigTag], image: str) -> str | None:
    named = (area for area in _text_areas(tags, image) if area.says("name", "status"))
    return next((area.name for area in named if area.says("smart", "false")), None)


def _find_prompt(tags: list[ConfigTag], image: str) -> ConfigTag | None:
    areas = _text_areas(tags, image)
    named = (area for area in areas if area.says("name", "prompt"))
    smart = (area for area in areas if not area.says("smart", "false"))
    return next(named, None) or next(smart, None)


def _find_controls(tags: list[ConfigTag], image: str) -> tuple[MaskControl, ...]:
    of_image = [tag for tag in tags if image in tag.targets]
    labels_tag = next((tag for tag in of_image if tag.kind == "labels"), None)
    labels = () if labels_tag is None else _labels(labels_tag.labels)
    controls = []
    for tag in of_image:
        if tag.kind not in CONTROL_KINDS:
            continue
        control = MaskControl(tag.name, image, CONTROL_KINDS[tag.kind])
        if tag.kind.endswith("labels"):
            control = replace(control, labels=_labels(tag.labels), labels_key=tag.variable)
        elif labels_tag is not None:
            control = replace(
                control, labels_name=labels_tag.name, labels=labels, labels_key=labels_tag.variable
            )
        controls.append(control)
    if len(controls) > MAX_MASK_CONTROLS:
        raise LabelConfigError(
            f"The labeling config has {len(controls)} controls for masks; "
            f"the most is {MAX_MASK_CONTROLS}."
        )
    return tuple(sorted(controls, key=lambda control: _SHAPES.index(control.shape)))


def _labels(attributes: Sequence[Mapping[str, str]]) -> tuple[Label, ...]:
    """The labels these attributes declare, the first of each name."""
    labels: dict[str, Label] = {}
    for each in attributes:
        value, alias = each.get("value", ""), each.get("alias") or None
        name = alias or value
        if name:
            label = Label(name, value or name, alias, each.get("prompt") or None)
            labels.setdefault(name, label)
    return tuple(labels.values())


def _with_dynamic_labels(control: MaskControl, task: Mapping[str, Any]) -> MaskControl:
    declared = task_value(task, control.labels_key)
    if not isinstance(declared, list):
        return control
    attributes = [{"value": each} if isinstance(each, str) else each for each in declared]
    strings = [
        {key: value for key, value in each.items() if isinstance(value, str)}
        for each in attributes
        if isinstance(each, Mapping)
    ]
    static = {label.name for label in control.labels}
    dynamic = tuple(label for label in _labels(strings) if label.name not in static)
    return replace(control, labels=control.labels + dynamic)


def _unusable(what: str) -> LabelConfigError:
    return LabelConfigError(
        f"The labeling config {what}. A labeling config that works:\n{EXAMPLE_CONFIG}"
    )
