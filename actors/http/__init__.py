"""HTTP: an API for clients in any language (`api`, `serving`), and a transporter between peers (`transporter`).

The only package that imports a web framework; it needs the extra `http` (`pip install "actorum[http]"`).  Starlette and
uvicorn: small, typed, kept by the same people for years, and nothing else comes with them but anyio and h11.

Rejected: Litestar and FastAPI, whose strength is to read the signatures of handlers written by hand: here the
operations are a machine's, known when the program runs, and msgspec makes their JSON schemas itself; http.server of
the standard library, which has neither limits nor time-outs and says itself that it is not for production.
"""
