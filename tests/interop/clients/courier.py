"""Sends what the JSON file PLAN says through Python's smtplib, all on one connection.

usage: courier.py PLAN
"""

import json
import smtplib
import ssl
import sys


def connect(plan):
    context = ssl.create_default_context(cafile=plan["authority"])
    common = {
        "host": "127.0.0.1",
        "port": plan["port"],
        "local_hostname": "client.example.net",
        "timeout": 100,
        "source_address": (plan["source"], 0),
    }
    if plan["tls"] == "implicit":
        return smtplib.SMTP_SSL(context=context, **common)
    smtp = smtplib.SMTP(**common)
    if plan["tls"] == "starttls":
        smtp.starttls(context=context)
    return smtp


with open(sys.argv[1]) as file:
    plan = json.load(file)
with connect(plan) as smtp:
    for letter in plan["letters"]:
        with open(letter["file"], "rb") as file:
            message = file.read()
        smtp.ehlo_or_helo_if_needed()
        options = []
        if smtp.has_extn("8bitmime"):
            options.append("BODY=8BITMIME")
        if letter["utf8"]:
            options.append("SMTPUTF8")
        smtp.sendmail(letter["from"], [letter["to"]], message, options)
