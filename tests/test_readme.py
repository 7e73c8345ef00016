"""What the README says of settings, commands and files is so."""

import argparse
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import AliasChoices, SecretStr

from backend import __main__ as backend_command
from backend import finetune
from backend.settings import Settings
from self1e import __main__ as self1e_command
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def finetune_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    finetune.add_arguments(parser)
    return parser


PARSERS: dict[str, Callable[[], argparse.ArgumentParser]] = {
    "python -m backend.finetune": finetune_parser,
    "python -m backend": backend_command.command_parser,
    ".venv/bin/self1e": self1e_command.command_parser,
}


def written_commands() -> list[tuple[str, str]]:
    """The commands in the documents' blocks of shell: the program, and its arguments."""
    found = []
    for document in DOCUMENTS:
        for block in re.findall(r"^ *```sh\n(.*?)```", document.read_text(), re.M | re.S):
            for line in block.replace("\\\n", " ").splitlines():
                for program in PARSERS:
                    _, is_there, arguments = line.partition(f"{program} ")
                    if is_there:
                        found.append((program, arguments))
                        break
    return sorted(set(found))


def settings_rows() -> list[str]:
    """The rows that the README's table must have, one for each setting."""
    rows = []
    for field in Settings.model_fields.values():
        alias = field.validation_alias
        names = alias.choices if isinstance(alias, AliasChoices) else [alias]
        variables = " or ".join(f"`{name}`" for name in names)
        rows.append(f"| {variables} | {shown(field.default)} | {field.description} |")
    return rows


def shown(default: object) -> str:
    """A default as the README writes it."""
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if isinstance(default, Path):
        default = Path("~") / default.relative_to(Path.home())
    return f"`{default}`" if default != "" else ""


def test_settings_table_is_that_of_the_settings() -> None:
    start = README.index("| variable | default | meaning |")
    table = README[start:].split("\n\n", 1)[0].splitlines()

    assert table[2:] == settings_rows()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`?make ([a-z]+)`?$", README, re.M))))
def test_make_targets_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?:)([^)#]+)", README))
def test_linked_files_exist(link: str) -> None:
    assert (ROOT / link).exists()


def test_is_short() -> None:
    assert len(README.splitlines()) < 200


@pytest.mark.parametrize(("program", "arguments"), written_commands())
def test_written_commands_have_these_options(program: str, arguments: str) -> None:
    placeholders = {"N": "2"}
    words = shlex.split(arguments, comments=True)
    PARSERS[program]().parse_args([placeholders.get(word, word) for word in words])


def test_documents_have_commands_of_each_program() -> None:
    assert {program for program, _ in written_commands()} == set(PARSERS)
