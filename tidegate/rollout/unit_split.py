"""Which version a unit gets: by a hash of its id, the same for ever and on every server."""

from collections.abc import Mapping
from dataclasses import dataclass

from tidegate.records.experiment import Arm
from tidegate.serving.keyed_draw import uniform


def assigned(experiment: str, unit_id: str, *, candidate_share: float, key: bytes = b"") -> Arm:
    """Return the version that a unit gets, the same for ever and on every server.

    Parameters
    ----------
    experiment : str
        The experiment's name, the hash's salt: another experiment splits the units anew.
    unit_id : str
        Who is assigned.
    candidate_share : float
        Share of units that get the candidate. One that grows takes nobody away from it.
    key : bytes
        With a secret key nobody can choose an id that gets the version of his liking.
    """
    drawn = uniform(key, f"experiment {experiment}", unit_id)
    return "candidate" if drawn < candidate_share else "baseline"


def experiment_name(model: str, candidate: str) -> str:
    """Return what the experiment of a release is called, the salt of its assignment."""
    return f"{model} {candidate}"


@dataclass(frozen=True)
class UnitSplit:
    """Who gets which version of a release, by the unit that a request names.

    The steps of a canary are split by the same hash as the experiment after it.

    Parameters
    ----------
    name : str
        The experiment's, from `experiment_name`.
    baseline, candidate : str
        Versions.
    candidate_share : float
        Share of units that get the candidate.
    """

    name: str
    baseline: str
    candidate: str
    candidate_share: float

    def assign(self, parameters: object) -> tuple[Arm, str] | None:
        """Return the arm and the version of a request's parameters; None where no unit is named."""
        unit = parameters.get("unit") if isinstance(parameters, Mapping) else None
        if not isinstance(unit, str) or not unit:
            return None
        arm = assigned(self.name, unit, candidate_share=self.candidate_share)
        return arm, self.candidate if arm == "candidate" else self.baseline
