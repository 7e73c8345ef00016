"""`python -m backend versions`: the trained versions, and which one is served."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict

from backend.settings import Settings
from backend.version_store import VersionStore
from backend.versions import model_version

Say = Callable[[str], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what to do with the versions."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="all versions; the served one has a star")
    for action, meaning in (
        ("show", "what is known of a version: samples, figures, the gate's verdict"),
        ("use", "serve a version, from now on"),
        ("delete", "remove a version that is not served"),
    ):
        actions.add_parser(action, help=meaning).add_argument("name", help="as in the list")
    actions.add_parser("rollback", help="serve the version that was served before")


def run(arguments: argparse.Namespace, settings: Settings, say: Say) -> None:
    """Does what the arguments say.

    Raises:
        VersionError: there is no such version, or it is in use.
    """
    store = VersionStore(settings.data_dir, model_version(settings.model))
    if arguments.action == "list":
        current = store.current()
        for name in store.names():
            version = store.read(name)
            about = "the model itself"
            if version is not None:
                forced = ", forced" if version.forced else ""
                about = f"{version.created_at}, from {version.parent}{forced}"
            say(f"{'*' if name == current else ' '} {name}  {about}")
    elif arguments.action == "show":
        shown = store.read(arguments.name)
        known = {"name": store.base} if shown is None else asdict(shown)
        say(json.dumps(known | {"metrics": store.metrics(arguments.name)}, indent=2))
    elif arguments.action == "use":
        store.use(arguments.name)
        say(f"{arguments.name} is served from now on; running workers change within seconds.")
    elif arguments.action == "rollback":
        say(f"{store.rollback()} is served from now on; running workers change within seconds.")
    else:
        store.delete(arguments.name)
        say(f"{arguments.name} is deleted.")
