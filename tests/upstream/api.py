"""A server of the tests: stands in for the APIs that the agents' programs talk to, in their format on the wire.

Arguments: address, certificate chain and key in one file, the file to which requests are written (a line of JSON each), the prompt
that is looked for in bodies, and the answer that is given to each prompt.

    POST /v1/messages                 Anthropic's Messages API, as events or whole
    POST /v1/messages/count_tokens
    POST /backend-api/codex/responses OpenAI's Responses API behind a ChatGPT login, as events
    GET  /backend-api/codex/models

Anything else is a 404 in JSON. What is written of a request has its headers, and of its body only whether the prompt is in it.
"""

import http.server
import json
import ssl
import sys

ADDRESS, CHAIN, LOG, PROMPT, ANSWER = sys.argv[1:]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.note(b"")
        self.answer(200, {})

    def do_GET(self):
        self.note(b"")
        if self.headers.get("upgrade", "").lower() == "websocket":
            self.answer(426, {})
        elif self.path.split("?")[0] == "/backend-api/codex/models":
            self.answer(200, {"models": []})
        elif self.path == "/api/hello":
            self.answer(200, {"message": "hello"})
        elif self.path == "/backend-api/wham/accounts/check":
            account = self.headers.get("chatgpt-account-id")
            self.answer(200, {"accounts": [{"id": account, "workspace_backend_origin": "NO_CONSTRAINT", "account_routing_override": "NO_CONSTRAINT"}]})
        else:
            self.nothing()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.note(body)
        path = self.path.split("?")[0]
        if path == "/v1/messages":
            self.messages(json.loads(body))
        elif path == "/v1/messages/count_tokens":
            self.answer(200, {"input_tokens": 10})
        elif path == "/backend-api/codex/responses":
            self.events(responses())
        else:
            self.nothing()

    def messages(self, asked):
        message = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": asked["model"],
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 10, "output_tokens": 1},
        }
        if asked.get("stream"):
            self.events(streamed(message))
        else:
            self.answer(200, message | {"content": [{"type": "text", "text": ANSWER}], "stop_reason": "end_turn"})

    def note(self, body):
        said = {
            "method": self.command,
            "host": self.headers.get("host"),
            "path": self.path,
            "headers": [[name.lower(), value] for name, value in self.headers.items()],
            "has_prompt": PROMPT.encode() in body,
        }
        with open(LOG, "ab") as log:
            log.write(json.dumps(said).encode() + b"\n")

    def nothing(self):
        self.answer(404, {"type": "error", "error": {"type": "not_found_error", "message": "a stand-in does not have it"}})

    def answer(self, status, value):
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def events(self, events):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in events:
            text = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


def streamed(message):
    yield {"type": "message_start", "message": message}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    yield {"type": "ping"}
    half = len(ANSWER) // 2
    for text in (ANSWER[:half], ANSWER[half:]):
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    yield {"type": "content_block_stop", "index": 0}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 5},
    }
    yield {"type": "message_stop"}


def responses():
    part = {"type": "output_text", "text": ANSWER, "annotations": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 15,
    }
    begun = {"id": "resp_1", "object": "response", "status": "in_progress", "output": []}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.output_item.added", "output_index": 0, "item": item | {"status": "in_progress", "content": []}}
    yield {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": ANSWER}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    yield {"type": "response.completed", "response": begun | {"status": "completed", "output": [item], "usage": usage}}


server = http.server.ThreadingHTTPServer((ADDRESS, 443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CHAIN)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
