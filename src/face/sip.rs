//! The SIP listener: threads that read datagrams from one socket and answer them.
//!
//! All threads of a listener share its socket. A proxy sends from one port, so
//! a socket for each thread (`SO_REUSEPORT`) would put all its calls on one
//! core; and with one socket a second server on the port is an error at start.
//! Invariant: a thread allocates nothing while it answers, but once for the seed of tags.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use metrics::Counter;
use sha2::{Digest as _, Sha256};
use tracing::debug;

use super::measures::FaceMetrics;
use super::{Call, Responder};
use crate::domain::Time;
use crate::routing::RouteOrder;
use crate::service::Replica;
use crate::sip::{self, Method, Request, RequestFault, Silence, SipAnswer, TagSeed};

/// How often a thread that waits for a datagram looks whether it should end.
const LOOK: Duration = Duration::from_millis(100);
/// What the kernel is asked to keep of datagrams while all threads are busy.
const RECEIVE_BUFFER: usize = 4 << 20;
/// A machine has seldom more proxies than keep so many threads busy.
const THREADS_MAX: usize = 8;

pub struct Listener {
    pub address: SocketAddr,
    threads: Vec<JoinHandle<()>>,
}

impl Listener {
    pub fn start(desk: &Arc<Responder>, address: SocketAddr) -> io::Result<Listener> {
        let socket = UdpSocket::bind(address)?;
        if let Err(error) = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER) {
            debug!(%error, "cannot have a larger receive buffer");
        }
        socket.set_read_timeout(Some(LOOK))?;
        let address = socket.local_addr()?;
        let worker = Worker {
            desk: desk.clone(),
            socket: Arc::new(socket),
            seed: Arc::default(),
            measures: Arc::new(SipMeasures::register(desk)),
        };
        let count = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        let start = |_| {
            let worker = worker.clone();
            std::thread::Builder::new().name("sip".to_owned()).spawn(move || worker.run())
        };
        Ok(Listener { address, threads: (0..count).map(start).collect::<io::Result<_>>()? })
    }

    pub fn join(self) {
        for thread in self.threads {
            // A panic there was logged by its hook.
            let _ = thread.join();
        }
    }
}

/// What all nodes of a deployment share from its first partner on: a hash of that partner,
/// which is never deleted. `None` before: then every call gets the same answer anyway.
fn deployment_seed(replica: &Replica) -> Option<TagSeed> {
    // Also if its rows are damaged, which another node may not have found yet.
    let first = replica.all_nodes().into_iter().next()?;
    let partner = first.snapshot().partner.clone();
    let mut hash = Sha256::new_with_prefix(b"rollcall: tags of SIP answers");
    // Values that no verb changes.
    hash.update(partner.created_at.seconds().to_be_bytes());
    hash.update(partner.auth_id.as_str());
    Some(TagSeed(hash.finalize().into()))
}

/// The seed of a node that knows no partner yet.
const NO_PARTNER: TagSeed = TagSeed([0; 32]);

#[derive(Clone)]
struct Worker {
    desk: Arc<Responder>,
    socket: Arc<UdpSocket>,
    /// Set once there is a partner, which may be after the start.
    seed: Arc<OnceLock<TagSeed>>,
    measures: Arc<SipMeasures>,
}

