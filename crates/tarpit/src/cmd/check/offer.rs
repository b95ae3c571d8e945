//! What clients will be offered, what not, and why.

use tarpit_smtp::{Capabilities, CapabilityRow, Offer, TABLE, Treatment};

/// To a client that came by TLS and may do whatever a listener can allow. `verified`: the way to the
/// upstream is TLS, always, and to nobody else.
fn passed_on(capabilities: &Capabilities, verified: bool) -> Capabilities {
    capabilities.restricted(&Offer {
        auth: true,
        secured: true,
        require_tls: verified,
        ..Offer::default()
    })
}

/// The capabilities that the gateway passes on: one entry for each line of its reply to EHLO.
pub(super) fn offered(capabilities: &Capabilities, verified: bool) -> Vec<String> {
    let reply = passed_on(capabilities, verified).to_ehlo("");
    let lines = reply.lines().skip(1);
    lines
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect()
}

/// The capabilities that the upstream announces and the gateway doesn't pass on, with the
/// reason.
pub(super) fn withheld(capabilities: &Capabilities, verified: bool) -> Vec<(String, &'static str)> {
    let offered = passed_on(capabilities, verified).offers();
    let own = capabilities.offers().minus(offered);
    let own = own.iter().map(|extension| extension.as_str().to_owned());
    let others = capabilities
        .others
        .iter()
        .map(|keyword| keyword.to_string());
    own.chain(others)
        .map(|keyword| (keyword.clone(), reason(&keyword)))
        .collect()
}

fn reason(keyword: &str) -> &'static str {
    let row = TABLE.iter().find(|row| row.keyword == keyword);
    row.map_or(
        "Tarpit doesn't know it, so it can't judge its commands and parameters",
        |row| row.what,
    )
}

/// What Tarpit could pass on, but the upstream doesn't announce.
pub(super) fn missing(capabilities: &Capabilities) -> Vec<&'static str> {
    let announced = capabilities.offers();
    let could = |row: &&CapabilityRow| {
        matches!(row.treatment, Treatment::Offered | Treatment::OfferedIf)
            && !announced
                .iter()
                .any(|extension| extension.as_str() == row.keyword)
    };
    TABLE.iter().filter(could).map(|row| row.keyword).collect()
}

#[cfg(test)]
mod tests {
    use tarpit_smtp::{Reply, ReplyCode};

    use super::*;

    #[test]
    fn tells_offered_from_withheld() {
        let text = "mail.example.org\nPIPELINING\nSIZE 10240000\nVRFY\nETRN\nSTARTTLS\nAUTH PLAIN LOGIN\n\
                    8BITMIME\nXSOMETHING\nCHUNKING\nXCLIENT NAME ADDR";
        let capabilities = Capabilities::from_ehlo(&Reply::new(ReplyCode::new(250).unwrap(), text));
        let mut offered = offered(&capabilities, false);
        offered.sort();
        assert_eq!(
            offered,
            [
                "8BITMIME",
                "AUTH PLAIN LOGIN",
                "CHUNKING",
                "PIPELINING",
                "SIZE 10240000"
            ]
        );
        let mut withheld: Vec<String> = withheld(&capabilities, false)
            .into_iter()
            .map(|(keyword, _)| keyword)
            .collect();
        withheld.sort();
        assert_eq!(
            withheld,
            ["ETRN", "STARTTLS", "VRFY", "XCLIENT", "XSOMETHING"]
        );
        assert_eq!(
            missing(&capabilities),
            [
                "ENHANCEDSTATUSCODES",
                "DSN",
                "SMTPUTF8",
                "BINARYMIME",
                "DELIVERBY",
                "REQUIRETLS",
                "MT-PRIORITY",
                "FUTURERELEASE"
            ]
        );
    }
}
