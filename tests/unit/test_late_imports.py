"""What a server puts off is loaded when it is read, and by whoever imports it afterwards."""

import subprocess
import sys

import pytest

from tidegate.serving.late_imports import absent, late_body, put_off


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "far_client"
    folder.mkdir()
    (folder / "__init__.py").write_text("from far_client.near import answer\nloaded = True\n")
    (folder / "near.py").write_text("answer = 42\n")
    (folder / "other.py").write_text("import far_client\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "far_client"
    for name in ("far_client", "far_client.near", "far_client.other"):
        sys.modules.pop(name, None)


def test_a_module_of_a_package_loads_without_the_packages_own_body(package):
    late_body(package)
    import far_client.other

    assert "loaded" not in vars(far_client)
    assert far_client.near.answer == 42
    assert "loaded" not in vars(far_client)


def test_a_packages_body_runs_once_when_a_name_of_it_is_read_and_it_stays_the_same_package(package):
    late_body(package)
    import far_client

    first = far_client
    assert (far_client.answer, far_client.loaded) == (42, True)
    late_body(package)
    assert sys.modules[package] is first
    with pytest.raises(AttributeError):
        _ = far_client.nothing


def test_a_package_that_is_not_installed_cannot_be_put_off():
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        late_body("no_such_package")


def test_what_is_put_off_serves_annotations_at_once_and_is_whole_when_it_is_used_later(package):
    with put_off(package):
        import far_client

        def asked(of: far_client.Anything | None) -> None: ...

    assert package not in sys.modules
    assert far_client.answer == 42
    assert sys.modules[package].loaded
    with pytest.raises(AttributeError):
        _ = far_client.nothing


def test_what_is_loaded_already_stays(package):
    import far_client.near

    with put_off(f"{package}.near"), absent(package):
        assert sys.modules[f"{package}.near"] is far_client.near
        assert sys.modules[package] is far_client


def test_what_is_absent_cannot_be_imported_until_the_block_ends(package):
    with absent(package), pytest.raises(ImportError):
        import far_client
    import far_client

    assert far_client.loaded


def test_kserves_server_comes_without_its_client_and_the_client_still_works():
    program = (
        "import sys\n"
        "from tidegate.serving.late_imports import kserve_for_serving\n"
        "with kserve_for_serving():\n"
        "    from tidegate.serving.listener import ModerationServer\n"
        "for name in ('kubernetes', 'kserve.models', 'requests', 'pandas', 'rich'):\n"
        "    assert name not in sys.modules, name\n"
        "import kserve.utils.utils\n"
        "answer = kserve.utils.utils.get_predict_response({'instances': []}, [1], 'model')\n"
        "assert answer == {'predictions': [1]}, answer\n"
        "import pandas\n"
        "assert kserve.utils.utils.pd.DataFrame is pandas.DataFrame\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_trees_are_scored_without_scikit_learn_and_pandas():
    program = (
        "import sys\n"
        "from tidegate.serving.late_imports import import_for_scoring\n"
        "import_for_scoring(trees=True)\n"
        "for name in ('sklearn', 'pandas', 'numpy.f2py'):\n"
        "    assert name not in sys.modules, name\n"
        "import numpy as np, xgboost\n"
        "rows = np.arange(8.0).reshape(4, 2)\n"
        "booster = xgboost.train({'nthread': 1}, xgboost.DMatrix(rows, [0, 0, 1, 1]), 1)\n"
        "assert booster.inplace_predict(rows).shape == (4,)\n"
        "assert callable(np.f2py.run_main)\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True)
