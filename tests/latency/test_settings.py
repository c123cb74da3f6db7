from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invnas import Experiment
from invnas.errors import BadInput
from invnas.latency.link import by_ssh
from invnas.latency.settings import Host, Latency


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("ssh://board", Host("board")),
        ("ssh://pi@board", Host("board", "pi")),
        ("ssh://pi@10.0.0.7:2222", Host("10.0.0.7", "pi", 2222)),
        ("ssh://[fe80::1%eth0]:22/", Host("fe80::1%eth0", port=22)),
        ("ssh://my_board.local/opt/py-3.12/bin/python3", Host("my_board.local", python="/opt/py-3.12/bin/python3")),
    ],
)
def test_an_address_has_a_host_and_may_have_a_user_a_port_and_a_python(text: str, host: Host) -> None:
    assert Host.parse(text) == host == Latency(on=text).host


@pytest.mark.parametrize(
    "text",
    [
        "", "board", "ssh:board", "ssh://", "ssh://-oProxyCommand=x", "ssh://-l@board", "ssh://a b", "ssh://a;b", "ssh://$(x)",
        "ssh://board:0", "ssh://board:65536", "ssh://board:x", "ssh://u@v@board", "ssh://board/bin/py thon", "ssh://board/-c",
        "ssh://board/bin/python;x", "ssh://board\n", "ssh://board/`x`", "http://board", "ssh://us er@board", "ssh://bo'ard",
        "Local", "ssh://[::1",
    ],
)  # fmt: skip
def test_what_a_shell_or_ssh_could_take_for_something_else_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"`latency.on` must be local or ssh://user@host"):
        Latency(on=text)


@given(st.text() | st.from_regex(r"ssh://[-@:/. \w]{0,20}", fullmatch=True))
def test_no_word_of_any_address_is_an_option_of_ssh(text: str) -> None:
    try:
        host = Host.parse(text)
    except BadInput:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shutil.which", lambda name: name)
        words = by_ssh(host)("print(1)")
    end = words.index("--")
    assert words[end + 1 :] == [host.name, f"{host.python} -c 'print(1)'"]
    assert not any(word.startswith("-") for word in (host.name, host.user or "x", host.python))
    assert not set(" ;&|$`'\"\\<>()*?!#\n") & set(host.name + host.user + host.python)


@given(
    st.builds(
        Latency,
        st.sampled_from(("torch", "onnxruntime", "executorch", "openvino")),
        st.integers(1, 64),
        st.integers(1, 64),
    )
)
def test_the_settings_survive_json_within_an_experiment(latency: Latency) -> None:
    asked = Experiment(latency=latency)
    assert Experiment.from_dict(json.loads(json.dumps(asked.to_dict()))) == asked
    assert Experiment(latency=asdict(latency)).latency == latency  # type: ignore[arg-type]


def test_an_experiment_of_before_has_the_settings_that_were() -> None:
    older = Experiment().to_dict()
    del older["latency"], older["reserve_cores"]
    assert Experiment.from_dict(older).latency == Latency("torch", 1, 1, "local")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"runtime": "onnx"}, "`latency.runtime` must be one of torch, onnxruntime, executorch, openvino, but got 'on"),
        ({"threads": 0}, "`latency.threads` must be 1 to 1,024, but got 0"),
        ({"threads": "two"}, "`latency.threads` must be a whole number, but got 'two'"),
        ({"batch": -1}, "`latency.batch` must be 1 to 1,024, but got -1"),
        ({"batch": True}, "`latency.batch` must be a whole number, but got 'True'"),
        ({"on": 3}, "`latency.on` must be text, but got '3'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(BadInput) as refused:
        Latency(**change)  # type: ignore[arg-type]
    assert str(refused.value).startswith(sentence)


RESERVED = {"reserve_cores": 1, "max_latency_ms": 2}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"reserve_cores": -1}, "`reserve_cores` must not be negative"),
        ({"reserve_cores": 1}, "`reserve_cores` is for latencies that are measured on this machine"),
        ({**RESERVED, "latency": {"on": "ssh://board"}}, "`reserve_cores` is for latencies"),
        ({**RESERVED, "latency": {"threads": 2}}, "`latency.threads` must be at most the cores"),
        ({**RESERVED, "engine": "ray"}, "`reserve_cores` is for trainings on this machine"),
        ({"latency": {"runtim": "torch"}}, "unknown key 'latency.runtim'; nearest: 'latency.runtime'"),
        ({"latency": "onnxruntime"}, "`latency` must be a Latency or a mapping of runtime, threads, batch, on"),
    ],
)  # fmt: skip
def test_an_experiment_refuses_what_does_not_go_together(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(BadInput) as refused:
        Experiment(**change)  # type: ignore[arg-type]
    assert str(refused.value).startswith(sentence)


def test_the_axis_says_what_it_is_a_latency_of() -> None:
    asked = Experiment(objectives=("top1", "latency_ms"), latency=Latency("onnxruntime", 2, 8, "ssh://pi@board"))
    assert asked.axes[1].axis == "Latency of a batch, onnxruntime, 2 threads, batch 8, on board (ms)"
    assert asked.axes[1].name == "latency_ms"
