"""What the locks may hold, and that the roles were tested with what they ship."""

import itertools
import re
from pathlib import Path

import pytest

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"
LOCKS = sorted(path.stem for path in REQUIREMENTS.glob("*.in") if path.stem != "main")
ROLES = ("cpu", "gpu", "serving")
CUDA = re.compile(r"(nvidia|cuda|triton)")


def packages(lock):
    lines = (REQUIREMENTS / f"{lock}.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("#")[0].strip().split("==") for line in lines)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_each_package_and_holds_no_address(lock):
    text = (REQUIREMENTS / f"{lock}.txt").read_text(encoding="utf-8")
    assert "://" not in text
    assert "--" not in re.sub(r"#.*", "", text)
    assert packages(lock)


@pytest.mark.parametrize("lock", [lock for lock in LOCKS if lock != "gpu"])
def test_a_lock_for_a_cpu_has_no_cuda(lock):
    assert [name for name in packages(lock) if CUDA.match(name)] == []


def test_the_lock_for_a_gpu_has_what_the_cuda_build_of_torch_loads():
    gpu = packages("gpu")
    assert "torch" in gpu
    assert {"cuda-toolkit", "nvidia-cudnn-cu13", "nvidia-cublas", "triton"} <= gpu.keys()


@pytest.mark.parametrize("role", ROLES)
def test_a_role_ships_the_versions_that_the_tests_ran_with(role):
    tested = packages("dev")
    shipped = packages(role)
    if role == "gpu":
        assert "xgboost-cpu" not in shipped, "the two builds of XGBoost are one module"
        assert shipped.pop("xgboost") == tested["xgboost-cpu"]
        shipped = {name: found for name, found in shipped.items() if not CUDA.match(name)}
    assert shipped.items() <= tested.items()


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(ROLES, 2)])
def test_roles_agree_with_each_other(one, other):
    first, second = packages(one), packages(other)
    shared = first.keys() & second.keys()
    assert {name: first[name] for name in shared} == {name: second[name] for name in shared}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_no_tool_that_only_developers_use(role):
    asked = (REQUIREMENTS / "dev.in").read_text(encoding="utf-8")
    tools = set(re.findall(r"^[a-zA-Z-]+", asked, re.MULTILINE))
    assert tools.isdisjoint(packages(role))
    assert len(tools) > 5
