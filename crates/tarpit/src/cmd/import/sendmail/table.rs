//! What becomes of Sendmail's settings: by their names in sendmail.mc, and in sendmail.cf.

use super::super::table::{Row, elsewhere, nothing, option};
use super::super::units::{self, Read};

const SLOWS: &str = "Sendmail sleeps for a second after each recipient once so many of a message were refused; Tarpit from the first \
                     wrong guess. (The example of KB 842851, and Exchange's default, are 5 s.) Set it to 0 in Sendmail for what comes \
                     from Tarpit, or both wait.";

const PAUSE: &str = "Tarpit does not hold the greeting. What Sendmail holds of it, Tarpit itself would wait for at each connection: \
                     set GreetPause to 0 for the address that Tarpit comes from.";

const RATES: &str = "Tarpit has no price for connections, only for wrong guesses. Sendmail goes on counting, and all clients are one \
                     to it until `identity` is \"transparent\".";

const LOAD: &str = "Tarpit doesn't look at the load; Sendmail goes on doing it.";

const SIZE: &str = "Tarpit learns it from Sendmail's answer to EHLO, and announces the same.";

const CHILDREN: &str =
    "Four fifths of its processes; the rest is for clients that come to Sendmail itself.";

/// One row for each setting that has to do with who may come in, how fast, and what it costs.
pub(in crate::cmd::import) const TABLE: &[Row] = &[
    option("confDOMAIN_NAME", ("", 0, "hostname"), units::name, ""),
    option("Dj", ("", 0, "hostname"), units::name, ""),
    option(
        "confBAD_RCPT_THROTTLE",
        ("tarpit", 0, "delay"),
        throttle,
        SLOWS,
    ),
    option("BadRcptThrottle", ("tarpit", 0, "delay"), throttle, SLOWS),
    option(
        "confMAX_RCPTS_PER_MESSAGE",
        ("limits", 0, "recipients_max"),
        units::bound,
        "",
    ),
    option(
        "MaxRecipientsPerMessage",
        ("limits", 0, "recipients_max"),
        units::bound,
        "",
    ),
    option(
        "confMAX_DAEMON_CHILDREN",
        ("upstream", 0, "connections_max"),
        units::four_fifths,
        CHILDREN,
    ),
    option(
        "MaxDaemonChildren",
        ("upstream", 0, "connections_max"),
        units::four_fifths,
        CHILDREN,
    ),
    option(
        "confTO_COMMAND",
        ("limits", 0, "command_timeout"),
        super::timeout,
        "",
    ),
    option(
        "Timeout.command",
        ("limits", 0, "command_timeout"),
        super::timeout,
        "",
    ),
    option(
        "confTO_DATABLOCK",
        ("limits", 0, "data_block_timeout"),
        super::timeout,
        "",
    ),
    option(
        "Timeout.datablock",
        ("limits", 0, "data_block_timeout"),
        super::timeout,
        "",
    ),
    nothing("confMAX_MESSAGE_SIZE", SIZE),
    nothing("MaxMessageSize", SIZE),
    nothing("confCONNECTION_RATE_*", RATES),
    nothing("ConnectionRate*", RATES),
    nothing("FEATURE ratecontrol", RATES),
    nothing("FEATURE conncontrol", RATES),
    nothing("FEATURE greet_pause", PAUSE),
    nothing("confDELAY_LA", LOAD),
    nothing("DelayLA", LOAD),
    nothing("confREFUSE_LA", LOAD),
    nothing("RefuseLA", LOAD),
    nothing(
        "FEATURE dnsbl",
        "Tarpit asks no block lists. Sendmail goes on asking, about the right client once `identity` is \"transparent\".",
    ),
    nothing(
        "FEATURE enhdnsbl",
        "Tarpit asks no block lists. Sendmail goes on asking, about the right client once `identity` is \"transparent\".",
    ),
    nothing(
        "FEATURE delay_checks",
        "Nothing to set here: a refusal at RCPT is what Tarpit has a price for.",
    ),
    nothing(
        "confSMTP_LOGIN_MSG",
        "Tarpit's greeting is its hostname; it says nothing else of itself.",
    ),
    nothing(
        "SmtpGreetingMessage",
        "Tarpit's greeting is its hostname; it says nothing else of itself.",
    ),
    elsewhere("FEATURE access_db"),
    elsewhere("FEATURE use_cw_file"),
    elsewhere("DAEMON_OPTIONS"),
    elsewhere("DaemonPortOptions"),
    elsewhere("LOCAL_DOMAIN"),
    elsewhere("RELAY_DOMAIN"),
    elsewhere("confSERVER_CERT"),
    elsewhere("confSERVER_KEY"),
    elsewhere("ServerCertFile"),
    elsewhere("ServerKeyFile"),
];

/// The number is after how many refusals it begins; the second is Sendmail's own, and fixed.
fn throttle(value: &str) -> Read {
    match units::whole(value) {
        Some(0) => Err("0 is off there. So is Tarpit with mode = \"observe\"".to_owned()),
        Some(_) => Ok("\"1s\"".to_owned()),
        None => Err(units::no_number(value)),
    }
}
