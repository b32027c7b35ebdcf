"""The mark of tests, and benchmarks, that compile the native kernels."""

from __future__ import annotations

import shutil

import pytest

from actbench.models.native.compiled import COMPILERS

has_compiler = pytest.mark.skipif(
    not any(map(shutil.which, COMPILERS)), reason="there is no C++ compiler"
)
