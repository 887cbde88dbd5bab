//! Addresses that are never connected to, whatever a name resolves to.
//!
//! Destinations are the operator's own words, so loopback and private networks are fine. The instance metadata
//! services of clouds are not: they hand out credentials to whoever asks, and no app lives there. The rule is
//! checked on the address that is about to be connected, so a name that changes its mind between two look-ups gains
//! nothing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metadata and credential services on v4.
const METADATA_V4: [Ipv4Addr; 6] = [
    // Instance metadata of AWS, Google Cloud, Azure, DigitalOcean, OpenStack and others (RFC 3927 link-local).
    Ipv4Addr::new(169, 254, 169, 254),
    // Container credentials of Amazon ECS, and of EKS Pod Identity.
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    // Instance metadata of Alibaba Cloud.
    Ipv4Addr::new(100, 100, 100, 200),
    // Azure's WireServer.
    Ipv4Addr::new(168, 63, 129, 16),
    // Instance metadata of Oracle Cloud, old form.
    Ipv4Addr::new(192, 0, 0, 192),
];

/// Metadata and credential services on v6.
const METADATA_V6: [Ipv6Addr; 3] = [
    // AWS instance metadata, and EKS Pod Identity.
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x23),
    // Google Cloud instance metadata.
    Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x254),
];

/// An address that is never connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forbidden(pub IpAddr);

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is a cloud metadata address; hooklatch never connects to it", self.0)
    }
}

impl std::error::Error for Forbidden {}

/// Whether a connection to `address` may be opened.
///
/// # Errors
/// A metadata address, also one that a v6 address carries inside it.
pub fn check(address: IpAddr) -> Result<(), Forbidden> {
    let forbidden = match address {
        IpAddr::V4(v4) => METADATA_V4.contains(&v4),
        IpAddr::V6(v6) => {
            METADATA_V6.contains(&v6) || embedded_v4(v6).is_some_and(|v4| METADATA_V4.contains(&v4))
        }
    };
    if forbidden { Err(Forbidden(address)) } else { Ok(()) }
}

/// The v4 address that a network may translate `v6` to: v4-mapped, v4-compatible (RFC 4291 §2.5.5), translated
/// (RFC 2765 §2.1), NAT64 (RFC 6052 §2.1, RFC 8215) and 6to4 (RFC 3056 §2).
fn embedded_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff | 0] | [0, 0, 0, 0, 0xffff, 0] => Some(v4(g, h)),
        [0x64, 0xff9b, 0, 0, 0, 0] | [0x64, 0xff9b, 1, _, _, _] => Some(v4(g, h)),
        [0x2002, high, low, _, _, _] => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_services_are_never_connected_to_in_any_form() {
        for text in [
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::100.100.100.200",
            "2002:a9fe:a9fe::1",
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(check(address), Err(Forbidden(address)), "{text}");
        }
    }

    #[test]
    fn the_operators_own_networks_are_fine() {
        for text in [
            "127.0.0.1",
            "10.0.0.1",
            "192.168.1.1",
            "169.254.20.10",
            "8.8.8.8",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
            "2002:0a00:0001::1",
        ] {
            assert_eq!(check(text.parse().unwrap()), Ok(()), "{text}");
        }
    }
}
