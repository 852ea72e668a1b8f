"""Residency: loading once, budget, eviction order, LoRA merge and bit-equal restore."""

import threading
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from models.errors import OutOfMemory
from models.memory import Level, Loader, Residency, Resident

WEIGHT_BYTES = 64 * 64 * 4


@dataclass(frozen=True)
class Sizes:
    layers: int


class Stack(nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        self.sizes = Sizes(layers)
        self.layers = nn.ModuleList(nn.Linear(64, 64, bias=False) for _ in range(layers))


@dataclass(frozen=True)
class Add:
    value: float

    def __call__(self, weight: Tensor, base: Tensor, strength: float) -> Tensor:
        return weight + strength * self.value


@dataclass(frozen=True)
class FakePatch:
    """Adds a number to some layers."""

    key: Hashable
    strength: float
    values: tuple[tuple[str, float], ...]

    def deltas(self, part: str) -> Mapping[str, Add]:
        return {name: Add(value) for name, value in self.values} if part == "unet" else {}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def stack(residency: Residency, key: str, layers: int = 1, load_s: float = 1.0, clock: Clock | None = None) -> Resident:
    def fill(module: nn.Module) -> None:
        generator = torch.Generator().manual_seed(hash(key) % 1000)
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        if clock:
            clock.now += load_s

    return residency.load(key, Loader("unet", lambda: Stack(layers), fill))


def touch(*residents: Resident) -> None:
    for resident in residents:
        with resident.use():
            pass


def values(resident: Resident, *loras: FakePatch) -> list[Tensor]:
    with resident.use(loras) as module:
        return [parameter.clone() for parameter in module.parameters()]


def test_a_model_is_read_at_its_first_use_and_only_once() -> None:
    residency = Residency()
    resident = stack(residency, "a")
    assert (resident.loads, resident.level) == (0, Level.FILE)
    touch(resident, resident, stack(residency, "a"))
    assert stack(residency, "a") is resident
    assert (resident.loads, resident.level) == (1, Level.DEVICE)


def test_weights_stay_within_the_budget() -> None:
    residency = Residency(budget_bytes=3 * WEIGHT_BYTES)
    residents = [stack(residency, name) for name in "abcde"]
    for resident in residents:
        touch(resident)
        assert residency.bytes_at(Level.DEVICE) <= residency.budget_bytes
    assert residency.bytes_at(Level.DEVICE) == 3 * WEIGHT_BYTES


def test_evicted_model_is_read_again_with_the_same_weights() -> None:
    residency = Residency(budget_bytes=WEIGHT_BYTES)
    first, second = stack(residency, "a"), stack(residency, "b")
    before = values(first)
    touch(second)
    assert first.level is Level.FILE
    assert torch.equal(values(first)[0], before[0])
    assert first.loads == 2


def test_least_valuable_goes_first_cheap_to_reload_before_dear_ones() -> None:
    clock = Clock()
    residency = Residency(budget_bytes=2 * WEIGHT_BYTES, clock=clock)
    dear = stack(residency, "dear", load_s=100, clock=clock)
    cheap = stack(residency, "cheap", load_s=1, clock=clock)
    touch(dear, cheap)
    touch(stack(residency, "new", clock=clock))
    assert (dear.level, cheap.level) == (Level.DEVICE, Level.FILE)


def test_of_equally_dear_models_the_one_unused_longest_goes_first() -> None:
    clock = Clock()
    residency = Residency(budget_bytes=2 * WEIGHT_BYTES, clock=clock)
    old, recent = stack(residency, "old", clock=clock), stack(residency, "recent", clock=clock)
    touch(old, recent)
    clock.now += 100
    touch(old)
    touch(stack(residency, "new", clock=clock))
    assert (old.level, recent.level) == (Level.DEVICE, Level.FILE)


def test_model_in_use_is_never_evicted() -> None:
    residency = Residency(budget_bytes=WEIGHT_BYTES)
    held, other = stack(residency, "held"), stack(residency, "other")
    with held.use() as module:
        before = module.layers[0].weight.clone()
        touch(other)
        assert torch.equal(module.layers[0].weight, before)
        assert held.level is Level.DEVICE


def test_room_is_made_for_working_memory_too() -> None:
    residency = Residency(budget_bytes=3 * WEIGHT_BYTES)
    idle, busy = stack(residency, "idle"), stack(residency, "busy")
    touch(idle)
    with busy.use(working_bytes=2 * WEIGHT_BYTES):
        assert idle.level is Level.FILE


def test_model_larger_than_the_budget_is_refused_in_words() -> None:
    with pytest.raises(OutOfMemory, match="memory budget"):
        touch(stack(Residency(budget_bytes=WEIGHT_BYTES), "big", layers=4))


def test_model_that_fits_only_in_half_precision_is_used_in_it() -> None:
    resident = stack(Residency(budget_bytes=WEIGHT_BYTES), "big", layers=2)
    assert [weight.dtype for weight in values(resident)] == [torch.bfloat16, torch.bfloat16]
    assert resident.bytes == WEIGHT_BYTES


def test_failed_load_leaves_nothing_behind_and_may_be_tried_again() -> None:
    residency = Residency()
    attempts: list[int] = []

    def fill(module: nn.Module) -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise ValueError("damaged")

    resident = residency.load("a", Loader("unet", lambda: Stack(1), fill))
    with pytest.raises(ValueError, match="damaged"):
        touch(resident)
    assert residency.bytes_at(Level.DEVICE) == 0
    touch(resident)
    assert resident.level is Level.DEVICE


def test_lora_is_merged_while_asked_for_and_restored_bit_for_bit() -> None:
    resident = stack(Residency(), "a", layers=2)
    lora = FakePatch("x", 0.3, (("layers.0.weight", 0.1),))
    base = values(resident)
    merged = values(resident, lora)
    torch.testing.assert_close(merged[0], base[0] + 0.03)
    assert torch.equal(merged[1], base[1])
    assert all(torch.equal(now, before) for now, before in zip(values(resident), base, strict=True))
    assert resident.bytes == 2 * WEIGHT_BYTES


def test_order_strength_and_set_of_loras_never_leave_a_trace() -> None:
    resident = stack(Residency(), "a", layers=3)
    base = values(resident)
    one = FakePatch("one", 0.7, (("layers.0.weight", 0.1), ("layers.1.weight", 1e3)))
    two = FakePatch("two", -2.0, (("layers.1.weight", 1e-3), ("layers.2.weight", 5.0)))
    fresh = {
        loras: values(stack(Residency(), "a", layers=3), *loras) for loras in ((one,), (two,), (one, two), (two, one))
    }
    for loras in [(one,), (one, two), (two,), (two, one), (), (one, two), (one,), ()]:
        expected = fresh.get(loras, base)
        assert all(torch.equal(a, b) for a, b in zip(values(resident, *loras), expected, strict=True))


def test_switching_loras_writes_only_the_weights_that_differ() -> None:
    resident = stack(Residency(), "a", layers=3)
    shared = FakePatch("shared", 1.0, (("layers.0.weight", 1.0),))
    style = FakePatch("style", 1.0, (("layers.1.weight", 1.0),))
    merge = resident._merge
    with resident.use() as module:
        assert merge.switch(module, [shared]) == 1
        assert merge.switch(module, [shared, style]) == 1
        assert merge.switch(module, [shared, style]) == 0
        assert merge.switch(module, [shared]) == 1
        assert merge.switch(module, []) == 1
    assert merge.bytes == 0


def test_module_loaded_in_inference_mode_can_be_patched_outside_of_it() -> None:
    resident = stack(Residency(), "a")
    lora = FakePatch("x", 1.0, (("layers.0.weight", 1.0),))
    with torch.inference_mode():
        base = values(resident)[0]
    torch.testing.assert_close(values(resident, lora)[0], base + 1)
    with torch.inference_mode():
        assert torch.equal(values(resident)[0], base)


def test_lora_of_strength_zero_changes_nothing() -> None:
    resident = stack(Residency(), "a")
    base = values(resident)
    assert torch.equal(values(resident, FakePatch("x", 0.0, (("layers.0.weight", 1.0),)))[0], base[0])
    assert resident.bytes == WEIGHT_BYTES


def test_base_copies_count_towards_the_budget() -> None:
    residency = Residency(budget_bytes=2 * WEIGHT_BYTES)
    idle, patched = stack(residency, "idle"), stack(residency, "patched")
    touch(idle)
    values(patched, FakePatch("x", 1.0, (("layers.0.weight", 1.0),)))
    assert idle.level is Level.FILE
    assert residency.bytes_at(Level.DEVICE) == 2 * WEIGHT_BYTES


def test_thread_with_other_loras_waits_until_the_module_is_free() -> None:
    resident = stack(Residency(), "a")
    lora = FakePatch("x", 1.0, (("layers.0.weight", 1.0),))
    base = values(resident)[0]
    seen: list[Tensor] = []
    other = threading.Thread(target=lambda: seen.append(values(resident, lora)[0]))
    with resident.use() as module:
        other.start()
        other.join(timeout=0.2)
        assert other.is_alive()
        assert torch.equal(module.layers[0].weight, base)
    other.join(timeout=5)
    torch.testing.assert_close(seen[0], base + 1)


def test_threads_with_the_same_loras_share_the_module() -> None:
    resident = stack(Residency(), "a")
    done = threading.Event()
    with resident.use():
        thread = threading.Thread(target=lambda: (touch(resident), done.set()))
        thread.start()
        assert done.wait(timeout=5)
    thread.join()


def test_asking_for_other_loras_inside_a_use_is_an_error_not_a_deadlock() -> None:
    resident = stack(Residency(), "a")
    with resident.use(), pytest.raises(RuntimeError, match="other LoRAs"):
        values(resident, FakePatch("x", 1.0, (("layers.0.weight", 1.0),)))


def test_evicted_models_stay_in_main_memory_within_their_own_budget() -> None:
    residency = Residency(budget_bytes=WEIGHT_BYTES, host_budget_bytes=2 * WEIGHT_BYTES)
    residents = [stack(residency, name) for name in "abcd"]
    before = [values(resident)[0] for resident in residents]
    assert [resident.level for resident in residents] == [Level.FILE, Level.HOST, Level.HOST, Level.DEVICE]
    assert residency.bytes_at(Level.HOST) == 2 * WEIGHT_BYTES
    assert torch.equal(values(residents[1])[0], before[1])
    assert residents[1].loads == 1


def test_offloaded_model_carries_no_lora() -> None:
    residency = Residency(budget_bytes=2 * WEIGHT_BYTES, host_budget_bytes=WEIGHT_BYTES)
    patched = stack(residency, "patched")
    base = values(patched)[0]
    values(patched, FakePatch("x", 1.0, (("layers.0.weight", 1.0),)))
    touch(stack(residency, "other"))
    assert (patched.level, patched.bytes) == (Level.HOST, WEIGHT_BYTES)
    assert torch.equal(values(patched)[0], base)


def test_free_drops_everything_idle() -> None:
    residency = Residency()
    idle, held = stack(residency, "idle"), stack(residency, "held")
    touch(idle)
    with held.use():
        residency.free()
        assert (idle.level, held.level) == (Level.FILE, Level.DEVICE)
    residency.free()
    assert residency.bytes_at(Level.DEVICE) == 0
