"""Views of a build: readers of its events, for terminals, logs and machines.

A view is a context manager whose value is an ``on_event`` callable.  What it
prints of messages is escaped, since guests write some of them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from selfinstall.cli.streams import printable, put
from selfinstall.cli.wording import amount, outcome, title
from selfinstall.events import Event, OnEvent, ignore

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_TITLE_WIDTH = 26


def json_lines(stream: TextIO | None) -> OnEvent:
    """A view for machines: each event as one JSON object a line."""
    return lambda event: put(stream, event.to_json())


class Plain:
    """A view for logs: one line for each finished step.

    :param stream: where to write.
    :param verbose: whether notes and beginnings are told too.
    """

    def __init__(self, stream: TextIO | None, verbose: bool) -> None:
        self._stream = stream
        self._verbose = verbose
        self._progress: dict[str, Event] = {}

    def __call__(self, event: Event) -> None:
        step = printable(event.step)
        message = printable(event.message or "")
        match event.event:
            case "progress":
                self._progress[event.step] = event
            case "end":
                text = outcome(self._progress.pop(event.step, None), event)
                put(self._stream, f"{step}: {text}")
            case "warning":
                put(self._stream, f"selfinstall: warning: {message}")
            case "begin" if self._verbose:
                put(self._stream, f"{step}: begins")
            case "note" if self._verbose:
                put(self._stream, f"{step}: {message}")
            case _:
                pass


class Terminal:
    """A view for people: a bar for each running step, a line for each finished one."""

    def __init__(self, progress: Progress, verbose: bool) -> None:
        self._bars = progress
        self._verbose = verbose
        self._tasks: dict[str, TaskID] = {}
        self._progress: dict[str, Event] = {}

    def __call__(self, event: Event) -> None:
        match event.event:
            case "begin":
                self._begin(event.step)
            case "progress":
                self._advance(event)
            case "end":
                self._end(event)
            case "warning":
                self._print(f"warning: {printable(event.message or '')}", "yellow")
            case "note" if self._verbose:
                self._print(printable(event.message or ""), "dim")
            case _:
                pass

    def _begin(self, step: str) -> TaskID:
        if step not in self._tasks:
            name = printable(title(step)).ljust(_TITLE_WIDTH)
            self._tasks[step] = self._bars.add_task(name, total=None, amount="")
        return self._tasks[step]

    def _advance(self, event: Event) -> None:
        self._progress[event.step] = event
        task = self._begin(event.step)
        self._bars.update(task, completed=event.done or 0, total=event.total, amount=amount(event))

    def _end(self, event: Event) -> None:
        task = self._tasks.pop(event.step, None)
        if task is not None:
            self._bars.remove_task(task)
        text = outcome(self._progress.pop(event.step, None), event)
        self._print(f"{printable(title(event.step)).ljust(_TITLE_WIDTH)} {text}", "")

    def _print(self, text: str, style: str) -> None:
        from rich.text import Text

        self._bars.console.print(Text(text, style=style), soft_wrap=True)


@contextlib.contextmanager
def terminal(stream: TextIO, verbose: bool) -> Iterator[OnEvent]:
    """The view for people, drawn on *stream* by rich.

    :raises ImportError: when rich is not installed.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.fields[amount]}", markup=False),
        console=Console(file=stream),
        transient=True,
        # Emulation needs the CPU more than a smooth bar does.
        refresh_per_second=4,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with bars:
        yield Terminal(bars, verbose)


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


@contextlib.contextmanager
def view(
    out: TextIO | None,
    err: TextIO | None,
    *,
    json: bool = False,
    quiet: bool = False,
    verbose: bool = False,
) -> Iterator[OnEvent]:
    """The view that fits the options and the streams.

    :param out: standard output; only JSON lines go there.
    :param err: standard error; everything for people goes there.
    """
    if json:
        yield json_lines(out)
    elif quiet:
        yield ignore
    elif err is not None and _is_terminal(err):
        with contextlib.ExitStack() as stack:
            try:
                chosen: OnEvent = stack.enter_context(terminal(err, verbose))
            except ImportError:
                chosen = Plain(err, verbose)
            yield chosen
    else:
        yield Plain(err, verbose)
