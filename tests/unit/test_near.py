"""Names somebody may have meant, and the endpoints people know by name."""

import pytest

from pdsapp.domain.near import near_names
from pdsapp.llm.endpoint import normalize_base_url
from pdsapp.llm.presets import PRESETS, preset_of

NAMES = ("openai/gpt-4o", "openai/gpt-4o-mini", "meta-llama/llama-3.1-8b-instruct", "llama3.1:8b", "mistral")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("gpt-4o", ("openai/gpt-4o", "openai/gpt-4o-mini")),
        ("GPT-4O-mini", ("openai/gpt-4o-mini",)),
        ("vendor/gpt-4o", ("openai/gpt-4o", "openai/gpt-4o-mini")),
        ("llama3.1", ("llama3.1:8b",)),
        ("mistrall", ("mistral",)),
        ("qqqq", ()),
        ("", ()),
        ("  ", ()),
    ],
)
def test_near_names_are_those_of_another_maker_those_that_hold_it_and_slips(wanted, found):
    assert near_names(wanted, NAMES)[: len(found) or None] == found


def test_a_long_list_gives_a_few_names_only():
    assert len(near_names("model", [f"model-{number}" for number in range(2000)])) == 3
    assert near_names("model", ["model-1", "model-2"], most=1) == ("model-1",)


@pytest.mark.parametrize("preset", [each for each in PRESETS if each.base_url], ids=lambda each: each.name)
def test_presets_are_in_their_one_spelling_and_known_again_by_it(preset):
    assert normalize_base_url(preset.base_url) == preset.base_url
    assert preset_of(preset.base_url) == preset
    assert preset.key in ("needed", "none", "optional")


def test_an_address_of_nobody_known_is_no_preset():
    assert preset_of("https://llm.example.org/v1") is None
    assert preset_of("http://api.openai.com/v1") is None, "http is not where OpenAI is"
