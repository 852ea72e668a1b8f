"""Every field of every request struct, by its type: what is valid arrives, lenient spellings are read, others refused.

A value is followed from the wire through the neutral request into FooocusAPI's words (`contracts.fooocusapi.retold`),
where it has to stand again: translating and telling are checked against each other, field by field.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import pytest
from msgspec import inspect as types

from api import fields, forms
from api.contracts.fooocus_api import image_schemas as a
from api.contracts.fooocus_api import schemas, translate_images
from api.contracts.fooocusapi import translate as b
from api.contracts.fooocusapi.pictures import Pictures as Sent
from api.contracts.fooocusapi.retold import common_params
from api.contracts.fooocusapi.schemas import CommonRequest, Control, Tasks
from api.decode import decode
from api.effects import ABOUT, MASKING, PAINTING, PROMPTING, VARYING
from api.errors import InvalidRequest
from api.input_images import ReadImage
from api.settings import Settings
from graphs.request import GenerationRequest, InputImage

IMAGE = ReadImage(InputImage("a.png", 64, 32), True)
PROMPT = fields.ImagePrompt(cn_type="PyraCanny")
PICTURES = translate_images.Pictures(input=IMAGE, mask=IMAGE, enhance=IMAGE, prompts=[(PROMPT, IMAGE, (0.5, 0.6))])
Way = Sequence[str | int]
STAGE = {"enhance_enabled": True, "enhance_mask_model": "u2net"}
NUMBERED = {f"{name}_1": value for name, value in STAGE.items()}


class Room(NamedTuple):
    """A request struct, with what has to stand beside a field for it to count."""

    schema: type[msgspec.Struct]
    base: dict[str, Any]
    translate: Callable[..., GenerationRequest]
    is_form: bool = False


def of_a(translate: Callable[..., GenerationRequest]) -> Callable[[Any], GenerationRequest]:
    return lambda body: translate(body, PICTURES, Settings(), [], one_image=False)


def of_b(pictures: Sent) -> Callable[[Any], GenerationRequest]:
    return lambda body: b.to_generation(body, pictures, Settings(), [])


TEXT, VARY = of_a(translate_images.to_text_to_image), of_a(translate_images.to_upscale_vary)
PAINT, ENHANCE = of_a(translate_images.to_inpaint), of_a(translate_images.to_enhance)
STRONG, LEFT = {"uov_method": "Vary (Strong)"}, {"outpaint_selections": ["Left"]}
STAGED_B = {"enhance_checkbox": True, "enhance_ctrls": [STAGE]}
FREE_A, FREE_B = {"advanced_params": {"freeu_enabled": True}}, {"freeu_enabled": True}
PROMPTS = [(PROMPT, IMAGE)]
ROOMS: dict[str, Room] = {
    "A text": Room(schemas.TextToImage, FREE_A, TEXT),
    "A prompted": Room(a.Prompted, FREE_A, TEXT),
    "A vary": Room(a.UpscaleVary, STRONG | FREE_A, VARY),
    "A vary form": Room(a.UpscaleVaryForm, STRONG | FREE_A, VARY, True),
    "A inpaint": Room(a.Inpaint, LEFT | FREE_A, PAINT),
    "A inpaint form": Room(a.InpaintForm, LEFT | FREE_A, PAINT, True),
    "A prompted inpaint": Room(a.PromptedInpaint, LEFT | FREE_A, PAINT),
    "A prompt form": Room(a.PromptForm, LEFT | FREE_A, PAINT, True),
    "A enhance": Room(a.Enhance, FREE_A | {"enhance_ctrlnets": [STAGE]}, ENHANCE),
    "A enhance form": Room(a.EnhanceForm, FREE_A | NUMBERED, ENHANCE, True),
    "B vary": Room(CommonRequest, STRONG | FREE_B, of_b(Sent(uov=IMAGE))),
    "B prompted": Room(CommonRequest, FREE_B, of_b(Sent(prompts=PROMPTS))),
    "B inpaint": Room(CommonRequest, LEFT | FREE_B, of_b(Sent(inpaint=IMAGE, mask=IMAGE))),
    "B enhance": Room(CommonRequest, FREE_B | STAGED_B, of_b(Sent(enhance=IMAGE))),
}
OTHERS: dict[str, Room] = {  # nothing follows from them but an answer: only what they refuse is swept
    "generate_mask": Room(fields.GenerateMask, {}, TEXT),
    "describe": Room(fields.Describe, {}, TEXT),
    "query-job": Room(schemas.QueryJob, {"job_id": "x"}, TEXT),
    "job-history": Room(schemas.JobHistory, {}, TEXT),
    "tasks": Room(Tasks, {}, TEXT),
    "control": Room(Control, {"action": "stop"}, TEXT),
}
ACTS_IN = {VARYING: "vary", PAINTING: "inpaint", MASKING: "enhance", PROMPTING: "prompt"}
# Examples of what a type does not tell.
VALUES: dict[str, Any] = {
    "style_selections": ["SAI Anime", "Fooocus Sharp"],
    "aspect_ratios_selection": "256*192",
    "loras": [{"model_name": "sub/a.safetensors", "enabled": False, "weight": 1.5}],
    "refiner_swap_method": "separate",
    "freeu_enabled": False,
    "inpaint_engine": "v1",
    "enhance_inpaint_engine": "v1",
    "outpaint_selections": ["Top", "Right"],
    "outpaint_distance": [1, 2, 3, 4],
    "uov_method": "Vary (Subtle)",
    "enhance_uov_method": "Vary (Subtle)",
    "enhance_mask_model": "isnet-anime",
    "meta_scheme": "a1111",
    "metadata_scheme": "a1111",
}
# What the answer, the queue or a picture shows, and not the neutral request; or what is said to do nothing.
ELSEWHERE = {
    *("require_base64", "async_process", "webhook_url", "stream_output", "preset", "advanced_params", "current_tab"),
    *("input_image_checkbox", "inpaint_mask_upload_checkbox", "disable_intermediate_results", "enhance_checkbox"),
    *("mixing_image_prompt_and_vary_upscale", "mixing_image_prompt_and_inpaint", "image_prompts", "controlnet_image"),
    *("enhance_ctrlnets", "enhance_ctrls", "enhance_enabled"),
    *(f"cn_{word}{n}" for word in ("stop", "weight", "type") for n in range(1, 5)),
}
SIDES = ("left", "top", "right", "bottom")
B_NAMES = {
    **{"save_meta": "save_metadata_to_images", "meta_scheme": "metadata_scheme", "save_extension": "output_format"},
    "upscale_value": "upscale_multiple",
}


class Field(NamedTuple):
    """A field of a request, however deep. way: to it from the body. kind: its type, without what stands beside it."""

    name: str
    way: Way
    kind: types.Type
    default: Any


def bare(kind: types.Type) -> types.Type:
    """The type of a value that is given."""
    if isinstance(kind, types.UnionType):
        kind = next(each for each in kind.types if not isinstance(each, types.NoneType))
    return kind.type if isinstance(kind, types.Metadata) else kind


def fields_of(schema: type[msgspec.Struct], way: Way = ()) -> Iterator[Field]:
    """Every field but pictures; those of advanced_params and of the first stage too."""
    for field in types.type_info(schema).fields:  # type: ignore[attr-defined]
        kind = bare(field.type)
        if isinstance(kind, types.AnyType):
            continue
        yield Field(field.name, (*way, field.name), kind, field.default)
        if field.name == "advanced_params":
            yield from fields_of(schemas.AdvancedParams, ("advanced_params",))
        if field.name in ("enhance_ctrlnets", "enhance_ctrls"):
            yield from fields_of(fields.EnhanceStage, (field.name, 0))


def body_with(room: Room, way: Way, value: Any) -> Any:
    """The room's body with one value at its place; of a form, as text."""
    data = json.loads(json.dumps(room.base))
    place: Any = data
    for step, following in pairwise(way):
        if isinstance(place, dict):
            place.setdefault(step, [{}] if following == 0 else {})
        place = place[step]
    place[way[-1]] = value
    if not room.is_form:
        return data
    return forms.plain([item for name, each in data.items() for item in as_text(name, each)])


