"""Command line: `python -m backend serve` and its parts."""

import argparse
import sys
from collections.abc import Callable, Sequence

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
    given = sys.argv[1:] if argv is None else list(argv)
    # Its options come from a module with heavy imports, so it is looked at first.
    if given[:1] == ["demo"]:
        return _demo(given[1:])
    arguments = command_parser().parse_args(given)
    if arguments.command == "config":
        return _config(arguments)
    try:
        settings = Settings()
    except ValidationError as error:
        print(settings_errors(error), file=sys.stderr)
        return 2
    run: Callable[[argparse.Namespace, Settings], int] = arguments.run
    return run(arguments, settings)


def command_parser() -> argparse.ArgumentParser:
    """The parser of all commands; `run` of what it returns is the function to call, if any."""
    parser = argparse.ArgumentParser(
        prog="python -m backend",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="run redis, workers and web together")
    serve.set_defaults(run=_serve)
    serve.add_argument(
        "--workers",
        type=positive,
        default=1,
        metavar="N",
        help="worker processes, each with a model of its own in memory (default: 1)",
    )
    commands.add_parser("demo", help="run Label Studio with a ready project, and all of the above")
    web = commands.add_parser("web", help="run the web process alone")
    web.set_defaults(run=_web)
    worker = commands.add_parser("worker", help="run one worker alone")
    worker.set_defaults(run=_worker)
    worker.add_argument("--name", default="worker", help="its name in the logs")
    for alone in (web, worker):
        alone.add_argument(
            "--check",
            action="store_true",
            help="only say by the exit code whether it is running on this machine",
        )
    doctor = commands.add_parser("doctor", help="look for what is wrong and say what to do")
    doctor.set_defaults(run=_doctor)
    doctor.add_argument("--label-studio", metavar="URL", help="instead of LABEL_STUDIO_URL")
    doctor.add_argument(
        "--api-key",
        metavar="KEY",
        help="instead of LABEL_STUDIO_API_KEY, which other users of this machine cannot see",
    )
    doctor.add_argument(
        "--backend-url",
        metavar="URL",
        default="",
        help="where Label Studio finds this backend (default: HOST and PORT)",
    )
    trainer = commands.add_parser("trainer", help="run the trainer alone: it learns when asked to")
    trainer.set_defaults(run=_trainer)
    versions = commands.add_parser("versions", help="list, show, use and delete versions")
    versions.set_defaults(run=_versions)
    versions_command.add_arguments(versions)
    config = commands.add_parser("config", help="print a labeling config for this backend")
    config_command.add_arguments(config)
    return parser


# Each command imports what it needs: the web process must stay small, the help fast.


def _serve(arguments: argparse.Namespace, settings: Settings) -> int:
    from backend.serve import serve

    return serve(settings, workers=arguments.workers, announce=print)


def _web(arguments: argparse.Namespace, settings: Settings) -> int:
    if arguments.check:
        from backend.health_check import web_health

        return 0 if web_health(settings).get("status") == "UP" else 1
    from backend.web import run_web

    return run_web(settings)


def _worker(arguments: argparse.Namespace, settings: Settings) -> int:
    if arguments.check:
        from backend.health_check import worker_is_alive

        return 0 if worker_is_alive(settings, arguments.name) else 1
    from backend.worker import run_model_worker

    return run_model_worker(settings, arguments.name)


def _trainer(_arguments: argparse.Namespace, settings: Settings) -> int:
    from backend.trainer import run_trainer

    return run_trainer(settings)


def _doctor(arguments: argparse.Namespace, settings: Settings) -> int:
    from backend.doctor import run_doctor, with_label_studio

    settings = with_label_studio(settings, arguments.label_studio, arguments.api_key)
    return run_doctor(settings, backend_url=arguments.backend_url, say=_say)


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
