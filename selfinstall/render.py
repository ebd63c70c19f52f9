"""Rendering of the guest's data files.  Templates hold data, hooks hold code; the two do not mix.

A shell's ``${#variable}`` would open a Jinja comment and make text vanish
silently, so no hook is a template.  Every value passes a filter that quotes
or checks it, and an undefined name is an error.
"""

from __future__ import annotations

import functools
import shlex

import jinja2


def _sh(value: object) -> str:
    """*value* as one word of POSIX shell."""
    text = str(value)
    if "\0" in text:
        raise ValueError("a NUL byte cannot stand in a shell word")
    return shlex.quote(text)


def _line(value: object) -> str:
    """*value* unchanged, when it is one printable line."""
    text = str(value)
    if not text.isprintable():
        raise ValueError(f"not a printable line: {text!r}")
    return text


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("selfinstall", "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # neither HTML nor XML: the filters above quote
    )
    environment.filters["sh"] = _sh
    environment.filters["line"] = _line
    return environment


def render(template: str, **values: object) -> str:
    """The text of ``templates/TEMPLATE`` with *values*.

    :raises jinja2.UndefinedError: the template names a value that is not given.
    :raises ValueError: a value cannot stand where the template puts it.
    """
    return _environment().get_template(template).render(**values)
