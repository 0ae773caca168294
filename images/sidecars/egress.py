"""egress: puts the real credentials on requests that declared routes match.

    guest ── HTTP proxy, TLS by the bottle's CA ──► egress ── CONNECT, TLS ──► pipelock ──► the world

The guest holds placeholders. Of a request that a route matches, whatever credential the agent sent is dropped, and the real one is
set; all others go on unchanged. Bodies are never held back: each piece goes on as it comes, in both directions.

The configuration, JSON, is a file (argv[1]):

    {"listen_port": 9099, "upstream": "http://127.0.0.1:8888",
     "ca": "ca.pem: certificate and key", "trusted": ["more CAs that upstream certificates may be of"],
     "pass_through": ["hosts whose TLS pipelock does not open", "*.example.com"],
     "routes": [{"host": "api.example.com", "path": "/v1/", "methods": ["POST"], "token": "NAME",
                 "header": "authorization", "prefix": "Bearer "}]}

The tokens come on stdin, and are in this process's memory and nowhere else: a line of JSON, {"NAME": "TOKEN"}, now and after each
change.

pipelock looks for secrets in headers, but not in those that routes set, or it would find the real ones. So that an agent can't
send a secret in one of these, its value goes to pipelock in Proxy-Authorization as well, which pipelock looks at and takes off;
not to hosts that pipelock passes through, where nobody would.
"""

import asyncio
import base64
import ctypes
import json
import logging
import pathlib
import re
import signal
import sys
import types

# mitmproxy imports it for commands of its terminal interface. There is no clipboard here.
sys.modules["pyperclip"] = types.ModuleType("pyperclip")

from mitmproxy import http, options
from mitmproxy.addons import default_addons, errorcheck
from mitmproxy.master import Master
from mitmproxy.proxy.layers.http import _events, _upstream_proxy

RUN_DIR = pathlib.Path("/run/bottle/egress")
SYSTEM_CAS = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")

# What agents send credentials in. All of these are dropped where a route sets one.
CREDENTIAL_HEADERS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")

# The init sends less: what its pipe takes at once.
LINE_LIMIT = 64 * 1024

log = logging.getLogger("egress")


class Route:
    """Which requests get which token, and how."""

    def __init__(self, spec: dict):
        self.host = spec["host"].lower()
        self.port = spec.get("port", 443)
        self.path = spec.get("path") or "/"
        self.methods = {method.upper() for method in spec.get("methods") or ()}
        self.token = spec["token"]
        self.header = spec["header"].lower()
        self.prefix = spec.get("prefix", "")
        # With a user, the token is the password of HTTP's Basic scheme.
        self.basic_user = spec.get("basic_user")

    def matches(self, request: http.Request) -> bool:
        return (
            request.scheme == "https"
            and request.host.lower() == self.host
            and request.port == self.port
            and (not self.methods or request.method.upper() in self.methods)
            and is_below(request.path, self.path)
        )

    def credential(self, token: str) -> str:
        if self.basic_user is not None:
            token = base64.b64encode(f"{self.basic_user}:{token}".encode()).decode()
        return self.prefix + token


def fits(host: str, pattern: str) -> bool:
    """Whether a pattern is the host's name, or `*.` and a domain that it is or is below."""
    domain = pattern.removeprefix("*.")
    return host == domain or (domain != pattern and host.endswith("." + domain))


def is_below(path: str, prefix: str) -> bool:
    """Whether a path, as it is sent, lies below the prefix whatever the server makes of it.

    A server may take `%2e` for a dot and `%2f` for a slash: such a path is below nothing but `/`.
    """
    path = path.split("?", 1)[0]
    if prefix == "/":
        return True
    if re.search(r"%2e|%2f|%5c|\\|//|/\.{1,2}(/|$)", path, re.IGNORECASE):
        return False
    return path == prefix or path.startswith(prefix if prefix.endswith("/") else prefix + "/")


