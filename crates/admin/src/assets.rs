//! The page itself: its parts are in the program, as they were written.
//!
//! A build step that makes them of something else was rejected: `cargo build` needs nothing but Rust,
//! and whoever wants to know what runs in the browser can read it.

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_FRAME_OPTIONS,
};

use crate::answer::{Answer, whole};

/// A part of the page.
pub(crate) struct Asset {
    path: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const ASSETS: &[Asset] = &[
    Asset {
        path: "/",
        content_type: "text/html; charset=utf-8",
        text: include_str!("../page/page.html"),
    },
    Asset {
        path: "/page.css",
        content_type: "text/css; charset=utf-8",
        text: include_str!("../page/page.css"),
    },
    Asset {
        path: "/page.js",
        content_type: "text/javascript; charset=utf-8",
        text: include_str!("../page/page.js"),
    },
    Asset {
        path: "/chart.js",
        content_type: "text/javascript; charset=utf-8",
        text: include_str!("../page/chart.js"),
    },
    Asset {
        path: "/icon.svg",
        content_type: "image/svg+xml",
        text: include_str!("../page/icon.svg"),
    },
];

/// Nothing is loaded from elsewhere, nothing that stands in the page itself runs, and nobody shows it
/// in a frame of his own. What a client said is on this page: if it ever became more than text, it
/// still could not do anything.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
);

const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
const DENY: HeaderValue = HeaderValue::from_static("DENY");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");

/// The part with this path.
pub(crate) fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

pub(crate) fn answer(asset: &Asset) -> Answer {
    let text = Bytes::from_static(asset.text.as_bytes());
    let mut answer = whole(StatusCode::OK, asset.content_type, text);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(REFERRER_POLICY, NO_REFERRER);
    headers.insert(X_FRAME_OPTIONS, DENY);
    headers.insert(RESOURCE_POLICY, SAME_ORIGIN);
    headers.insert(OPENER_POLICY, SAME_ORIGIN);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the policy forbids is not there: no inline script or style, nothing from elsewhere.
    #[test]
    fn the_page_keeps_to_its_policy() {
        for asset in ASSETS {
            let text = asset.text;
            for forbidden in [
                " style=",
                " onclick=",
                "<script>",
                "<style>",
                "innerHTML",
                "eval(",
            ] {
                assert!(!text.contains(forbidden), "{}: {forbidden}", asset.path);
            }
            let mut foreign = text.match_indices("//").filter(|(at, _)| {
                let before = text.get(..*at).unwrap_or_default();
                before.ends_with("http:") || before.ends_with("https:")
            });
            // The name of a vocabulary is not loaded.
            let is_name = |at: usize| text[at..].starts_with("//www.w3.org/2000/svg");
            assert!(foreign.all(|(at, _)| is_name(at)), "{}", asset.path);
        }
    }
}
