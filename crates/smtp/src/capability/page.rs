//! The table as a page for administrators.

use super::table::{CapabilityRow, TABLE, Treatment};

const HEAD: &str = "\
# SMTP extensions

<!-- Made from the table in the code by `cargo xtask generate`; don't edit it here. -->

A mail server lists its extensions in the reply to EHLO. Tarpit asks your server for its list and announces the same to
clients, cut down to what it understands itself: it parses every command and every parameter, and prints them anew for your
server. So an extension that isn't on this page is never announced, and its parameters are refused with 555; a client that
needs it can be let past Tarpit with `passthrough`.

`tarpit check` shows what your server announces, what of it your clients will see, and why not the rest.

*The upstream* below is your server. Where one `[[upstream]]` has several, it announces what all of them do, with the
smallest limits: a message may go to any of them.
";

const SECTIONS: &[(Treatment, &str, &str)] = &[
    (
        Treatment::Offered,
        "Announced if the upstream announces it",
        "",
    ),
    (
        Treatment::OfferedIf,
        "Announced if the upstream announces it, and on a condition",
        "",
    ),
    (
        Treatment::Ours,
        "Tarpit's own",
        "Tarpit announces these for itself, whether the upstream does or not.\n\n",
    ),
    (
        Treatment::Never,
        "Never announced",
        "Their commands are answered 502 or 500, but for those where it says otherwise, and their parameters 555. Whatever isn't \
         on this page is treated in the same way.\n\n",
    ),
];

/// The page docs/extensions.md: what becomes of each capability, as Markdown.
#[must_use]
pub fn extensions_markdown() -> String {
    let mut page = HEAD.to_owned();
    for (treatment, title, note) in SECTIONS {
        page.push_str(&format!("\n## {title}\n\n{note}"));
        page.push_str(
            "| Extension | Where it is written down | What Tarpit does |\n|---|---|---|\n",
        );
        TABLE
            .iter()
            .filter(|row| row.treatment == *treatment)
            .for_each(|row| page.push_str(&line(row)));
    }
    page
}

fn line(row: &CapabilityRow) -> String {
    format!("| `{}` | {} | {} |\n", row.keyword, row.source, row.what)
}
