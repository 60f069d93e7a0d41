//! What the console keeps in memory for a session, for a few minutes: pages of
//! refused forms, and the answers to forms that were sent.
//!
//! Invariants: everything here is bounded in bytes, in entries and in time; one
//! session never gets what belongs to another; losing all of it loses nothing
//! that was stored, only what was typed into a refused form.
//! Deliberately absent: other nodes. A refused form whose page is asked of
//! another node shows the page without what was typed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::page::Told;
use crate::service::token;

/// How long a page or an answer is kept.
const KEPT: Duration = Duration::from_secs(10 * 60);
/// The largest page that is kept, in bytes.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// The bytes of pages of one session, and of all sessions.
const SESSION_BYTES_MAX: usize = 2 << 20;
const ALL_BYTES_MAX: usize = 32 << 20;
/// The largest body of an answer that is kept for a second click, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// The most answers that are kept, and their bytes.
const ANSWERS_MAX: usize = 4_096;
const ANSWERS_BYTES_MAX: usize = 8 << 20;

/// Pages of refused forms, each for its session and its address.
#[derive(Default)]
pub struct Pages(Mutex<VecDeque<KeptPage>>);

struct KeptPage {
    id: String,
    session: Arc<str>,
    path: String,
    body: Bytes,
    at: Instant,
}

impl Pages {
    /// Keeps a page and gives its name, unless the page is too large.
    pub fn keep(&self, session: &Arc<str>, path: &str, body: Bytes) -> Option<String> {
        if body.len() > PAGE_BYTES_MAX {
            return None;
        }
        let page =
            KeptPage { id: token::holder(), session: session.clone(), path: path.to_owned(), body, at: Instant::now() };
        let id = page.id.clone();
        let mut pages = self.0.lock();
        pages.push_back(page);
        evict(&mut pages, Some(session));
        Some(id)
    }

    /// The page of that name, if it is this session's and of this address.
    pub fn find(&self, session: &str, path: &str, id: &str) -> Option<Bytes> {
        let mut pages = self.0.lock();
        evict(&mut pages, None);
        let found = pages.iter().find(|page| page.id == id && *page.session == *session && page.path == path);
        found.map(|page| page.body.clone())
    }
}

/// Drops what is too old, then the oldest of `session` and of all until both
/// are within their bounds.
fn evict(pages: &mut VecDeque<KeptPage>, session: Option<&Arc<str>>) {
    pages.retain(|page| page.at.elapsed() < KEPT);
    if let Some(session) = session {
        let mut own: usize = pages.iter().filter(|page| page.session == *session).map(|page| page.body.len()).sum();
        while own > SESSION_BYTES_MAX
            && let Some(at) = pages.iter().position(|page| page.session == *session)
        {
            own -= pages.remove(at).map_or(0, |page| page.body.len());
        }
    }
    let mut all: usize = pages.iter().map(|page| page.body.len()).sum();
    while all > ALL_BYTES_MAX
        && let Some(page) = pages.pop_front()
    {
        all -= page.body.len();
    }
}

/// What a handler answered, to be given more than once.
#[derive(Clone, Debug)]
pub struct KeptAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// What went wrong, where there is no page.
    pub told: Option<Told>,
}

impl KeptAnswer {
    pub fn response(&self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        if let Some(told) = &self.told {
            response.extensions_mut().insert(told.clone());
        }
        response
    }
}

/// The forms that were sent, by a digest of session, address, token and fields.
#[derive(Default)]
pub struct Answers(Arc<Mutex<HashMap<[u8; 32], Sent>>>);

struct Sent {
    answer: watch::Receiver<Option<Arc<KeptAnswer>>>,
    /// When it was sent.
    at: Instant,
}

/// What to do with a form.
pub enum Turn {
    /// It is the first of its kind: do it, and give the answer to [`Doing`].
    First(Doing, watch::Receiver<Option<Arc<KeptAnswer>>>),
    /// It was sent before: the answer is here, or will be.
    Again(watch::Receiver<Option<Arc<KeptAnswer>>>),
}

/// A form that is being done. Dropped without an answer, it is forgotten.
pub struct Doing {
    all: Arc<Mutex<HashMap<[u8; 32], Sent>>>,
    key: [u8; 32],
    answer: watch::Sender<Option<Arc<KeptAnswer>>>,
    keep: bool,
}

impl Answers {
    pub fn turn(&self, key: [u8; 32]) -> Turn {
        let mut all = self.0.lock();
        all.retain(|_, sent| sent.at.elapsed() < KEPT);
        if let Some(sent) = all.get(&key) {
            return Turn::Again(sent.answer.clone());
        }
        while all.len() >= ANSWERS_MAX || kept_bytes(&all) > ANSWERS_BYTES_MAX {
            let done = all.iter().filter(|(_, sent)| sent.answer.borrow().is_some());
            let Some(oldest) = done.min_by_key(|(_, sent)| sent.at).map(|(key, _)| *key) else { break };
            all.remove(&oldest);
        }
        let (answer, waiting) = watch::channel(None);
        all.insert(key, Sent { answer: waiting.clone(), at: Instant::now() });
        Turn::First(Doing { all: self.0.clone(), key, answer, keep: false }, waiting)
    }
}

