'use strict'
// A plugin for Haraka: knows the users of the tests, and delivers the octets of each message into
// FOLDER/USER/new, one file each.

const fs = require('node:fs')
const path = require('node:path')

const FOLDER = process.env.TARPIT_MAIL
const USERS = process.env.TARPIT_USERS.split(',')

exports.hook_rcpt = (next, connection, params) => {
    const { user, host } = params[0]
    if (host.toLowerCase() !== 'example.org' || !USERS.includes(user)) {
        return next(DENY, 'unknown user')
    }
    next(OK)
}

exports.hook_queue = function (next, connection) {
    const transaction = connection.transaction
    const users = transaction.rcpt_to.map((recipient) => recipient.user)
    connection.logwarn(`message from ${connection.remote.ip} for ${users}`)
    const deliver = (index) => {
        if (index === users.length) return next(OK, 'queued')
        const folder = path.join(FOLDER, users[index])
        const part = (name) => path.join(folder, name)
        for (const name of ['tmp', 'new']) fs.mkdirSync(part(name), { recursive: true })
        const unfinished = path.join(part('tmp'), transaction.uuid)
        const file = fs.createWriteStream(unfinished)
        file.on('error', (error) => next(DENYSOFT, error.message))
        file.on('close', () => {
            fs.renameSync(unfinished, path.join(part('new'), transaction.uuid))
            deliver(index + 1)
        })
        transaction.message_stream.pipe(file, { line_endings: '\r\n' })
    }
    deliver(0)
}
