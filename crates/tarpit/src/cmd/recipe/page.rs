//! The pages: which there are, how they are filled in, and how one block is taken out.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};

use crate::cli::{Server, Way};

/// What stands in a page in place of a value, and the value.
pub(super) type Values = BTreeMap<&'static str, String>;

/// The page as it is in the source.
pub(super) fn source(server: Server) -> &'static str {
    match server {
        Server::Postfix => include_str!("pages/postfix.md"),
        Server::Exim => include_str!("pages/exim.md"),
        Server::Opensmtpd => include_str!("pages/opensmtpd.md"),
        Server::Exchange => include_str!("pages/exchange.md"),
        Server::Haproxy => include_str!("pages/haproxy.md"),
    }
}

/// What stands before the two ways.
pub(super) fn introduction(source: &str) -> &str {
    source
        .find("## Way ")
        .and_then(|end| source.get(..end))
        .unwrap_or(source)
}

/// One of the two ways.
pub(super) fn way(source: &str, way: Way) -> anyhow::Result<&str> {
    let letter = match way {
        Way::A => "a",
        Way::B => "b",
    };
    let start = source.find(&format!("## Way {letter}:"));
    let rest = start.and_then(|start| source.get(start..));
    let rest = rest.with_context(|| format!("this recipe has no way {letter}"))?;
    let end = rest.get(1..).and_then(|rest| rest.find("\n## Way "));
    // With the empty line before the next heading.
    Ok(end.and_then(|end| rest.get(..end + 2)).unwrap_or(rest))
}

/// `text` with the value for each `{{name}}`.
pub(super) fn fill(text: &str, values: &Values) -> anyhow::Result<String> {
    let mut filled = text.to_owned();
    for (name, value) in values {
        filled = filled.replace(&format!("{{{{{name}}}}}"), value);
    }
    Ok(filled)
}

/// The block with this name, without its fence.
pub(super) fn part(text: &str, name: &str) -> anyhow::Result<String> {
    let mut names = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some((_, found)) = line
            .strip_prefix("```")
            .and_then(|info| info.split_once(' '))
        else {
            continue;
        };
        let block = lines.by_ref().take_while(|line| *line != "```");
        if found == name {
            return Ok(block.map(|line| format!("{line}\n")).collect());
        }
        block.for_each(drop);
        names.push(found);
    }
    if names.is_empty() {
        bail!("--part: this way has no parts");
    }
    bail!("--part: found {name:?}; allowed: {}", names.join(", "))
}
