import re
import shlex

import pytest
from label_studio_sdk.label_interface.interface import LabelInterface

from backend.__main__ import main
from backend.config_command import OUTPUTS, labeling_config
from backend.errors import LabelConfigError
from backend.label_config import Label, parse_label_config
from backend.parameters import ModeControl, ThresholdControl
from tests.conftest import ROOT

GUIDE = (ROOT / "docs" / "labeling-configs.md").read_text()
MODE = ModeControl("mode", {"one": "one", "each instance": "each", "everything": "everything"})
AWKWARD = ["dog", "traffic_light", "R&D", '"quoted"', "it's", "a < b > c", "猫", "a;b: c"]


@pytest.mark.parametrize("parameters", [True, False])
@pytest.mark.parametrize("output", OUTPUTS)
def test_label_studio_and_we_take_what_it_writes(output: str, parameters: bool) -> None:
    xml = labeling_config(AWKWARD, output=output, parameters=parameters)
    interface = LabelInterface(xml)
    interface.validate()
    assert list(interface.get_control("mask").labels) == AWKWARD
    config = parse_label_config(xml)
    assert (config.image_name, config.image_key, config.prompt_name) == ("image", "image", "prompt")
    assert config.control.kind == f"{output}labels"
    assert config.control.labels == tuple(Label(label, label) for label in AWKWARD)
    found = config.parameters
    assert found.threshold == (ThresholdControl("threshold", 0.5) if parameters else None)
    assert found.mode == (MODE if parameters else None)


def test_a_prompt_per_label_is_the_label_in_words() -> None:
    config = parse_label_config(labeling_config(["dog", "traffic_light"], prompt_per_label=True))
    assert [label.prompt for label in config.control.labels] == ["dog", "traffic light"]


def test_labels_that_xml_cannot_hold_are_refused() -> None:
    with pytest.raises(LabelConfigError):
        labeling_config(["a\x00b"])


def test_the_command_prints_a_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--labels", " dog,, cat ,dog"]) == 0
    assert capsys.readouterr().out == labeling_config(["dog", "cat"]) + "\n"


def test_the_command_says_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--labels", "a\x00b"]) == 2
    assert "not XML" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "--labels"),
        (["--labels", " , "], "at least one label"),
        (["--labels", "dog", "--output", "ellipse"], "invalid choice"),
    ],
)
def test_wrong_options_are_refused(
    options: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["config", *options])
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err


EXAMPLES = re.findall(
    r"```sh\npython -m backend (config [^\n]+)\n```\n\n```xml\n(.+?)```", GUIDE, re.S
)


def test_the_guide_shows_every_output() -> None:
    commands = "\n".join(command for command, _ in EXAMPLES)
    assert all(f"--output {output}" in commands for output in OUTPUTS if output != "brush")
    assert len(EXAMPLES) == len(re.findall("^python -m backend config", GUIDE, re.M)) > len(OUTPUTS)


@pytest.mark.parametrize(("command", "xml"), EXAMPLES)
def test_the_guides_configs_are_what_the_command_prints(
    command: str, xml: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(shlex.split(command)) == 0
    assert capsys.readouterr().out == xml
