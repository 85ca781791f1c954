"""SIGTERM raises an exception within a block and has its default effect outside."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

from taichinet.signals import raise_on_sigterm

PROGRAM = """
import os, signal, time
from taichinet.signals import raise_on_sigterm

before = signal.getsignal(signal.SIGTERM)
try:
    with raise_on_sigterm(SystemExit(143)):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)  # until the signal is delivered, which may take a moment on a busy machine
except SystemExit as caught:
    print(caught.code, signal.getsignal(signal.SIGTERM) is before)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(60)
"""


def test_sigterm_raises_the_error_and_the_handler_is_restored() -> None:
    # In a process of its own: the process of the tests may have libraries with handlers of their own.
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.stdout == "143 True\n", done.stderr
    assert done.returncode == -signal.SIGTERM


def test_error_that_was_suppressed_is_raised_at_the_end_of_the_block() -> None:
    suppressed = PROGRAM.replace(
        "        os.kill(os.getpid(), signal.SIGTERM)\n        time.sleep(60)",
        "        try:\n            os.kill(os.getpid(), signal.SIGTERM)\n            time.sleep(60)\n"
        "        except BaseException:\n            pass",
    )
    done = subprocess.run([sys.executable, "-c", suppressed], capture_output=True, text=True)
    assert done.stdout == "143 True\n", done.stderr


def test_handler_is_not_installed_outside_the_main_thread() -> None:
    handlers = []

    def work() -> None:
        with raise_on_sigterm(SystemExit(143)):
            handlers.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [before]
