"""Downloading a file over HTTP, from where an earlier attempt broke off.

pooch would do for most of this, but it neither resumes nor checks a SHA-256 of which only the
beginning is published; so the loop is our own, on requests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

if TYPE_CHECKING:
    import requests

TIMEOUT = (10.0, 30.0)
"""Seconds to wait for a connection, and for the next bytes of a download."""
CHUNK = 1 << 16
MOST_REDIRECTS = 5

Progress = Callable[[int, int | None], None]
"""Called as a download goes on with the bytes that are here and all bytes, None if not known."""


class DownloadError(Exception):
    """A reason why a download failed, as it stands in the user's error."""


def download(
    url: str,
    part: Path,
    limit: int,
    progress: Progress,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Append to `part` what it lacks, or write it anew where the server sends all.

    Args:
        url: where the file is.
        part: what there is of it so far, if anything.
        limit: bytes that it cannot exceed.
        progress: told how far it is.
        headers: what the server is told beside what is asked for. A token among them stays with
            the host of `url`.

    Raises:
        DownloadError: the server fails, or the connection breaks; `part` keeps what came.
        OSError: `part` cannot be written.
    """
    import requests

    done = part.stat().st_size if part.exists() else 0
    # The bytes themselves: their number is checked.
    asked = {**headers, "Accept-Encoding": "identity"}
    if done:
        asked["Range"] = f"bytes={done}-"
    try:
        with _response(url, asked) as response:
            if response.status_code == requests.codes.range_not_satisfiable:
                return  # `part` has every byte already, or too many: its SHA-256 will tell
            response.raise_for_status()
            _check_kind(response)
            if response.status_code != requests.codes.partial_content:
                done = 0
            _receive(response, part, done, limit, progress)
    except requests.RequestException as error:
        raise DownloadError(_request_reason(error)) from error


def _response(url: str, headers: dict[str, str]) -> requests.Response:
    """The answer for a file, by way of redirects that do not leave https."""
    import requests

    for _ in range(MOST_REDIRECTS + 1):
        response = requests.get(
            url, headers=headers, stream=True, timeout=TIMEOUT, allow_redirects=False
        )
        if not response.is_redirect:
            return response
        response.close()
        target = urljoin(url, response.headers["Location"])
        if urlsplit(target).scheme != "https" and urlsplit(target).scheme != urlsplit(url).scheme:
            raise DownloadError("it sends on to an address that is not https")
        if urlsplit(target).netloc != urlsplit(url).netloc:
            headers = {key: each for key, each in headers.items() if key.lower() != "authorization"}
        url = target
    raise DownloadError("it sends on and on")


def _check_kind(response: requests.Response) -> None:
    """Raise DownloadError for what is no file of weights, whatever bytes it has."""
    coding = response.headers.get("Content-Encoding", "identity")
    if coding not in ("", "identity"):
        raise DownloadError("it sends compressed bytes, which were not asked for")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise DownloadError("it sends a web page in the place of the file")


def _receive(
    response: requests.Response, part: Path, done: int, limit: int, progress: Progress
) -> None:
    """Write the body of `response` to `part`, whose first `done` bytes are kept."""
    import requests

    length = response.headers.get("Content-Length", "")
    total = done + int(length) if length.isdecimal() else None
    with part.open("ab" if done else "wb") as file:
        progress(done, total)
        try:
            for chunk in response.iter_content(CHUNK):
                done += len(chunk)
                if done > limit:
                    raise DownloadError(f"it sends more than the {limit} bytes that are expected")
                file.write(chunk)
                progress(done, total)
        except requests.RequestException as error:
            of_all = f"{done} of {total}" if total else f"{done}"
            raise DownloadError(f"the connection broke after {of_all} bytes, try again") from error
        file.flush()
        os.fsync(file.fileno())


def _request_reason(error: requests.RequestException) -> str:
    """Why a request failed, in a few words."""
    import requests
    from urllib3.exceptions import NameResolutionError

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"it answers HTTP {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "it does not answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate cannot be verified"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy cannot be reached"
    cause = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(cause, NameResolutionError):
        host = urlsplit(str(error.request.url)).hostname if error.request else None
        return f"the host {host or 'it names'} cannot be found; is there a network?"
    if isinstance(error, requests.ConnectionError):
        return "it cannot be reached"
    return f"the request fails ({type(error).__name__})"
