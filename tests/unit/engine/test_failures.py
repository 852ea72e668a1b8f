"""Runs that end early: a node fails, or somebody interrupts."""

from typing import Any

import pytest

from engine import Context, RunContext, Ui, events, node
from engine.errors import FocalError
from tests.unit.engine.sums import NODES, Node, Thing, calls, fail, show, two_outputs


class TestFailure:
    def graph(self, n: Node) -> dict[str, Any]:
        return {
            "1": n("Source", value=1),
            "2": n("Show", a=["1", 0]),
            "3": n("Fail", a=["1", 0]),
            "4": n("Show", a=["3", 0]),
            "5": n("Source", value=5),
            "6": n("Show", a=["5", 0]),
        }

    def test_it_is_told_with_node_message_and_traceback(self, machine: Any, n: Node) -> None:
        m = machine(*NODES)
        result = m.run(self.graph(n))
        assert result.status == "failed"
        assert result.error is m.events[-1]
        assert isinstance(result.error, events.Failed)
        told = result.error
        assert (told.node, told.node_type, told.exception_type) == ("3", "Fail", "ValueError")
        assert (told.message, told.code) == ("no such luck", "node_failed")
        assert told.executed == ["1", "2"]
        assert told.inputs == {"a": ["1"]}
        assert any("no such luck" not in line and "sums.py" in line for line in told.traceback)

    def test_the_run_stops_and_what_was_finished_stays(self, machine: Any, n: Node) -> None:
        m = machine(*NODES)
        result = m.run(self.graph(n))
        assert result.ui == {"2": {"values": [1]}}
        assert ("Source", 5) not in calls
        repaired = {**self.graph(n), "3": n("Add", a=["1", 0], b=["1", 0])}
        assert m.run(repaired).executed == ["3", "4", "5", "6"]

    def test_failed_nodes_are_tried_again(self, machine: Any, n: Node) -> None:
        m = machine(*NODES)
        m.run(self.graph(n))
        calls.clear()
        m.run(self.graph(n))
        assert calls == [("Fail", 1)]

    def test_focal_errors_keep_their_code_and_hint(self, machine: Any, n: Node) -> None:
        class BadFile(FocalError):
            pass

        @node("Read", output=True)
        def read() -> Ui:
            raise BadFile("bad_model_file", "x.safetensors is cut short.", "Download it again.")

        error = machine(read).run({"1": n("Read")}).error
        assert (error.code, error.message, error.hint) == (
            "bad_model_file", "x.safetensors is cut short.", "Download it again.",
        )  # fmt: skip
        assert error.exception_type.endswith("BadFile")
        assert error.exception_type.startswith(__name__)

    def test_errors_of_others_with_code_message_and_hint_keep_them_too(self, machine: Any, n: Node) -> None:
        class ModelError(Exception):
            code, message, hint = "out_of_memory", "It does not fit.", "Ask for a smaller picture."

        @node("Load", output=True)
        def load() -> Ui:
            raise ModelError("longer text")

        error = machine(load).run({"1": n("Load")}).error
        assert (error.code, error.message, error.hint) == (ModelError.code, ModelError.message, ModelError.hint)

    def test_inputs_are_told_shortly(self, machine: Any, n: Node) -> None:
        class Tensor:
            shape = (1, 4, 8, 8)

        @node("Tensor")
        def tensor() -> Thing:
            return Tensor()

        graph = {"1": n("Tensor"), "2": n("Fail", a=["1", 0], message="x" * 5000), "3": n("Show", a=["2", 0])}
        error = machine(tensor, fail, show).run(graph).error
        assert error.inputs == {"a": ["Tensor (1, 4, 8, 8)"], "message": ["x" * 200]}

    def test_a_wrong_return_value_is_the_nodes_failure(self, machine: Any, n: Node) -> None:
        @node("Wrong")
        def wrong() -> tuple[Thing, Thing]:
            return None  # type: ignore[return-value]

        error = machine(wrong, show).run({"1": n("Wrong"), "2": n("Show", a=["1", 0])}).error
        assert (error.node, error.code) == ("1", "bad_node_result")

    def test_a_link_to_nowhere_and_an_unknown_class_are_failures_of_their_nodes(self, machine: Any, n: Node) -> None:
        m = machine(*NODES)
        assert m.run({"1": n("Show", a=["9", 0])}).error.code == "bad_node_input"
        error = m.run({"1": n("Show", a=["2", 0]), "2": n("Nothing")}).error
        assert (error.node, error.code) == ("2", "unknown_node")

    def test_a_cycle_that_nobody_validated_is_told(self, machine: Any, n: Node) -> None:
        graph = {
            "1": n("Add", a=["2", 0], b=["2", 0]),
            "2": n("Add", a=["1", 0], b=["1", 0]),
            "3": n("Show", a=["1", 0]),
        }
        error = machine(*NODES).run(graph).error
        assert (error.code, error.exception_type) == ("dependency_cycle", "graph.DependencyCycleError")
        assert error.node in {"1", "2"}

    def test_keyboard_interrupt_is_not_a_failure_of_the_node(self, machine: Any, n: Node) -> None:
        @node("Stop", output=True)
        def stop() -> Ui:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            machine(stop).run({"1": n("Stop")})


class TestInterrupt:
    def test_a_node_is_stopped_at_its_next_progress(self, machine: Any, n: Node) -> None:
        steps: list[int] = []

        @node("Sample")
        def sample(ctx: Context, a: Thing) -> Thing:
            for step in range(10):
                ctx.progress(step, 10)
                steps.append(step)
                if step == 2:
                    ctx.run.interrupt.set()
            return a

        m = machine(*NODES, sample)
        graph = {"1": n("Source", value=1), "2": n("Sample", a=["1", 0]), "3": n("Show", a=["2", 0])}
        result = m.run(graph)
        assert result.status == "interrupted"
        assert steps == [0, 1, 2]
        assert m.events[-1] == events.Interrupted("job", "2", "Sample", ["1"])
        assert "Succeeded" not in m.words()
        assert m.run({"1": graph["1"], "3": n("Show", a=["1", 0])}).executed == ["3"]

    def test_no_further_node_starts(self, machine: Any, n: Node) -> None:
        m = machine(*NODES)
        context = RunContext()
        context.interrupt.set()
        result = m.run(two_outputs(n), context=context)
        assert (result.status, calls) == ("interrupted", [])
        assert m.words() == ["Started", "Cached", "Interrupted"]

    def test_nothing_is_told_after_the_end(self, machine: Any, n: Node) -> None:
        kept: list[Context] = []

        @node("Keep", output=True)
        def keep(ctx: Context) -> Ui:
            kept.append(ctx)
            return Ui({})

        m = machine(keep)
        m.run({"1": n("Keep")})
        kept[0].progress(1, 1)
        assert m.words()[-1] == "Succeeded"
