"""The process of a command: its signals, and how mistakes end it.

SIGINT, SIGTERM and SIGHUP raise `Interrupted` in the main thread. An exception that is raised
inside a callback of the garbage collector is reported and dropped (JAX installs such a callback,
jax #18246); here the signal is then sent again.
"""

import _thread
import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any

from jaxgen._streams import discard_output, flush, open_streams
from jaxgen.errors import UserError

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
AGAIN_SECONDS = 0.02  # until a dropped signal is sent again
LEAVE_SECONDS = 8.0  # after a signal, until a process leaves whatever it is waiting for


class Interrupted(KeyboardInterrupt):
    """A signal asked the process to end.

    Attributes:
      code: the exit code that shells expect, 128 + the signal's number.
    """

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


class _Signals:
    """The signal that has arrived and not yet been noticed by `raise_if_interrupted`."""

    number: int | None = None


class _Deadline:
    """Ends a command that a signal has asked to end, whatever it waits for.

    Python's handlers run between two instructions of the main thread. A compilation by XLA is one
    instruction, and may take minutes.
    """

    armed = False
    timer: threading.Timer | None = None

    @classmethod
    def start(cls, number: int) -> None:
        """Leaves in LEAVE_SECONDS, where the process is a command."""
        if cls.armed and cls.timer is None:
            cls.timer = threading.Timer(LEAVE_SECONDS, cls._leave, (number,))
            cls.timer.daemon = True
            cls.timer.start()

    @classmethod
    def cancel(cls) -> None:
        """The process has ended by itself, or is no command any more."""
        cls.armed = False
        if cls.timer is not None:
            cls.timer.cancel()
            cls.timer = None

    @staticmethod
    def _leave(number: int) -> None:
        with contextlib.suppress(OSError, ValueError):
            print(
                f"interrupted: left {LEAVE_SECONDS:.0f} s after {signal.Signals(number).name}, in "
                "the midst of a compilation or of writing; what was saved before is kept",
                file=sys.stderr,
                flush=True,
            )
        os._exit(128 + number)


def command(main: Callable[[], None]) -> None:
    """Runs the main function of a command.

    A mistake of the user ends the process with one line and exit code 2; SIGINT, SIGTERM and
    SIGHUP with 130, 143 and 129. Where standard output is closed early (`| head -n 1`), the
    command continues without it. From another thread than the main one, signals are left alone.
    """
    open_streams()
    restore = _handle_signals()
    try:
        main()
        raise_if_interrupted()
        if sys.stdout is not None:
            sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        if _has_company():  # JAX's teardown waits for the others, and they for this one
            exit_now(2)
        sys.exit(2)
    except BrokenPipeError:
        discard_output()
    except KeyboardInterrupt as interrupt:
        code = getattr(interrupt, "code", 130)
        if _Deadline.armed:
            atexit.register(exit_now, code)
        sys.exit(code)
    finally:
        restore()
        _Deadline.cancel()


def _has_company() -> bool:
    """Whether this is one of several processes of `jax.distributed`."""
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized()


def exit_now(code: int) -> None:
    """Ends the process without its teardown, which waits for all that XLA still computes."""
    flush()
    os._exit(code)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """A signal that arrives in this takes effect at its end; a second one does not wait.

    What has to happen as a whole is done in this: a step of training whose state is donated, say,
    and the assignment of the new state.
    """
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        noted.append(number)
        _Deadline.start(number)
        if len(noted) > 1:
            raise KeyboardInterrupt

    handlers = {}
    if threading.current_thread() is threading.main_thread():
        found = {number: signal.getsignal(number) for number in SIGNALS}
        raising = (signal.default_int_handler, _on_signal)
        handlers = {number: handler for number, handler in found.items() if handler in raising}
    for number in handlers:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if noted:
            ours = handlers[noted[0]] is _on_signal
            raise (Interrupted(noted[0]) if ours else KeyboardInterrupt()) from None


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Packages are imported in this: a signal meanwhile takes effect at the end, within a second.

    An exception in the midst of an import can be dropped by a garbage collection (jax #18246), or
    becomes an ImportError of an extension that is being initialized. Where nothing catches the
    KeyboardInterrupt of a Ctrl-C, a script ends with the exit code that shells expect, 130, and
    without a traceback.
    """
    try:
        with deferred():
            yield
    except KeyboardInterrupt as interrupt:
        if not hasattr(sys, "ps1"):  # someone at a prompt wants to see that it was interrupted
            _leave_quietly(interrupt)
        raise


def _leave_quietly(interrupt: KeyboardInterrupt) -> None:
    """Prints no traceback where this exception ends the process."""
    before = sys.excepthook

    def hook(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
        if value is not interrupt:
            before(kind, value, trace)

    sys.excepthook = hook


def raise_if_interrupted() -> None:
    """Raises Interrupted where a signal has arrived, even if the exception was dropped since."""
    number, _Signals.number = _Signals.number, None
    if number is not None:
        raise Interrupted(number)


def _handle_signals() -> Callable[[], None]:
    """Installs the handlers; what is returned restores the ones before."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    before = {number: signal.getsignal(number) for number in SIGNALS}
    hook = sys.unraisablehook
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _on_signal)

    def on_dropped(dropped: Any) -> None:
        if isinstance(dropped.exc_value, Interrupted):
            number = dropped.exc_value.code - 128
            again = threading.Timer(AGAIN_SECONDS, _thread.interrupt_main, (number,))
            again.daemon = True
            again.start()
        else:
            hook(dropped)

    sys.unraisablehook = on_dropped
    _Deadline.armed = True

    def restore() -> None:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)

    return restore


def _on_signal(number: int, frame: FrameType | None) -> None:
    del frame
    _Signals.number = number
    _Deadline.start(number)
    raise Interrupted(number)
