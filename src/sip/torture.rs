//! The reader and the writer against the messages of RFC 4475, written from the
//! RFC, and against what it leaves out.

mod messages;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proptest::prelude::*;

use messages::{MESSAGES, TORTUROUS, mutated, wire};

use super::message::{Scheme, Silence};
use super::{ANSWER_EXTRA_MAX, Method, RequestFault, SipAnswer, TagSeed, destination, read, status, write};

const SECRET: TagSeed = TagSeed([7; 32]);

fn source() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 9], 5099))
}

fn answered(datagram: &[u8], answer: SipAnswer, contacts: &[&str]) -> String {
    let request = read(datagram).expect("a request");
    let mut out = Vec::new();
    write(&mut out, &request, source(), &SECRET, &answer, contacts.iter());
    String::from_utf8_lossy(&out).into_owned()
}

/// A request with what a case adds or changes.
fn invite(uri: &str, more: &str) -> Vec<u8> {
    wire(&format!(
        "INVITE {uri} SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.9:5099;branch=z9hG4bK1\nFrom: <sip:a@a.example>;tag=f\n\
         To: <sip:b@b.example>\nCall-ID: c1@a.example\nCSeq: 1 INVITE\n{more}\n\n"
    ))
}

#[test]
fn a_short_tortuous_invite() {
    let datagram = wire(TORTUROUS);
    let request = read(&datagram).expect("a request");
    assert_eq!((request.fault, request.method), (None, Method::Invite));
    assert_eq!(request.uri.user, b"vivekg");
    assert_eq!(request.from_tag, b"98asjd8");
    assert!(request.to_tag);
    assert_eq!(request.vias().len(), 3);
    assert_eq!((request.top.host, request.top.port, request.top.branch), (&b"192.0.2.2"[..], None, &b"390skdjuw"[..]));
    let answer = answered(&datagram, SipAnswer::plain(404, "Not Found"), &[]);
    let lines: Vec<&str> = answer.split("\r\n").collect();
    assert_eq!(
        lines,
        [
            "SIP/2.0 404 Not Found",
            "Via: SIP  /   2.0 /UDP 192.0.2.2;branch=390skdjuw;received=192.0.2.9",
            "Via: SIP  / 2.0  / TCP     spindle.example.com   ; branch  =   z9hG4bK9ikj8",
            "Via: SIP  /    2.0   / UDP  192.168.255.111   ; branch= z9hG4bK30239",
            "From: \"J Rosenberg \\\\\\\"\"       <sip:jdrosen@example.com> ; tag = 98asjd8",
            "To: sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n",
            "Call-ID: wsinv.ndaksdj@192.0.2.1",
            "CSeq: 0009 INVITE",
            "Content-Length: 0",
            "",
            ""
        ]
    );
    // With bare line feeds it is the same request.
    assert_eq!(read(TORTUROUS.trim_start().as_bytes()).expect("a request").vias().len(), 3);
}

#[test]
fn the_messages_of_rfc_4475() {
    for (name, text, fault) in MESSAGES {
        let datagram = wire(text);
        let request = read(&datagram).unwrap_or_else(|silence| panic!("{name} is dropped: {silence:?}"));
        // The control characters of `intmeth` are in its To, which may be refused.
        if *name == "intmeth" {
            assert!(request.fault.is_some());
            continue;
        }
        assert_eq!(request.fault, *fault, "{name}");
    }
}

#[test]
fn long_values_and_mime_parts_are_read() {
    let name = "i".repeat(800);
    let vias: Vec<String> = (0..30).map(|n| format!("SIP/2.0/TCP sip{n}.{name}.example.com")).collect();
    let more = format!("v: {}\nTo: x <sip:b>\n", vias.join(","));
    let datagram = invite("sip:user@example.com", &more);
    let request = read(&datagram).expect("a request");
    assert_eq!(request.vias().len(), 31);
    assert_eq!(request.fault, Some(RequestFault::Malformed("a header field that may stand once stands twice")));
}

