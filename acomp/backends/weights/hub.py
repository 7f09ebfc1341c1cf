"""Hugging Face's Hub, asked by way of `huggingface_hub`: where a file is, and with which token.

It knows mirrors (HF_ENDPOINT) and tokens (HF_TOKEN, `hf auth login`). The bytes themselves come by
`download`, which goes on with what another process began; that of `huggingface_hub` begins anew.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from acomp.backends.weights.catalogue import HubFile, Weights
from acomp.backends.weights.download import TIMEOUT, DownloadError
from acomp.quiet import quiet

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

ENDPOINT = "https://huggingface.co"
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Variables that forbid the Hub."""


@dataclass(frozen=True)
class Source:
    """Where a file is to be had.

    Attributes:
        url: its address.
        headers: what opens it.
    """

    url: str
    headers: dict[str, str]


def endpoint() -> str:
    """The Hub, or the mirror that the user names."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or ENDPOINT


def offline_by() -> str | None:
    """The variable by which the user forbids the Hub; None where it is allowed."""
    yes = ("1", "ON", "YES", "TRUE")
    return next((name for name in OFFLINE if os.environ.get(name, "").upper() in yes), None)


def locate(weights: Weights, file: HubFile) -> Source:
    """Where the Hub has a file, seen to be the one that the catalogue knows.

    Raises:
        DownloadError: the Hub cannot be asked, refuses, or has another file.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined] # documented

    url = hf_hub_url(file.repository, file.file, revision=file.revision, endpoint=endpoint())
    with quiet():
        known = _ask(url, file)
        headers = build_hf_headers(library_name="acomp")
    _check(weights, known)
    return Source(url, headers)


def _ask(url: str, file: HubFile) -> HfFileMetadata:
    """What the Hub knows of a file."""
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        return get_hf_file_metadata(url, timeout=TIMEOUT[1], library_name="acomp")
    except OfflineModeIsEnabled as error:  # it was when Python began, whatever is set now
        raise DownloadError("huggingface_hub is offline (HF_HUB_OFFLINE)") from error
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise DownloadError(
            f"it does not open {file.repository}, which it may lack or want a token for: set "
            "HF_TOKEN to one that may read it"
        ) from error
    except HfHubHTTPError as error:
        raise DownloadError(f"it answers HTTP {error.response.status_code}") from error
    # Its versions speak HTTP by one library or another, which have no class of errors in common.
    except Exception as error:
        late = "Timeout" in type(error).__name__
        raise DownloadError(
            "it does not answer in time" if late else "it cannot be reached; is there a network?"
        ) from error


def _check(weights: Weights, known: HfFileMetadata) -> None:
    """Raise DownloadError where the Hub says that it has another file."""
    if weights.size is not None and known.size not in (None, weights.size):
        raise DownloadError(
            f"it has another file: of {known.size} bytes where {weights.size} are expected"
        )
    # Large files are named by their SHA-256, small ones by a sum of another kind.
    digits = known.etag or ""
    is_sum = re.fullmatch("[0-9a-f]{64}", digits) is not None
    if is_sum and weights.sha256 is not None and not digits.startswith(weights.sha256):
        raise DownloadError(
            f"it has another file: its SHA-256 begins {digits[:8]} where {weights.sha256[:8]} is "
            "expected"
        )
