"""aiosmtpd for example.org: delivers the octets of each message into FOLDER/USER/new, one file each.

usage: aiosmtpd_server.py FOLDER PORT PROXY_PORT IMPLICIT_PORT CHAIN KEY USER...
IMPLICIT_PORT, CHAIN and KEY may be "-": no TLS. Prints `ready`, and a line for each client.
"""

import asyncio
import os
import ssl
import sys

from aiosmtpd.smtp import SMTP

LARGEST = 52428800

# As other servers do; the limit of the RFC would refuse the tests' long lines.
SMTP.line_length_limit = 1 << 20


class Maildir:
    def __init__(self, folder, users):
        self.folder = folder
        self.users = users
        self.count = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        user, _, domain = address.rpartition("@")
        if domain.lower() != "example.org" or user not in self.users:
            return "550 5.1.1 unknown user"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):
        print("message from", session.peer[0], "through", session.proxy_data, flush=True)
        self.count += 1
        for recipient in envelope.rcpt_tos:
            folder = os.path.join(self.folder, recipient.rpartition("@")[0])
            name = "%d.%d" % (os.getpid(), self.count)
            for part in ("tmp", "new"):
                os.makedirs(os.path.join(folder, part), exist_ok=True)
            with open(os.path.join(folder, "tmp", name), "wb") as file:
                file.write(envelope.original_content)
            os.rename(os.path.join(folder, "tmp", name), os.path.join(folder, "new", name))
        return "250 2.0.0 queued as %d" % self.count

    async def handle_PROXY(self, server, session, envelope, proxy_data):
        print("PROXY header from", session.peer[0], "for", proxy_data.src_addr, flush=True)
        return True


async def main():
    folder, port, proxy, implicit, chain, key = sys.argv[1:7]
    handler = Maildir(folder, sys.argv[7:])
    context = None
    if chain != "-":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)

    def factory(**more):
        return lambda: SMTP(
            handler,
            hostname="aio.example.org",
            data_size_limit=LARGEST,
            enable_SMTPUTF8=True,
            **more,
        )

    loop = asyncio.get_running_loop()
    listen = lambda made, port, **more: loop.create_server(made, "127.0.0.1", int(port), **more)
    servers = [
        await listen(factory(tls_context=context), port),
        await listen(factory(proxy_protocol_timeout=30), proxy),
    ]
    if implicit != "-":
        servers.append(await listen(factory(), implicit, ssl=context))
    print("ready", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


asyncio.run(main())