#[test]
fn what_is_never_answered() {
    let via = "Via: SIP/2.0/UDP h;branch=z9hG4bK1\nFrom: <sip:a@b>;tag=1\nTo: <sip:a@b>\nCall-ID: 1\n";
    for (text, expected) in [
        ("\n\n", Silence::KeepAlive),
        ("", Silence::KeepAlive),
        ("SIP/2.0 200 = 2**3 * 5**2\n\n", Silence::Response),
        ("SIP/2.0 100 \nVia: SIP/2.0/UDP 192.0.2.105\n\n", Silence::Response),
        (&format!("ACK sip:a@b SIP/2.0\n{via}CSeq: 1 ACK\n\n"), Silence::Ack),
        (&format!("ACK sip:a@b SIP/9.0\n{via}CSeq: x\n\n"), Silence::Ack),
        (&format!("CANCEL sip:a@b SIP/2.0\n{via}CSeq: 1 CANCEL\n\n"), Silence::Cancel),
        ("INVITE sip:a@b SIP/2.0\nFrom: <sip:a@b>\n\n", Silence::NoVia),
        ("INVITE sip:a@b SIP/2.0\nVia: nonsense\n\n", Silence::NoVia),
        ("INVITE sip:a@b SIP/2.0\nVia: SIP/2.0/UDP\n\n", Silence::NoVia),
        ("INVITE sip:a@b SIP/2.0\nVia: SIP/2.0/UDP h:0\n\n", Silence::NoVia),
        ("INVITE sip:a@b SIP/2.0\nVia: SIP/2.0/UDP h:99999\n\n", Silence::NoVia),
        ("INVITE sip:a@b SIP/2.0\nVia: SIP/2.0/UDP [::1\n\n", Silence::NoVia),
        ("INVITE sip:a@b SIP/2.0\nVia: SIP/2.0/UDP \"h;branch=1\n\n", Silence::NoVia),
        ("GET / HTTP/1.1\nHost: a\n\n", Silence::NoVia),
        ("hello", Silence::NotSip),
        ("hello\n", Silence::NotSip),
        ("<INVITE> sip:a@b SIP/2.0\nVia: SIP/2.0/UDP h\n\n", Silence::NotSip),
    ] {
        assert_eq!(read(&wire(&format!("\n{text}"))).err(), Some(expected), "{text:?}");
    }
}

#[test]
fn request_uris() {
    for (uri, scheme, user) in [
        ("sip:+912271264217@h", Scheme::Sip, "+912271264217"),
        ("SIP:+91;npdi=yes:secret@h:5070;user=phone", Scheme::Sip, "+91;npdi=yes"),
        ("sips:1@[2001:db8::1]:5061", Scheme::Sip, "1"),
        ("sip:h", Scheme::Sip, ""),
        ("tel:+1-201-555-0123;phone-context=x", Scheme::Tel, "+1-201-555-0123;phone-context=x"),
        ("mailto:a@b", Scheme::Other, ""),
    ] {
        let datagram = invite(uri, "");
        let request = read(&datagram).expect("a request");
        assert_eq!((request.uri.scheme, request.uri.user), (scheme, user.as_bytes()), "{uri}");
    }
    for uri in
        ["+912271264217", "sip:", "sip:a@", "sip:a@b@c", ":a@b", "1:a@b", "s p:a@b", "sip:a\u{7f}@b", "sip:\"a\"@b"]
    {
        let fault = read(&invite(uri, "")).expect("a request").fault;
        assert_eq!(fault, Some(RequestFault::Malformed("the Request-URI is malformed")), "{uri}");
    }
}

#[test]
fn limits() {
    let check = |more: String, fault: Option<RequestFault>| {
        let datagram = invite("sip:a@b", &more);
        assert_eq!(read(&datagram).expect("a request").fault, fault, "{}", more.len());
    };
    // Five lines stand in the request already.
    check("X: 1\n".repeat(95), None);
    check("X: 1\n".repeat(96), Some(RequestFault::Malformed("more than 100 header lines")));
    check(format!("v: {}\n", ["SIP/2.0/UDP h"; 69].join(",")), None);
    check(format!("v: {}\n", ["SIP/2.0/UDP h"; 70].join(",")), Some(RequestFault::Malformed("more than 70 Via")));
    let mut cut = invite("sip:a@b", "");
    cut.truncate(cut.len() - 4);
    assert_eq!(read(&cut).expect("a request").fault, Some(RequestFault::Malformed("no empty line after the header")));
}

