"""@node: a typed function becomes a NodeSpec. Its signature is the schema, its docstring the description.

    Latent = Annotated[dict, Socket("LATENT")]

    @node("RepeatLatentBatch", category="latent/batch")
    def repeat_latent(samples: Latent, amount: Annotated[int, Meta(ge=1, le=64), Widget(default=1)]) -> Latent: ...

A parameter with a Python default may be left out of the graph; `Widget(default=...)` only fills the editor's widget.
`X | None` is an optional X; `list[str]` a list widget (`{"__value__": [...]}` in JSON), or, with `input_is_list`, the
mapped list. A parameter annotated `Context` receives the running context. `-> tuple[A, B]` has two outputs,
`-> list[A]` one that is passed on element by element, `-> A | Ui` one output and something for the client.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from msgspec import Meta

from engine.context import Context
from engine.errors import NodeDefinitionError
from engine.types import Choices, ExecutionBlocker, Expansion, InputSpec, NodeSpec, OutputSpec, Socket, Ui, Widget

Function = TypeVar("Function", bound=Callable[..., Any])

PRIMITIVES: dict[Any, str] = {int: "INT", float: "FLOAT", str: "STRING", bool: "BOOLEAN"}
NO_OUTPUT = (type(None), Ui, Expansion, ExecutionBlocker)


def node(
    class_type: str,
    *,
    category: str = "",
    display_name: str | None = None,
    output: bool = False,
    version: int | str = 1,
    cacheable: bool = True,
    not_idempotent: bool = False,
    input_is_list: bool = False,
    outputs: Sequence[str] | None = None,
    fingerprint: Callable[..., Any] | None = None,
    validate: Callable[..., Any] | None = None,
    check_lazy: Callable[..., Any] | None = None,
    hidden: Mapping[str, str] | None = None,
    flags: Mapping[str, bool] | None = None,
) -> Callable[[Function], Function]:
    """Declare a function as node `class_type`; `outputs` names the slots. Raises NodeDefinitionError at import."""

    def declare(function: Function) -> Function:
        hints = _hints(class_type, function)
        slots, single = _outputs(class_type, hints.pop("return", None), outputs)
        hidden_names = dict(hidden or {})
        parameters = {n: p for n, p in inspect.signature(function).parameters.items() if n not in hidden_names}
        contexts = [name for name in parameters if hints.get(name) is Context]
        spec = NodeSpec(
            class_type=class_type,
            call=function,
            inputs=tuple(
                _input(class_type, name, hints.get(name), parameter.default, input_is_list)
                for name, parameter in parameters.items()
                if name not in contexts
            ),
            outputs=slots,
            category=category,
            description=inspect.getdoc(function) or "",
            display_name=display_name,
            python_module=function.__module__,
            output_node=output,
            input_is_list=input_is_list,
            is_async=inspect.iscoroutinefunction(function),
            single_output=single,
            version=version,
            cacheable=cacheable,
            not_idempotent=not_idempotent,
            wants_context=contexts[0] if contexts else "",
            fingerprint=fingerprint,
            validate=validate,
            check_lazy=check_lazy,
            hidden=hidden_names,
            flags=dict(flags or {}),
        )
        function.__dict__["node_spec"] = spec
        return function

    return declare


def spec_of(function: Callable[..., Any]) -> NodeSpec:
    """Give the NodeSpec that @node made of a function."""
    return function.__dict__["node_spec"]


def collect(module: types.ModuleType) -> list[NodeSpec]:
    """List the nodes declared in a module (not those it imports), in source order."""
    found = [
        value.__dict__.get("node_spec") for value in vars(module).values() if isinstance(value, types.FunctionType)
    ]
    return [spec for spec in found if spec is not None and spec.python_module == module.__name__]


def _hints(class_type: str, function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        hint = "Import the type at module level, outside TYPE_CHECKING."
        raise NodeDefinitionError(class_type, f"a type hint cannot be resolved ({error})", hint) from error


@dataclass(slots=True)
class _Hint:
    """A type hint taken apart: the bare type, whether None is allowed, and the markers around it."""

    bare: Any
    nullable: bool
    markers: list[Any]

    def marker(self, kind: type) -> Any:
        return next((marker for marker in self.markers if isinstance(marker, kind)), None)


def _take_apart(hint: Any) -> _Hint:
    nullable, markers = False, []
    while True:
        if get_origin(hint) is Annotated:
            markers.extend(hint.__metadata__)
            hint = hint.__origin__
            continue
        options = _union(hint)
        if type(None) not in options:
            return _Hint(hint, nullable, markers)
        nullable = True
        rest = [option for option in options if option is not type(None)]
        if len(rest) != 1:
            return _Hint(Union[tuple(rest)], nullable, markers)  # noqa: UP007 (built from a run-time tuple)
        hint = rest[0]


def _union(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _input(class_type: str, name: str, hint: Any, default: Any, input_is_list: bool) -> InputSpec:
    parts = _take_apart(hint)
    socket: Socket | None = parts.marker(Socket)
    if input_is_list and socket is None and get_origin(parts.bare) is list:
        inner = _take_apart(get_args(parts.bare)[0])
        parts = _Hint(inner.bare, parts.nullable, [*parts.markers, *inner.markers])
        socket = parts.marker(Socket)
    may_be_left_out = default is not inspect.Parameter.empty
    if parts.nullable and not may_be_left_out:
        raise NodeDefinitionError(class_type, f"input {name!r} may be None and needs a default", "Write `= None`.")
    type_name, choices, is_list = _widget_type(class_type, name, parts, socket)
    widget: Widget = parts.marker(Widget) or Widget()
    bounds = [marker for marker in parts.markers if isinstance(marker, Meta)]
    if any(bound.gt is not None or bound.lt is not None for bound in bounds):
        raise NodeDefinitionError(class_type, f"input {name!r} has an open bound", "Use ge and le.")
    tooltip = widget.tooltip or next((bound.description for bound in bounds if bound.description), "")
    shown_default = default if may_be_left_out and default is not None else widget.default
    return InputSpec(
        name=name,
        type=type_name,
        required=not may_be_left_out,
        default=shown_default,
        minimum=next((bound.ge for bound in bounds if bound.ge is not None), None),
        maximum=next((bound.le for bound in bounds if bound.le is not None), None),
        step=widget.step,
        choices=choices,
        lazy=socket is not None and socket.lazy,
        raw_link=socket is not None and socket.raw_link,
        is_list_widget=is_list,
        tooltip=tooltip,
        extra=dict(widget.extra),
    )


def _widget_type(class_type: str, name: str, parts: _Hint, socket: Socket | None) -> tuple[str, Any, bool]:
    """Give (type name, choices, is a list widget) of an input."""
    choices: Choices | None = parts.marker(Choices)
    if choices is not None:
        return "COMBO", choices.options, False
    if socket is not None:
        return socket.name, None, False
    if get_origin(parts.bare) is Literal:
        return "COMBO", get_args(parts.bare), False
    if parts.bare in PRIMITIVES:
        return PRIMITIVES[parts.bare], None, False
    if get_origin(parts.bare) is list and get_args(parts.bare)[0] in PRIMITIVES:
        return f"{PRIMITIVES[get_args(parts.bare)[0]]}_LIST", None, True
    hint = 'Annotate it: int, float, str, bool, Literal[...], or Annotated[T, Socket("NAME")].'
    raise NodeDefinitionError(class_type, f"input {name!r} has no socket type ({parts.bare!r})", hint)


def _outputs(class_type: str, hint: Any, names: Sequence[str] | None) -> tuple[tuple[OutputSpec, ...], bool]:
    """Read the return annotation. The flag says that the function returns a bare value, not a tuple."""
    options = [option for option in _union(hint) if option not in NO_OUTPUT and option is not None]
    if not options:
        return (), False
    if len(options) > 1:
        raise NodeDefinitionError(class_type, f"has several return types {options!r}", "Return tuple[...] for several.")
    several = get_origin(options[0]) is tuple
    hints = list(get_args(options[0])) if several else options
    slots = [_output(class_type, slot) for slot in hints]
    labels = list(names) if names is not None else [str(slot.type) for slot in slots]
    if len(labels) != len(slots):
        raise NodeDefinitionError(class_type, f"names {len(labels)} outputs but returns {len(slots)}")
    named = tuple(OutputSpec(slot.type, label, slot.is_list) for slot, label in zip(slots, labels, strict=True))
    return named, not several


def _output(class_type: str, hint: Any) -> OutputSpec:
    parts = _take_apart(hint)
    socket: Socket | None = parts.marker(Socket)
    if socket is not None:
        return OutputSpec(socket.name)
    choices: Choices | None = parts.marker(Choices)
    if choices is not None:
        return OutputSpec("COMBO" if callable(choices.options) else list(choices.options))
    if get_origin(parts.bare) is Literal:
        return OutputSpec(list(get_args(parts.bare)))
    if get_origin(parts.bare) is list:
        inner = _output(class_type, get_args(parts.bare)[0])
        return OutputSpec(inner.type, is_list=True)
    if parts.bare in PRIMITIVES:
        return OutputSpec(PRIMITIVES[parts.bare])
    raise NodeDefinitionError(class_type, f"returns {hint!r}, which is no socket", 'Use Annotated[T, Socket("NAME")].')
