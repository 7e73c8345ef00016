"""What the README says of settings, commands and files is so."""

import re
from pathlib import Path

import pytest
from pydantic import AliasChoices, SecretStr

from backend.settings import Settings
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


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
