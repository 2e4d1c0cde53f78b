"""The two exceptions of our own: input that a user can mend, and a write that came too late.

The command line turns the first into exit code 2; whoever wrote second reads again.
"""


class BadInput(Exception):
    """Input or configuration that breaks a rule; a user can mend it.

    Parameters
    ----------
    where : str
        The file, key or row that is wrong, for example ``data.label``.
    problem : str
        The rule and the value that breaks it.
    mend : str
        What to write instead.
    """

    def __init__(self, where: str, problem: str, mend: str) -> None:
        super().__init__(where, problem, mend)
        self.where = where
        self.problem = problem
        self.mend = mend

    def __str__(self) -> str:
        """Return one line: where, what, and how to mend it."""
        return " ".join(f"{self.where}: {self.problem}; {self.mend}".split())


class Conflict(Exception):
    """What was to be replaced was changed by somebody else since it was read; read it again."""
