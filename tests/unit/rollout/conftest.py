import pytest

from tests.unit.rollout.scene import Scene


@pytest.fixture
def scene():
    return Scene()
