"""The login that is kept, and the environment Label Studio gets."""

from pathlib import Path

import pytest

from backend.label_studio_server import LabelStudioLogin, server_command


def test_login_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    file = tmp_path / "demo" / "login.json"

    login = LabelStudioLogin.load_or_create(file)

    assert LabelStudioLogin.load_or_create(file) == login
    assert file.stat().st_mode & 0o077 == 0
    assert LabelStudioLogin.random() != login


def test_login_does_not_show_its_secrets() -> None:
    login = LabelStudioLogin("a@b.c", password="hush", api_key="hush-hush")

    assert "hush" not in repr(login)


def test_our_environment_does_not_become_label_studios_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOST", "CI", "DEBUG", "HTTP_PROXY", "LABEL_STUDIO_HOST"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("LANG", "C.UTF-8")

    login = LabelStudioLogin.random()
    command = server_command(Path("label-studio"), tmp_path, 8080, login, tmp_path / "log")

    assert command.environment["LANG"] == "C.UTF-8"
    assert not {"HOST", "CI", "DEBUG", "HTTP_PROXY", "LABEL_STUDIO_HOST"} & {*command.environment}
    assert "169.254.0.0/16" in command.environment["USER_ADDITIONAL_BANNED_SUBNETS"].split(",")
    assert not any(login.password in argument for argument in command.arguments)
