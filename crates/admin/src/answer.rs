//! What is answered to a request.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, HeaderValue, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use serde::Serialize;
use tarpit_gateway::Handle;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::api::{Dialogue, Refusal};
use crate::assets;
use crate::control::{Wrong, explain, parameter};
use crate::host;
use crate::live::{Events, Feed, SUBSCRIBERS_MAX};
use crate::text::{self, exposition};
use crate::token::{self, Token};

/// The figures are read anew after this time. Nobody looks more often; and however many ask, what
/// it costs is bounded.
const FRESH: Duration = Duration::from_millis(100);

const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// Where a browser says that the request comes from (W3C Fetch Metadata).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Who answers.
#[derive(Debug)]
pub(crate) struct Answerer {
    handle: Handle,
    token: RwLock<Option<Token>>,
    feed: Arc<Feed>,
    /// The last text. Who finds it too old reads the figures anew, while others wait for them.
    last: Arc<Mutex<Option<(Instant, Bytes)>>>,
    /// Whose turn it is to be explained something: that walks over a table that mail writes to.
    turn: Arc<Mutex<()>>,
}

/// An answer with all its octets at hand, which readers share; or one that goes on.
pub(crate) type Answer = Response<Either<Full<Bytes>, Events>>;

impl Answerer {
    pub(crate) fn new(handle: Handle, token: Option<Token>) -> Arc<Self> {
        Arc::new(Self {
            feed: Feed::new(handle.clone()),
            handle,
            token: RwLock::new(token),
            last: Arc::default(),
            turn: Arc::default(),
        })
    }

    /// From now on whoever looks must know this token, or none.
    pub(crate) fn ask_for(&self, token: Option<Token>) {
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = token;
        self.feed.end();
    }

    /// Answers a request that came in on a socket bound to `bound`.
    pub(crate) async fn answer<B>(&self, request: Request<B>, bound: IpAddr) -> Answer {
        if !host::is_ours(host_of(&request).as_deref(), bound) {
            return plain(
                StatusCode::MISDIRECTED_REQUEST,
                "this is answered on loopback for the host localhost, or an IP address\n",
            );
        }
        let path = request.uri().path();
        let is_page = path.starts_with("/v1/") || path == "/events" || assets::find(path).is_some();
        let is_health = matches!(path, "/livez" | "/readyz");
        if !is_page && !is_health && path != "/metrics" {
            return plain(
                StatusCode::NOT_FOUND,
                "there is a page at /, and /metrics, /livez and /readyz\n",
            );
        }
        if !is_read(request.method()) {
            let mut refusal = plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "allowed here: GET and HEAD\n",
            );
            let allowed = HeaderValue::from_static("GET, HEAD");
            refusal.headers_mut().insert(ALLOW, allowed);
            return refusal;
        }
        if !is_health && let Some(refusal) = self.refusal(request.headers(), bound, is_page) {
            return refusal;
        }
        match path {
            "/metrics" => self.metrics().await,
            "/livez" => plain(StatusCode::OK, "ok\n"),
            "/readyz" => match self.handle.ready() {
                Ok(()) => plain(StatusCode::OK, "ok\n"),
                Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            },
            _ if path != "/" && is_from_elsewhere(request.headers()) => plain(
                StatusCode::FORBIDDEN,
                "this is for the page of this gateway, not for other pages\n",
            ),
            _ => self.page(&request).await,
        }
    }

    /// Why whoever asks may not look.
    fn refusal(&self, headers: &HeaderMap, bound: IpAddr, is_page: bool) -> Option<Answer> {
        let token = self.token.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = &*token {
            if token.is_in(headers) {
                return None;
            }
            let mut refusal = plain(
                StatusCode::UNAUTHORIZED,
                "the token is needed: as the password of any name, or as Authorization: Bearer\n",
            );
            refusal.headers_mut().insert(WWW_AUTHENTICATE, token::ASK);
            return Some(refusal);
        }
        // It names sources and senders; figures do not.
        (is_page && !bound.to_canonical().is_loopback()).then(|| {
            plain(
                StatusCode::FORBIDDEN,
                "the page is shown where the address of [admin] is a loopback address, or with token_file\n",
            )
        })
    }

    /// The page, and what it asks for.
    async fn page<B>(&self, request: &Request<B>) -> Answer {
        let path = request.uri().path();
        if let Some(asset) = assets::find(path) {
            return assets::answer(asset);
        }
        match path {
            "/events" if *request.method() == Method::GET => self.events(),
            "/events" => whole(StatusCode::OK, EVENTS, Bytes::new()),
            "/v1/explain" => match parameter(request.uri().query().unwrap_or_default(), "of") {
                Ok(of) => self.look(move |handle| explain(handle, of)).await,
                Err(wrong) => refused(wrong),
            },
            "/v1/dialogue" => match parameter(request.uri().query().unwrap_or_default(), "of") {
                Ok(of) => self.look(move |handle| dialogue(handle, &of)).await,
                Err(wrong) => refused(wrong),
            },
            _ => plain(
                StatusCode::NOT_FOUND,
                "there is /v1/explain?of= and /v1/dialogue?of=\n",
            ),
        }
    }

    fn events(&self) -> Answer {
        let Some(events) = self.feed.subscribe() else {
            return plain(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{SUBSCRIBERS_MAX} look already\n"),
            );
        };
        let taken = events.taken();
        let mut answer = with_headers(Response::new(Either::Right(events)), EVENTS);
        // Whoever carries the answer out watches over it.
        answer.extensions_mut().insert(taken);
        answer
    }

    /// Asks, on a thread that serves no mail; one after the other, however many do.
    async fn look<T: Serialize>(
        &self,
        ask: impl FnOnce(&Handle) -> Result<T, Wrong> + Send + 'static,
    ) -> Answer {
        let handle = self.handle.clone();
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let asked = tokio::task::spawn_blocking(move || {
            let _until_then = turn;
            ask(&handle).map(|found| serde_json::to_vec(&found).unwrap_or_default())
        });
        match asked.await {
            Ok(Ok(text)) => whole(StatusCode::OK, JSON, text.into()),
            Ok(Err(wrong)) => refused(wrong),
            Err(error) => failed(&error),
        }
    }

    async fn metrics(&self) -> Answer {
        let mut last = Arc::clone(&self.last).lock_owned().await;
        if let Some((at, text)) = &*last
            && at.elapsed() < FRESH
        {
            return whole(StatusCode::OK, text::CONTENT_TYPE, text.clone());
        }
        let handle = self.handle.clone();
        // Files are read, and locks taken: threads that serve mail don't do that for a look. It keeps
        // the lock although whoever asked has left, so that there is never more than one of it.
        let printed = tokio::task::spawn_blocking(move || {
            let text = Bytes::from(exposition(&handle.figures()));
            *last = Some((Instant::now(), text.clone()));
            text
        });
        match printed.await {
            Ok(text) => whole(StatusCode::OK, text::CONTENT_TYPE, text),
            Err(error) => failed(&error),
        }
    }
}

