"""The port by which a router is told its weights, and says what it has counted."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from workloads.rollout.errors import Fenced, RolloutError
from workloads.rollout.router import Router
from workloads.rollout.routing import Arm, Fence, mirror_of, weights_of


def application(router: Router) -> web.Application:
    """`GET /routing`, `PUT /weights` and `PUT /arms` (409 for whoever comes late), `GET /counts`, `/metrics`, `/live`.

    {"fence": {"token": 3, "number": 17}, "weights": {"candidate": 0.05, …}, "mirror": {"arm": …, "ratio": 0.5}}
    {"fence": {"token": 3, "number": 18}, "arms": {"candidate": {"url": "http://…", "version": "2"}, …}}
    """

    async def routing(_: web.Request) -> web.Response:
        return web.json_response({"rollout": router.rollout, "model": router.model, **router.routing.to_json()})

    async def weights(request: web.Request) -> web.Response:
        def change(document: dict[str, Any], fence: Fence) -> None:
            found = weights_of(document.get("weights"))
            router.change(router.routing.with_weights(found, mirror_of(document.get("mirror")), fence))

        return await _changed(request, change)

    async def arms(request: web.Request) -> web.Response:
        def change(document: dict[str, Any], fence: Fence) -> None:
            found = {str(name): Arm(**arm) for name, arm in document["arms"].items()}
            router.change(router.routing.with_arms(found, weights_of(document["weights"]), fence))

        return await _changed(request, change)

    async def _changed(request: web.Request, change: Any) -> web.Response:
        try:
            document = await request.json()
            change(document, Fence(**document["fence"]))
        except Fenced as error:
            return web.json_response({"error": str(error), **router.routing.to_json()}, status=409)
        except RolloutError as error:
            return web.json_response({"error": str(error)}, status=400 if error.exit_code == 2 else 500)
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=400)
        return web.json_response(router.routing.to_json())

    async def counts(request: web.Request) -> web.Response:
        after = request.query.get("after_pair", "0")
        if not after.isdecimal():
            return web.json_response({"error": f"after_pair: {after!r}: expected a whole number"}, status=400)
        return web.json_response(router.counts.to_json(int(after)))

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(router.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def live(_: web.Request) -> web.Response:
        return web.json_response({})

    made = web.Application()
    made.add_routes(
        [
            web.get("/routing", routing),
            web.put("/weights", weights),
            web.put("/arms", arms),
            web.get("/counts", counts),
            web.get("/metrics", scrape),
            web.get("/live", live),
        ]
    )
    return made
