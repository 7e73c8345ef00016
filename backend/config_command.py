"""Writes a labeling config for this backend: `python -m backend config`."""

import argparse
from collections.abc import Iterator, Sequence
from html import escape

from backend.label_config import parse_label_config
from backend.prompts import spoken_label

OUTPUTS = {
    "brush": "BrushLabels",
    "bitmask": "BitmaskLabels",
    "polygon": "PolygonLabels",
    "rectangle": "RectangleLabels",
}
"""The control that each output goes to."""


def labeling_config(
    labels: Sequence[str],
    *,
    output: str = "brush",
    prompt_per_label: bool = False,
    parameters: bool = False,
    status: bool = False,
) -> str:
    """A labeling config with a prompt box, the labels and the image.

    Args:
        labels: their values; none twice.
        output: what a mask becomes, one of OUTPUTS.
        prompt_per_label: whether each label says what a batch asks for it, to be edited.
        parameters: whether the annotator can set the threshold and the mode.
        status: whether the annotator is told what became of a prompt.

    Raises:
        LabelConfigError: a label has characters that XML cannot hold.
    """
    xml = "\n".join(_lines(labels, output, prompt_per_label, parameters, status))
    parse_label_config(xml)
    return xml


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `python -m backend config`."""
    parser.add_argument(
        "--labels", type=_labels, required=True, metavar="A,B", help="the labels, e.g. dog,cat"
    )
    parser.add_argument(
        "--output", choices=OUTPUTS, default="brush", help="what masks become (default: brush)"
    )
    parser.add_argument(
        "--prompt-per-label",
        action="store_true",
        help="write out what a batch asks for each label, to be edited",
    )
    parser.add_argument(
        "--parameters",
        action="store_true",
        help="let annotators set the threshold, and ask for one, each instance or everything",
    )
    parser.add_argument(
        "--status",
        action="store_true",
        help="tell annotators what became of a prompt, and what went wrong",
    )


def run(arguments: argparse.Namespace) -> str:
    """The labeling config that the parsed options ask for.

    Raises:
        LabelConfigError: a label has characters that XML cannot hold.
    """
    return labeling_config(
        arguments.labels,
        output=arguments.output,
        prompt_per_label=arguments.prompt_per_label,
        parameters=arguments.parameters,
        status=arguments.status,
    )


def _lines(
    labels: Sequence[str], output: str, prompt_per_label: bool, parameters: bool, status: bool
) -> Iterator[str]:
    control = OUTPUTS[output]
    yield "<View>"
    yield '  <TextArea name="prompt" toName="image" smartOnly="true" rows="1"'
    yield '            placeholder="What to mark; several things with semicolons"/>'
    if status:
        # A smart one would be sent back to us with every message.
        yield '  <TextArea name="status" toName="image" smart="false" rows="1" maxSubmissions="1"/>'
    if parameters:
        yield '  <Number name="threshold" toName="image" defaultValue="0.5"'
        yield '          min="0" max="1" step="0.05" slider="true"/>'
        yield '  <Choices name="mode" toName="image" choice="single-radio" showInline="true">'
        yield '    <Choice value="one"/>'
        yield '    <Choice value="each instance"/>'
        yield '    <Choice value="everything" selected="true"/>'
        yield "  </Choices>"
    yield f'  <{control} name="mask" toName="image" smart="false">'
    for label in labels:
        prompt = f' prompt="{escape(spoken_label(label))}"' if prompt_per_label else ""
        yield f'    <Label value="{escape(label)}"{prompt}/>'
    yield f"  </{control}>"
    # Label Studio asks for this with bitmasks: pixels are not blurred when zoomed in.
    smoothing = ' smoothing="false"' if output == "bitmask" else ""
    yield f'  <Image name="image" value="$image"{smoothing}/>'
    yield "</View>"


def _labels(text: str) -> list[str]:
    labels = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not labels:
        raise argparse.ArgumentTypeError("needs at least one label")
    return labels
