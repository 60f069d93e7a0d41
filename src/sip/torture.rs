//! The reader and the writer against the messages of RFC 4475, written from the
//! RFC, and against what it leaves out.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proptest::prelude::*;

use super::message::{Scheme, Silence};
use super::{ANSWER_EXTRA_MAX, Answer, Fault, Method, Secret, destination, read, status, write};

const SECRET: Secret = Secret([7; 32]);

fn source() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 9], 5099))
}

/// Lines as they travel.
fn wire(text: &str) -> Vec<u8> {
    text.trim_start_matches('\n').replace('\n', "\r\n").into_bytes()
}

fn answered(datagram: &[u8], answer: Answer, contacts: &[&str]) -> String {
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

const TORTUROUS: &str = r#"
INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0
TO :
 sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n
from   : "J Rosenberg \\\""       <sip:jdrosen@example.com>
  ;
  tag = 98asjd8
MaX-fOrWaRdS: 0068
Call-ID: wsinv.ndaksdj@192.0.2.1
Content-Length   : 150
cseq: 0009
  INVITE
Via  : SIP  /   2.0
 /UDP
    192.0.2.2;branch=390skdjuw
s :
NewFangledHeader:   newfangled value
 continued newfangled value
UnknownHeaderWithUnusualValue: ;;,,;;,;
Content-Type: application/sdp
Route:
 <sip:services.example.com;lr;unknownwith=value;unknown-no-value>
v:  SIP  / 2.0  / TCP     spindle.example.com   ;
  branch  =   z9hG4bK9ikj8  ,
 SIP  /    2.0   / UDP  192.168.255.111   ; branch=
 z9hG4bK30239
m:"Quoted string \"\"" <sip:jdrosen@example.com> ; newparam =
      newvalue ;
  secondparam ; q = 0.33

v=0
o=mhandley 29739 7272939 IN IP4 192.0.2.3
s=-
c=IN IP4 192.0.2.4
t=0 0
m=audio 49217 RTP/AVP 0 12
m=video 3227 RTP/AVP 31
a=rtpmap:31 LPC
"#;

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
    let answer = answered(&datagram, Answer::plain(404, "Not Found"), &[]);
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

/// The messages of RFC 4475 that ask something: name, message, fault.
const MESSAGES: &[(&str, &str, Option<Fault>)] = &[
    (
        "intmeth",
        "!interesting-Method0123456789_*+`.%indeed'~ sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com SIP/2.0\nVia: SIP/2.0/UDP host1.example.com;branch=z9hG4bK-.!%66*_+`'~\nTo: \"BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f\" <sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@example.com>\nFrom: token1~` token2'+_ token3*%!.- <sip:mundane@example.com>;fromParam''~+*_!.-%=\"a\";tag=_token~1'+`*%!-.\nCall-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{\nCSeq: 139122385 !interesting-Method0123456789_*+`.%indeed'~\nMax-Forwards: 255\nextensionHeader-!.%*+_`'~: x\nContent-Length: 0\n\n",
        None,
    ),
    (
        "esc01",
        "INVITE sip:sips%3Auser%40example.com@example.net SIP/2.0\nTo: sip:%75se%72@example.com\nFrom: <sip:I%20have%20spaces@example.net>;tag=938\nMax-Forwards: 87\ni: esc01.239409asdfakjkn23onasd0-3234\nCSeq: 234234 INVITE\nVia: SIP/2.0/UDP host5.example.net;branch=z9hG4bKkdjuw\nC: application/sdp\nContact:\n  <sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31>\nContent-Length: 0\n\n",
        None,
    ),
    (
        "escnull",
        "REGISTER sip:example.com SIP/2.0\nTo: sip:null-%00-null@example.com\nFrom: sip:null-%00-null@example.com;tag=839923423\nMax-Forwards: 70\nCall-ID: escnull.39203ndfvkjdasfkq3w4otrq0adsfdfnavd\nCSeq: 14398234 REGISTER\nVia: SIP/2.0/UDP host5.example.com;branch=z9hG4bKkdjuw\nContact: <sip:%00@host5.example.com>\nL:0\n\n",
        Some(Fault::Method),
    ),
    (
        "esc02",
        "RE%47IST%45R sip:registrar.example.com SIP/2.0\nTo: \"%Z%45\" <sip:resource@example.com>\nFrom: \"%Z%45\" <sip:resource@example.com>;tag=f232jadfj23\nCall-ID: esc02.asdfnqwo34rq23i34jrjasdcnl23nrlknsdf\nVia: SIP/2.0/UDP host.example.com;branch=z9hG4bK209%fzsnel234\nCSeq: 29344 RE%47IST%45R\nMax-Forwards: 70\nContact: <sip:alias1@host1.example.com>\nC%6Fntact: <sip:alias2@host2.example.com>\nl: 0\n\n",
        Some(Fault::Method),
    ),
    (
        "lwsdisp",
        "OPTIONS sip:user@example.com SIP/2.0\nTo: sip:user@example.com\nFrom: caller<sip:caller@example.com>;tag=323\nMax-Forwards: 70\nCall-ID: lwsdisp.1234abcd@funky.example.com\nCSeq: 60 OPTIONS\nVia: SIP/2.0/UDP funky.example.com;branch=z9hG4bKkdjuw\nl: 0\n\n",
        None,
    ),
    (
        "dblreq",
        "REGISTER sip:example.com SIP/2.0\nTo: sip:j.user@example.com\nFrom: sip:j.user@example.com;tag=43251j3j324\nMax-Forwards: 8\nI: dblreq.0ha0isndaksdj99sdfafnl3lk233412\nContact: sip:j.user@host.example.com\nCSeq: 8 REGISTER\nVia: SIP/2.0/UDP 192.0.2.125;branch=z9hG4bKkdjuw23492\nContent-Length: 0\n\n\nINVITE sip:joe@example.com SIP/2.0\n",
        Some(Fault::Method),
    ),
    (
        "semiuri",
        "OPTIONS sip:user;par=u%40example.net@example.com SIP/2.0\nTo: sip:j_user@example.com\nFrom: sip:caller@example.org;tag=33242\nMax-Forwards: 3\nCall-ID: semiuri.0ha0isndaksdj\nCSeq: 8 OPTIONS\nAccept: application/sdp, application/pkcs7-mime,\n        multipart/mixed, multipart/signed,\n        message/sip, message/sipfrag\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKkdjuw\nl: 0\n\n",
        None,
    ),
    (
        "transports",
        "OPTIONS sip:user@example.com SIP/2.0\nTo: sip:user@example.com\nFrom: <sip:caller@example.com>;tag=323\nMax-Forwards: 70\nCall-ID:  transports.kijh4akdnaqjkwendsasfdj\nAccept: application/sdp\nCSeq: 60 OPTIONS\nVia: SIP/2.0/UDP t1.example.com;branch=z9hG4bKkdjuw\nVia: SIP/2.0/SCTP t2.example.com;branch=z9hG4bKklasjdhf\nVia: SIP/2.0/TLS t3.example.com;branch=z9hG4bK2980unddj\nVia: SIP/2.0/UNKNOWN t4.example.com;branch=z9hG4bKasd0f3en\nVia: SIP/2.0/TCP t5.example.com;branch=z9hG4bK0a9idfnee\nl: 0\n\n",
        None,
    ),
    (
        "badinv01",
        "INVITE sip:user@example.com SIP/2.0\nTo: sip:j.user@example.com\nFrom: sip:caller@example.net;tag=134161461246\nMax-Forwards: 7\nCall-ID: badinv01.0ha0isndaksdjasdf3234nas\nCSeq: 8 INVITE\nVia: SIP/2.0/UDP 192.0.2.15;;,;,,\nContact: \"Joe\" <sip:joe@example.org>;;;;\nContent-Length: 0\n\n",
        Some(Fault::Malformed("an empty Via")),
    ),
    (
        "clerr",
        "INVITE sip:user@example.com SIP/2.0\nMax-Forwards: 80\nTo: sip:j.user@example.com\nFrom: sip:caller@example.net;tag=93942939o2\nContact: <sip:caller@hungry.example.net>\nCall-ID: clerr.0ha0isndaksdjweiafasdk3\nCSeq: 8 INVITE\nVia: SIP/2.0/UDP host5.example.com;branch=z9hG4bK-39234-23523\nContent-Type: application/sdp\nContent-Length: 9999\n\nv=0\n",
        Some(Fault::Malformed("the body is shorter than the Content-Length")),
    ),
    (
        "ncl",
        "INVITE sip:user@example.com SIP/2.0\nMax-Forwards: 254\nTo: sip:j.user@example.com\nFrom: sip:caller@example.net;tag=32394234\nCall-ID: ncl.0ha0isndaksdj2193423r542w35\nCSeq: 0 INVITE\nVia: SIP/2.0/UDP 192.0.2.53;branch=z9hG4bKkdjuw\nContact: <sip:caller@example53.example.net>\nContent-Type: application/sdp\nContent-Length: -999\n\nv=0\n",
        Some(Fault::Malformed("the Content-Length is no number")),
    ),
    (
        "scalar02",
        "REGISTER sip:example.com SIP/2.0\nVia: SIP/2.0/UDP host129.example.com;branch=z9hG4bK342sdfoi3\nTo: <sip:user@example.com>\nFrom: <sip:user@example.com>;tag=239232jh3\nCSeq: 36893488147419103232 REGISTER\nCall-ID: scalar02.23o0pd9vanlq3wnrlnewofjas9ui32\nMax-Forwards: 300\nExpires: 1\nContact: <sip:user@host129.example.com>\n  ;expires=280297596632815\nContent-Length: 0\n\n",
        Some(Fault::Malformed("the CSeq is missing or no number below 2147483648")),
    ),
    (
        "quotbal",
        "INVITE sip:user@example.com SIP/2.0\nTo: \"Mr. J. User <sip:j.user@example.com>\nFrom: sip:caller@example.net;tag=93334\nMax-Forwards: 10\nCall-ID: quotbal.aksdj\nContact: <sip:caller@host59.example.net>\nCSeq: 8 INVITE\nVia: SIP/2.0/UDP 192.0.2.59:5050;branch=z9hG4bKkdjuw39234\nContent-Length: 0\n\n",
        Some(Fault::Malformed("the To is missing or malformed")),
    ),
    (
        "ltgtruri",
        "INVITE <sip:user@example.com> SIP/2.0\nTo: sip:user@example.com\nFrom: sip:caller@example.net;tag=39291\nMax-Forwards: 23\nCall-ID: ltgtruri.1@192.0.2.5\nCSeq: 1 INVITE\nVia: SIP/2.0/UDP 192.0.2.5\nContent-Length: 0\n\n",
        Some(Fault::Malformed("the Request-URI is malformed")),
    ),
    (
        "lwsruri",
        "INVITE sip:user@example.com; lr SIP/2.0\nTo: sip:user@example.com;tag=3xfe-9921883-z9f\nFrom: sip:caller@example.net;tag=231413434\nMax-Forwards: 5\nCall-ID: lwsruri.asdfasdoeoi2323-asdfwrn23-asd834rk423\nCSeq: 2130706432 INVITE\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKkdjuw2395\nContent-Length: 0\n\n",
        Some(Fault::Malformed("the Request-URI is malformed")),
    ),
    (
        "lwsstart",
        "INVITE  sip:user@example.com  SIP/2.0\nMax-Forwards: 8\nTo: sip:user@example.com\nFrom: sip:caller@example.net;tag=8814\nCall-ID: lwsstart.dfknq234oi243099adsdfnawe3@example.com\nCSeq: 1893884 INVITE\nVia: SIP/2.0/UDP host1.example.com;branch=z9hG4bKkdjuw3923\nContent-Length: 0\n\n",
        Some(Fault::Malformed("the Request-URI is malformed")),
    ),
    (
        "trws",
        "OPTIONS sip:remote-target@example.com SIP/2.0  \nVia: SIP/2.0/TCP host1.examle.com;branch=z9hG4bK299342093\nTo: <sip:remote-target@example.com>\nFrom: <sip:local-resource@example.com>;tag=329429089\nCall-ID: trws.oicu34958239neffasdhr2345r\nAccept: application/sdp\nCSeq: 238923 OPTIONS\nMax-Forwards: 70\nContent-Length: 0\n\n",
        Some(Fault::Malformed("the request line does not end in SIP/2.0")),
    ),
    (
        "escruri",
        "INVITE sip:user@example.com?Route=%3Csip:example.com%3E SIP/2.0\nTo: sip:user@example.com\nFrom: sip:caller@example.net;tag=341518\nMax-Forwards: 7\nContact: <sip:caller@host39923.example.net>\nCall-ID: escruri.23940-asdfhj-aje3br-234q098w-fawerh2q-h4n5\nCSeq: 149209342 INVITE\nVia: SIP/2.0/UDP host-of-the-hour.example.com;branch=z9hG4bKkdjuw\nContent-Length: 0\n\n",
        None,
    ),
    (
        "baddate",
        "INVITE sip:user@example.com SIP/2.0\nTo: sip:user@example.com\nFrom: sip:caller@example.net;tag=2234923\nMax-Forwards: 70\nCall-ID: baddate.239423mnsadf3j23lj42--sedfnm234\nCSeq: 1392934 INVITE\nVia: SIP/2.0/UDP host.example.com;branch=z9hG4bKkdjuw\nDate: Fri, 01 Jan 2010 16:00:00 EST\nContact: <sip:caller@host5.example.net>\nContent-Length: 0\n\n",
        None,
    ),
    (
        "baddn",
        "OPTIONS sip:t.watson@example.org SIP/2.0\nVia:     SIP/2.0/UDP c.example.com:5060;branch=z9hG4bKkdjuw\nMax-Forwards:      70\nFrom:    Bell, Alexander <sip:a.g.bell@example.com>;tag=43\nTo:      Watson, Thomas <sip:t.watson@example.org>\nCall-ID: baddn.31415@c.example.com\nAccept: application/sdp\nCSeq:    3923239 OPTIONS\nl: 0\n\n",
        None,
    ),
    (
        "badvers",
        "OPTIONS sip:t.watson@example.org SIP/7.0\nVia:     SIP/7.0/UDP c.example.com;branch=z9hG4bKkdjuw\nMax-Forwards:     70\nFrom:    A. Bell <sip:a.g.bell@example.com>;tag=qweoiqpe\nTo:      T. Watson <sip:t.watson@example.org>\nCall-ID: badvers.31417@c.example.com\nCSeq:    1 OPTIONS\nl: 0\n\n",
        Some(Fault::Version),
    ),
    (
        "mismatch01",
        "OPTIONS sip:user@example.com SIP/2.0\nTo: sip:j.user@example.com\nFrom: sip:caller@example.net;tag=34525\nMax-Forwards: 6\nCall-ID: mismatch01.dj0234sxdfl3\nCSeq: 8 INVITE\nVia: SIP/2.0/UDP host.example.com;branch=z9hG4bKkdjuw\nl: 0\n\n",
        Some(Fault::Malformed("the CSeq names another method")),
    ),
    (
        "mismatch02",
        "NEWMETHOD sip:user@example.com SIP/2.0\nTo: sip:j.user@example.com\nFrom: sip:caller@example.net;tag=34525\nMax-Forwards: 6\nCall-ID: mismatch02.dj0234sxdfl3\nCSeq: 8 INVITE\nContact: <sip:caller@host.example.net>\nVia: SIP/2.0/UDP host.example.net;branch=z9hG4bKkdjuw\nl: 0\n\n",
        Some(Fault::Malformed("the CSeq names another method")),
    ),
    (
        "unkscm",
        "OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0\nTo: sip:user@example.com\nFrom: sip:caller@example.net;tag=384\nMax-Forwards: 3\nCall-ID: unkscm.nasdfasser0q239nwsdfasdkl34\nCSeq: 3923423 OPTIONS\nVia: SIP/2.0/UDP host9.example.com;branch=z9hG4bKkdjuw39234\nContent-Length: 0\n\n",
        Some(Fault::Scheme),
    ),
    (
        "novelsc",
        "OPTIONS soap.beep://192.0.2.103:3002 SIP/2.0\nTo: sip:user@example.com\nFrom: sip:caller@example.net;tag=384\nMax-Forwards: 3\nCall-ID: novelsc.asdfasser0q239nwsdfasdkl34\nCSeq: 3923423 OPTIONS\nVia: SIP/2.0/UDP host9.example.com;branch=z9hG4bKkdjuw39234\nContent-Length: 0\n\n",
        Some(Fault::Scheme),
    ),
    (
        "unksm2",
        "REGISTER sip:example.com SIP/2.0\nTo: isbn:2983792873\nFrom: <http://www.example.com>;tag=3234233\nCall-ID: unksm2.daksdj@hyphenated-host.example.com\nCSeq: 234902 REGISTER\nMax-Forwards: 70\nVia: SIP/2.0/UDP 192.0.2.21:5060;branch=z9hG4bKkdjuw\nContact: <name:John_Smith>\nl: 0\n\n",
        Some(Fault::Method),
    ),
    (
        "bext01",
        "OPTIONS sip:user@example.com SIP/2.0\nTo: sip:j_user@example.com\nFrom: sip:caller@example.net;tag=242etr\nMax-Forwards: 6\nCall-ID: bext01.0ha0isndaksdj\nRequire: nothingSupportsThis, nothingSupportsThisEither\nProxy-Require: noProxiesSupportThis, norDoAnyProxiesSupportThis\nCSeq: 8 OPTIONS\nVia: SIP/2.0/UDP fold-and-staple.example.com;branch=z9hG4bKkdjuw\nContent-Length: 0\n\n",
        Some(Fault::Extension),
    ),
    (
        "invut",
        "INVITE sip:user@example.com SIP/2.0\nContact: <sip:caller@host5.example.net>\nTo: sip:j.user@example.com\nFrom: sip:caller@example.net;tag=8392034\nMax-Forwards: 70\nCall-ID: invut.0ha0isndaksdjadsfij34n23d\nCSeq: 235448 INVITE\nVia: SIP/2.0/UDP somehost.example.com;branch=z9hG4bKkdjuw\nContent-Type: application/unknownformat\nContent-Length: 4\n\n<a/>",
        None,
    ),
    (
        "multi01",
        "INVITE sip:user@company.com SIP/2.0\nContact: <sip:caller@host25.example.net>\nVia: SIP/2.0/UDP 192.0.2.25;branch=z9hG4bKkdjuw\nMax-Forwards: 70\nCSeq: 5 INVITE\nCall-ID: multi01.98asdh@192.0.2.1\nCSeq: 59 INVITE\nCall-ID: multi01.98asdh@192.0.2.2\nFrom: sip:caller@example.com;tag=3413415\nTo: sip:user@example.com\nTo: sip:other@example.net\nFrom: sip:caller@example.net;tag=2923420123\nContent-Type: application/sdp\nl: 0\n\n",
        Some(Fault::Malformed("a header field that may stand once stands twice")),
    ),
    (
        "mcl01",
        "OPTIONS sip:user@example.com SIP/2.0\nVia: SIP/2.0/UDP host5.example.net;branch=z9hG4bK293423\nTo: sip:user@example.com\nFrom: sip:other@example.net;tag=3923942\nCall-ID: mcl01.fhn2323orihawfdoa3o4r52o3irsdf\nCSeq: 15932 OPTIONS\nContent-Length: 13\nMax-Forwards: 60\nContent-Length: 5\nContent-Type: text/plain\n\nThere's no way to know how many octets are supposed to be here.\n",
        Some(Fault::Malformed("a header field that may stand once stands twice")),
    ),
    (
        "zeromf",
        "OPTIONS sip:user@example.com SIP/2.0\nTo: sip:user@example.com\nFrom: sip:caller@example.net;tag=3ghsd41\nCall-ID: zeromf.jfasdlfnm2o2l43r5u0asdfas\nCSeq: 39234321 OPTIONS\nVia: SIP/2.0/UDP host1.example.com;branch=z9hG4bKkdjuw2349i\nMax-Forwards: 0\nContent-Length: 0\n\n",
        None,
    ),
    (
        "inv2543",
        "INVITE sip:UserB@example.com SIP/2.0\nVia: SIP/2.0/UDP iftgw.example.com\nFrom: <sip:+13035551111@ift.client.example.net;user=phone>\nRecord-Route: <sip:UserB@example.com;maddr=ss1.example.com>\nTo: sip:+16505552222@ss1.example.net;user=phone\nCall-ID: inv2543.1717@ift.client.example.com\nCSeq: 56 INVITE\nContent-Type: application/sdp\n\nv=0\n",
        None,
    ),
];

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
    assert_eq!(request.fault, Some(Fault::Malformed("a header field that may stand once stands twice")));
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
        assert_eq!(fault, Some(Fault::Malformed("the Request-URI is malformed")), "{uri}");
    }
}

