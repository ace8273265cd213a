"""The array libraries every test is run on, and the settings of Hypothesis."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("default", deadline=None, derandomize=True, max_examples=60)
settings.register_profile("quick", deadline=None, derandomize=True, max_examples=12)
settings.register_profile("long", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(params=["numpy", "array_api_strict", "torch"])
def xp(request):
    """NumPy, the strict reference library, torch on the CPU: the namespace of the array API."""
    module = pytest.importorskip(request.param)
    if request.param == "torch":
        import array_api_compat.torch as module
    return module
