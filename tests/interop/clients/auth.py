"""Logs in to 127.0.0.1:PORT by MECHANISM as USER with PASSWORD, through Python's smtplib, and
sends a message if FILE is given. Prints the code of the answer to AUTH and what EHLO offered.

usage: auth.py PORT MECHANISM USER PASSWORD [FILE]
"""

import base64
import hashlib
import hmac
import os
import smtplib
import sys


class Scram:
    """RFC 5802, without channel binding. smtplib has no SCRAM of its own."""

    def __init__(self, mechanism, user, password):
        self.hash = mechanism.removeprefix("SCRAM-").replace("-", "").lower()
        self.password = password.encode()
        nonce = base64.b64encode(os.urandom(18)).decode()
        self.first = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={nonce}"
        self.step = 0

    def __call__(self, challenge=None):
        if challenge is None:
            return "n,," + self.first
        self.step += 1
        if self.step == 1:
            return self.final(challenge.decode())
        expected = "v=" + base64.b64encode(self.server_signature).decode()
        if challenge.decode() != expected:
            sys.exit("the server's signature is wrong: somebody is between us")
        return ""

    def final(self, server_first):
        fields = dict(field.split("=", 1) for field in server_first.split(","))
        salted = hashlib.pbkdf2_hmac(
            self.hash, self.password, base64.b64decode(fields["s"]), int(fields["i"])
        )
        client_key = hmac.digest(salted, b"Client Key", self.hash)
        stored_key = hashlib.new(self.hash, client_key).digest()
        without_proof = "c=biws,r=" + fields["r"]
        message = ",".join([self.first, server_first, without_proof]).encode()
        signature = hmac.digest(stored_key, message, self.hash)
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        server_key = hmac.digest(salted, b"Server Key", self.hash)
        self.server_signature = hmac.digest(server_key, message, self.hash)
        return without_proof + ",p=" + base64.b64encode(proof).decode()


def main():
    port, mechanism, user, password = int(sys.argv[1]), *sys.argv[2:5]
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as smtp:
        smtp.ehlo("client.example.net")
        print("offered", smtp.esmtp_features.get("auth", ""))
        smtp.user, smtp.password = user, password
        method = {
            "PLAIN": smtp.auth_plain,
            "LOGIN": smtp.auth_login,
            "CRAM-MD5": smtp.auth_cram_md5,
        }.get(mechanism) or Scram(mechanism, user, password)
        try:
            # CRAM-MD5 has no initial response.
            code, text = smtp.auth(mechanism, method, initial_response_ok=mechanism != "CRAM-MD5")
        except smtplib.SMTPAuthenticationError as error:
            code, text = error.smtp_code, error.smtp_error
        print("code", code, text.decode())
        if code == 235 and len(sys.argv) > 5:
            with open(sys.argv[5], "rb") as file:
                smtp.sendmail("alice@example.org", ["bob@example.com"], file.read())


main()
