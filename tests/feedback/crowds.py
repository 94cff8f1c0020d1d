"""Many annotators at once over HTTP, who try again where the server does not answer."""

import asyncio
import random
import time

import httpx2


class Annotator:
    """Someone who judges what is shown, at random, and notes what was acknowledged."""

    def __init__(self, url, name, *, think=0.0, seed=0):
        self.url, self.name, self.think = url, name, think
        self.rng = random.Random(f"{name} {seed}")
        self.acknowledged = []  # (ticket, value)
        self.seconds = []  # of each answer's request
        self.retries = 0

    async def request(self, client, method, path, **options):
        """The reply, which is asked for until it comes."""
        for _ in range(400):
            try:
                reply = await client.request(method, path, **options)
                if reply.status_code != 503:
                    return reply
            except httpx2.TransportError:
                pass
            self.retries += 1
            await asyncio.sleep(0.05)
        raise TimeoutError("the server does not answer")

    async def judge(self):
        """Judges all that there is; what others hold may come back."""
        async with httpx2.AsyncClient(base_url=self.url, timeout=30) as client:
            await self.request(client, "POST", "/login", data={"name": self.name})
            state = (await self.request(client, "GET", "/state")).json()
            empty = 0
            while empty < 20:
                if not state["cards"]:
                    empty += 1
                    await asyncio.sleep(0.1)
                    state = (await self.request(client, "GET", "/state")).json()
                    continue
                empty = 0
                if self.think:
                    await asyncio.sleep(self.rng.uniform(0.5, 1.5) * self.think)
                ticket = state["cards"][0]["ticket"]
                value = self.rng.randint(1, 8)
                body = {"ticket": ticket, "value": value, "seconds": self.think}
                start = time.perf_counter()
                reply = await self.request(client, "POST", "/answer", json=body)
                self.seconds.append(time.perf_counter() - start)
                assert reply.status_code == 200, reply.text
                self.acknowledged.append((ticket, value))
                state = reply.json()


async def judge_all(annotators):
    """All of them at once."""
    await asyncio.gather(*(one.judge() for one in annotators))


def percentile(values, share):
    """The value below which a share of them is."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]
