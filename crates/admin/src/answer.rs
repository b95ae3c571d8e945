//! What is answered to a request.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tarpit_gateway::Handle;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::host;
use crate::text::{self, exposition};

/// The figures are read anew after this time. Nobody looks more often; and however many ask, what
/// it costs is bounded.
const FRESH: Duration = Duration::from_millis(100);

const PLAIN: &str = "text/plain; charset=utf-8";

/// Who answers.
#[derive(Debug)]
pub(crate) struct Answerer {
    handle: Handle,
    /// The last text. Who finds it too old reads the figures anew, while others wait for them.
    last: Arc<Mutex<Option<(Instant, Bytes)>>>,
}

/// An answer with all its octets at hand: readers share them.
pub(crate) type Answer = Response<Full<Bytes>>;

impl Answerer {
    pub(crate) fn new(handle: Handle) -> Arc<Self> {
        Arc::new(Self {
            handle,
            last: Arc::default(),
        })
    }

    /// Answers a request that came in on a socket bound to `bound`.
    pub(crate) async fn answer<B>(&self, request: Request<B>, bound: IpAddr) -> Answer {
        if !host::is_ours(host_of(&request).as_deref(), bound) {
            return plain(
                StatusCode::MISDIRECTED_REQUEST,
                "this is answered on loopback for the host localhost, or an IP address\n",
            );
        }
        match request.uri().path() {
            "/metrics" | "/livez" | "/readyz" if !is_read(request.method()) => {
                let mut refusal = plain(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "allowed here: GET and HEAD\n",
                );
                let allowed = HeaderValue::from_static("GET, HEAD");
                refusal.headers_mut().insert(ALLOW, allowed);
                refusal
            }
            "/metrics" => self.metrics().await,
            "/livez" => plain(StatusCode::OK, "ok\n"),
            "/readyz" => match self.handle.ready() {
                Ok(()) => plain(StatusCode::OK, "ok\n"),
                Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            },
            _ => plain(
                StatusCode::NOT_FOUND,
                "there is /metrics, /livez and /readyz\n",
            ),
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
            Err(error) => {
                tracing::error!(target: "tarpit::admin", %error, "the figures could not be read");
                plain(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the figures could not be read, see the log\n",
                )
            }
        }
    }
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

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    whole(status, PLAIN, text.into())
}

fn whole(status: StatusCode, content_type: &'static str, text: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(text));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
