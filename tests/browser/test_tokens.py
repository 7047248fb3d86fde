"""The form of an API token with its script: presets fill it in, and what is asked shows while one types."""

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.stack]


def test_a_preset_fills_in_the_address_and_the_key_is_asked_for_next(page, studio):
    page.goto("/admin/apitoken/new/")
    page.get_by_role("button", name="Use OpenRouter").click()
    expect(page.locator("#base_url")).to_have_value("https://openrouter.ai/api/v1")
    expect(page.locator("#secret")).to_be_focused()
    expect(page.locator("#effect")).to_contain_text("https://openrouter.ai/api/v1/chat/completions")
    expect(page.locator("#effect")).to_contain_text("OpenRouter asks for a key.")
    page.get_by_role("button", name="Use Ollama").click()
    expect(page.locator("#default_model")).to_be_focused()
    expect(page.locator("#effect")).not_to_contain_text("asks for a key")


def test_a_typed_address_is_shown_in_its_one_spelling_and_a_wrong_one_with_what_to_do(page, studio):
    page.goto("/admin/apitoken/new/")
    page.locator("#base_url").fill("HTTPS://Api.Example.org/v1/models/")
    expect(page.locator("#effect")).to_contain_text("https://api.example.org/v1/chat/completions")
    page.locator("#base_url").fill("http://8.8.8.8/v1")
    expect(page.locator("#effect")).to_contain_text("PDS_LLM_ALLOWED_HOSTS")


@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
def test_after_a_test_the_model_field_proposes_what_the_endpoint_offers(page, studio, lab, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.goto("/admin/apitoken/")
    page.locator("table.rows").get_by_role("link", name=studio.token, exact=True).click()
    page.get_by_role("button", name="Test", exact=True).click()
    expect(page.get_by_text("The endpoint answers with this token.")).to_be_visible()
    page.get_by_role("link", name="Edit", exact=True).click()
    offered = page.locator("#default_model").evaluate("field => [...field.list.options].map((o) => o.value)")
    assert offered == list(lab.models)
