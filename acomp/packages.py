"""Packages that only an extra of acomp brings."""

from __future__ import annotations

from importlib.util import find_spec

from acomp.errors import AcompError

EVALUATION = ("scipy", "silero_vad")
"""What `acomp eval` needs of the extra `eval`, beside what its metrics say that they need."""
PAGES = ("jinja2", "matplotlib", "pyloudnorm", "scipy")
"""What the pages of `acomp report`, `acomp listen` and `acomp demo` need: the extra `pages`, which
`eval` brings too."""
TRAINING = ("lightning_fabric", "matplotlib", "pydantic", "yaml")
"""What `acomp train` needs of the extra `train`."""


APART = {"resemblyzer"}
"""What no extra can bring: it asks for a package that no longer installs (`typing`)."""


def missing_packages(*modules: str) -> list[str]:
    """Those of some modules that are not installed."""
    return [module for module in modules if find_spec(module) is None]


def require_packages(what: str, *modules: str, extra: str = "eval") -> None:
    """See that what only an extra brings is there.

    Raises:
        AcompError: a module is missing; the message says what needs it and how to get it.
    """
    missing = missing_packages(*modules)
    if missing:
        apart = " ".join(sorted(APART.intersection(missing)))
        ways = [f'pip install "acomp[{extra}]"'] if set(missing) - APART else []
        ways += [f"pip install --no-deps {apart}"] if apart else []
        raise AcompError(f"{what} needs {', '.join(missing)}: {' && '.join(ways)}")
