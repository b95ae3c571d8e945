'use strict'
// Sends what the JSON file PLAN says through nodemailer, all on one connection.
//
// usage: node courier.js PLAN

const fs = require('node:fs')
const nodemailer = require('nodemailer')

const plan = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'))
const transport = nodemailer.createTransport({
    pool: true,
    maxConnections: 1,
    host: '127.0.0.1',
    port: plan.port,
    secure: plan.tls === 'implicit',
    requireTLS: plan.tls === 'starttls',
    ignoreTLS: plan.tls === 'plain',
    name: 'client.example.net',
    localAddress: plan.source,
    tls: { ca: fs.readFileSync(plan.authority) },
    socketTimeout: 100000,
})

async function main() {
    for (const letter of plan.letters) {
        await transport.sendMail({
            envelope: { from: letter.from, to: [letter.to] },
            raw: fs.readFileSync(letter.file),
        })
    }
    transport.close()
}

main().catch((error) => {
    console.error(error)
    process.exit(1)
})
