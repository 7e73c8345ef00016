"""What a browser lets a report do: show its own style and its pictures, nothing else.

Never imports torch: the web process serves reports.
"""

import base64
import hashlib
import re

_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


def policy_of_style(style: str | None) -> str:
    """The Content-Security-Policy that stands in a report; None allows no style at all."""
    source = "'none'"
    if style is not None:
        digest = hashlib.sha256(style.encode()).digest()
        source = f"'sha256-{base64.b64encode(digest).decode()}'"
    return (
        f"default-src 'none'; style-src {source}; img-src data:; form-action 'none'; "
        "base-uri 'none'"
    )


def policy_of_report(report: str) -> str:
    """The Content-Security-Policy to serve a report with.

    It allows the style that the report begins with, which an earlier release may have written.
    """
    found = _STYLE.search(report)
    return f"{policy_of_style(found and found[1])}; frame-ancestors 'none'"
