"""An OpenAI-compatible server that answers every chat after the same time, however many ask at once.

`python -m bench.slow_model SECONDS` prints its base URL. GET /most tells how many it has had at once.
"""

import asyncio
import json
import sys

TEXT = "The early train was on time for once, and nobody on the platform knew what to do with the minutes."
COMPLETION = {
    "id": "c", "object": "chat.completion", "created": 0, "model": "slow",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": TEXT}}],
    "usage": {"prompt_tokens": 100, "completion_tokens": 25, "total_tokens": 125},
}  # fmt: skip


async def main(seconds: float) -> None:
    """Serves until it is ended."""
    now = most = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                lines = [line.partition(":") for line in head.split("\r\n")]
                length = next((int(value) for name, _, value in lines if name == "content-length"), 0)
                await reader.readexactly(length)
                if head.startswith("get /most"):
                    body = str(most).encode()
                else:
                    now += 1
                    most = max(most, now)
                    await asyncio.sleep(seconds)
                    now -= 1
                    body = json.dumps(COMPLETION).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                    % (len(body), body)
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
