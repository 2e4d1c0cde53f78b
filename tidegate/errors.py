"""The one exception that means "your input": the command line turns it into exit code 2."""


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
