"""What a server puts off is loaded when it is read, and by whoever imports it afterwards."""

import subprocess
import sys

import pytest

from tidegate.serving.late_imports import put_off


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "far_client"
    folder.mkdir()
    (folder / "__init__.py").write_text("from far_client import near\nloaded = True\n")
    (folder / "near.py").write_text("answer = 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "far_client"
    for name in ("far_client", "far_client.near"):
        sys.modules.pop(name, None)


def test_a_module_loads_when_something_of_it_is_read(package):
    with put_off(package, "near"):
        from far_client import near
    assert package not in sys.modules
    assert near.answer == 42
    assert sys.modules[package].loaded
    with pytest.raises(AttributeError):
        _ = near.nothing


def test_whoever_imports_it_afterwards_gets_the_package_itself(package):
    with put_off(package, "near"):
        pass
    import far_client

    assert far_client.near.answer == 42


def test_a_module_that_was_not_named_is_an_error_and_leaves_nothing(package):
    with pytest.raises(ImportError), put_off(package, "near"):
        from far_client import other  # noqa: F401
    assert package not in sys.modules


def test_what_is_loaded_already_stays(package):
    import far_client

    with put_off(package, "near"):
        assert sys.modules[package] is far_client


def test_kserves_server_comes_without_the_kubernetes_client_and_its_client_still_works():
    program = (
        "import sys\n"
        "from tidegate.serving.late_imports import put_off\n"
        "with put_off('kubernetes', 'client', 'config', 'watch'):\n"
        "    from tidegate.serving.predictor import ModerationPredictor\n"
        "assert not any(m.split('.')[0] == 'kubernetes' for m in sys.modules)\n"
        "from kserve.api.kserve_client import client\n"
        "import kubernetes\n"
        "assert client.CoreV1Api is kubernetes.client.CoreV1Api\n"
        "assert client.rest.ApiException is kubernetes.client.rest.ApiException\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
