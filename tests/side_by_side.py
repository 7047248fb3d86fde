"""Which tests run in which of the processes that run side by side, and in which order."""

from xdist.scheduler import LoadScopeScheduling

# What those share that stay together: a browser and its stack, an installation full of texts, a writer.
TOGETHER = (
    "tests/browser/",
    "tests/web/hostile/test_reading_back.py",
    "tests/unit/test_offline_texts.py",
    "tests/service/test_offline_writer.py",
)
# These wait most of the time, for processes that start, stop and are killed.
WAITING = ("tests/faults/", "tests/queue/", "tests/stack/")
LAST_WAIT_BEGINS = 0.8


class SideBySide(LoadScopeScheduling):
    """Each test goes to the process that is free, apart from those that have to stay together.

    Not by xdist's own groups, which it passes on in the names of tests: pytest 9.2 lets nobody change these.
    """

    def _split_scope(self, nodeid: str) -> str:
        return next((prefix for prefix in TOGETHER if nodeid.startswith(prefix)), nodeid)


def spread(items: list) -> None:
    """Puts tests that wait evenly among those that compute, in place: neither kind is left for the end alone.

    The last of those that wait begins after four fifths of the others.
    """
    waiting = [item for item in items if item.nodeid.startswith(WAITING)]
    others = [item for item in items if not item.nodeid.startswith(WAITING)]
    places = [LAST_WAIT_BEGINS * number / len(waiting) for number in range(len(waiting))]
    places += [number / len(others) for number in range(len(others))]
    found = sorted(zip(places, [*waiting, *others], strict=True), key=lambda each: each[0])
    items[:] = [item for _, item in found]
