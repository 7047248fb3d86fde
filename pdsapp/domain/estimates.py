"""What a text costs a model, roughly: nobody but the model's own maker counts its tokens exactly."""

CHARACTERS_PER_TOKEN = 4
ESTIMATE_WORDS = f"an estimate: characters ÷ {CHARACTERS_PER_TOKEN}"


def estimated_tokens(text: str) -> int:
    """About how many tokens a text is: a token for each four Unicode characters, begun ones counted."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)
