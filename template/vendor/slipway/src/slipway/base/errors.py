"""The one way in which the platform says no."""


class MlopsError(Exception):
    """Something a user can solve, said in one sentence with the next step.

    Raise it where the fact is known; the command line shows it in one place, with notes that were added on its way.
    `exit_code` is 1 for "not possible" and 3 for "done, and the answer is no".
    """

    def __init__(self, problem: str, next_step: str, exit_code: int = 1) -> None:
        super().__init__(problem, next_step, exit_code)  # all of it, so that it can be pickled
        self.problem = problem
        self.next_step = next_step
        self.exit_code = exit_code

    def __str__(self) -> str:
        where = "".join(f"\n   at: {note}" for note in getattr(self, "__notes__", ()))
        return f"error: {self.problem}{where}\n next: {self.next_step}"


def first_line(error: object) -> str:
    """What an error says first: its sentence, or the first line of its text, or its name where it has none."""
    text = error.problem if isinstance(error, MlopsError) else str(error)
    return next(iter(text.strip().splitlines()), type(error).__name__)
