"""A server of the tests: says over TLS what it was asked, sends events one by one, and echoes WebSocket messages.

Arguments: address, certificate chain and key in one file, and perhaps a file to which requests are written. With that, the client
is not told what it sent: it may not know its credentials itself.
"""

import base64
import hashlib
import http.server
import json
import ssl
import struct
import sys
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/events":
            self.events()
        elif self.headers.get("upgrade", "").lower() == "websocket":
            self.web_socket()
        else:
            self.echo()

    def do_POST(self):
        self.echo()

    def echo(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        said = {
            "method": self.command,
            "path": self.path,
            "headers": [[name.lower(), value] for name, value in self.headers.items()],
            "body_bytes": len(body),
        }
        text = json.dumps(said).encode()
        if len(sys.argv) > 3:
            with open(sys.argv[3], "ab") as log:
                log.write(text + b"\n")
            text = b"noted\n"
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def events(self):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for number in range(5):
            self.wfile.write(f"data: event {number}\n\n".encode())
            self.wfile.flush()
            time.sleep(0.4)
        self.close_connection = True

    def web_socket(self):
        key = self.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("upgrade", "websocket")
        self.send_header("connection", "upgrade")
        self.send_header("sec-websocket-accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        # What it was asked with, then one short message, masked as a client's is.
        self.message(self.headers.get("authorization", "nothing").encode())
        head = self.rfile.read(2)
        length = head[1] & 0x7F
        mask = self.rfile.read(4)
        data = self.rfile.read(length)
        self.message(bytes(byte ^ mask[at % 4] for at, byte in enumerate(data)))
        self.close_connection = True

    def message(self, data):
        self.wfile.write(struct.pack("!BB", 0x81, len(data)) + data)
        self.wfile.flush()


server = http.server.ThreadingHTTPServer((sys.argv[1], 443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
