//! Networks and addresses, as people write them.

use ipnet::IpNet;

/// A network such as 192.0.2.0/24, or one address as the network of itself.
pub fn network(text: &str) -> Option<IpNet> {
    let whole = text.parse::<IpNet>().map(|network| network.trunc());
    whole.ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from))
}
