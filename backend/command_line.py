"""What the commands share: argument types, and bad settings in words."""

import argparse

from pydantic import ValidationError


def positive(text: str) -> int:
    """An argument that is a whole number of 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def settings_errors(error: ValidationError) -> str:
    """One line per bad setting: its variable and what is wrong; never its value, maybe a secret."""
    return "\n".join(
        f"{'.'.join(map(str, each['loc'])) or 'settings'}: {each['msg']}"
        for each in error.errors(include_input=False, include_url=False)
    )
