"""Where well-known endpoints are, and whether they ask for a key: what the form of a token offers."""

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Preset:
    """One kind of endpoint. `key` is a name in KEY_WORDS; `base_url` "" is for any other."""

    name: str
    base_url: str
    key: str
    model: str
    note: str = ""


KEY_WORDS = {
    "needed": "needed",
    "none": "none",
    "optional": "if started with one",
    "unknown": "if it asks for one",
}
PRESETS = (
    Preset("OpenAI", "https://api.openai.com/v1", "needed", "gpt-4o-mini"),
    Preset("OpenRouter", "https://openrouter.ai/api/v1", "needed", "meta-llama/llama-3.1-8b-instruct"),
    Preset("Ollama", "http://127.0.0.1:11434/v1", "none", "llama3.1"),
    Preset(
        "vLLM", "http://127.0.0.1:8000/v1", "optional", "the model it serves",
        "This product likes port 8000 too: start one of them on another.",
    ),
    Preset("llama.cpp server", "http://127.0.0.1:8080/v1", "optional", "any name"),
    Preset("LiteLLM", "http://127.0.0.1:4000/v1", "optional", "a name of its model_list"),
    Preset("other", "", "unknown", "as its documents say", "Its address up to and with /v1."),
)  # fmt: skip


def preset_of(base_url: str) -> Preset | None:
    """The preset with this address, path apart; None for an address that is nobody's."""
    parts = urlsplit(base_url)
    same = (preset for preset in PRESETS if preset.base_url and _place(preset.base_url) == parts[:2])
    return next(same, None)


def _place(base_url: str) -> tuple[str, str]:
    return urlsplit(base_url)[:2]
