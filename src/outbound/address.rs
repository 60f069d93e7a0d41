//! Which network addresses may be connected to on a customer's word.
//!
//! Only what is reachable by everybody: an address that means something else
//! from inside our network than from outside is refused, and so is one that
//! carries such an address in it. What the operator allows is allowed.
//! The lists are those of the IANA registries of special-purpose addresses.
//! Deliberately absent: looking up names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Whether an address is public, or in a network that is allowed.
pub fn permitted(address: IpAddr, allow: &[IpNet]) -> bool {
    let inner = meant(address);
    public(inner) || allow.iter().any(|network| network.contains(&inner) || network.contains(&address))
}

/// The addresses that a name stands for without a look-up: those of this machine for
/// `localhost` and all names below it (RFC 6761).
pub fn of_name(name: &str) -> Vec<IpAddr> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    match name == "localhost" || name.ends_with(".localhost") {
        true => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        false => Vec::new(),
    }
}

/// The address that is reached in the end: IPv6 has ways to write IPv4.
pub fn meant(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let segments = v6.segments();
    let [.., a, b, c, d] = v6.octets();
    let carried = IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    match segments {
        [0, 0, 0, 0, 0, 0xffff, _, _] => carried,
        // NAT64: a network without IPv4 reaches all of it so.
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => carried,
        _ => address,
    }
}

fn public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => public_v4(address),
        IpAddr::V6(address) => public_v6(address),
    }
}

fn public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        [0 | 10 | 127, ..]              // this network, private, loopback
        | [100, 64..=127, ..]           // behind a carrier's NAT
        | [169, 254, ..]                // link-local, and clouds' metadata
        | [172, 16..=31, ..]            // private
        | [192, 0, 0 | 2, _]            // protocol assignments, documentation
        | [192, 88, 99, _]              // relays from 6to4
        | [192, 168, ..]                // private
        | [198, 18 | 19, ..]            // benchmarks
        | [198, 51, 100, _]             // documentation
        | [203, 0, 113, _]              // documentation
        | [224..=255, ..] // multicast, reserved, broadcast
    )
}

/// Of IPv6, only 2000::/3 is given out to be reached.
fn public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    segments[0] & 0xe000 == 0x2000
        && !matches!(
            segments,
            [0x2001, 0..=0x1ff, ..]     // protocol assignments, Teredo, ORCHID
            | [0x2001, 0xdb8, ..]       // documentation
            | [0x2002, ..]              // 6to4, which carries IPv4
            | [0x3fff, 0..=0xfff, ..] // documentation
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(public: bool, addresses: &[&str]) {
        for text in addresses {
            let address: IpAddr = text.parse().expect("an address");
            assert_eq!(permitted(address, &[]), public, "{text}");
        }
    }

    #[test]
    fn what_everybody_can_reach() {
        check(
            true,
            &["8.8.8.8", "1.1.1.1", "93.184.215.14", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1"],
        );
        check(true, &["192.0.1.1", "198.17.0.1", "198.20.0.1", "223.255.255.255", "169.253.0.1", "11.0.0.1"]);
        check(true, &["2606:4700::1111", "2a00:1450:4001::5", "2001:4860::8888", "2001:200::1", "3ffe::1"]);
        check(true, &["::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]);
    }

    #[test]
    fn what_only_we_can_reach() {
        check(
            false,
            &["0.0.0.0", "0.1.2.3", "10.0.0.1", "127.0.0.1", "127.255.255.255", "100.64.0.1", "100.127.255.255"],
        );
        check(false, &["169.254.169.254", "172.16.0.1", "172.31.255.255", "192.168.1.1", "192.0.0.1", "192.0.2.1"]);
        check(false, &["192.88.99.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1"]);
        check(false, &["224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"]);
        check(
            false,
            &["::", "::1", "::127.0.0.1", "fc00::1", "fd12:3456::1", "fe80::1", "febf::1", "fec0::1", "ff02::1"],
        );
        check(false, &["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:10.0.0.1"]);
        check(false, &["64:ff9b::10.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b:1::8.8.8.8", "100::1", "5f00::1"]);
        check(
            false,
            &["2001:db8::1", "2001::1", "2001:10::1", "2001:20::1", "2002:7f00:1::", "2002:808:808::1", "3fff::1"],
        );
    }

    #[test]
    fn what_is_allowed_is_allowed() {
        let allow: Vec<IpNet> =
            ["10.1.0.0/16", "fd00::/8", "::1/128"].iter().map(|text| text.parse().expect("a network")).collect();
        for (text, expected) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("64:ff9b::10.1.2.3", true),
            ("10.2.0.1", false),
            ("fd00::1", true),
            ("fc00::1", false),
            ("::1", true),
            ("127.0.0.1", false),
        ] {
            let address: IpAddr = text.parse().expect("an address");
            assert_eq!(permitted(address, &allow), expected, "{text}");
        }
    }
}
