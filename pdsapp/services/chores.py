"""What whoever schedules does besides, a moment in each turn: deleting experiments, erasing participants."""

from . import deletion, erasing


def do_for(seconds: float) -> None:
    """Deletes, then erases, each for about so long; at once where there is nothing to do."""
    deletion.delete_for(seconds)
    erasing.erase_for(seconds)