fn dialogue(handle: &Handle, of: &str) -> Result<Dialogue, Wrong> {
    let found = of.parse().ok().and_then(|id| handle.dialogue(id));
    let found = found.as_ref().map(Dialogue::from);
    found.ok_or_else(|| {
        let error = "nothing that was said in it is kept: it is not in the sample, which is made while somebody looks";
        let refusal = Refusal {
            error: error.to_owned(),
            findings: Vec::new(),
        };
        (StatusCode::NOT_FOUND, refusal)
    })
}

/// The host of the target where it has one (RFC 9112 §3.2.2), else that of the header. What is not
/// text is as good as foreign.
fn host_of<B>(request: &Request<B>) -> Option<String> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.as_str().to_owned());
    }
    let headers: &HeaderMap = request.headers();
    let mut hosts = headers.get_all(HOST).iter();
    let first = hosts.next()?;
    if hosts.next().is_some() {
        // RFC 9112 §3.2: more than one is no good request.
        return Some(String::new());
    }
    Some(first.to_str().unwrap_or_default().to_owned())
}

fn is_read(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

/// A browser says that another site's page asks. Programs say nothing about it.
fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    let site = headers.get(FETCH_SITE).map(HeaderValue::as_bytes);
    !matches!(site, None | Some(b"same-origin" | b"none"))
}

fn refused((status, refusal): Wrong) -> Answer {
    let text = serde_json::to_vec(&refusal).unwrap_or_default();
    whole(status, JSON, text.into())
}

fn failed(error: &dyn std::fmt::Display) -> Answer {
    tracing::error!(target: "tarpit::admin", %error, "the figures could not be read");
    plain(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the figures could not be read, see the log\n",
    )
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    whole(status, PLAIN, text.into())
}

pub(crate) fn whole(status: StatusCode, content_type: &'static str, text: Bytes) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(text)));
    *answer.status_mut() = status;
    with_headers(answer, content_type)
}

fn with_headers(mut answer: Answer, content_type: &'static str) -> Answer {
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
