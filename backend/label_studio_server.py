"""A Label Studio of one's own on the loopback interface, for the demo and the tests."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from backend.service_process import ServiceCommand

HOST = "127.0.0.1"

# All that Label Studio bans by default (its core/utils/io.py) but loopback, where the backend is.
_BANNED_SUBNETS = (
    "0.0.0.0/8,10.0.0.0/8,100.64.0.0/10,169.254.0.0/16,172.16.0.0/12,192.0.0.0/24,192.0.2.0/24,"
    "192.88.99.0/24,192.168.0.0/16,198.18.0.0/15,198.51.100.0/24,203.0.113.0/24,224.0.0.0/4,"
    "240.0.0.0/4,::/128,::ffff:0:0/96,::ffff:0:0:0/96,64:ff9b::/96,64:ff9b:1::/48,100::/64,"
    "2001::/32,2001:20::/28,2001:db8::/32,2002::/16,fc00::/7,fe80::/10,ff00::/8"
)

# Label Studio takes settings from many plain names (HOST, CI, DEBUG, PORT), so it gets no more of
# our environment than a program needs to run; proxies would even come between it and the backend.
_INHERITED_VARIABLES = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ")


@dataclass(frozen=True)
class LabelStudioLogin:
    """The one user of the server; created at its first start."""

    email: str
    password: str = field(repr=False)
    api_key: str = field(repr=False)

    @classmethod
    def random(cls, email: str = "demo@localhost.local") -> "LabelStudioLogin":
        """A new login with a random password and legacy API token."""
        return cls(email, password=secrets.token_urlsafe(9), api_key=secrets.token_hex(20))

    @classmethod
    def load_or_create(cls, file: Path) -> "LabelStudioLogin":
        """The login kept in `file`, which only its owner may read; a new one the first time."""
        if file.exists():
            return cls(**json.loads(file.read_text()))
        login = cls.random()
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".new")
        unfinished.touch(mode=0o600)
        unfinished.write_text(json.dumps(asdict(login)))
        unfinished.replace(file)  # a file that is there is whole
        return login


def server_url(port: int) -> str:
    """Base URL of the server that `server_command` starts on `port`."""
    return f"http://{HOST}:{port}"


def server_command(
    executable: Path,
    data_dir: Path,
    port: int,
    login: LabelStudioLogin,
    log_file: Path,
) -> ServiceCommand:
    """How to start Label Studio so that a backend on this machine can be connected to it.

    It listens on loopback only, lets nobody sign up and sends nothing out.

    Args:
        executable: the `label-studio` program of an environment that Label Studio is installed in.
        data_dir: where its SQLite database and uploads are or will be. Absolute.
        port: a free port: if it is taken Label Studio silently takes another.
        login: the user to create at the first start.
        log_file: where its output goes.
    """
    environment = {
        name: os.environ[name] for name in _INHERITED_VARIABLES if name in os.environ
    } | {
        "LABEL_STUDIO_BASE_DATA_DIR": str(data_dir),
        "LABEL_STUDIO_USERNAME": login.email,
        "LABEL_STUDIO_PASSWORD": login.password,
        "LABEL_STUDIO_USER_TOKEN": login.api_key,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        # By default it refuses backends and webhooks with a private address: loopback is let in,
        # the others stay banned. ML_BLOCK_LOCAL_IP=false would let in all, cloud metadata too.
        "USE_DEFAULT_BANNED_SUBNETS": "false",
        "USER_ADDITIONAL_BANNED_SUBNETS": _BANNED_SUBNETS,
        "COLLECT_ANALYTICS": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "LATEST_VERSION_CHECK": "false",
        "PYTHONUNBUFFERED": "1",
    }
    data_dir.mkdir(parents=True, exist_ok=True)
    return ServiceCommand(
        name="Label Studio",
        arguments=[
            str(executable),
            *("start", "--no-browser"),
            *("--internal-host", HOST),
            *("--port", str(port)),
        ],
        environment=environment,
        health_url=f"{server_url(port)}/health",
        log_file=log_file,
        working_directory=data_dir,
        ready_health={"status": "UP"},
    )
