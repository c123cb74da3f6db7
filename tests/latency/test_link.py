from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from invnas.errors import BadInput, InvnasError
from invnas.latency import link
from invnas.latency.elsewhere import Elsewhere
from invnas.latency.link import Link, Lost, here
from invnas.latency.settings import Latency
from invnas.latency.stopwatch import REFERENCE, Stopwatch
from invnas.ops.onnx import library_path

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

#: The smallest ONNX file that onnxruntime runs: its input is its output.
SHAPE = [1, 2, 4, 4]


@pytest.fixture(scope="module")
def model() -> bytes:
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("images", "scores")]
    graph = helper.make_graph([helper.make_node("Relu", ["images"], ["scores"])], "relu", ends[:1], ends[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(made.SerializeToString())


OPENING = {"runtime": "onnxruntime", "threads": 1, "cores": [], "shape": SHAPE}


@pytest.fixture
def linked() -> Iterator[Link]:
    one = Link(here, "this machine")
    yield one
    one.close()


def test_a_runner_loads_times_and_goes_on_after_what_it_cannot_run(linked: Link, model: bytes) -> None:
    opened = linked.ask("open", OPENING, model, b"")
    assert opened["version"]
    assert opened["machine"]
    assert linked.ask("alone", {})["reference_ms"] > 0
    assert linked.ask("time", {"shape": SHAPE, "seconds": 0}, b"no model")["error"]
    assert linked.ask("time", {"shape": [1, 3, 4, 4], "seconds": 0}, model)["error"]  # another shape
    found = linked.ask("time", {"shape": SHAPE, "seconds": 0}, model)
    assert 0.2 < found["ratio"] < 5
    assert found["low"] <= found["ratio"] <= found["high"]


def test_a_library_that_the_runtime_does_not_take_is_done_without(linked: Link, model: bytes) -> None:
    assert linked.greeting == {"system": platform.system(), "processor": platform.machine()}
    assert linked.ask("open", OPENING, model, b"no library")["kernels"] == ""
    assert linked.ask("time", {"shape": SHAPE, "seconds": 0}, model)["ratio"] > 0


@pytest.mark.skipif(library_path() is None, reason="built without the library for onnxruntime")
def test_kernels_go_along_to_the_same_processor_alone(model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for processor in (platform.machine(), "another"):
        monkeypatch.setattr("invnas.latency.elsewhere.platform.machine", lambda p=processor: p)
        bench = Elsewhere(Latency("onnxruntime"), model, SHAPE, ())
        found.append((bool(bench.kernels), bench.version.endswith(" and invnas")))
        bench.close()
    assert found == [(True, True), (False, False)]


def test_a_package_that_is_missing_there_is_named(linked: Link) -> None:
    pytest.importorskip("torch")
    asked = {**OPENING, "runtime": "executorch"}
    if "missing" not in (answer := linked.ask("open", asked, b"", b"")):
        pytest.skip("executorch is installed")
    assert answer == {"missing": "executorch"}


def test_the_runner_needs_nothing_of_invnas_and_is_gone_with_its_input() -> None:
    code = "import runpy, sys; runpy.run_path(sys.argv[1]); sys.exit('invnas' in sys.modules)"
    runner = str(Path(link.__file__).with_name("runner.py"))
    assert subprocess.run([sys.executable, "-S", "-c", code, runner], timeout=60, check=False).returncode == 0
    one = Link(here, "this machine")
    assert one._process.stdin is not None
    one._process.stdin.close()
    assert one._process.wait(30) == 0
    one.close()


def shell(text: str) -> Callable[[str], list[str]]:
    return lambda code: ["sh", "-c", text]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("echo connection refused >&2; exit 255", "the host x did not answer: connection refused"),
        ("exit 0", "the host x did not answer"),
        ("echo Welcome; cat > /dev/null; sleep 60", "the host x did not answer within 0 s"),
        ("echo 'invnas-latency [3'; sleep 60", "the host x answered '[3\\n', which is no answer of the runner"),
        ("no-such-python -c x", "the host x did not answer: sh: "),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="a shell plays the host")
def test_a_host_that_does_not_answer_is_one_sentence(text: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "ANSWERS", 0.3 if "sleep" in text else 10.0)
    began = time.monotonic()
    with pytest.raises(BadInput) as refused:
        Link(shell(text), "the host x")
    assert str(refused.value).startswith(f"`latency.on`: {sentence}")
    assert time.monotonic() - began < 10


@pytest.mark.skipif(os.name != "posix", reason="a shell plays the host")
def test_what_a_shell_says_first_is_no_answer(model: bytes) -> None:
    def greeting(code: str) -> list[str]:
        return ["sh", "-c", 'echo Welcome; echo "{}"; exec "$0" -c "$1"', sys.executable, code]

    one = Link(greeting, "the host x")
    assert one.ask("open", OPENING, model, b"")["version"]
    one.close()


def test_a_runner_that_was_killed_is_started_once_more(model: bytes) -> None:
    bench = Elsewhere(Latency("onnxruntime"), model, SHAPE, ())
    bench._link._process.kill()
    assert bench.time(model, SHAPE, 0.0)["ratio"] > 0
    bench._link._process.kill()
    bench._reach = lambda code: [sys.executable, "-c", "raise SystemExit('gone for good')"]
    with pytest.raises(InvnasError, match="no latency could be measured: this machine did not answer: gone for good"):
        bench.time(model, SHAPE, 0.0)
    bench.close()


def test_an_answer_that_takes_too_long_is_lost(linked: Link, model: bytes) -> None:
    linked.ask("open", OPENING, model, b"")
    with pytest.raises(Lost, match="did not answer within 0 s"):
        linked.ask("time", {"shape": SHAPE, "seconds": 30}, model, seconds=0.0)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that runs here with keys of its own; the ssh that is found first knows them."""
    server, client = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin"), shutil.which("ssh")
    if server is None or client is None:
        pytest.skip("no ssh server is installed (openssh-server)")
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host", "mine"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/mine.pub\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nPidFile none\n"
    )
    (folder / "config").write_text(
        f"Host *\nIdentityFile {folder}/mine\nUserKnownHostsFile {folder}/known\nStrictHostKeyChecking no\n"
    )
    (folder / "bin").mkdir()
    (folder / "bin" / "ssh").write_text(f'#!/bin/sh\nexec {client} -F {folder}/config "$@"\n')
    (folder / "bin" / "ssh").chmod(0o755)
    with suppress(OSError):  # the service makes it where it is started; the server of another user needs none
        Path("/run/sshd").mkdir(mode=0o755)
    process = subprocess.Popen([server, "-D", "-E", folder / "log", "-f", folder / "sshd_config"])
    until = time.monotonic() + 20
    command = [folder / "bin" / "ssh", "-o", "BatchMode=yes", "-p", str(port), "127.0.0.1", "true"]
    while subprocess.run(command, capture_output=True, check=False).returncode:
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            process.wait()
            pytest.skip(f"no ssh server could be started: {(folder / 'log').read_text()[-200:]}")
        time.sleep(0.2)
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{folder / 'bin'}{os.pathsep}{path}"
    yield f"ssh://127.0.0.1:{port}"
    os.environ["PATH"] = path
    process.kill()
    process.wait()


def test_networks_are_timed_on_another_host(sshd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVNAS_CACHE", str(tmp_path))
    with Stopwatch(Latency("onnxruntime", on=f"{sshd}{sys.executable}"), (3, 32, 32), 10) as stopwatch:
        assert stopwatch(REFERENCE).ms > 0
        assert stopwatch.known(REFERENCE) == stopwatch(REFERENCE)


def test_a_python_that_is_not_there_and_one_without_the_runtime(
    sshd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVNAS_CACHE", str(tmp_path))
    with pytest.raises(BadInput, match=r"`latency.on`: the host 127.0.0.1 did not answer: .*/no/such/python"):
        Stopwatch(Latency("onnxruntime", on=f"{sshd}/no/such/python"), (3, 32, 32), 10)
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E "$@"\n')
    bare.chmod(0o755)
    said = rf"onnxruntime cannot be used on the host 127.0.0.1: {bare} there has no package '(onnxruntime|numpy)'"
    with pytest.raises(BadInput, match=said):
        Stopwatch(Latency("onnxruntime", on=f"{sshd}{bare}"), (3, 32, 32), 10)