impl Worker {
    fn run(self) {
        let mut datagram = vec![0; sip::DATAGRAM_MAX];
        let mut answer = Vec::with_capacity(sip::DATAGRAM_MAX + sip::ANSWER_EXTRA_MAX);
        while !self.desk.stopped.load(Ordering::Relaxed) {
            match self.socket.recv_from(&mut datagram) {
                Ok((length, source)) => self.take(&datagram[..length], source, &mut answer),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    _ => {
                        debug!(%error, "cannot receive a datagram: {error}");
                        // Whatever is wrong with the socket must not keep a core busy.
                        std::thread::sleep(LOOK);
                    }
                },
            }
        }
    }

    fn take(&self, datagram: &[u8], source: SocketAddr, out: &mut Vec<u8>) {
        if !self.desk.admits(source.ip()) {
            return self.measures.stranger.increment(1);
        }
        let began = self.measures.all.timed().then(Instant::now);
        let request = match sip::read(datagram) {
            Ok(request) => request,
            Err(silence) => return self.measures.silent(silence),
        };
        self.answer(&request, source, out);
        let to = sip::destination(&request.top, source, |address| self.desk.admits(address));
        if let Err(error) = self.socket.send_to(out, to) {
            debug!(%error, "cannot answer {to}: {error}");
            self.measures.unsendable.increment(1);
        }
        if let Some(began) = began {
            self.measures.all.took(began.elapsed());
        }
    }

    fn seed(&self) -> &TagSeed {
        match self.seed.get() {
            Some(seed) => seed,
            None => deployment_seed(&self.desk.replica).map_or(&NO_PARTNER, |seed| self.seed.get_or_init(|| seed)),
        }
    }

    fn answer(&self, request: &Request<'_>, source: SocketAddr, out: &mut Vec<u8>) {
        let mut plain = |answer: SipAnswer| {
            self.measures.other(&answer, request.fault);
            sip::write(out, request, source, self.seed(), &answer, RouteOrder::EMPTY.iter());
        };
        match (request.fault, request.method) {
            (Some(fault), _) => plain(fault.into()),
            (None, Method::Options) if self.desk.ready() => plain(SipAnswer::plain(200, "OK")),
            (None, Method::Options) => plain(SipAnswer { later: true, ..SipAnswer::plain(503, "Service Unavailable") }),
            (None, Method::Invite | Method::Other) => {
                let (user, call_id) = (request.uri.user, Some(request.call_id));
                let call = Call { user, call_id, trial: request.trial, headers: None };
                self.desk.route(&call, Time::now(), |routed| {
                    let line = routed.line;
                    self.measures.all.call(line.case);
                    let answer = SipAnswer {
                        code: line.code,
                        reason: line.reason,
                        cause: Some(line.case.as_str()),
                        q850: line.q850,
                        later: line.code == 503,
                    };
                    sip::write(out, request, source, self.seed(), &answer, routed.routes.iter());
                });
            }
        }
    }
}

/// What is counted beside the answers to calls.
struct SipMeasures {
    all: FaceMetrics,
    options: Counter,
    not_ready: Counter,
    malformed: Counter,
    method: Counter,
    scheme: Counter,
    extension: Counter,
    version: Counter,
    stranger: Counter,
    unsendable: Counter,
    keep_alive: Counter,
    response: Counter,
    ack: Counter,
    cancel: Counter,
    not_sip: Counter,
    no_via: Counter,
}

impl SipMeasures {
    fn register(desk: &Responder) -> SipMeasures {
        let all = FaceMetrics::register("sip", &desk.settings);
        SipMeasures {
            options: all.other(200, "options"),
            not_ready: all.other(503, "options"),
            malformed: all.other(400, "malformed"),
            method: all.other(405, "method"),
            scheme: all.other(416, "scheme"),
            extension: all.other(420, "extension"),
            version: all.other(505, "version"),
            stranger: all.dropped("not_an_asker"),
            unsendable: all.dropped("unsendable"),
            keep_alive: all.dropped("keep_alive"),
            response: all.dropped("response"),
            ack: all.dropped("ack"),
            cancel: all.dropped("cancel"),
            not_sip: all.dropped("not_sip"),
            no_via: all.dropped("no_via"),
            all,
        }
    }

    fn silent(&self, silence: Silence) {
        let counter = match silence {
            Silence::KeepAlive => &self.keep_alive,
            Silence::Response => &self.response,
            Silence::Ack => &self.ack,
            Silence::Cancel => &self.cancel,
            Silence::NotSip => &self.not_sip,
            Silence::NoVia => &self.no_via,
        };
        counter.increment(1);
    }

    fn other(&self, answer: &SipAnswer, fault: Option<RequestFault>) {
        let counter = match fault {
            Some(RequestFault::Malformed(_)) => &self.malformed,
            Some(RequestFault::Method) => &self.method,
            Some(RequestFault::Scheme) => &self.scheme,
            Some(RequestFault::Extension) => &self.extension,
            Some(RequestFault::Version) => &self.version,
            None if answer.code == 200 => &self.options,
            None => &self.not_ready,
        };
        counter.increment(1);
    }
}