class Egress:
    """The addon."""

    def __init__(self, config_path: pathlib.Path):
        self.config_path = config_path
        self.tokens: dict[str, str] = {}
        self.routes: list[Route] = []
        self.route_headers: set[str] = set()
        self.pass_through: list[str] = []
        self.read_routes()

    def read_routes(self) -> dict:
        config = json.loads(self.config_path.read_text())
        self.routes = [Route(spec) for spec in config["routes"]]
        self.route_headers = {route.header for route in self.routes}
        self.pass_through = config["pass_through"]
        return config

    def take_tokens(self, line: bytes) -> None:
        """Takes a line of stdin. What is in it appears in no message."""
        try:
            tokens = json.loads(line)
            # A line break in a header would begin another one.
            if not all(isinstance(token, str) and re.fullmatch(r"[\x21-\x7e]+", token) for token in tokens.values()):
                raise ValueError
        except (ValueError, AttributeError):
            log.error("the tokens on stdin are malformed; the old ones stay")
            return
        self.tokens = tokens
        log.warning("has the tokens of %s", ", ".join(sorted(tokens)) or "no route")

    def reload(self) -> None:
        try:
            self.read_routes()
            log.warning("has read its %d routes again", len(self.routes))
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.error("its configuration can't be read (%s); the old one stays", type(error).__name__)

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        request = flow.request
        headers = request.headers
        headers.pop("proxy-authorization", None)
        route = next((route for route in self.routes if route.matches(request)), None)
        if route is None and not any(fits(request.host.lower(), pattern) for pattern in self.pass_through):
            values = [value for name in sorted(self.route_headers) for value in headers.get_all(name)]
            if values:
                headers.set_all("proxy-authorization", values)
        elif route is not None:
            for name in {*CREDENTIAL_HEADERS, route.header}:
                headers.pop(name, None)
            token = self.tokens.get(route.token)
            if token is None:
                flow.response = refusal(502, f"no token for the route to {route.host}: its source on the host gave none")
                return
            headers[route.header] = route.credential(token)
        request.stream = True

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        # A WebSocket's handshake is no stream.
        if flow.response.status_code != 101:
            flow.response.stream = True


def refusal(status: int, why: str) -> http.Response:
    return http.Response.make(status, f"blocked by egress: {why}\n", {"content-type": "text/plain; charset=utf-8"})


def report_refusals() -> None:
    """Lets the client see that pipelock refused a host, and why.

    Of an upstream proxy's refusal, mitmproxy tells its client neither the status nor the text: it would be a 502, as from a server
    that is down. mitmproxy is pinned, and a test looks at what comes out.
    """
    receive = _upstream_proxy.HttpUpstreamProxy.receive_handshake_data

    def receive_with_reason(self, data):
        done, error = yield from receive(self, data)
        if error:
            reason = bytes(self.buf).decode("utf-8", "replace").strip()
            error = f"{error}: {reason[:500]}" if reason else error
        return done, error

    _upstream_proxy.HttpUpstreamProxy.receive_handshake_data = receive_with_reason
    refused = re.compile(r"Upstream proxy \S+ refused HTTP CONNECT request: (4\d\d)\b")
    init = _events.ResponseProtocolError.__init__

    def init_with_status(self, stream_id, message, code=502):
        match = refused.match(message)
        init(self, stream_id, message, int(match[1]) if match else code)

    _events.ResponseProtocolError.__init__ = init_with_status


def prepare(config: dict) -> options.Options:
    """Puts what mitmproxy wants as files into memory, and says how it is to run."""
    RUN_DIR.mkdir(mode=0o700, exist_ok=True)
    ca = RUN_DIR / "mitmproxy-ca.pem"
    ca.write_bytes(pathlib.Path(config["ca"]).read_bytes())
    ca.chmod(0o600)
    trusted = RUN_DIR / "trusted.pem"
    files = [SYSTEM_CAS, *map(pathlib.Path, config["trusted"])]
    trusted.write_bytes(b"\n".join(path.read_bytes() for path in files))
    return options.Options(
        mode=[f"upstream:{config['upstream']}"],
        listen_host="0.0.0.0",
        listen_port=config["listen_port"],
        confdir=str(RUN_DIR),
        ssl_verify_upstream_trusted_ca=str(trusted),
        upstream_cert=False,
    )


async def main() -> None:
    # What it says is to be in the log when it is said.
    sys.stdout.reconfigure(line_buffering=True)
    # The kernel lets no other process look into this one's memory (prctl(2), PR_SET_DUMPABLE).
    if ctypes.CDLL(None, use_errno=True).prctl(4, 0, 0, 0, 0) != 0:
        sys.exit("egress: its memory can't be shut off")
    egress = Egress(pathlib.Path(sys.argv[1]))
    opts = prepare(egress.read_routes())
    report_refusals()
    master = Master(opts, with_termlog=True)
    master.addons.add(*default_addons(), errorcheck.ErrorCheck(), egress)
    opts.update(
        # Nothing is connected to before it is known what for.
        connection_strategy="lazy",
        # mitmproxy's own web page.
        onboarding=False,
        # Clients come by docker's networks alone, whose addresses are docker's choice.
        block_global=False,
        # Not a line a connection: pipelock writes the audit log.
        termlog_verbosity="warn",
    )
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, master.shutdown)
    loop.add_signal_handler(signal.SIGHUP, egress.reload)
    reader = asyncio.StreamReader(limit=LINE_LIMIT)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def take_all_tokens() -> None:
        while line := await reader.readline():
            egress.take_tokens(line)

    tokens = asyncio.create_task(take_all_tokens())
    await master.run()
    tokens.cancel()


if __name__ == "__main__":
    asyncio.run(main())
