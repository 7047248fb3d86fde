"""The model of the browser tests: it keeps to the length asked for and can be told from any other."""

import re

from tests.model_server import Received, Scripted, text

HOSTILE = "<img src=x onerror=alert(1)>"
THINKS_SLOWLY = "You think before you write."
WRITES_MARKUP = "You answer in markup."
NEVER_PAUSES = "You never use the space bar."
SLOW_SECONDS = 1.5
MORE = (
    " Somebody had left the window open again.",
    " Nobody minded the cold as long as there was coffee.",
    " The porter says it will stay like this until the exams.",
    " I found a chair by the stairs and finished two chapters.",
    " That makes three mornings in a row.",
    " I have stopped hoping for the sofa.",
)


def answer(request: Received, number: int) -> Scripted:
    """A post that begins with the number, within the length the prompt asks for.

    A persona that says `THINKS_SLOWLY` is answered late, one that says `WRITES_MARKUP` with a script in it,
    one that says `NEVER_PAUSES` with a single word.
    """
    prompt = "\n".join(message["content"] for message in request.messages)
    begin = f"Note {number}: "
    begin += f"{HOSTILE} is what I saw." if WRITES_MARKUP in prompt else "the reading room was full by nine."
    post = _fitted(begin, prompt)
    reply = text(post.replace(" ", "") if NEVER_PAUSES in prompt else post)
    return reply.later(SLOW_SECONDS) if THINKS_SLOWLY in prompt else reply


def _fitted(post: str, prompt: str) -> str:
    asked = re.search(r"between (\d+) and (\d+) characters", prompt)
    if asked is None:
        return post
    least, most = int(asked[1]), int(asked[2])
    for sentence in MORE:
        if len(post) >= least:
            break
        post += sentence
    return post[:most]
