import numpy as np
import pytest

from tidegate.models.interface import Setting
from tidegate.records import Target


def test_one_process_takes_one_device():
    from tidegate.models.torch_training import _machines

    assert _machines(gpu=True) == {"accelerator": "gpu", "devices": 1}


def test_processes_that_torchrun_started_are_joined(monkeypatch):
    from tidegate.models.torch_training import _machines

    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    told = {"accelerator": "gpu", "devices": 4, "num_nodes": 2, "strategy": "ddp"}
    assert _machines(gpu=True) == told


@pytest.mark.parametrize("processes", [2, 3, 4])
def test_processes_share_the_batches_and_take_as_many_steps_each(processes):
    from tidegate.models.torch_training import Data, _Batches

    batches = [np.array([number]) for number in range(7)]
    data = Data(lambda epoch: batches, lambda rows: {"rows": rows})
    shares = [_Batches(data, 0, rank, processes) for rank in range(processes)]
    assert len({len(share) for share in shares}) == 1
    seen = {int(batch["rows"][0]) for share in shares for batch in share}
    assert seen == set(range(7))


def test_a_head_starts_at_the_shares_of_its_outputs():
    import torch

    from tidegate.models.torch_training import prior_logits

    y, weight = np.array([0, 1, 2, 2], dtype=np.int8), np.array([1.0, 1, 1, 5])
    classes = Target(kind="multiclass", outputs=("a", "b", "c"), violating=("a",))
    share = torch.softmax(prior_logits(classes, y, weight), 0).numpy()
    np.testing.assert_allclose(share, [1 / 8, 1 / 8, 6 / 8], rtol=1e-5)


def test_seeding_a_model_leaves_the_programs_own_random_numbers_alone():
    import torch

    from tidegate.models.torch_training import quiet_and_seeded

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with quiet_and_seeded(Setting(seed=1)):
        torch.rand(10)
    torch.testing.assert_close(torch.rand(3), expected)