#[test]
fn an_answer_says_what_is_so() {
    let datagram = invite("sip:a@b", "Require: x, y\n");
    let answer = answered(&datagram, RequestFault::Extension.into(), &[]);
    assert!(
        answer.starts_with("SIP/2.0 420 Bad Extension\r\n") && answer.contains("\r\nUnsupported: x, y\r\n"),
        "{answer}"
    );
    let datagram = invite("sip:a@b", "");
    let routed = SipAnswer { cause: Some("routed"), ..SipAnswer::plain(302, "Moved Temporarily") };
    let answer = answered(&datagram, routed, &["sip:1@a", "sip:1@b;transport=tcp"]);
    assert!(answer.contains("\r\nContact: <sip:1@a>;q=1.0\r\nContact: <sip:1@b;transport=tcp>;q=0.9\r\n"), "{answer}");
    assert!(answer.contains("\r\nX-Rollcall-Cause: routed\r\n"), "{answer}");
    assert!(!answer.contains("Reason") && !answer.contains("Retry-After"), "{answer}");
    // The same call has the same tag, another call another one.
    let tag = |answer: &str| answer.split("\r\nTo: <sip:b@b.example>;tag=").nth(1).map(|rest| rest[..16].to_owned());
    assert!(tag(&answer).is_some());
    assert_eq!(tag(&answer), tag(&answered(&datagram, SipAnswer::plain(404, "Not Found"), &[])));
    let other = String::from_utf8(datagram).expect("text").replace("z9hG4bK1", "z9hG4bK2").into_bytes();
    assert_ne!(tag(&answer), tag(&answered(&other, routed, &[])));
    let answer = answered(&other, SipAnswer { q850: Some(20), later: true, ..SipAnswer::plain(503, "x") }, &[]);
    assert!(answer.contains("\r\nRetry-After: 1\r\nReason: Q.850;cause=20\r\n"), "{answer}");
}

#[test]
fn where_answers_go() {
    let check = |via: &str, to: &str, line: &str| {
        let text = invite("sip:a@b", "");
        let text = String::from_utf8(text).expect("text");
        let datagram = text.replace("SIP/2.0/UDP 192.0.2.9:5099;branch=z9hG4bK1", via).into_bytes();
        let request = read(&datagram).expect("a request");
        let ours = |address: IpAddr| address == IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77));
        assert_eq!(destination(&request.top, source(), ours).to_string(), to, "{via}");
        let answer = answered(&datagram, SipAnswer::plain(404, "Not Found"), &[]);
        assert!(answer.contains(&format!("\r\nVia: {line}\r\n")), "{answer}");
    };
    check("SIP/2.0/UDP 192.0.2.9;branch=1", "192.0.2.9:5060", "SIP/2.0/UDP 192.0.2.9;branch=1");
    check("SIP/2.0/UDP 192.0.2.9:5070", "192.0.2.9:5070", "SIP/2.0/UDP 192.0.2.9:5070");
    check(
        "SIP/2.0/UDP 10.0.0.1:5070;branch=1",
        "192.0.2.9:5070",
        "SIP/2.0/UDP 10.0.0.1:5070;branch=1;received=192.0.2.9",
    );
    check("SIP/2.0/UDP pbx.example", "192.0.2.9:5060", "SIP/2.0/UDP pbx.example;received=192.0.2.9");
    check(
        "SIP/2.0/UDP 192.0.2.9:5070;rport;branch=1",
        "192.0.2.9:5099",
        "SIP/2.0/UDP 192.0.2.9:5070;branch=1;received=192.0.2.9;rport=5099",
    );
    check(
        "SIP/2.0/UDP h;received=6.6.6.6;rport=1;branch=1",
        "192.0.2.9:5099",
        "SIP/2.0/UDP h;branch=1;received=192.0.2.9;rport=5099",
    );
    check("SIP/2.0/UDP h:7;maddr=192.0.2.77", "192.0.2.77:7", "SIP/2.0/UDP h:7;maddr=192.0.2.77;received=192.0.2.9");
    check("SIP/2.0/UDP h:7;maddr=192.0.2.78", "192.0.2.9:7", "SIP/2.0/UDP h:7;maddr=192.0.2.78;received=192.0.2.9");
    check(
        "SIP/2.0/UDP [2001:db8::1]:7;branch=\"a;b,c\"",
        "192.0.2.9:7",
        "SIP/2.0/UDP [2001:db8::1]:7;branch=\"a;b,c\";received=192.0.2.9",
    );
}

