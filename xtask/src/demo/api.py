"""Stands in for an API that somebody has an account with: it greets who has the token.

Arguments: address, certificate chain and key in one file, the token, and the file to which a line is written for each request.
"""

import http.server
import ssl
import sys

ADDRESS, CHAIN, TOKEN, LOG = sys.argv[1:]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        credential = self.headers.get("authorization", "nothing")
        with open(LOG, "a") as log:
            log.write(f"{self.command} {self.path}, authorization: {credential}\n")
        known = credential == f"Bearer {TOKEN}"
        text = b"Hello, you are the owner of this account.\n" if known else b"Who are you?\n"
        self.send_response(200 if known else 401)
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


server = http.server.ThreadingHTTPServer((ADDRESS, 443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CHAIN)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
