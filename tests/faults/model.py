"""A model server with latency in a process of its own: `python -m tests.faults.model CALLS SEED`.

Says its address, then answers until it is killed. Each request leaves a line in the file CALLS: the hash of
its messages, as the product stores it.
"""

import random
import re
import sys
import threading
import time
from pathlib import Path

from pdsapp.domain.prompt import messages_hash
from tests.model_server import ModelServer, Received, Scripted, text

SHORTEST_SECONDS, LONGEST_SECONDS = 0.4, 1.4
WORDS = "The bus came late again today and nobody at the stop was told why, so we walked. "


def main(calls: Path, seed: int) -> None:
    dice, lock = random.Random(seed), threading.Lock()

    def answer(received: Received) -> Scripted:
        with lock:
            with calls.open("a") as file:
                file.write(f"{messages_hash(received.messages)}\n")
            seconds = dice.uniform(SHORTEST_SECONDS, LONGEST_SECONDS)
            number = dice.randrange(10_000)
        low = int(re.search(r"between (\d+) and", received.messages[-1]["content"])[1])
        return text(f"{number} {WORDS * 4}"[:low].rstrip().ljust(low, ".")).later(seconds)

    with ModelServer(default=answer) as server:
        print(server.base_url, flush=True)
        while True:
            time.sleep(5)
            server.history.clear()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
