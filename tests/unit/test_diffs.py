"""What differs between two texts, and between two versions of numbers."""

from hypothesis import given
from hypothesis import strategies as st

from pdsapp.domain.diffs import MOST_WORDS, Piece, changed_leaves, word_diff

TEXT = st.text(alphabet="ab é\n.,\u200d", max_size=60)


def side(pieces, left_out):
    return "".join(piece.text for piece in pieces if piece.kind != left_out)


@given(TEXT, TEXT)
def test_the_pieces_give_back_both_texts(before, after):
    pieces = word_diff(before, after)
    assert (side(pieces, "added"), side(pieces, "removed")) == (before, after)


def test_a_changed_word_is_taken_out_and_put_in():
    assert word_diff("Write one post.", "Write two posts.") == (
        Piece("same", "Write "),
        Piece("removed", "one"),
        Piece("added", "two"),
        Piece("same", " "),
        Piece("removed", "post"),
        Piece("added", "posts"),
        Piece("same", "."),
    )


def test_a_very_long_text_is_compared_by_lines():
    lines = [f"line {number}\n" for number in range(MOST_WORDS)]
    after = [*lines[:-1], "another\n"]
    assert word_diff("".join(lines), "".join(after))[-2:] == (
        Piece("removed", lines[-1]),
        Piece("added", "another\n"),
    )


def test_changed_values_are_named_by_their_path():
    before = {"steps": [{"under": 60, "skip": 0.8}, {"under": 90, "skip": 0.5}], "cap": 0.7, "same": 1}
    after = {"steps": [{"under": 60, "skip": 0.9}], "cap": 0.7, "same": 1, "limits": {"gap": 5}}
    assert changed_leaves(before, after) == [
        ("steps.1.skip", 0.8, 0.9),
        ("steps.2.under", 90, None),
        ("steps.2.skip", 0.5, None),
        ("limits.gap", None, 5),
    ]