fn kept_bytes(all: &HashMap<[u8; 32], Sent>) -> usize {
    all.values().filter_map(|sent| sent.answer.borrow().as_ref().map(|answer| answer.body.len())).sum()
}

impl Doing {
    /// Gives the answer to every click that waits; `keep` says whether later
    /// clicks get it too. A refusal changed nothing, so it is not kept: the same
    /// form may succeed a moment later.
    pub fn answer(mut self, answer: KeptAnswer, keep: bool) {
        self.keep = keep && answer.body.len() <= ANSWER_BYTES_MAX;
        self.answer.send_replace(Some(Arc::new(answer)));
    }
}

impl Drop for Doing {
    fn drop(&mut self) {
        if !self.keep {
            self.all.lock().remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(name: &str) -> Arc<str> {
        name.into()
    }

    #[test]
    fn a_page_is_its_sessions_and_its_addresss() {
        let pages = Pages::default();
        let id = pages.keep(&session("se_1"), "/a", Bytes::from_static(b"typed")).expect("kept");
        assert_eq!(pages.find("se_1", "/a", &id).as_deref(), Some(&b"typed"[..]));
        assert_eq!(pages.find("se_1", "/a", &id).as_deref(), Some(&b"typed"[..]), "also when it is loaded again");
        for (session, path, id) in [("se_2", "/a", &*id), ("se_1", "/b", &id), ("se_1", "/a", "other")] {
            assert_eq!(pages.find(session, path, id), None, "{session} {path} {id}");
        }
        assert_eq!(pages.keep(&session("se_1"), "/a", vec![0; PAGE_BYTES_MAX + 1].into()), None);
    }

    #[test]
    fn pages_are_bounded_for_a_session_and_for_all() {
        let pages = Pages::default();
        let page = || Bytes::from(vec![b'x'; PAGE_BYTES_MAX]);
        let first = pages.keep(&session("se_0"), "/a", page()).expect("kept");
        let own: Vec<String> = (0..10).filter_map(|_| pages.keep(&session("se_1"), "/a", page())).collect();
        let kept = own.iter().filter(|id| pages.find("se_1", "/a", id).is_some()).count();
        assert_eq!(kept, SESSION_BYTES_MAX / PAGE_BYTES_MAX);
        assert!(pages.find("se_0", "/a", &first).is_some(), "another's flood took it");
        for n in 2..200 {
            pages.keep(&session(&format!("se_{n}")), "/a", page());
        }
        assert!(pages.0.lock().iter().map(|page| page.body.len()).sum::<usize>() <= ALL_BYTES_MAX);
    }

    fn answered(text: &'static str) -> KeptAnswer {
        let body = Bytes::from_static(text.as_bytes());
        KeptAnswer { status: StatusCode::SEE_OTHER, headers: HeaderMap::new(), body, told: None }
    }

    #[test]
    fn the_second_gets_the_answer_of_the_first() {
        let answers = Answers::default();
        let Turn::First(doing, _) = answers.turn([1; 32]) else { panic!("not the first") };
        let Turn::Again(waiting) = answers.turn([1; 32]) else { panic!("done twice") };
        assert!(matches!(answers.turn([2; 32]), Turn::First(..)), "another form waits for nothing");
        assert!(waiting.borrow().is_none());
        doing.answer(answered("done"), true);
        assert_eq!(&waiting.borrow().as_ref().expect("an answer").body[..], b"done");
        let Turn::Again(later) = answers.turn([1; 32]) else { panic!("done twice") };
        assert_eq!(&later.borrow().as_ref().expect("an answer").body[..], b"done");
    }

    #[test]
    fn what_was_refused_or_broke_may_be_tried_again() {
        let answers = Answers::default();
        let Turn::First(doing, _) = answers.turn([1; 32]) else { panic!("not the first") };
        doing.answer(answered("refused"), false);
        let Turn::First(doing, waiting) = answers.turn([1; 32]) else { panic!("kept") };
        drop(doing);
        assert!(waiting.has_changed().is_err(), "a click waits for what broke");
        assert!(matches!(answers.turn([1; 32]), Turn::First(..)));
    }

    #[test]
    fn answers_are_bounded() {
        let answers = Answers::default();
        for n in 0..ANSWERS_MAX as u64 + 100 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_le_bytes());
            let Turn::First(doing, _) = answers.turn(key) else { panic!("not the first") };
            doing.answer(answered("done"), true);
        }
        assert!(answers.0.lock().len() <= ANSWERS_MAX);
    }
}
