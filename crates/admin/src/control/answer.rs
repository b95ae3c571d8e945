//! What is answered to a request over the control socket.

use std::net::IpAddr;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body, Bytes};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, ORIGIN, REFERER,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tarpit_core::SessionId;
use tarpit_gateway::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::{BODY_MAX, Change, Office, Order, READ_TIME, Refused};
use crate::api::{
    Done, Exemption, Exemptions, Explanation, Forgive, Forgiven, Harm, ListenerMode, Mail,
    NewExemption, Pit, Refusal, Rule, SetMode, Source, Sources, Status, Upstream, seconds,
};

/// Sources in one answer.
const TOP_MAX: usize = 1000;
const TOP_USUAL: usize = 20;

/// Questions that are answered at once. Who asks and leaves gives its connection back, but a walk over
/// a table goes to its end: without this bound, whoever does that again and again would take all
/// threads that wait for disks, and all processors.
const LOOKS_MAX: usize = 2;

/// What a browser says, and no command.
const BROWSERS: [HeaderName; 3] = [ORIGIN, REFERER, HeaderName::from_static("sec-fetch-site")];

type Answer = Response<Full<Bytes>>;

/// Something is wrong: the status and what is said.
pub(crate) type Wrong = (StatusCode, Refusal);

/// Who answers.
#[derive(Debug)]
pub(super) struct Clerk {
    office: Office,
    looks: Arc<Semaphore>,
}

impl Clerk {
    pub(super) fn new(office: Office) -> Self {
        Self {
            office,
            looks: Arc::new(Semaphore::new(LOOKS_MAX)),
        }
    }

    pub(super) async fn answer<B>(&self, request: Request<B>, user: Option<u32>) -> Answer
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let answered = self.route(request, user).await;
        answered.unwrap_or_else(|(status, refusal)| json(status, &refusal))
    }

    async fn route<B>(&self, request: Request<B>, user: Option<u32>) -> Result<Answer, Wrong>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if BROWSERS
            .iter()
            .any(|name| request.headers().contains_key(name))
        {
            return Err(wrong(
                StatusCode::FORBIDDEN,
                "this is for commands, not for pages in a browser",
            ));
        }
        let (head, body) = request.into_parts();
        let query = head.uri.query().unwrap_or_default().to_owned();
        let method = if head.method == Method::HEAD {
            Method::GET
        } else {
            head.method.clone()
        };
        match (method.as_str(), head.uri.path()) {
            ("GET", "/v1/status") => self.look(status).await,
            ("GET", "/v1/exemptions") => self.look(exemptions).await,
            ("GET", "/v1/sources") => {
                let top = top(&query)?;
                self.look(move |office| Ok(sources(&office.handle, top)))
                    .await
            }
            ("GET", "/v1/explain") => {
                let of = parameter(&query, "of")?;
                self.look(move |office| explain(&office.handle, of)).await
            }
            ("POST", "/v1/forgive") => {
                let Forgive { address } = read(&head, body).await?;
                let address = address_of(&self.office.handle, &address)?;
                tracing::info!(target: "tarpit::control", user, %address, "forgive");
                self.look(move |office| Ok(forgive(&office.handle, address)))
                    .await
            }
            ("POST", "/v1/mode") => {
                let mode: SetMode = read(&head, body).await?;
                self.change(Change::Mode(mode), user).await
            }
            ("POST", "/v1/exemptions") => {
                let new: NewExemption = read(&head, body).await?;
                self.change(Change::Exempt(new), user).await
            }
            ("DELETE", "/v1/exemptions") => {
                let network = parameter(&query, "network")?;
                self.change(Change::Unexempt(network), user).await
            }
            ("POST", "/v1/confirm") => self.change(Change::Confirm, user).await,
            ("POST", "/v1/reload") => self.change(Change::Reload, user).await,
            (_, path) => Err(elsewhere(path)),
        }
    }

    /// Asks, on a thread that serves no mail.
    async fn look<T: Serialize + Send + 'static>(
        &self,
        ask: impl FnOnce(&Office) -> Result<T, Wrong> + Send + 'static,
    ) -> Result<Answer, Wrong> {
        let office = self.office.clone();
        // It is never closed.
        let place = Arc::clone(&self.looks).acquire_owned().await.ok();
        let asked = tokio::task::spawn_blocking(move || {
            let answer = ask(&office).map(|found| json(StatusCode::OK, &found));
            drop(place);
            answer
        });
        match asked.await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(target: "tarpit::control", %error, "a question could not be answered");
                Err(wrong(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the question could not be answered, see the log",
                ))
            }
        }
    }

    async fn change(&self, what: Change, user: Option<u32>) -> Result<Answer, Wrong> {
        let (answer, outcome) = oneshot::channel();
        let order = Order { what, user, answer };
        let leaving = || {
            wrong(
                StatusCode::SERVICE_UNAVAILABLE,
                "this process does not take changes any more: it ends, or its successor serves",
            )
        };
        let sent = self.office.orders.send(order).await;
        sent.map_err(|_| leaving())?;
        let outcome: Result<Done, Refused> = outcome.await.map_err(|_| leaving())?;
        match outcome {
            Ok(done) => Ok(json(StatusCode::OK, &done)),
            Err(Refused::Wrong(refusal)) => Err((StatusCode::UNPROCESSABLE_ENTITY, refusal)),
            Err(Refused::Conflict(refusal)) => Err((StatusCode::CONFLICT, refusal)),
            Err(Refused::Failed(refusal)) => Err((StatusCode::INTERNAL_SERVER_ERROR, refusal)),
        }
    }
}

