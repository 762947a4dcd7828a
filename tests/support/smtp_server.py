#!/usr/bin/python3
"""A mail server with authentication over STARTTLS or TLS: smtp_server.py MODE CERTIFICATE KEY NAME PASSWORD

MODE is starttls or tls. Prints its port, then each mail it takes as one line of JSON.
"""

import json
import socket
import ssl
import sys
import threading

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

mode, certificate, key, name, password = sys.argv[1:]
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(certificate, key)


class Handler:
    async def handle_DATA(self, server, session, envelope):
        text = envelope.content.decode("utf-8", "replace")
        mail = {"from": envelope.mail_from, "to": envelope.rcpt_tos, "name": session.auth_data, "tls": mode == "tls" or session.ssl is not None, "text": text}
        print(json.dumps(mail), flush=True)
        return "250 ok"


def authenticate(server, session, envelope, mechanism, data):
    good = data.login == name.encode() and data.password == password.encode()
    return AuthResult(success=good, auth_data=data.login.decode())


options = {"authenticator": authenticate, "auth_required": True}
if mode == "starttls":
    options |= {"tls_context": context, "require_starttls": True}
else:
    options |= {"ssl_context": context, "auth_require_tls": False}
controller = Controller(Handler(), hostname="127.0.0.1", port=0, **options)


def connect_once(self):
    """The controller asks itself whether it is up, by the port it was told, which is 0 here."""
    socket.create_connection(("127.0.0.1", self.server.sockets[0].getsockname()[1])).close()


Controller._trigger_server = connect_once
controller.start()
print(controller.server.sockets[0].getsockname()[1], flush=True)
threading.Event().wait()