#[test]
fn limits() {
    let check = |more: String, fault: Option<Fault>| {
        let datagram = invite("sip:a@b", &more);
        assert_eq!(read(&datagram).expect("a request").fault, fault, "{}", more.len());
    };
    // Five lines stand in the request already.
    check("X: 1\n".repeat(95), None);
    check("X: 1\n".repeat(96), Some(Fault::Malformed("more than 100 header lines")));
    check(format!("v: {}\n", ["SIP/2.0/UDP h"; 69].join(",")), None);
    check(format!("v: {}\n", ["SIP/2.0/UDP h"; 70].join(",")), Some(Fault::Malformed("more than 70 Via")));
    let mut cut = invite("sip:a@b", "");
    cut.truncate(cut.len() - 4);
    assert_eq!(read(&cut).expect("a request").fault, Some(Fault::Malformed("no empty line after the header")));
}

#[test]
fn an_answer_says_what_is_so() {
    let datagram = invite("sip:a@b", "Require: x, y\n");
    let answer = answered(&datagram, Fault::Extension.into(), &[]);
    assert!(
        answer.starts_with("SIP/2.0 420 Bad Extension\r\n") && answer.contains("\r\nUnsupported: x, y\r\n"),
        "{answer}"
    );
    let datagram = invite("sip:a@b", "");
    let routed = Answer { cause: Some("routed"), ..Answer::plain(302, "Moved Temporarily") };
    let answer = answered(&datagram, routed, &["sip:1@a", "sip:1@b;transport=tcp"]);
    assert!(answer.contains("\r\nContact: <sip:1@a>;q=1.0\r\nContact: <sip:1@b;transport=tcp>;q=0.9\r\n"), "{answer}");
    assert!(answer.contains("\r\nX-Rollcall-Cause: routed\r\n"), "{answer}");
    assert!(!answer.contains("Reason") && !answer.contains("Retry-After"), "{answer}");
    // The same call has the same tag, another call another one.
    let tag = |answer: &str| answer.split("\r\nTo: <sip:b@b.example>;tag=").nth(1).map(|rest| rest[..16].to_owned());
    assert!(tag(&answer).is_some());
    assert_eq!(tag(&answer), tag(&answered(&datagram, Answer::plain(404, "Not Found"), &[])));
    let other = String::from_utf8(datagram).expect("text").replace("z9hG4bK1", "z9hG4bK2").into_bytes();
    assert_ne!(tag(&answer), tag(&answered(&other, routed, &[])));
    let answer = answered(&other, Answer { q850: Some(20), later: true, ..Answer::plain(503, "x") }, &[]);
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
        let answer = answered(&datagram, Answer::plain(404, "Not Found"), &[]);
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
    let answer = answered(datagram, Answer::plain(404, "Not Found"), &[]);
    assert!(answer.contains("<sip:a@b>;tag=1 X-Evil: 1\r\n"), "{answer}");
}

