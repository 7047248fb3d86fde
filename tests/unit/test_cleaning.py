"""What is taken off a model's text before it is a post, and what must stay."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdsapp.domain.cleaning import MAX_DRAFT_LENGTH, clean, is_refusal

NAMES = ("marta_k", "Marta Kowalska")
POST = "The 14 tram was late again, so I walked along the river. No regrets."

TAKEN_OFF = {
    "straight quotes": (f'"{POST}"', POST),
    "single quotes": (f"'{POST}'", POST),
    "curly quotes": (f"“{POST}”", POST),
    "curly quotes facing one way": (f"”{POST}”", POST),
    "single curly quotes": (f"‘{POST}’", POST),
    "German quotes": (f"„{POST}“", POST),
    "French quotes with narrow spaces": (f"«\u202f{POST}\u202f»", POST),
    "German guillemets": (f"»{POST}«", POST),
    "Japanese quotes": ("「雨の日は静かでいいですね。」", "雨の日は静かでいいですね。"),
    "quotes in quotes": (f'"“{POST}”"', POST),
    "quotes around quotes inside": ('"He said "no" and left."', 'He said "no" and left.'),
    "escaped inner quotes": ('"He said \\"no\\" and left."', 'He said "no" and left.'),
    "backticks": (f"`{POST}`", POST),
    "code fence": (f"```\n{POST}\n```", POST),
    "code fence with a language": (f"```text\n{POST}\n```", POST),
    "tilde fence": (f"~~~\n{POST}\n~~~", POST),
    "code fence never closed": (f"```\n{POST}", POST),
    "code fence only closed": (f"{POST}\n```", POST),
    "bold": (f"**{POST}**", POST),
    "bold underscores": (f"__{POST}__", POST),
    "italics": (f"*{POST}*", POST),
    "bold italics in quotes": (f'"***{POST}***"', POST),
    "quoted lines": (f"> {POST}\n> Again.", f"{POST}\nAgain."),
    "post label": (f"Post: {POST}", POST),
    "tweet label": (f"Tweet: {POST}", POST),
    "bold label, colon inside": (f"**Post:** {POST}", POST),
    "bold label, colon outside": (f"**Post**: {POST}", POST),
    "label as a heading": (f"## Post\n\n{POST}", POST),
    "numbered label": (f"Post 1: {POST}", POST),
    "label with a count": (f"Post (68 characters): {POST}", POST),
    "label in brackets": (f"[Post] {POST}", POST),
    "revised post": (f"Revised post: {POST}", POST),
    "rewritten": (f"Rewritten: {POST}", POST),
    "shorter version": (f"Shorter version: {POST}", POST),
    "vague label on its own line": (f"Response:\n{POST}", POST),
    "bold vague label": (f"**Answer:** {POST}", POST),
    "German label": (f"Beitrag: {POST}", POST),
    "own handle": (f"@marta_k: {POST}", POST),
    "own handle without the sign": (f"marta_k: {POST}", POST),
    "own display name": (f"Marta Kowalska: {POST}", POST),
    "own name in bold": (f"**@marta_k:** {POST}", POST),
    "own handle on its own line": (f"@marta_k\n{POST}", POST),
    "the feed's own line continued": (f"[11] @marta_k (just now): {POST}", POST),
    "the feed's mark for own posts": (f"[11] @marta_k, you wrote (just now): {POST}", POST),
    "sure, here is a post": (f"Sure! Here is a post: {POST}", POST),
    "here's a post": (f"Here's a post: {POST}", POST),
    "typographic apostrophe": (f"Here’s your post:\n\n{POST}", POST),
    "somebody's voice": (f"Certainly! Here is a short post in Marta's voice:\n\n{POST}", POST),
    "a length in the preamble": (f"Here's a tweet within 80 characters: {POST}", POST),
    "a preamble on its own line": (f"Okay, here's my draft.\n\n{POST}", POST),
    "preamble, then quotes": (f'Here is a revised version that fits the limit: "{POST}"', POST),
    "vague preamble on its own line": (f"Here is my response to the feed:\n{POST}", POST),
    "only chatter in front": (f"Of course!\n\n{POST}", POST),
    "German preamble": (f"Gerne! Hier ist ein kurzer Beitrag: {POST}", POST),
    "French preamble": (f"Bien sûr ! Voici un court message : {POST}", POST),
    "Spanish preamble": (f"¡Claro! Aquí tienes una publicación: {POST}", POST),
    "count behind": (f"{POST} (68 characters)", POST),
    "count behind in brackets": (f"{POST}\n\n[68 chars]", POST),
    "count behind in italics": (f"{POST}\n*(68 characters)*", POST),
    "character count line": (f"{POST}\n\nCharacter count: 68", POST),
    "German count": (f"{POST} (68 Zeichen)", POST),
    "count after a dash": (f"{POST} — 68 characters", POST),
    "offer behind": (f"{POST}\n\nLet me know if you'd like a different tone!", POST),
    "explanation behind": (f"{POST}\n\n(Note: this stays within the requested length.)", POST),
    "thoughts in front": (f"<think>The user wants a post. 80–139.</think>\n\n{POST}", POST),
    "thoughts that began in the prompt": (f"I should be brief.\n</think>\n{POST}", POST),
    "thoughts inside thoughts": (f"<think>a<think>b</think>c</think>{POST}", POST),
    "thoughts never ended": (f"{POST}<think>Was that good", POST),
    "only thoughts": ("<think>I ran out of tokens while", ""),
    "harmony channels": (
        f"<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>{POST}<|return|>",
        POST,
    ),
    "the model plays on": (f"{POST}<|im_end|>\n<|im_start|>user\nAnother one", POST),
    "end of turn": (f"{POST}</s>", POST),
    "tags": (f"<post>\n{POST}\n</post>", POST),
    "a JSON object": ('{"post": "Rain again."}', "Rain again."),
    "everything at once": (
        f'<think>ok</think>Here\'s a post:\n\n```\n**Post:** "@marta_k: {POST}"\n```\n\n(68 characters)',
        POST,
    ),
    "surrounding white space": (f"\n\t {POST}\u200b \n", POST),
    "control characters": ("Rain\x00 and\x1b[31m wind\x07.", "Rain and[31m wind."),
    "Windows line ends": ("Rain.\r\nWind.\r\n", "Rain.\nWind."),
    "text direction overrides": ("abc\u202edef\u2066ghi", "abcdefghi"),
    "half an emoji": ("Rain \ud83d again", "Rain  again"),
    "byte order mark": ("\ufeffRain.", "Rain."),
    "accents in two code points": ("Cafe\u0301 closed.", "Café closed."),
    "nothing but white space": (" \n\t\u200b\ufeff ", ""),
    "nothing but a preamble": ("Sure! Here is a post:", ""),
    "nothing but a label": ("Post:", ""),
}

LEFT_ALONE = {
    "plain": POST,
    "hashtags": "Rain again. #weather #tram14",
    "hashtag first": "#tram14 was late again.",
    "joined emoji": "Walked home 👩🏽‍🚀🏳️‍🌈 ❤️",
    "flag of Wales": "Six Nations 🏴󠁧󠁢󠁷󠁬󠁳󠁿 today",
    "inner quotes": 'He said "soon" three times, and meant "never".',
    "quotes at both ends that do not belong together": '"Soon" means "never"',
    "curly quotes that do not belong together": "“Soon” means “never”",
    "an apostrophe first": "'Tis the season, y'all",
    "here's the thing": "Here's the thing: nobody reads the minutes.",
    "this is": "This is the hill: bike lanes belong on main roads.",
    "here is an answer to somebody": "Here's my response to the mayor: no.",
    "a post of mine": "Here's a post of mine that aged badly: buy the dip.",
    "a note that is a post": "Note: bring your own cup on Friday.",
    "sure": "Sure! I'd love a tram that arrives.",
    "question and answer": "Answer: because nobody asked the drivers.",
    "final score": "Final: Leeds 2, Hull 1. I need tea.",
    "posting about posts": "Post office is closed again. Third time this month.",
    "a number in brackets": "Best year for plums (2019) and nobody noticed.",
    "characters as people": "A novel with too many characters (12) again.",
    "somebody else's handle": "@olek_r: I disagree, politely.",
    "let me know": "Street party on Saturday.\n\nLet me know what you can bring!",
    "emphasis inside": "I **really** mean it, *this* time.",
    "two bold words": "**Soon** is not **never**",
    "an arithmetic star": "5 * 3 * 2 is still 30*",
    "a comparison": "a < b and b > c, so what",
    "a list": "- milk\n- patience",
    "think as a word": "I <3 trams. Think about it.",
    "only emoji": "🎉🎉🎉",
    "Arabic": "صباح الخير، القطار متأخر مرة أخرى",
    "Persian joiner": "می\u200cروم خانه",
    "blank line": "First.\n\nSecond.",
    "JSON that is a joke": '{"mood": "tired"}',
    "a lone quotation mark": '"',
    "a row of quotation marks": '""""""""""""""""""""',
}

REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I’m sorry, but I can’t assist with that request.",
    "Sorry, I can't assist with that.",
    "I cannot fulfill this request.",
    "I can't create content that promotes hatred.",
    "I'm unable to write this post because it could be harmful.",
    "I am not able to engage in this conversation.",
    "Unfortunately, I cannot generate such content.",
    "I must respectfully decline to write this post.",
    "As an AI language model, I cannot have political opinions.",
    "As an AI, I don't have personal experiences.",
    "I'm an AI assistant and cannot pretend to be a person.",
    "I apologize, but I cannot provide that kind of statement.",
    "I won't write or produce such content.",
    "Es tut mir leid, aber ich kann dir dabei nicht helfen.",
    "Als KI-Sprachmodell kann ich keine Meinung haben.",
    "Je suis désolé, mais je ne peux pas vous aider.",
    "Lo siento, pero no puedo ayudar con eso.",
]
NO_REFUSALS = [
    POST,
    "",
    "I'm sorry, but I can't come on Saturday.",
    "I can't help with the bake sale this weekend, my back again.",
    "I can't help but laugh at the new bus map.",
    "I cannot believe the council did this.",
    "I can't write a single line before coffee.",
    "As an AI researcher I can't read these headlines without sighing.",
    "As a nurse I cannot recommend skipping lunch.",
    "Unfortunately I cannot afford the new fares.",
    "I won't comply with parking rules written for 1970.",
    "I am an artist and cannot pretend otherwise.",
    "Sorry, I can't. Next week?",
    "I'm sorry, but I can't help with that. " + "But listen, about the trams. " * 30,
]


@pytest.mark.parametrize(("text", "post"), TAKEN_OFF.values(), ids=TAKEN_OFF)
def test_what_a_model_wraps_around_a_post_is_taken_off(text, post):
    cleaned = clean(text, names=NAMES)
    assert cleaned.text == post
    assert cleaned.steps


@pytest.mark.parametrize("text", LEFT_ALONE.values(), ids=LEFT_ALONE)
def test_an_ordinary_post_is_left_alone(text):
    cleaned = clean(text, names=NAMES)
    assert cleaned.text == text
    assert cleaned.steps == ()


def test_the_steps_are_named_in_order():
    assert clean('Sure! Here is a post: "Rain."').steps == ("preamble", "quotes")


def test_only_the_writer_s_own_name_is_a_label():
    assert clean("@olek_r: no", names=("marta_k",)).text == "@olek_r: no"
    assert clean("@olek_r: no", names=("olek_r",)).text == "no"


def test_names_are_text_and_not_patterns():
    assert clean("a.*b: hello", names=("a.*b",)).text == "hello"
    assert clean("axxb: hello", names=("a.*b", "(", "")).text == "axxb: hello"


def test_a_runaway_draft_is_bounded():
    assert len(clean("word " * 200_000).text) <= MAX_DRAFT_LENGTH


@pytest.mark.parametrize("text", REFUSALS)
def test_a_text_that_only_declines_is_a_refusal(text):
    assert is_refusal(clean(text).text)


@pytest.mark.parametrize("text", NO_REFUSALS)
def test_a_post_that_says_no_is_not_a_refusal(text):
    assert not is_refusal(text)


pieces = st.sampled_from(
    [
        *"\"'“”„‘’«»`*_~>#:.!?()[]{}<\n 1a",
        "```",
        "**",
        "<think>",
        "</think>",
        "Sure! Here is a post: ",
        "Post: ",
        "@marta_k: ",
        " (12 characters)",
        "\n\nLet me know if you'd like more",
        "<post>",
        "</post>",
        "<|im_end|>",
        "e\u0301",
        "👩‍🚀",
        "\ud83d",
        "\u202e",
        "Rain again.",
    ]
)
texts = st.one_of(
    st.text(alphabet=st.characters(codec=None), max_size=60), st.lists(pieces, max_size=14).map("".join)
)


@settings(max_examples=400, deadline=None)
@given(texts)
def test_cleaning_twice_is_cleaning_once(text):
    once = clean(text, names=NAMES).text
    again = clean(once, names=NAMES)
    assert again.text == once
    assert again.steps == ()


@settings(max_examples=300, deadline=None)
@given(texts)
def test_a_cleaned_text_can_be_stored_anywhere(text):
    cleaned = clean(text, names=NAMES).text
    cleaned.encode("utf-8")
    assert "\x00" not in cleaned
    assert cleaned == cleaned.strip()


words = st.text(alphabet="abcdefghij ÄÖÜéñ", min_size=1, max_size=12).filter(str.strip)


@settings(max_examples=200, deadline=None)
@given(st.lists(words, min_size=2, max_size=12).map(lambda ws: " ".join(w.strip() for w in ws) + "."))
def test_words_never_disappear_from_a_plain_sentence(text):
    assert clean(text, names=NAMES).text.split() == clean(text).text.split() != []


@settings(max_examples=200, deadline=None)
@given(texts)
def test_asking_whether_a_text_is_a_refusal_always_answers(text):
    assert is_refusal(text) in (True, False)


@pytest.mark.parametrize("unit", [">", "> ", "```\n", "Post: ", "Sure! Here is the post: "])
def test_what_is_wrapped_again_and_again_is_no_post(unit):
    assert clean(unit * 30 + "hello world").text == "hello world"
    assert clean(unit * (5_000 // len(unit)) + "hello world").text == ""
