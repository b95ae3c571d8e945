//! Recipes: complete, filled in, and with the addresses of the configuration.

use std::net::SocketAddr;

use clap::ValueEnum as _;
use tarpit_gateway::config::Identity;

use super::*;
use crate::cli::Server;

fn facts(listen: &str, upstream: &str, identity: Identity) -> Facts {
    Facts {
        listen: listen.parse().unwrap(),
        address: upstream.parse().unwrap(),
        identity,
        ..Facts::usual(PathBuf::from("/etc/tarpit/tarpit.toml"))
    }
}

fn printed(server: Server, way: Option<Way>, part: Option<&str>, facts: &Facts) -> String {
    let args = Recipe {
        server,
        config: None,
        way,
        part: part.map(str::to_owned),
    };
    render(&args, facts).unwrap()
}

const SAMPLES: [(&str, &str, Identity); 4] = [
    ("[::]:25", "127.0.0.1:10025", Identity::Xclient),
    ("127.0.0.1:2525", "127.0.0.1:25", Identity::None),
    ("192.0.2.1:2526", "[2001:db8::25]:25", Identity::ProxyV2),
    ("[2001:db8::1]:2525", "[::1]:2500", Identity::Transparent),
];

#[test]
fn nothing_is_left_to_fill_in() {
    for server in Server::value_variants() {
        for (listen, upstream, identity) in SAMPLES {
            let page = printed(*server, None, None, &facts(listen, upstream, identity));
            // Exim's own syntax ends with two braces; ours begins with two and a letter.
            let left = page
                .match_indices("{{")
                .find(|(at, _)| page[at + 2..].starts_with(|next: char| next.is_ascii_lowercase()));
            assert_eq!(left, None, "{page}");
            assert!(
                page.contains("## Way a:") && page.contains("## Way b:"),
                "{page}"
            );
            assert_eq!(page.matches("```").count() % 2, 0, "{page}");
            for line in page
                .lines()
                .filter(|line| line.starts_with("```") && *line != "```")
            {
                assert!(line.contains(' '), "a block without a name: {line}");
            }
        }
    }
}

#[test]
fn each_way_has_its_way_back() {
    let facts = Facts::usual(PathBuf::from("tarpit.toml"));
    for server in Server::value_variants() {
        for way in [Way::A, Way::B] {
            if (*server, way) == (Server::Exchange, Way::B) {
                continue;
            }
            for part in ["tarpit.toml", "mta", "go", "back"] {
                let text = printed(*server, Some(way), Some(part), &facts);
                assert!(!text.is_empty() && !text.contains("```"), "{text}");
            }
        }
    }
}

#[test]
fn a_part_that_is_not_there_is_refused() {
    let args = |way, part: &str| Recipe {
        server: Server::Postfix,
        config: None,
        way,
        part: Some(part.to_owned()),
    };
    let facts = Facts::usual(PathBuf::from("tarpit.toml"));
    let error = render(&args(Some(Way::A), "redirect"), &facts).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("allowed: mta, tarpit.toml, check, go, back"),
        "{error}"
    );
    let error = render(&args(None, "mta"), &facts).unwrap_err();
    assert!(error.to_string().contains("--way"), "{error}");
}

/// What the file must say is a file that can be read, and needs no change then.
#[test]
fn the_configuration_that_comes_out_is_right() {
    for server in Server::value_variants() {
        for way in [Way::A, Way::B] {
            for (listen, upstream, identity) in SAMPLES {
                if (*server, way) == (Server::Exchange, Way::B) {
                    continue;
                }
                let facts = facts(listen, upstream, identity);
                let toml = printed(*server, Some(way), Some("tarpit.toml"), &facts);
                let folder = tempfile::tempdir().unwrap();
                let file = folder.path().join("tarpit.toml");
                std::fs::write(&file, format!("hostname = \"mx.example.org\"\n{toml}")).unwrap();
                let loaded = config::load(&file).unwrap_or_else(|findings| panic!("{findings}"));
                let again = printed(*server, Some(way), None, &Facts::of(&loaded).unwrap());
                assert!(again.contains("Nothing is to be changed"), "{again}");
                assert!(again.contains(toml.trim_end()), "{again}");
            }
        }
    }
}

#[test]
fn the_redirect_fits_the_listener() {
    let rule = |listen: &str| {
        let facts = facts(listen, "127.0.0.1:10025", Identity::Xclient);
        printed(Server::Postfix, Some(Way::B), Some("redirect"), &facts)
    };
    assert_eq!(rule("[::]:2525"), plan::SHIPPED);
    assert_eq!(
        rule("127.0.0.1:2525"),
        plan::SHIPPED,
        "nobody outside reaches loopback"
    );
    assert_eq!(rule("[::]:25"), plan::SHIPPED, "the mail server has that");
    for (listen, says) in [
        (
            "[::]:26",
            "\"lo\" fib daddr type local tcp dport 25 redirect to :26;",
        ),
        (
            "0.0.0.0:26",
            "\"lo\" meta nfproto ipv4 fib daddr type local tcp dport 25 redirect to :26;",
        ),
        (
            "192.0.2.1:26",
            "\"lo\" ip daddr 192.0.2.1 tcp dport 25 dnat ip to 192.0.2.1:26;",
        ),
        (
            "[2001:db8::1]:26",
            "\"lo\" ip6 daddr 2001:db8::1 tcp dport 25 dnat ip6 to [2001:db8::1]:26;",
        ),
    ] {
        assert!(rule(listen).contains(says), "{}", rule(listen));
    }
}

#[test]
fn servers_get_what_they_can_take() {
    for (server, identity, then) in [
        (Server::Postfix, Identity::None, "xclient"),
        (Server::Postfix, Identity::Trace, "xclient"),
        (Server::Postfix, Identity::ProxyV1, "proxy-v1"),
        (Server::Exim, Identity::Xclient, "proxy-v2"),
        (Server::Exim, Identity::ProxyV1, "proxy-v1"),
        (Server::Opensmtpd, Identity::ProxyV1, "proxy-v2"),
        (Server::Exchange, Identity::Xclient, "transparent"),
        (Server::Haproxy, Identity::None, "none"),
    ] {
        let facts = facts("[::]:25", "192.0.2.7:25", identity);
        let toml = printed(server, Some(Way::A), Some("tarpit.toml"), &facts);
        assert!(toml.contains(&format!("identity = \"{then}\"")), "{toml}");
    }
}

#[test]
fn mail_servers_elsewhere_keep_their_address() {
    let elsewhere = "192.0.2.7:2500".parse::<SocketAddr>().unwrap();
    for server in [Server::Postfix, Server::Exim, Server::Exchange] {
        let facts = facts("[::]:25", "192.0.2.7:2500", Identity::None);
        let toml = printed(server, Some(Way::A), Some("tarpit.toml"), &facts);
        assert!(toml.contains(&elsewhere.to_string()), "{toml}");
    }
}

/// The routing is tested as docs/transparent.md has it; the recipe must not have another.
#[test]
fn exchange_gets_the_routing_that_is_tested() {
    let page = include_str!("../../../../../docs/transparent.md");
    let facts = facts("[::]:25", "192.0.2.7:25", Identity::Transparent);
    for (heading, part) in [("# gateway\n", "go"), ("# gateway-undo\n", "back")] {
        let block = page.split(heading).nth(1).unwrap();
        let block = block.split("```").next().unwrap();
        // A shell takes a bare semicolon for itself.
        let printed = printed(Server::Exchange, Some(Way::A), Some(part), &facts).replace('\'', "");
        for line in block.lines() {
            assert!(printed.contains(line), "{line}\n{printed}");
        }
    }
}
