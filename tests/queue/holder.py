"""A process that takes permits and holds them until it is ended: `holder.py URL SUBJECT LIMIT COUNT`.

Permits end 1.2 s after their holder; it says "held" when it has them.
"""

import asyncio
import sys
import time

from pdsapp.attempts import permits
from pdsapp.attempts.permit_terms import Asked
from pdsapp.domain.call_limits import CallLimits


async def main(url: str, subject: str, limit: int, count: int) -> None:
    """Never returns by itself."""
    permits.EXPIRY_SECONDS, permits.RENEW_SECONDS = 1.2, 0.3
    mine = permits.Permits(url, lambda: 1)
    for _ in range(count):
        await mine.take(Asked(subject, CallLimits(at_once=limit), "Lab", 10, "1"), time.monotonic() + 5)
    print("held", flush=True)
    await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