/// What holds for every datagram: no panic, an answer of whole lines that is
/// hardly larger than its request.
fn check_any(datagram: &[u8]) -> bool {
    let Ok(request) = read(datagram) else { return false };
    let answer = request.fault.map_or(Answer::plain(404, "Not Found"), Answer::from);
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

/// Changes a good request in a few places; by a fixed sequence, so that a
/// failure can be repeated by its number.
fn mutated(number: u64) -> Vec<u8> {
    const PIECES: [&[u8]; 24] = [
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b",",
        b";",
        b":",
        b"\"",
        b"<",
        b">",
        b"@",
        b"%",
        b"\\",
        b"[",
        b"]",
        b"=",
        b"\0",
        b"\xff",
        b"v: SIP/2.0/UDP x;rport",
        b"Require: a",
        b"\r\n ",
        b";maddr=10.0.0.1",
        b"99999999999999999999",
    ];
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below.max(1)
    };
    let mut datagram = match next(3) {
        0 => wire(TORTUROUS),
        1 => invite("sip:+912271264217@192.0.2.1:5070", "Max-Forwards: 70\nContent-Length: 0\n"),
        _ => wire(MESSAGES[next(MESSAGES.len())].1),
    };
    for _ in 0..=next(8) {
        let at = next(datagram.len());
        match next(4) {
            0 if !datagram.is_empty() => datagram[at] = next(256) as u8,
            1 => drop(datagram.drain(at..(at + next(40)).min(datagram.len()))),
            2 => {
                let until = (at + next(60)).min(datagram.len());
                let copy = datagram[at..until].to_vec();
                let into = next(datagram.len());
                datagram.splice(into..into, copy);
            }
            _ => drop(datagram.splice(at..at, PIECES[next(PIECES.len())].iter().copied())),
        }
    }
    datagram
}

/// `ROLLCALL_FUZZ=10000000 cargo test --release --lib sip::torture::mutated`
/// tries ten million.
#[test]
fn mutated_requests_never_panic_and_answers_stay_small() {
    let count = std::env::var("ROLLCALL_FUZZ").ok().and_then(|count| count.parse().ok()).unwrap_or(20_000_u64);
    let answered = (0..count).filter(|&number| check_any(&mutated(number))).count() as u64;
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
