"""The WSGI app (`app:app`); `python app.py` starts the whole local stack.

The app is made when it is first asked for, so that the stack does not build it for nothing.
"""

import sys

OLDEST_PYTHON = (3, 11)


def __getattr__(name):
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pdsapp import create_app, list_of_commands
    from pdsapp.cli import typed
    from pdsapp.errors import PdsError

    words = typed.words()
    if typed.only_help(words):
        return list_of_commands()
    if typed.only_looks(words):
        from pdsapp.cli.common import errors_as_exits, require_what_to_look_at

        with errors_as_exits():
            require_what_to_look_at()
    try:
        globals()["app"] = create_app(with_web=typed.needs_screens(words))
    except PdsError as error:
        sys.exit(f"Discourse Twins: {error}")
    return globals()["app"]


def _main():
    if len(sys.argv) > 1:
        return "`python app.py` starts the local stack and takes no arguments. Settings: docs/operating.md."
    if sys.version_info < OLDEST_PYTHON:
        return "Discourse Twins needs Python 3.11 or newer. Use `make run`, which looks for one."
    try:
        from pdsapp.stack import main

        return main()
    except ModuleNotFoundError as error:
        if error.name.partition(".")[0] == "pdsapp":
            raise
        return f"The package {error.name} is not installed here. Use `make run`, which sets up everything."


if __name__ == "__main__":
    sys.exit(_main())