fn status(office: &Office) -> Result<Status, Wrong> {
    let handle = &office.handle;
    let figures = handle.figures();
    Ok(Status {
        version: office.version.to_owned(),
        config: office.config.display().to_string(),
        process: std::process::id(),
        started: figures.process.started,
        now: handle.unix_now(),
        unready: handle.ready().err().map(|why| why.to_string()),
        rule: rule(office),
        listeners: ListenerMode::all(&figures),
        pit: Pit::of(&figures),
        mail: Mail::of(&figures),
        upstreams: Upstream::all(&figures),
        harm: Harm::from(handle.harm()),
        sources_owing: figures.ledger.sources as u64,
        known_senders: figures.ledger.known as u64,
        reload_successful: figures.reload.successful,
    })
}

fn rule(office: &Office) -> Rule {
    let mut rule = office.rule.borrow().clone();
    rule.mark_over(office.handle.unix_now());
    rule
}

fn exemptions(office: &Office) -> Result<Exemptions, Wrong> {
    let by_command = rule(office).exemptions;
    let now = office.handle.unix_now();
    let all = office.handle.exemptions();
    let exemptions = all.iter().map(|exemption| {
        let mut shown = Exemption::of(exemption, now);
        let is_same = |one: &Exemption| one.network == shown.network && one.reason == shown.reason;
        let is_commanded = by_command.iter().any(is_same);
        let set_by = if is_commanded {
            "command"
        } else {
            "configuration"
        };
        shown.set_by = set_by.to_owned();
        shown
    });
    Ok(Exemptions {
        exemptions: exemptions.collect(),
    })
}

fn sources(handle: &Handle, top: usize) -> Sources {
    let most = handle.owing_most(top);
    Sources {
        sources: most
            .iter()
            .map(|(source, standing)| Source::of(*source, standing))
            .collect(),
    }
}

pub(crate) fn explain(handle: &Handle, of: String) -> Result<Explanation, Wrong> {
    let now = handle.unix_now();
    if let Some(address) = find_address(handle, &of) {
        return Ok(Explanation::of(of, &handle.explain(address), None, now));
    }
    let Ok(id) = of.parse::<SessionId>() else {
        return Err(wrong(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!(
                "found {of:?}; allowed: an IP address, a source as it is shown, or the name of a session such as tp-0123ABCD"
            ),
        ));
    };
    let Some(session) = handle.session(id) else {
        return Err(wrong(
            StatusCode::NOT_FOUND,
            format!("tp-{id} is not among the newest sessions; its record is in the log"),
        ));
    };
    let ended = session.ended.as_ref();
    let address = ended.map_or_else(|| session.source.address(), |ended| ended.client.ip());
    Ok(Explanation::of(
        of,
        &handle.explain(address),
        Some(&session),
        now,
    ))
}

fn forgive(handle: &Handle, address: IpAddr) -> Forgiven {
    let (source, owed) = handle.forgive(address);
    Forgiven {
        source: source.to_string(),
        seconds: seconds(owed),
    }
}