def as_text(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if name in forms.LISTS and isinstance(value, list):
        yield name, ", ".join(value)
    else:
        yield name, json.dumps(value) if isinstance(value, list | dict) else str(value)


def example(field: Field) -> Any:
    """A valid value that is not the default."""
    name = forms_name(field.name)
    if name in VALUES:
        return VALUES[name]
    match field.kind:
        case types.BoolType():
            return field.default is not True
        case types.LiteralType(values=words):
            return next(word for word in reversed(words) if word not in (field.default, "jpeg"))
        case types.IntType() | types.FloatType() as number:
            low, high = number.ge if number.ge is not None else 1, number.le if number.le is not None else 200
            found = round(low + (high - low) * 0.7, 3)
            return int(found) if isinstance(number, types.IntType) else float(found)
    return f"some {name}"


def forms_name(name: str) -> str:
    """A stage's field without its number; the only fields that end like this."""
    return name[:-2] if name.startswith("enhance_") and name[-2:] in ("_1", "_2", "_3") else name


def told(params: dict[str, Any], field: Field) -> Any:
    """What FooocusAPI's words say of a field."""
    name = forms_name(field.name)
    if name.startswith("outpaint_distance_"):
        return params["outpaint_distance"][SIDES.index(name.removeprefix("outpaint_distance_"))]
    if name in fields.EnhanceStage.__struct_fields__:
        return params["enhance_ctrls"][0][name]
    return params[B_NAMES.get(name, name)]


def counts_in(room_name: str, field: Field) -> bool:
    """Whether this room is one in which the field has a meaning that it tells."""
    name = forms_name(field.name)
    if name in ELSEWHERE or field.name.endswith(("_2", "_3")):
        return False
    if name == "invert_mask_checkbox" and room_name.startswith("B"):
        return False
    about = ACTS_IN.get(ABOUT.get(name, ""))
    if about is not None:
        return about in room_name
    if name.startswith(("outpaint_", "inpaint_")):
        return "inpaint" in room_name or "prompt form" in room_name
    if name.startswith(("enhance_", "save_final")):
        return "enhance" in room_name
    return not name.startswith(("uov_", "upscale_")) or "vary" in room_name


@pytest.mark.parametrize("room_name", ROOMS)
def test_every_valid_value_arrives(room_name):
    room = ROOMS[room_name]
    plain = common_params(room.translate(decode(room.schema, body_with(room, ("unknown",), 1))))
    followed = [field for field in fields_of(room.schema) if counts_in(room_name, field)]
    lost = []
    for field in followed:
        value = example(field)
        body = decode(room.schema, body_with(room, field.way, value))
        params = common_params(room.translate(body))
        before, after = told(plain, field), told(params, field)
        if before == value or after != value:
            lost.append(f"{field.way}: {value!r} made {after!r} of {before!r}")
    assert lost == []
    assert len(followed) >= 30


def wrong(field: Field) -> Iterator[tuple[Any, str]]:
    """Values that a field cannot have, and the type of the fault."""
    match field.kind:
        case types.BoolType():
            yield from (("maybe", "bool_parsing"), ({}, "bool_type"))
        case types.LiteralType():
            yield from (("nonsense", "enum"), (5, "enum"))
        case types.IntType() | types.FloatType() as number:
            kind = "int" if isinstance(number, types.IntType) else "float"
            yield from (("x", f"{kind}_parsing"), ({}, f"{kind}_type"))
            if kind == "int":
                yield 2.5, "int_from_float"
            else:
                yield "nan", "finite_number"
            if number.ge is not None:
                yield number.ge - 1, "greater_than_equal"
            if number.le is not None:
                yield number.le + 1, "less_than_equal"
        case types.StrType():
            yield from ((5, "string_type"), ([], "string_type"))
        case types.ListType():
            yield from ((5, "list_type"), ({}, "list_type"))


def fault_of(room: Room, field: Field, value: Any) -> Any:
    """Place and type of the one fault of a body."""
    try:
        decode(room.schema, body_with(room, field.way, value))
    except InvalidRequest as refused:
        (fault,) = refused.faults
        return fault.loc, fault.type
    return "it was taken"


@pytest.mark.parametrize("room_name", [name for name in ROOMS | OTHERS if not (ROOMS | OTHERS)[name].is_form])
def test_every_wrong_value_is_refused_at_its_place(room_name):
    room = (ROOMS | OTHERS)[room_name]
    for field in fields_of(room.schema):
        for value, kind in wrong(field):
            assert fault_of(room, field, value) == (("body", *field.way), kind), value


@pytest.mark.parametrize("room_name", [name for name in ROOMS if ROOMS[name].is_form])
def test_every_wrong_text_of_a_form_is_refused_at_its_place(room_name):
    room = ROOMS[room_name]
    for field in fields_of(room.schema):
        if isinstance(field.kind, types.StrType | types.ListType):
            continue  # any text is text, and lists of names are texts with commas
        for value, kind in wrong(field):
            if isinstance(value, dict):
                continue
            expected = "int_parsing" if kind == "int_from_float" and len(field.way) == 1 else kind
            assert fault_of(room, field, value) == (("body", *field.way), expected), value


@pytest.mark.parametrize("room_name", ROOMS)
def test_null_and_in_forms_nothing_mean_not_given(room_name):
    room = ROOMS[room_name]
    plain = decode(room.schema, body_with(room, ("unknown",), 1))
    for field in fields_of(room.schema):
        if room.is_form and (len(field.way) > 1 or field.name in forms.LISTS):
            continue
        if stands_in(room.base, field.way) or field.way[0] in ("enhance_ctrlnets", "enhance_ctrls"):
            continue  # taken away, or with a stage more, it would not be what the room starts from
        nothing = "" if room.is_form else None
        given = decode(room.schema, body_with(room, field.way, nothing))
        if field.name.startswith(("cn_stop", "cn_weight")) and not room.is_form:
            continue  # null is a word of its own there
        assert given == plain, field.way


def stands_in(base: Any, way: Way) -> bool:
    return way[0] in base and (len(way) == 1 or stands_in(base[way[0]], way[1:]))


@pytest.mark.parametrize("room_name", ["A vary", "A inpaint form", "A enhance form", "B inpaint"])
def test_lenient_spellings_are_the_same_values(room_name):
    room = ROOMS[room_name]
    for field in fields_of(room.schema):
        value = example(field)
        match field.kind:
            case types.BoolType():
                spellings = [str(value), str(value).upper(), "yes" if value else "no", int(value), str(int(value))]
            case types.IntType():
                spellings = [str(value), float(value), f"{value}.0", f" {value} "]
            case types.FloatType():
                spellings = [str(value), f" {value} "]
            case types.LiteralType():
                spellings = [value.upper(), f" {value.lower()} "]
            case _:
                continue
        wanted = decode(room.schema, body_with(room, field.way, value))
        for spelling in spellings:
            assert decode(room.schema, body_with(room, field.way, spelling)) == wanted, (field.way, spelling)


DOORS = {
    "A inpaint": "/v2/generation/image-inpaint-outpaint",
    "A inpaint form": "/v1/generation/image-inpaint-outpaint",
    "A enhance form": "/v1/generation/image-enhance",
    "B inpaint": "/v1/engine/generate/",
}


@pytest.mark.parametrize("room_name", DOORS)
def test_all_fields_wrong_at_once_are_all_named_over_http(client, room_name):
    room = ROOMS[room_name]
    texts = (types.StrType, types.ListType)
    fields_there = [each for each in fields_of(room.schema) if each.name != "advanced_params"]
    chosen = [each for each in fields_there if not (room.is_form and isinstance(each.kind, texts))]
    chosen = [each for each in chosen if each.way[0] not in ("image_prompts", "enhance_ctrls", "controlnet_image")]
    data: dict[str, Any] = {}
    for field in chosen:
        place = data.setdefault("advanced_params", {}) if field.way[0] == "advanced_params" else data
        place[field.name] = next(wrong(field))[0]
    if room.is_form:
        sent = {name: text for each, value in data.items() for name, text in as_text(each, value)}
        reply = client.post(DOORS[room_name], data=sent, files={"unknown": b"x"})
    else:
        reply = client.post(DOORS[room_name], json=data)
    assert reply.status_code == 422
    named = {tuple(fault["loc"][1:]) for fault in reply.json()["detail"]}
    assert named == {field.way for field in chosen}
