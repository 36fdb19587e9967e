"""A progress bar with time left, on stderr, for a study in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def shown_progress(quiet: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """What to hand to Study.fit(progress=...); None where nothing should be shown."""
    if quiet:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from heldout.words import legible

    columns = (
        TextColumn("{task.description:<40}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def step(title: str, done: int, total: int) -> None:
            bar.update(task, description=legible(title), completed=done, total=total)

        yield step
