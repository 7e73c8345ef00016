"""The status page as HTML: one file without assets; every value in it is escaped.

Its style and its script are the only ones that its Content-Security-Policy lets run.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from html import escape
from types import MappingProxyType

from backend.job_history import JobRecord
from backend.report_store import RunRecord
from backend.status import RunningJob, Status
from backend.worker_board import WorkerRecord

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1rem; margin: 1.5rem 0 .3rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0; }
th { font-weight: 600; opacity: .7; } tr + tr { border-top: 1px solid #8884; }
td img { display: block; min-width: 5rem; border-radius: 3px; }
td { overflow-wrap: anywhere; } td a { white-space: nowrap; } img { max-width: 100%; }
.bad { color: #c33; } .stale { opacity: .5; }
form { display: flex; flex-wrap: wrap; gap: .6rem; align-items: center; }
input[type=text] { flex: 1 1 12rem; padding: .3rem; font: inherit; }
"""

# Replaces the part that changes and leaves the form alone, which somebody may be filling in.
_SCRIPT = """
setInterval(async () => {
  if (document.hidden) return;
  const old = document.getElementById("status");
  try {
    const reply = await fetch(location.href);
    const text = await reply.text();
    const page = new DOMParser().parseFromString(text, "text/html");
    old.replaceWith(page.getElementById("status"));
  } catch (error) {
    old.className = "stale";
  }
}, 3000);
"""


def _source(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        f"style-src {_source(_STYLE)}",
        f"script-src {_source(_SCRIPT)}",
        "connect-src 'self'",
        "img-src data:",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)


@dataclass(frozen=True)
class _Link:
    """A cell that leads to another page."""

    text: str
    href: str


@dataclass(frozen=True)
class _Picture:
    """A cell with a JPEG file in base64; empty without one."""

    jpeg: str


_Cell = str | _Link | _Picture


def status_html(
    status: Status,
    finetunings: Sequence[RunRecord] = (),
    thumbnails: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The page at /.

    Args:
        status: what is going on.
        finetunings: the last ones.
        thumbnails: pictures of the last jobs by job, JPEG files in base64.
    """
    parts = [
        f"<p>Model <b>{escape(status.model_version)}</b></p>",
        *(_redis_away() if status.redis == "away" else _sections(status, thumbnails)),
        _table(
            "Last fine-tunings",
            ("ended", "report", "from", "outcome", "why"),
            map(_finetuning_row, finetunings),
        ),
    ]
    form = (
        "<h2>Try it</h2>"
        '<form action="trials" method="post" enctype="multipart/form-data">'
        '<input type="file" name="image" accept="image/*" required aria-label="image">'
        '<input type="text" name="prompt" placeholder="for example: the cat" required'
        ' maxlength="500" aria-label="prompt">'
        "<button>Segment</button></form>"
    )
    main = f'<div id="status">{"".join(parts)}</div>'
    return _page("SELF1E for Label Studio", f"{form}{main}<script>{_SCRIPT}</script>")


def trial_html(prompt: str, *, overlay: str, score: float, found: bool) -> str:
    """The page of a trial that is done.

    Args:
        prompt: what was asked.
        overlay: a JPEG file in base64.
        score: 0..1, how sure the model is.
        found: whether there is a mask.
    """
    verdict = f"score {score:.2f}" if found else "nothing there fits the prompt"
    body = (
        f"<p><b>{escape(prompt)}</b>: {verdict}</p>"
        f'<p><img alt="the image with the mask" src="data:image/jpeg;base64,{escape(overlay)}"></p>'
    )
    return _page("Result", body + _BACK)


def trial_waiting_html() -> str:
    """The page of a trial that is not done; it asks again by itself."""
    return _page("Waiting for a worker", _BACK, head='<meta http-equiv="refresh" content="1">')


def report_missing_html() -> str:
    """The page instead of a report that is not there."""
    return _page("No report", f"<p>There is no such report, or no longer.</p>{_BACK}")


def trial_failed_html(reason: str) -> str:
    """The page of a trial that failed or is no longer known."""
    return _page("No result", f'<p class="bad">{escape(reason)}</p>{_BACK}')


_BACK = '<p><a href="../">Back</a></p>'


def _page(title: str, body: str, *, head: str = "") -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"{head}<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>{body}</body></html>\n"
    )


def _redis_away() -> list[str]:
    return [
        '<p class="bad">Redis does not answer, so nothing else is known. Is '
        "<code>python -m backend serve</code> running, or REDIS_URL right?</p>"
    ]


def _sections(status: Status, thumbnails: Mapping[str, str]) -> list[str]:
    waiting = ", ".join(f"{count} {name}" for name, count in status.waiting.items())
    return [
        _table(
            "Workers",
            ("name", "state", "version", "device", "host", "process"),
            map(_worker_row, status.workers),
            empty="None: no prediction can be made. Start python -m backend worker.",
        ),
        f"<p>Waiting: {escape(waiting)}. Predictions that Label Studio still has to get: "
        f"{status.deliveries}</p>",
        _table("Running", ("job", "queue", "worker", "since"), map(_running_row, status.running)),
        _table(
            "Last failures",
            ("ended", "job", "prompts", "image", "reason"),
            map(_failure_row, status.failures),
        ),
        _table(
            "Last jobs",
            ("", "ended", "job", "queue", "prompts", "image", "result", "waited", "took", "worker"),
            [(_Picture(thumbnails.get(job.job, "")), *_recent_row(job)) for job in status.recent],
        ),
    ]


def _worker_row(worker: WorkerRecord) -> Sequence[str]:
    return (
        worker.name,
        worker.state,
        worker.model_version or "-",
        worker.device or "-",
        worker.hostname,
        str(worker.pid),
    )


def _running_row(job: RunningJob) -> Sequence[str]:
    return job.job, job.queue, job.worker, f"{job.seconds:.0f} s"


def _failure_row(job: JobRecord) -> Sequence[str]:
    return _time(job.ended_at), job.job, "; ".join(job.prompts), job.image, job.reason


def _recent_row(job: JobRecord) -> Sequence[str]:
    plural = "" if job.regions == 1 else "s"
    found = f"{job.regions} region{plural}" if job.regions else "nothing there"
    return (
        _time(job.ended_at),
        job.job,
        job.queue,
        "; ".join(job.prompts),
        job.image,
        "failed" if job.status == "failed" else found,
        _duration(job.waited_ms),
        _duration(job.ran_ms),
        job.worker,
    )


def _finetuning_row(record: RunRecord) -> Sequence[_Cell]:
    outcome = "refused"
    if record.version:
        outcome = f"published {record.version}" + (" by force" if record.reasons else "")
    link = _Link(record.run, f"reports/{record.run}")
    return _time(record.ended_at), link, record.parent, outcome, " ".join(record.reasons)


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def _duration(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


def _table(
    title: str, heads: Sequence[str], rows: Iterable[Sequence[_Cell]], *, empty: str = "None."
) -> str:
    lines = [f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>" for row in rows]
    if not lines:
        return f"<h2>{escape(title)}</h2><p>{escape(empty)}</p>"
    head = "".join(f"<th>{escape(head)}</th>" for head in heads)
    return f"<h2>{escape(title)}</h2><table><tr>{head}</tr>{''.join(lines)}</table>"


def _cell(cell: _Cell) -> str:
    if isinstance(cell, str):
        return escape(cell)
    if isinstance(cell, _Picture):
        source = f"data:image/jpeg;base64,{escape(cell.jpeg)}"
        return f'<img alt="the answer" src="{source}">' if cell.jpeg else ""
    return f'<a href="{escape(cell.href)}">{escape(cell.text)}</a>'
