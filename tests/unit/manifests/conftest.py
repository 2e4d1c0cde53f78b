"""Every overlay, rendered once a module."""

import pytest

from tests.unit.manifests.rendering import MANIFESTS, OVERLAYS, documents


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request):
    return documents(MANIFESTS / "overlays" / request.param)
