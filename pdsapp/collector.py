"""The garbage collector of processes that run for long, told what it need not look at."""

import gc

# Objects made before the youngest are looked through. A batch holds a hundred thousand that are no garbage:
# at Python's 700 looking for some took 6 to 9 % of a worker's time (`make bench ARGS=stages`).
YOUNG_OBJECTS = 20_000


def settle() -> None:
    """Leaves all that is loaded out of collections, and collects more seldom.

    For a process that has just loaded what it is going to run on. Without it every so many requests one
    would wait for a look at everything, a quarter of a second; and pages shared with children would be
    written to.
    """
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
