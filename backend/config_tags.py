"""Reads a labeling config's XML into a flat list of tags, safely."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.parsers import expat

from backend.errors import LabelConfigError

MAX_CONFIG_CHARACTERS = 1_000_000


@dataclass(frozen=True)
class ConfigTag:
    """One tag; its kind and its attributes' names are in lower case.

    `labels` and `choices` hold the attributes of the Label and Choice tags inside it, however deep,
    if it is a control.
    """

    kind: str
    attributes: Mapping[str, str]
    labels: list[Mapping[str, str]] = field(default_factory=list)
    choices: list[Mapping[str, str]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The tag's name, empty if it has none."""
        return self.attributes.get("name", "")

    @property
    def targets(self) -> list[str]:
        """The names in toName, if this is a control: a tag that has both name and toName."""
        names = self.attributes.get("toname", "").split(",") if self.name else []
        return [name.strip() for name in names if name.strip()]

    @property
    def variable(self) -> str | None:
        """The task data key in `value="$key"`, or None."""
        value = self.attributes.get("value", "").strip()
        return value[1:] if value.startswith("$") and len(value) > 1 else None

    def says(self, attribute: str, value: str) -> bool:
        """Whether an attribute has this value, without case."""
        return self.attributes.get(attribute, "").strip().lower() == value


def read_config_tags(xml: str) -> list[ConfigTag]:
    """All tags of a labeling config in document order.

    Raises:
        LabelConfigError: it is no XML, declares a DOCTYPE, or is too long.
    """
    if len(xml) > MAX_CONFIG_CHARACTERS:
        raise LabelConfigError(
            f"The labeling config has {len(xml)} characters; the most is {MAX_CONFIG_CHARACTERS}."
        )
    tags: list[ConfigTag] = []
    open_controls: list[ConfigTag | None] = []  # per open tag: the control it is, or is in

    def refuse_doctype(*_: object) -> None:
        # Entities can only be declared in a DOCTYPE: without one there is nothing to expand.
        raise LabelConfigError("The labeling config has a DOCTYPE; remove it.")

    def start(kind: str, attributes: dict[str, str]) -> None:
        tag = ConfigTag(kind.lower(), {key.lower(): value for key, value in attributes.items()})
        control = open_controls[-1] if open_controls else None
        if control is not None and tag.kind == "label":
            control.labels.append(tag.attributes)
        elif control is not None and tag.kind == "choice":
            control.choices.append(tag.attributes)
        tags.append(tag)
        open_controls.append(tag if tag.targets else control)

    def end(_: str) -> None:
        open_controls.pop()

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse_doctype
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    try:
        parser.Parse(xml, True)
    except (expat.ExpatError, UnicodeError) as error:
        raise LabelConfigError(f"The labeling config is not XML: {error}.") from None
    return tags
