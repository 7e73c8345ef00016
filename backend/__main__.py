"""Command line: `python -m backend serve` and its parts."""

import argparse
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from backend import config_command, versions_command
from backend.command_line import positive, settings_errors
from backend.errors import LabelConfigError, VersionError
from backend.settings import Settings

_DESCRIPTION = "A Label Studio ML backend that turns a text prompt into a brush mask with SELF1E."

_EPILOG = """\
Start here:
  python -m backend serve
      starts an embedded redis, one worker with the bundled demo model and the web process on
      http://127.0.0.1:9090; it says when it is ready. Ctrl-C stops all of it.

Often needed environment variables (the README lists all):
  LABEL_STUDIO_URL, LABEL_STUDIO_API_KEY   to read images uploaded to Label Studio
  SELF1E_MODEL                             demo, a directory, or a hub id
  PORT, HOST                               where the web process listens
  REDIS_URL                                a redis server instead of the embedded one

When something does not work:
  python -m backend doctor

On several machines, with one REDIS_URL:
  python -m backend web       on the one that Label Studio connects to
  python -m backend worker    on each one with a GPU
  python -m backend trainer   on one that shares SELF1E_DATA_DIR with the others

To learn from accepted labels: python -m backend.finetune --help

Label Studio refuses backends at private addresses unless it is started with
USE_DEFAULT_BANNED_SUBNETS=false; the README says what to keep banned.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m backend",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # Its options come from a module with heavy imports, so it is looked at first.
    arguments_given = sys.argv[1:] if argv is None else list(argv)
    if arguments_given[:1] == ["demo"]:
        return _demo(arguments_given[1:])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve_parser = commands.add_parser("serve", help="run redis, workers and web together")
    serve_parser.add_argument(
        "--workers",
        type=positive,
        default=1,
        metavar="N",
        help="worker processes, each with a model of its own in memory (default: 1)",
    )
    commands.add_parser("demo", help="run Label Studio with a ready project, and all of the above")
    web_parser = commands.add_parser("web", help="run the web process alone")
    worker_parser = commands.add_parser("worker", help="run one worker alone")
    worker_parser.add_argument("--name", default="worker", help="its name in the logs")
    for alone in (web_parser, worker_parser):
        alone.add_argument(
            "--check",
            action="store_true",
            help="only say by the exit code whether it is running on this machine",
        )
    doctor_parser = commands.add_parser("doctor", help="look for what is wrong and say what to do")
    doctor_parser.add_argument("--label-studio", metavar="URL", help="instead of LABEL_STUDIO_URL")
    doctor_parser.add_argument(
        "--api-key",
        metavar="KEY",
        help="instead of LABEL_STUDIO_API_KEY, which other users of this machine cannot see",
    )
    doctor_parser.add_argument(
        "--backend-url",
        metavar="URL",
        default="",
        help="where Label Studio finds this backend (default: HOST and PORT)",
    )
    commands.add_parser("trainer", help="run the trainer alone: it learns when it is asked to")
    versions_parser = commands.add_parser("versions", help="list, show, use and delete versions")
    versions_command.add_arguments(versions_parser)
    config_parser = commands.add_parser("config", help="print a labeling config for this backend")
    config_command.add_arguments(config_parser)
    arguments = parser.parse_args(arguments_given)
    if arguments.command == "config":
        return _config(arguments)

    try:
        settings = Settings()
    except ValidationError as error:
        print(settings_errors(error), file=sys.stderr)
        return 2
    # Each command imports what it needs: the web process must stay small, the help fast.
    if arguments.command == "serve":
        from backend.serve import serve

        return serve(settings, workers=arguments.workers, announce=print)
    if arguments.command == "trainer":
        from backend.trainer import run_trainer

        return run_trainer(settings)
    if arguments.command == "versions":
        return _versions(arguments, settings)
    if arguments.command == "doctor":
        from backend.doctor import run_doctor, with_label_studio

        settings = with_label_studio(settings, arguments.label_studio, arguments.api_key)
        return run_doctor(settings, backend_url=arguments.backend_url, say=_say)
    if arguments.check:
        from backend.health_check import web_health, worker_is_alive

        if arguments.command == "web":
            return 0 if web_health(settings).get("status") == "UP" else 1
        return 0 if worker_is_alive(settings, arguments.name) else 1
    if arguments.command == "web":
        from backend.web import run_web

        return run_web(settings)
    from backend.worker import run_model_worker

    return run_model_worker(settings, arguments.name)


def _versions(arguments: argparse.Namespace, settings: Settings) -> int:
    try:
        versions_command.run(arguments, settings, _say)
    except VersionError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def _demo(argv: Sequence[str]) -> int:
    from backend import demo

    parser = argparse.ArgumentParser(prog="python -m backend demo", description=demo.__doc__)
    demo.add_arguments(parser)
    return demo.run(parser.parse_args(argv))


def _config(arguments: argparse.Namespace) -> int:
    try:
        print(config_command.run(arguments))
    except LabelConfigError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