/// The body of a request, which has to be JSON: a page in a browser could not send that unasked.
async fn read<T: DeserializeOwned, B>(
    head: &hyper::http::request::Parts,
    body: B,
) -> Result<T, Wrong>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let kind = head.headers.get(CONTENT_TYPE);
    let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !is_json {
        return Err(wrong(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "a request that changes something has Content-Type: application/json",
        ));
    }
    let whole = timeout(READ_TIME, Limited::new(body, BODY_MAX).collect()).await;
    let octets = match whole {
        Ok(Ok(whole)) => whole.to_bytes(),
        Ok(Err(error)) => {
            return Err(wrong(
                StatusCode::BAD_REQUEST,
                format!("the body can't be read ({BODY_MAX} octets at most): {error}"),
            ));
        }
        Err(_) => return Err(wrong(StatusCode::REQUEST_TIMEOUT, "the body did not come")),
    };
    serde_json::from_slice(&octets)
        .map_err(|error| wrong(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
}

fn address_of(handle: &Handle, text: &str) -> Result<IpAddr, Wrong> {
    find_address(handle, text).ok_or_else(|| {
        wrong(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("found {text:?}; allowed: an IP address, or a source as it is shown"),
        )
    })
}

/// An address; or a source as it is shown, such as `2001:db8::/64` where sources have 64 bits.
fn find_address(handle: &Handle, text: &str) -> Option<IpAddr> {
    let address = text.split('/').next()?.parse().ok()?;
    let is_source = || handle.source_of(address).to_string() == text;
    (!text.contains('/') || is_source()).then_some(address)
}

fn top(query: &str) -> Result<usize, Wrong> {
    let Ok(text) = parameter(query, "top") else {
        return Ok(TOP_USUAL);
    };
    let count = text.parse().ok();
    count
        .filter(|count| (1..=TOP_MAX).contains(count))
        .ok_or_else(|| {
            wrong(
                StatusCode::UNPROCESSABLE_ENTITY,
                format!("top: found {text:?}; allowed: 1 to {TOP_MAX}"),
            )
        })
}

/// A parameter of the query, with its escapes undone.
pub(crate) fn parameter(query: &str, name: &str) -> Result<String, Wrong> {
    let found = query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then(|| unescaped(value))
    });
    found.flatten().ok_or_else(|| {
        wrong(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("the query has no {name}, or one that can't be read"),
        )
    })
}

/// RFC 3986 §2.1
fn unescaped(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        if octet != b'%' {
            octets.push(octet);
            continue;
        }
        let digit = |octet: Option<u8>| char::from(octet?).to_digit(16);
        let number = digit(rest.next())? * 16 + digit(rest.next())?;
        octets.push(u8::try_from(number).ok()?);
    }
    String::from_utf8(octets).ok()
}

fn elsewhere(path: &str) -> Wrong {
    let known = match path {
        "/v1/status" | "/v1/sources" | "/v1/explain" => "GET",
        "/v1/forgive" | "/v1/mode" | "/v1/confirm" | "/v1/reload" => "POST",
        "/v1/exemptions" => "GET, POST and DELETE",
        _ => {
            return wrong(
                StatusCode::NOT_FOUND,
                "no such path; docs/control.md has all of them",
            );
        }
    };
    wrong(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("allowed here: {known}"),
    )
}

fn wrong(status: StatusCode, error: impl Into<String>) -> Wrong {
    let refusal = Refusal {
        error: error.into(),
        findings: Vec::new(),
    };
    (status, refusal)
}

fn json(status: StatusCode, what: &impl Serialize) -> Answer {
    // Nothing of ours has a form that JSON lacks.
    let mut octets = serde_json::to_vec(what).unwrap_or_default();
    octets.push(b'\n');
    let mut answer = Response::new(Full::new(Bytes::from(octets)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, POST, DELETE"));
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let query = "of=2001%3Adb8::1&network=192.0.2.0/24&bad=%zz&cut=%4";
        assert_eq!(parameter(query, "of").unwrap(), "2001:db8::1");
        assert_eq!(parameter(query, "network").unwrap(), "192.0.2.0/24");
        for bad in ["bad", "cut", "none", "o"] {
            assert!(parameter(query, bad).is_err(), "{bad}");
        }
        assert_eq!(top("").unwrap(), TOP_USUAL);
        assert_eq!(top("top=7").unwrap(), 7);
        for bad in ["top=0", "top=1001", "top=x", "top=-1"] {
            assert!(top(bad).is_err(), "{bad}");
        }
    }
}