#[test]
fn nothing_in_a_request_begins_a_line_of_the_answer() {
    let datagram = b"INVITE sip:a@b SIP/2.0\nVia: SIP/2.0/UDP h\nFrom: <sip:a@b>;tag=1\rX-Evil: 1\nTo: <sip:a@b>\nCall-ID: 1\nCSeq: 1 INVITE\n\n";
    let answer = answered(datagram, SipAnswer::plain(404, "Not Found"), &[]);
    assert!(answer.contains("<sip:a@b>;tag=1 X-Evil: 1\r\n"), "{answer}");
}

/// What holds for every datagram: no panic, an answer of whole lines that is
/// hardly larger than its request.
fn check_any(datagram: &[u8]) -> bool {
    let Ok(request) = read(datagram) else { return false };
    let answer = request.fault.map_or(SipAnswer::plain(404, "Not Found"), SipAnswer::from);
    let mut out = Vec::new();
    write(&mut out, &request, source(), &SECRET, &answer, [].iter().map(|_: &u8| ""));
    assert!(out.len() <= datagram.len() + ANSWER_EXTRA_MAX, "{} of {}", out.len(), datagram.len());
    assert_eq!(status(&out), Some(answer.code));
    let text = String::from_utf8_lossy(&out);
    let headers = text.strip_suffix("\r\n\r\n").expect("an empty line").split("\r\n").skip(1);
    let known = ["Via", "From", "To", "Call-ID", "CSeq", "Unsupported", "Allow", "Content-Length"];
    for line in headers {
        assert!(!line.chars().any(|c| c.is_ascii_control()), "{line:?}");
        assert!(line.split_once(": ").is_some_and(|(name, _)| known.contains(&name)), "{line:?}");
    }
    let source_ip = destination(&request.top, source(), |_| false).ip();
    assert_eq!(source_ip, source().ip());
    true
}

#[test]
fn the_largest_growth_is_within_its_bound() {
    let vias = ["SIP/2.0/UDP h"; 70].join(",");
    for more in ["Require: x\n".repeat(20), "X-X: 1\n".repeat(4), String::new()] {
        let text = format!("O s:h SIP/2.0\nv:{vias}\nf:a:b\nt:a:b\ni:1\nCSeq:1 O\n{more}\n");
        assert!(check_any(text.as_bytes()));
    }
}

fn any_message(next: &mut dyn FnMut(usize) -> usize) -> Vec<u8> {
    match next(3) {
        0 => wire(TORTUROUS),
        1 => invite("sip:+912271264217@192.0.2.1:5070", "Max-Forwards: 70\nContent-Length: 0\n"),
        _ => wire(MESSAGES[next(MESSAGES.len())].1),
    }
}

/// `ROLLCALL_FUZZ=10000000 cargo test --release --lib sip::torture::mutated`
/// tries ten million.
#[test]
fn mutated_requests_never_panic_and_answers_stay_small() {
    let count = std::env::var("ROLLCALL_FUZZ").ok().and_then(|count| count.parse().ok()).unwrap_or(20_000_u64);
    let answered = (0..count).filter(|&number| check_any(&mutated(number, any_message))).count() as u64;
    println!("{answered} of {count} were answered");
    assert!(answered > count / 3 && answered < count);
}

proptest! {
    #[test]
    fn any_bytes_are_read(datagram in prop::collection::vec(any::<u8>(), 0..400)) {
        check_any(&datagram);
    }

    #[test]
    fn any_header_is_read(more in "([A-Za-z-]{1,12}:[ -~\\r\\n\\t]{0,60}\\n){0,12}") {
        check_any(&invite("sip:a@b", &more));
    }
}
