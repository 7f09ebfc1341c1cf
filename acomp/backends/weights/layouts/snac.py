"""SNAC's layout, which the package `snac` and the folders on Hugging Face share."""

from __future__ import annotations

import re

from acomp.backends.weights.layouts import norm
from acomp.backends.weights.layouts.layout import Layout

OFFICIAL = Layout(
    title="the layout of the package snac",
    family="snac",
    # Its decoder begins with two convolutions, DAC's with one.
    mark=re.compile(r"decoder\.model\.1\.(bias|weight.*|parametrizations\.weight\.original\d)"),
    to_acomp=lambda state: norm.in_new_naming(norm.split(norm.in_old_naming(state))),
    from_acomp=lambda state: state,
)
