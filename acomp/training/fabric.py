"""Lightning Fabric, imported without torchmetrics.

Fabric imports torchmetrics, if it is installed, for a spike detector that acomp does not use. That
takes longer than importing Fabric itself.
"""

from __future__ import annotations

import sys

UNUSED = "torchmetrics"

if UNUSED in sys.modules:
    from lightning_fabric import Fabric
else:
    sys.modules[UNUSED] = None  # type: ignore[assignment]
    try:
        from lightning_fabric import Fabric
    finally:
        del sys.modules[UNUSED]

__all__ = ["Fabric"]
