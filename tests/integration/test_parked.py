"""A fact that the projection cannot fold is parked with its reason, and folded in its place when it can be."""

import asyncio

from calls.exchange import Exchange
from calls.scenarios import catalogue
from tests.running import enterprise, running


async def test_what_was_parked_is_folded_where_it_belongs_once_it_can_be(database, tmp_path, monkeypatch):
    apply = Exchange.apply

    def without_hangups(self, fact):
        if fact.kind == "hangup":
            raise ValueError("this version cannot fold it")
        apply(self, fact)

    async with running(database.dsn, tmp_path, enterprise("0367")) as service:
        monkeypatch.setattr(Exchange, "apply", without_hangups)
        await service.play(catalogue()["2-1"])
        await service.quiet()
        before = await service.pool.fetchrow("SELECT outcome, answered_by FROM calls")
        parked = await service.command("parked")
        assert parked.code == 0
        assert "calls" in parked.output
        assert "ValueError: this version cannot fold it" in parked.output
        assert before["outcome"] == "open"
        again = await service.command("parked", "--replay")
        assert "0 facts were folded again" in again.output
        assert "(2 attempts)" in again.output
        monkeypatch.undo()
        mended = await service.command("parked", "--replay")
        assert "1 facts were folded again" in mended.output
        assert "nothing is parked" in mended.output
        row = await service.pool.fetchrow("SELECT outcome, answered_by FROM calls")
        assert tuple(row) == ("answered", "151")
        assert await service.pool.fetchval("SELECT in_answered FROM customers") == 1
        check = await asyncio.wait_for(service.command("rebuild", "all", "--check"), 60)
        assert check.code == 0, check.errors
