"""The WSGI app (`app:app`); `python app.py` starts the whole local stack.

The app is made when it is first asked for, so that the stack does not build it for nothing.
"""

import sys

OLDEST_PYTHON = (3, 11)


def __getattr__(name):
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pdsapp import create_app

    globals()["app"] = create_app()
    return globals()["app"]


def _main():
    if sys.version_info < OLDEST_PYTHON:
        return "Discourse Twins needs Python 3.11 or newer. Use `make run`, which looks for one."
    try:
        from pdsapp.stack import main
    except ModuleNotFoundError as error:
        return f"The package {error.name} is not installed here. Use `make run`, which sets up everything."
    return main()


if __name__ == "__main__":
    sys.exit(_main())
