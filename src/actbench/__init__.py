"""Does this activation really make my network better or more robust, by how much, am I sure?"""

from __future__ import annotations

__version__ = "0.1.0"
