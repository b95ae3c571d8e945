'use strict'
// Tells the plugin `tarpit` which recipients are to wait, and refuses them when they have: a plugin
// that refuses ends the round, so one in front of `tarpit` could not be delayed by it.

exports.register = function () {
    this.seconds = Number(this.config.get('guesses.seconds'))
    this.register_hook('rcpt', 'mark', -10)
    this.register_hook('rcpt', 'answer', 10)
}

const is_known = (recipient) => recipient.user === 'user' && recipient.host === 'example.org'

exports.mark = function (next, connection, params) {
    connection.transaction.notes.tarpit = is_known(params[0]) ? 0 : this.seconds
    next()
}

exports.answer = (next, connection, params) => {
    // The client may have left meanwhile.
    if (!connection.transaction) return next()
    if (is_known(params[0])) return next(OK)
    next(DENY, 'unknown user')
}

// The clients' addresses have no names; a look-up would only wait for a resolver.
exports.hook_lookup_rdns = (next) => next(OK, 'client.example.net')
