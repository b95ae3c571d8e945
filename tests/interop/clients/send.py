"""Sends FILE to recipients at 127.0.0.1:PORT through Python's smtplib, which adds SIZE= where it
is offered. Prints what became of each recipient.

usage: send.py PORT FILE OPTIONS RECIPIENT...      OPTIONS: of MAIL, by commas, or -
"""

import smtplib
import sys


def main():
    port, path, options, recipients = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]
    with open(path, "rb") as file:
        message = file.read()
    options = [] if options == "-" else options.split(",")
    with smtplib.SMTP("127.0.0.1", port, timeout=120) as smtp:
        try:
            refused = smtp.sendmail("sender@example.net", recipients, message, options)
        except smtplib.SMTPRecipientsRefused as error:
            refused = error.recipients
        for recipient in recipients:
            print(recipient, refused.get(recipient, (250,))[0])


main()
