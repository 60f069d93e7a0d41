//! The rules for the destinations that a partner may use.
//!
//! An address has to be public, or in a network that the operator allows; the
//! operator's own proxies and gateways, and Rollcall's own listeners, are
//! refused. A gateway that trusts by address and gets a premium number is toll
//! fraud; a proxy that gets its own address is a loop.
//! Invariant: an IPv6 address that carries an IPv4 address is judged as that.
//! Deliberately absent: name lookups. A name may later resolve to any address, so
//! the proxy must refuse private addresses as well.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use ipnet::IpNet;

use crate::domain::destination::{Host, RefusedHost};
use crate::domain::field::code;
use crate::domain::{Destinations, FieldError, SipUri};
use crate::outbound::address;

/// The port of a SIP URI that names none.
const SIP_PORT: u16 = 5060;

/// What the settings say of destinations.
#[derive(Clone, Default, Debug)]
pub struct Policy {
    /// Networks that are not public and that destinations may be in.
    pub allowed: Vec<IpNet>,
    /// The operator's own proxies and gateways.
    pub refused: Vec<RefusedHost>,
    /// Where this server listens.
    pub own: Vec<SocketAddr>,
}

impl Policy {
    /// Whether calls may go to a URI; if not, why not.
    pub fn check(&self, uri: &SipUri) -> Result<(), String> {
        let addresses: Vec<IpAddr> = match uri.host() {
            Host::Address(address) => vec![address],
            Host::Name(name) => match address::of_name(name) {
                addresses if addresses.is_empty() => return self.check_name(name),
                addresses => addresses,
            },
        };
        for address in &addresses {
            if self.is_own(*address, uri.port().unwrap_or(SIP_PORT)) {
                return Err("is an address that Rollcall itself listens on; calls would go round in circles".to_owned());
            }
            if self.refused.iter().any(|refused| refused.has_address(address::meant(*address), *address)) {
                return Err(REFUSED.to_owned());
            }
        }
        if !addresses.iter().any(|&address| address::permitted(address, &self.allowed)) {
            return Err(
                "is not a public address; name a public one, or let the operator add its network to routing.destination_networks"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn check_name(&self, name: &str) -> Result<(), String> {
        match self.refused.iter().any(|refused| refused.has_name(name)) {
            true => Err(REFUSED.to_owned()),
            false => Ok(()),
        }
    }

    /// Whether this server listens at an address. Listening everywhere is
    /// listening at every address that this machine can be bound to.
    fn is_own(&self, address: IpAddr, port: u16) -> bool {
        let address = address::meant(address);
        self.own.iter().filter(|own| own.port() == port).any(|own| {
            let listens = address::meant(own.ip());
            listens == address
                || address.is_unspecified()
                || (listens.is_unspecified() && !address.is_multicast() && UdpSocket::bind((address, 0)).is_ok())
        })
    }

    /// Refuses a list in which something is wrong that was not so before: what
    /// is new, and what is switched on. So what has come to be refused since can
    /// be switched off and taken out.
    pub fn check_all(&self, before: &Destinations, after: &Destinations) -> Result<(), Vec<FieldError>> {
        let known = |uri: &SipUri| before.iter().any(|one| one.uri == *uri);
        let errors: Vec<FieldError> = after
            .iter()
            .enumerate()
            .filter(|(_, one)| one.enabled || !known(&one.uri))
            .filter_map(|(at, one)| {
                let why = self.check(&one.uri).err()?;
                Some(FieldError::new(&format!("destinations[{at}].uri"), code::INVALID, why, one.uri.as_str()))
            })
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

const REFUSED: &str =
    "is one of the operator's own proxies and gateways (routing.refused_destinations); name another host";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Destination;

    fn policy() -> Policy {
        let networks = ["127.0.0.0/8", "10.1.0.0/16", "fd00::/8"];
        let refused = ["proxy.example", "*.gw.example", "10.1.9.0/24", "203.0.114.7"];
        Policy {
            allowed: networks.iter().map(|text| text.parse().expect("a network")).collect(),
            refused: refused.iter().map(|text| text.parse().expect("a host")).collect(),
            own: vec!["127.0.0.1:5070".parse().expect("an address"), "0.0.0.0:5060".parse().expect("an address")],
        }
    }

    #[track_caller]
    fn check(uri: &str, refused_for: Option<&str>) {
        let verdict = policy().check(&uri.parse().expect("a URI"));
        match (&verdict, refused_for) {
            (Ok(()), None) => {}
            (Err(why), Some(part)) if why.contains(part) => {}
            _ => panic!("{uri}: {verdict:?}, not {refused_for:?}"),
        }
    }

    #[test]
    fn destinations_are_public_or_allowed_and_never_the_operators_own() {
        for uri in [
            "sip:pbx.example",
            "sip:8.8.8.8",
            "sip:[2606:4700::1111]",
            "sip:10.1.2.3",
            "sip:[::ffff:10.1.2.3]",
            "sip:[fd12::1]:5080",
            "sip:127.0.0.1:5071",
            "sip:localhost:5071",
            "sip:gw.example",
            "sip:not-proxy.example",
        ] {
            check(uri, None);
        }
        for uri in [
            "sip:10.2.0.1",
            "sip:192.168.1.1",
            "sip:169.254.169.254",
            "sip:[::ffff:192.168.1.1]",
            "sip:[fe80::1]",
            "sip:0.0.0.0:5099",
            "sip:100.64.0.1",
            "sip:224.0.0.1",
        ] {
            check(uri, Some("not a public address"));
        }
        for uri in [
            "sip:proxy.example",
            "sip:a@PROXY.example.:5080",
            "sip:a.gw.example",
            "sip:b.a.gw.example",
            "sip:10.1.9.1",
            "sip:[::ffff:10.1.9.1]",
            "sip:203.0.114.7;transport=tcp",
        ] {
            check(uri, Some("refused_destinations"));
        }
        for uri in [
            "sip:127.0.0.1:5070",
            "sip:localhost:5070",
            "sip:x.localhost:5070",
            "sip:[::ffff:127.0.0.1]:5070",
            "sip:127.0.0.1",
            "sip:0.0.0.0",
        ] {
            check(uri, Some("listens"));
        }
    }

    #[test]
    fn what_has_come_to_be_refused_can_be_switched_off_and_taken_out() {
        let list = |all: &[(&str, bool)]| {
            let one = |&(uri, enabled): &(&str, bool)| Destination {
                enabled,
                ..Destination::new(str::parse(uri).expect("a URI"))
            };
            Destinations::new(all.iter().map(one).collect()).expect("a list")
        };
        let before = list(&[("sip:proxy.example", true), ("sip:pbx.example", true)]);
        let off = list(&[("sip:proxy.example", false), ("sip:pbx.example", true)]);
        assert_eq!(policy().check_all(&before, &off), Ok(()));
        assert_eq!(policy().check_all(&off, &list(&[("sip:pbx.example", true)])), Ok(()));
        let errors = policy().check_all(&off, &before).expect_err("refused");
        assert_eq!(errors[0].field, "destinations[0].uri");
        assert!(policy().check_all(&Destinations::default(), &off).is_err());
    }
}
