//! The HTTP listener, in the format of Kamailio's module rtjson, for proxies that
//! cannot follow a 302.
//!
//! `GET /route/{user}?call_id=ID` is answered with 200 and one line of JSON for
//! every result, because a proxy takes other statuses for a failure of the server.
//! The user part is decoded once as a path and then read like that of a SIP URI. A
//! `+` in the query is a plus: Call-IDs have no spaces, and proxies do not escape
//! it.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tower_service::Service;

use super::measures::FaceMetrics;
use super::{Call, Responder};
use crate::config::Config;
use crate::domain::Time;
use crate::http::X_REQUEST_ID;
use crate::http::error::ApiError;
use crate::http::server::Server;
use crate::routing::Answer;
use crate::service::token;

/// Serves until `stopping` says so.
pub fn start(
    desk: Arc<Responder>,
    listener: TcpListener,
    config: &Config,
    mut stopping: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let measures = Arc::new(FaceMetrics::register("http", &desk.settings));
    let server = Server {
        name: "route",
        refused: None,
        limits: crate::http::limits(config),
        refusal: crate::http::refusal,
        tls: None,
        admitted: Some(desk.askers.clone()),
    };
    let face = Face { desk, measures };
    tokio::spawn(async move {
        let stopped = async {
            // Without a sender, the process is ending.
            let _ = stopping.wait_for(|&stop| stop).await;
        };
        server.serve(listener, face, stopped).await;
    })
}

#[derive(Clone)]
struct Face {
    desk: Arc<Responder>,
    measures: Arc<FaceMetrics>,
}

impl Service<Request<Body>> for Face {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let id = token::request_id();
        let mut response = match self.answer(&request) {
            Ok(response) => response,
            Err(error) => error.into_bytes(&id).map(Body::from),
        };
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(X_REQUEST_ID, id);
        }
        ready(Ok(response))
    }
}

impl Face {
    fn answer(&self, request: &Request<Body>) -> Result<Response<Body>, ApiError> {
        let Some(user) = request.uri().path().strip_prefix("/route/") else {
            return Err(ApiError::not_found().saying("there is nothing here but /route/{user}?call_id=ID"));
        };
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return Err(ApiError::method_not_allowed("GET, HEAD"));
        }
        let began = self.measures.timed().then(Instant::now);
        let user = decoded(user.as_bytes());
        let call_id = request.uri().query().and_then(call_id);
        let headers = Some(request.headers());
        let call = Call { user: &user, call_id: call_id.as_deref(), trial: false, headers };
        let text = self.desk.route(&call, Time::now(), |answer| {
            self.measures.call(answer.case());
            serde_json::to_string(&RouteLine::of(answer)).unwrap_or_default()
        });
        let mut response = Response::new(Body::from(text));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(began) = began {
            self.measures.took(began.elapsed());
        }
        Ok(response)
    }
}

/// The Call-ID of a query; none if it is empty.
fn call_id(query: &str) -> Option<Vec<u8>> {
    let id = query.split('&').find_map(|pair| pair.strip_prefix("call_id="))?;
    Some(decoded(id.as_bytes())).filter(|id| !id.is_empty())
}

/// One percent-decoding; what is no escape stays as it is.
fn decoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    while let [first, after @ ..] = rest {
        let escape = match rest {
            [b'%', high, low, ..] => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match escape {
            Some((high, low)) => {
                out.push((high * 16 + low) as u8);
                rest = &rest[3..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// An answer as Kamailio's rtjson reads it.
#[derive(Serialize)]
struct RouteLine<'a> {
    version: &'static str,
    code: u16,
    reason: &'static str,
    cause: &'static str,
    q850: Option<u8>,
    routing: &'static str,
    routes: Vec<RouteUri>,
    number: Option<String>,
    account_auth_id: Option<&'a str>,
    application_id: Option<&'a str>,
    trunk_id: Option<&'a str>,
    inventory_version: Option<u64>,
    age: u64,
}

#[derive(Serialize)]
struct RouteUri {
    uri: String,
}

impl<'a> RouteLine<'a> {
    fn of(answer: &Answer<'a>) -> RouteLine<'a> {
        let line = answer.line;
        RouteLine {
            version: "1.0",
            code: line.code,
            reason: line.reason,
            cause: line.case.as_str(),
            q850: line.q850,
            routing: "serial",
            routes: answer.routes.iter().map(|route| RouteUri { uri: route.to_string() }).collect(),
            number: answer.number.map(|number| number.to_string()),
            account_auth_id: answer.row.and_then(|row| row.account()).map(|account| account.auth_id.as_str()),
            application_id: answer.row.and_then(|row| row.application()).map(|one| one.id.as_str()),
            trunk_id: answer.row.and_then(|row| row.trunk()).map(|one| one.id.as_str()),
            inventory_version: answer.version,
            age: answer.age,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_once_and_a_plus_is_a_plus() {
        let check = |query: &str, expected: Option<&str>| {
            assert_eq!(call_id(query).as_deref(), expected.map(str::as_bytes), "{query}");
        };
        check("call_id=a%40b+c%2Bd", Some("a@b+c+d"));
        check("x=1&call_id=%2541", Some("%41"));
        check("call_id=100%", Some("100%"));
        check("call_id=%zz%4", Some("%zz%4"));
        check("call_id=&call_id=2", None);
        check("callid=1", None);
        check("", None);
    }
}
