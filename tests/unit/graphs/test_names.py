"""Finding what was meant."""

from graphs.names import did_you_mean, find_file, find_folded

FILES = ["SDXL/base.safetensors", "other.safetensors", "BASE.ckpt"]


def test_an_exact_name_beats_a_folded_one():
    assert find_folded("b", ["B", "b"]) == "b"
    assert find_folded("C", ["B", "c"]) == "c"


def test_a_file_is_found_by_path_by_name_and_by_stem():
    assert find_file("SDXL/base.safetensors", FILES) == "SDXL/base.safetensors"
    assert find_file("sdxl\\base.safetensors", FILES) == "SDXL/base.safetensors"
    assert find_file("base.safetensors", FILES) == "SDXL/base.safetensors"
    assert find_file("base.ckpt", FILES) == "BASE.ckpt"
    assert find_file("other", FILES) == "other.safetensors"
    assert find_file("absent", FILES) is None


def test_a_typing_error_gets_a_suggestion_and_nonsense_gets_none():
    assert did_you_mean("karas", ["karras", "normal"]) == " Did you mean 'karras'?"
    assert did_you_mean("zzz", ["karras", "normal"]) == ""


class Endless(str):
    """A name of megabytes."""

    def casefold(self) -> str:
        raise AssertionError("it was read whole")


def test_only_the_beginning_of_a_name_is_compared():
    assert did_you_mean(Endless("karas"), ["karras", "normal"]) == " Did you mean 'karras'?"
