"""Erasing one participant from the texts of others: what counts as quoted, and what stays."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from pdsapp.domain.erasure import ERASED, eraser_of

SAID = datetime(2026, 11, 3, 9, tzinfo=UTC)
LATER, EARLIER = SAID + timedelta(hours=1), SAID - timedelta(hours=1)
TEXT = "My sister lost her job at the harbour in May, and nobody at the office will say why."


def erased(text, at=LATER, said=(TEXT,), names=(), **options):
    return eraser_of([(SAID, each) for each in said], names, "withdrawn_1", **options).text(text, at)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        pytest.param("“lost her job at the harbour” – so sad", f"“{ERASED}” – so sad", id="inside"),
        pytest.param("She LOST  her\njob at The harbour!", f"She {ERASED}!", id="case and spaces"),
        pytest.param("lost, her: job; at - the", ERASED, id="punctuation between"),
        pytest.param(TEXT, f"{ERASED}.", id="the whole text"),
        pytest.param(
            "lost her job at the quay, nobody at the office will say",
            f"{ERASED} quay, {ERASED}",
            id="two quotations",
        ),
        pytest.param("lost her job at sea", "lost her job at sea", id="four words are nobody's"),
        pytest.param("Bread is dear.", "Bread is dear.", id="something else"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_five_words_in_a_row_are_a_quotation(text, left):
    assert erased(text) == left


def test_what_was_said_before_quotes_nobody():
    assert erased("lost her job at the harbour", EARLIER) == "lost her job at the harbour"
    assert erased("lost her job at the harbour", SAID) == ERASED


def test_the_first_time_counts_of_what_somebody_said_twice():
    eraser = eraser_of([(LATER, TEXT), (SAID, TEXT)], (), "withdrawn_1")
    assert eraser.text("lost her job at the harbour", SAID + timedelta(minutes=1)) == ERASED


def test_a_text_of_three_words_counts_as_a_whole():
    assert (
        erased("He said: harbour is closed. Well.", said=["Harbour is closed"]) == f"He said: {ERASED}. Well."
    )
    assert erased("Yes, agreed. Thanks.", said=["Yes, agreed"]) == "Yes, agreed. Thanks."


@pytest.mark.parametrize(
    ("said", "text", "left"),
    [
        pytest.param(
            "我妹妹五月在港口丢了工作", "听说我妹妹五月在港口丢了工作。", f"听说{ERASED}。", id="Chinese"
        ),
        pytest.param("我妹妹五月在港口丢了工作", "我在港口工作", "我在港口工作", id="few characters"),
        pytest.param(
            "मेरी बहन की नौकरी चली गई", "सुना मेरी बहन की नौकरी चली", f"सुना {ERASED}", id="Hindi"
        ),
        pytest.param("मेरी बहन की नौकरी", "मेरी बहन", "मेरी बहन", id="two words of Hindi"),
        pytest.param(
            "Ma sœur a été licenciée", "ma sœur a e\u0301te\u0301 licencie\u0301e", ERASED, id="decomposed"
        ),
        pytest.param("I don’t think that’s fair", "I don't think that's fair", ERASED, id="apostrophes"),
        pytest.param(
            "one two three four five", "one two th\u200bree four five", ERASED, id="a character nobody sees"
        ),
    ],
)  # fmt: skip
def test_other_scripts(said, text, left):
    assert erased(text, said=[said]) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        pytest.param("@anna_k, I agree", "@withdrawn_1, I agree", id="mentioned"),
        pytest.param("Anna_K is right", "withdrawn_1 is right", id="any case"),
        pytest.param("Anna Keller’s point", "withdrawn_1’s point", id="display name"),
        pytest.param("Anna\n Keller", "withdrawn_1", id="over two lines"),
        pytest.param("@anna_kim and banna_k", "@anna_kim and banna_k", id="parts of other names"),
        pytest.param("Anna", "Anna", id="not a name that was given"),
    ],
)
def test_names_become_the_pseudonym(text, left):
    assert erased(text, EARLIER, names=["anna_k", "Anna Keller"]) == left


def test_a_name_that_is_a_word_can_be_erased_where_it_is_mentioned_only():
    assert (
        erased("@sky: the sky is blue", names=["sky"], only_mentions=True) == "@withdrawn_1: the sky is blue"
    )
    assert erased("@al likes al dente", names=["al"]) == "@withdrawn_1 likes al dente"


def test_data_is_erased_at_every_depth():
    eraser = eraser_of([(SAID, TEXT)], ["anna_k"], "withdrawn_1")
    value = {"@anna_k": [1, None, {"words": "lost her job at the harbour"}], "n": 2.5, "ok": True}
    assert eraser.data(value, LATER) == {"@withdrawn_1": [1, None, {"words": ERASED}], "n": 2.5, "ok": True}


def test_a_text_without_anything_of_theirs_is_the_same_object():
    text = "Rain over the river again, and nobody brought the right shoes for it."
    assert eraser_of([(SAID, TEXT)], ["anna_k"], "x").text(text, LATER) is text


def test_hostile_names_are_words_and_not_patterns():
    assert erased("a.*b aXXb", names=["a.*b"]) == "withdrawn_1 aXXb"
    assert erased("anything", names=["", "  ", "@"]) == "anything"


@pytest.mark.parametrize(
    ("names", "text", "left"),
    [
        pytest.param(["anna_k"], "_anna_k_ said", "_withdrawn_1_ said", id="stressed with underscores"),
        pytest.param(["anna_k"], "@anna_k_2, x_anna_k", "@anna_k_2, x_anna_k", id="somebody else"),
        pytest.param(["anna_k"], "hi@anna_k!", "hi@withdrawn_1!", id="a mention glued to a word"),
        pytest.param(
            ["anna_k"],
            "#anna_k https://x.org/anna_k?a",
            "#withdrawn_1 https://x.org/withdrawn_1?a",
            id="in links",
        ),
        pytest.param(["anna_k"], "an\u200bna\u00ad_k", "withdrawn_1", id="characters nobody sees"),
        pytest.param(["anna_k"], "ＡＮＮＡ＿Ｋ", "withdrawn_1", id="wide letters"),
        pytest.param(
            ["Anna O'Neill"], "Anna O’Neill and ANNA OʼNEILL", "withdrawn_1 and withdrawn_1", id="apostrophes"
        ),
        pytest.param(["Jean-Luc"], "Jean‑Luc", "withdrawn_1", id="a hyphen that does not break"),
        pytest.param(["Weiß"], "WEISS", "withdrawn_1", id="sharp s"),
        pytest.param(
            ["İpek Işık"], "ipek ışık, İPEK IŞIK", "withdrawn_1, withdrawn_1", id="dotted and dotless"
        ),
        pytest.param(
            ["Renée Müller"],
            "Renee Muller; Rene\u0301e Mu\u0308ller",
            "withdrawn_1; withdrawn_1",
            id="accents left out",
        ),
        pytest.param(["René"], "Rene\u0301!", "withdrawn_1!", id="an accent at the end"),
        pytest.param(["田中角栄"], "昨日田中角栄さんは", "昨日withdrawn_1さんは", id="Japanese"),
        pytest.param(
            ["Zoë Ø"], "“Zo\\u00eb Ø” and Zo&euml; &Oslash;", "“withdrawn_1” and withdrawn_1", id="escaped"
        ),
        pytest.param(["Anna Keller"], "#AnnaKeller @annakeller", "#withdrawn_1 @withdrawn_1", id="as a tag"),
        pytest.param(["Ann A"], "Anna and #Annab", "Anna and #Annab", id="other words than the tag"),
        pytest.param(
            ["Zoë Keller"],
            "x.org/zoe-keller x.org/?q=Zo%C3%AB%20Keller",
            "x.org/withdrawn_1 x.org/?q=withdrawn_1",
            id="in addresses",
        ),
        pytest.param(["erased", "Anna"], "Anna: [erased]", "withdrawn_1: [erased]", id="called erased"),
    ],
)
def test_a_name_is_found_however_it_is_written(names, text, left):
    assert erased(text, EARLIER, names=names) == left


@pytest.mark.parametrize(
    ("said", "text", "left"),
    [
        pytest.param("Harbour is closed", "He: _Harbour is closed_", f"He: _{ERASED}_", id="stressed"),
        pytest.param(
            "I don’t think that’s fair", "I don&#39;t think that&#x27;s fair.", f"{ERASED}.", id="HTML"
        ),
        pytest.param(
            "Ma sœur a été licenciée", "Ma s\\u0153ur a \\u00e9t\\u00e9 licenci\\u00e9e", ERASED, id="JSON"
        ),
        pytest.param(
            "我丢了港口工作", "她说我丢了港口工作。", f"她说{ERASED}。", id="a whole text of seven characters"
        ),
        pytest.param("我丢了工作", "我丢了工作", "我丢了工作", id="too few characters"),
    ],
)
def test_a_quotation_is_found_however_it_is_written(said, text, left):
    assert erased(text, said=[said]) == left


def test_texts_with_escapes_of_others_stay_as_they_are():
    text = "Salt &amp; pepper, \\u00e9, \\ud83d"
    assert eraser_of([(SAID, TEXT)], ["anna_k"], "x").text(text, LATER) is text
    assert erased("anna_k \\ud83d\\ude00 and \\u0061nna_k \\ud83d", names=["anna_k"]).isprintable()


def test_json_that_is_kept_as_a_text_stays_json():
    eraser = eraser_of([(SAID, "Ma sœur a été licenciée")], ["Zoë", "title"], "withdrawn_1")
    value = {"title": "Zoë: « Ma sœur a été licenciée »", "n": 1}
    text = eraser.json_text(json.dumps(value), LATER)
    assert text.isascii() and json.loads(text) == {"title": f"withdrawn_1: « {ERASED} »", "n": 1}
    unchanged = '{"n":  1}'
    assert eraser.json_text(unchanged, LATER) is unchanged
    assert eraser.json_text("{Zoë", LATER) == "{withdrawn_1"


def test_somebody_called_like_a_field_renames_no_field():
    eraser = eraser_of([], ["what", "bands"], "withdrawn_1")
    assert eraser.data({"what": "feed of what", "bands": []}, LATER) == {
        "what": "feed of withdrawn_1", "bands": [],
    }  # fmt: skip


def test_hostile_texts_and_names_take_no_time():
    names = [f"{'a' * 78}{number:02}" for number in range(10)] + [" ".join(["a"] * 40)] * 10
    began = time.perf_counter()
    eraser = eraser_of([(SAID, "a" * 2000), (SAID, "a " * 1000)], names, "withdrawn_1")
    for text in (
        "a" * 2000,
        "a " * 1000,
        "a_" * 1000,
        "@" * 2000,
        "é" * 2000,
        "\u200b" * 2000,
        "a\u0301 " * 700,
    ):
        eraser.text(text, LATER)
    assert time.perf_counter() - began < 2
