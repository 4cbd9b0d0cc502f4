"""The first lines of the `dni` command: whose modules it imports, and what Ctrl-C does.

`PYTHONPATH` and the current folder precede the place where this program is installed, so a `cli.py`
or a folder `workers` of somebody else would be imported in place of ours. This module has a name of
its own; once it is imported, the names in `OWN` mean the modules beside it.

An extension module that is interrupted while it is imported turns KeyboardInterrupt into some other
error, or prints it and goes on. So Ctrl-C ends the process at once during an import, and raises
KeyboardInterrupt only elsewhere.
"""

import os
import signal
import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import FrameType

OWN = frozenset({"cli", "coordinator", "dni_command", "protocol", "workers"})
FOLDER = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120  pathlib takes long
STATUS = 128 + signal.SIGINT


class _OwnFinder:
    """Finds the modules `OWN` in `FOLDER`, and no others."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG004
        return PathFinder.find_spec(name, [FOLDER]) if name in OWN else None


class CtrlC:
    """The handler of SIGINT: one KeyboardInterrupt that can be caught, else the end at once."""

    def __init__(self) -> None:
        self.final = False

    def __call__(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.final or _importing(frame):
            os._exit(STATUS)
        self.final = True
        raise KeyboardInterrupt


def _importing(frame: FrameType | None) -> bool:
    """Whether `frame` runs within an import."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _flush() -> None:
    """Flush the outputs; discard what cannot be written: the command has reported the failure.

    Otherwise the interpreter would report it again, and exit with status 120.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()  # a reader may be slow
        except (AttributeError, ValueError):  # there is none, or it is closed
            continue
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


def _end(ctrl_c: CtrlC) -> None:
    """Let no Ctrl-C change the exit status while the interpreter ends, which is soon done."""
    _flush()
    if signal.getsignal(signal.SIGINT) is ctrl_c:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def main() -> None:
    """Run the command with the words of `sys.argv`, and exit.

    A SIGINT that is ignored when this process starts stays ignored.
    """
    ctrl_c = CtrlC()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, ctrl_c)
    sys.modules.setdefault("dni_command", sys.modules[__name__])  # it may be `__main__`
    try:
        from cli import main as command

        command(prog_name="dni")
    except KeyboardInterrupt:
        sys.exit(STATUS)
    finally:
        ctrl_c.final = True
        _end(ctrl_c)


if not any(isinstance(finder, _OwnFinder) for finder in sys.meta_path):
    sys.meta_path.insert(0, _OwnFinder())

if __name__ == "__main__":
    main()
