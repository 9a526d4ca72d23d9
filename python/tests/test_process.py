"""Signals, threads, forks, spawned processes, and the interpreter's end. Each in a process of its own, which must not hang."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

HERE = Path(__file__).parent

HEAD = """
import os, signal, sys, threading, time
sys.path.insert(0, {here!r})
from conftest import png
import bandfeed

# A parent that ignores Ctrl-C, as a script's background job does, would hand that down.
signal.signal(signal.SIGINT, signal.default_int_handler)

samples = [(png(40 + i, 48, i), i % 4) for i in range(24)]
small = dict(schedule="constant", base=32, patch=8, batch_size=8, epochs=3, workers=2)

def loader_with_a_pipe(root, **settings):
    # One of the files is a pipe by the time it is read: whoever reads it waits until somebody writes.
    for i, (data, label) in enumerate(samples):
        place = os.path.join(root, str(label), f"{{i:02}}.png")
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as file:
            file.write(data)
        if i == 5:
            pipe = place
    loader = bandfeed.Loader(root, **settings)
    os.remove(pipe)
    os.mkfifo(pipe)
    return loader, pipe
"""


def run(script: str, *arguments: object, path: Path, timeout: float = 60.0) -> str:
    """Output of a script that must end well and have nothing to complain of."""
    file = path / "script.py"
    file.write_text(HEAD.format(here=str(HERE)) + textwrap.dedent(script))
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(file), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


posix = pytest.mark.skipif(sys.platform == "win32", reason="forks, pipes and signals of Unix")


@posix
def test_ctrl_c_works_while_a_batch_is_waited_for_and_loses_none(tmp_path):
    out = run(
        """
        small["epochs"] = 1
        loader, pipe = loader_with_a_pipe(sys.argv[1], **small)
        seen = []
        def interrupt():
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=interrupt).start()
        start = time.monotonic()
        try:
            for batch in loader:
                seen.append(batch.indices.tolist())
            print("not interrupted")
        except KeyboardInterrupt:
            print("interrupted", 0.4 < time.monotonic() - start < 2.0)
        def write():
            with open(pipe, "wb") as file:
                file.write(samples[5][0])
        threading.Thread(target=write, daemon=True).start()
        for batch in loader:
            seen.append(batch.indices.tolist())
        in_order = sorted(samples, key=lambda sample: sample[1])
        expected = [b.indices.tolist() for b in bandfeed.Loader(in_order, **small)]
        print(seen == expected, len(seen))
        """,
        tmp_path / "images",
        path=tmp_path,
    )
    assert out == "interrupted True\nTrue 3\n"


@posix
def test_other_threads_run_while_a_batch_is_waited_for(tmp_path):
    out = run(
        """
        loader, pipe = loader_with_a_pipe(sys.argv[1], **{**small, "epochs": 1})
        batches = []
        consumer = threading.Thread(target=lambda: batches.extend(loader))
        consumer.start()
        time.sleep(0.5)
        # Had the consumer kept the interpreter, this would not be reached; nor these, which ask the same loader.
        print(consumer.is_alive(), loader.counters()["images"] > 0, loader.state_dict()["seed"])
        with open(pipe, "wb") as file:
            file.write(samples[5][0])
        consumer.join()
        print(len(batches))
        """,
        tmp_path / "images",
        path=tmp_path,
    )
    assert out == "True True 0\n3\n"


@posix
def test_a_file_that_never_comes_keeps_nobody_from_closing_or_ending(tmp_path):
    out = run(
        """
        loader, pipe = loader_with_a_pipe(sys.argv[1], **small)
        def interrupt():
            for _ in range(2):
                time.sleep(0.5)
                os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=interrupt).start()
        for act in (lambda: list(loader), loader.close):
            try:
                act()
                print("not interrupted")
            except KeyboardInterrupt:
                print("interrupted")
        """,
        tmp_path / "images",
        path=tmp_path,
    )
    assert out == "interrupted\ninterrupted\n"


@posix
def test_the_interpreter_does_not_wait_for_ever_for_a_file_at_its_end(tmp_path):
    out = run(
        """
        loader, pipe = loader_with_a_pipe(sys.argv[1], **small)
        threading.Thread(target=lambda: list(loader), daemon=True).start()
        time.sleep(0.3)
        print("end")
        """,
        tmp_path / "images",
        path=tmp_path,
        timeout=30,
    )
    assert out == "end\n"


@posix
def test_a_forked_process_gets_an_error_and_neither_hangs_nor_crashes(tmp_path):
    out = run(
        """
        import numpy
        loader = bandfeed.Loader(samples, **small)
        evaluation = bandfeed.Loader(samples, evaluation=True, **small)
        batch = next(loader)
        array = numpy.asarray(batch.images)
        before = array.copy()
        child = os.fork()
        if child == 0:
            for ask in (lambda: next(loader), loader.state_dict, lambda: iter(evaluation), lambda: len(loader)):
                try:
                    ask()
                    print("no error")
                except bandfeed.ForkError as error:
                    print("spawn" in str(error) and error.reason in str(error))
            # What was handed out before can still be read.
            print((array == before).all() and (numpy.from_dlpack(batch.images) == before).all())
            loader.close()
            del loader, batch, array, evaluation
            own = bandfeed.Loader(samples, **small)
            print(len(list(own)), flush=True)
            sys.exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status) if hasattr(os, "waitstatus_to_exitcode") else status)
        print(len(list(loader)))
        """,
        path=tmp_path,
    )
    assert out == "True\n" * 5 + "9\n0\n8\n"


def test_a_spawned_process_has_a_loader_of_its_own(tmp_path):
    out = run(
        """
        import multiprocessing

        def work(rank, state):
            loader = bandfeed.Loader(samples, **{**small, "batch_size": 4}, rank=rank, world_size=2)
            loader.load_state_dict(state)
            return [(batch.step, batch.indices.tolist()) for batch in loader]

        if __name__ == "__main__":
            loader = bandfeed.Loader(samples, **small)
            next(loader)
            state = loader.state_dict()
            expected = [(batch.step, sorted(batch.indices.tolist())) for batch in loader]
            with multiprocessing.get_context("spawn").Pool(2) as pool:
                first, second = pool.starmap(work, [(0, state), (1, state)])
            merged = [(step, sorted(one + other)) for (step, one), (_, other) in zip(first, second)]
            print(merged == expected, len(merged))
        """,
        path=tmp_path,
        timeout=120,
    )
    assert out == "True 8\n"


@pytest.mark.parametrize(
    "end",
    [
        "pass",
        "batch = next(loader); import numpy; array = numpy.asarray(batch.images)",
        "for batch in loader: sys.exit(0)",
        "iterator = iter(loader); next(iterator); keep = loader.__next__; cycle = [loader]; cycle.append(cycle)",
        "import threading; threading.Thread(target=lambda: [None for _ in loader], daemon=True).start(); time.sleep(0.02)",
        "loader.close()",
        "import atexit; atexit.register(loader.close)",
    ],
)
def test_the_interpreter_ends_cleanly(tmp_path, end):
    script = f"loader = bandfeed.Loader(samples, **{{**small, 'epochs': 300}})\nnext(loader)\n{end}\n"
    for _ in range(3):
        assert run(script, path=tmp_path) == ""


def test_log_messages_of_workers_do_not_deadlock_with_the_interpreter(tmp_path):
    out = run(
        """
        import logging
        seen = []
        class Slow(logging.Handler):
            def emit(self, record):
                time.sleep(0.001)
                seen.append(record.getMessage())
        logging.getLogger("bandfeed").addHandler(Slow())
        logging.getLogger("bandfeed").propagate = False
        bad = [(b"no image", 0)] * 200 + samples
        loader = bandfeed.Loader(bad, **{**small, "workers": 4, "epochs": 2}, on_bad_file="substitute")
        spin = True
        def busy():
            while spin: pass
        others = [threading.Thread(target=busy) for _ in range(2)]
        for other in others: other.start()
        try:
            for i, batch in enumerate(loader):
                if i == 5:
                    loader.set_stage(batch.stage.replace(band=16), pending="drop")
        except bandfeed.DecodeError:
            print("a sample and all its substitutes were bad")
        loader.close()
        spin = False
        # Each file is told of once.
        print(len(seen) == len(set(seen)) > 20)
        """,
        path=tmp_path,
    )
    assert out.endswith("True\n")
