"""The words of the system: sockets, inputs, outputs, node specifications and what a node may return."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET

SocketType = str | list[Any]
"""A type name (`"IMAGE"`, `"INT"`, `"IMAGE,MASK"`) or, for an output, the literal list of a combo."""


class AnyType(str):
    """A type name that fits every other: `ANY != "IMAGE"` is False, on either side of a link."""

    __slots__ = ()

    def __ne__(self, other: object) -> bool:
        return False

    __eq__ = str.__eq__
    __hash__ = str.__hash__


ANY = AnyType("*")


CONVERSIONS: dict[str, type] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
"""Types of constants; a constant of another type is converted."""


@dataclass(frozen=True, slots=True)
class Socket:
    """Marker for `Annotated`: the value travels over links of this type.

    lazy: the source runs only when `check_lazy` asks for it. raw_link: the node receives the link `[id, slot]` itself.
    """

    name: str
    lazy: bool = False
    raw_link: bool = False


@dataclass(frozen=True, slots=True)
class Choices:
    """Marker for `Annotated`: one of these values. A callable is asked again at each validation (e.g. files)."""

    options: Sequence[Any] | Callable[[], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Widget:
    """Marker for `Annotated`: how an editor shows the input.

    default: initial value in an editor; the graph must still carry one. A parameter that may be left out of the graph
    has a Python default instead. extra: further ComfyUI options (`multiline`, `image_upload` ...).
    """

    default: Any = UNSET
    step: float | None = None
    tooltip: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One declared input. `type` is "COMBO" when `choices` says what is allowed; bounds are inclusive."""

    name: str
    type: str
    required: bool = True
    default: Any = UNSET
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: Sequence[Any] | Callable[[], Sequence[Any]] | None = None
    lazy: bool = False
    raw_link: bool = False
    is_list_widget: bool = False
    tooltip: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    exact_type: type | None = field(init=False, repr=False)
    """A constant of exactly this Python type needs no check; None when every constant does."""

    def __post_init__(self) -> None:
        free = self.minimum is None and self.maximum is None and self.choices is None
        object.__setattr__(self, "exact_type", CONVERSIONS.get(self.type) if free else None)

    def current_choices(self) -> list[Any] | None:
        """List what is allowed now; None when this is no combo."""
        if self.choices is None:
            return None
        return list(self.choices() if callable(self.choices) else self.choices)

    def options(self) -> dict[str, Any]:
        """Describe the widget in ComfyUI's option words."""
        told = {"default": self.default, "min": self.minimum, "max": self.maximum, "step": self.step}
        found: dict[str, Any] = {k: v for k, v in told.items() if v is not None and v is not UNSET}
        if self.tooltip:
            found["tooltip"] = self.tooltip
        flags = {"lazy": self.lazy, "rawLink": self.raw_link}
        found.update({name: True for name, is_set in flags.items() if is_set})
        return {**found, **self.extra}

    def config(self, choices: list[Any] | None = None) -> list[Any]:
        """Give ComfyUI's `[type, options]`; a combo's type is the list itself (`choices`, else listed now)."""
        listed = self.current_choices() if choices is None else choices
        return [str(self.type) if listed is None else listed, self.options()]


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output slot. is_list: the node returns a list here whose elements are passed on one by one."""

    type: SocketType
    name: str = ""
    is_list: bool = False
    tooltip: str | None = None


@dataclass(frozen=True, slots=True)
class ExecutionBlocker:
    """A value that keeps every node it reaches from running; with a message, the first such node reports it."""

    message: str | None = None


@dataclass(frozen=True, slots=True)
class Ui:
    """What an output node returns: `ui` for the client (each value a list), `result` for the sockets, if any."""

    ui: Mapping[str, list[Any]]
    result: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Expansion:
    """A node that continues as a graph: API-format nodes (ids new in this run), and outputs as links or values."""

    graph: Mapping[str, Any]
    result: tuple[Any, ...] = ()
    ui: Mapping[str, list[Any]] | None = None


HOOKS = ("fingerprint", "validate", "check_lazy")


@dataclass(frozen=True, slots=True, eq=False)
class NodeSpec:
    """Everything the engine knows about a node class, from whatever convention it came.

    call(**inputs): gives a tuple of outputs (the bare value when `single_output`), `Ui`, `Expansion` or
        `ExecutionBlocker`; a coroutine function when `is_async`. With `instance` set, its first argument is the object
        that `instance()` made for this node id, kept from run to run.
    fingerprint(**constants): stands in the content key (a file's identity). A NaN or an exception means: never cached.
    validate(**inputs): True, or what is wrong. Inputs it names are its own to check; a parameter `input_types`
        receives {input: type of its source} and switches off the check of link types.
    check_lazy(**inputs): names of lazy inputs needed now; those not yet computed are None.
        These three receive the inputs they name (all with `**`), linked ones as None in the first two, and the
        Context if they name the parameter `wants_context` gives. They may be async.
    hidden: parameter name -> PROMPT | DYNPROMPT | EXTRA_PNGINFO | UNIQUE_ID | other ComfyUI hidden words.
    open_input(name): an InputSpec for a name that `inputs` does not list, or None; for classes that accept any name.
    wants_context: name of the parameter that receives the Context, "" when there is none.
    not_idempotent: nodes with different ids never share a result. cacheable: False runs every time.
    """

    class_type: str
    call: Callable[..., Any]
    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[OutputSpec, ...] = ()
    category: str = ""
    description: str = ""
    display_name: str | None = None
    python_module: str = ""
    output_node: bool = False
    input_is_list: bool = False
    is_async: bool = False
    single_output: bool = False
    version: int | str = 1
    cacheable: bool = True
    not_idempotent: bool = False
    wants_context: str = ""
    fingerprint: Callable[..., Any] | None = None
    validate: Callable[..., Any] | None = None
    check_lazy: Callable[..., Any] | None = None
    instance: Callable[[], Any] | None = None
    open_input: Callable[[str], InputSpec | None] | None = None
    hidden: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, bool] = field(default_factory=dict)
    """`deprecated`, `experimental`, `api_node`: shown to editors, no meaning here."""

    by_name: Mapping[str, InputSpec] = field(init=False, repr=False)
    names: tuple[str, ...] = field(init=False, repr=False)
    lazy_names: frozenset[str] = field(init=False, repr=False)
    raw_names: frozenset[str] = field(init=False, repr=False)
    hook_names: Mapping[str, frozenset[str] | None] = field(init=False, repr=False)
    """Parameters that `fingerprint`, `validate` and `check_lazy` name; None when one takes any."""
    has_list_slot: bool = field(init=False, repr=False)
    id_in_key: bool = field(init=False, repr=False)
    plain_key: bool = field(init=False, repr=False)
    """The key holds class, version, constants and sources, nothing else."""
    plain_call: bool = field(init=False, repr=False)
    """The function takes one value per input, nothing else."""

    def __post_init__(self) -> None:
        id_in_key = self.not_idempotent or "UNIQUE_ID" in self.hidden.values()
        bare_call = not (self.input_is_list or self.wants_context or self.hidden or self.instance or self.is_async)
        derived: dict[str, Any] = {
            "by_name": {spec.name: spec for spec in self.inputs},
            "names": tuple(spec.name for spec in self.inputs),
            "lazy_names": frozenset(spec.name for spec in self.inputs if spec.lazy),
            "raw_names": frozenset(spec.name for spec in self.inputs if spec.raw_link),
            "hook_names": {hook: parameter_names(getattr(self, hook)) for hook in HOOKS},
            "has_list_slot": any(slot.is_list for slot in self.outputs),
            "id_in_key": id_in_key,
            "plain_key": self.cacheable and not id_in_key and self.fingerprint is None,
            "plain_call": bare_call and not any(spec.raw_link for spec in self.inputs),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def input(self, name: str) -> InputSpec | None:
        """Find a declared (or openly accepted) input; None when the class does not know the name."""
        found = self.by_name.get(name)
        return found if found is not None or self.open_input is None else self.open_input(name)


def parameter_names(function: Callable[..., Any] | None) -> frozenset[str] | None:
    """List the parameters a function names (none for None); None when it takes any keyword."""
    if function is None:
        return frozenset()
    parameters = inspect.signature(function).parameters
    return None if any(p.kind is p.VAR_KEYWORD for p in parameters.values()) else frozenset(parameters)
