//! Which destinations TSI may connect to on behalf of the guest.
//!
//! A list is made of rules such as `tcp:127.0.0.16/32:40123`:
//!
//! ```text
//! tcp:ADDRESS[/PREFIX]:PORT[-PORT]      an IPv6 ADDRESS stands in brackets
//! ```
//!
//! A context without a list is not filtered. A context with one may connect TCP sockets to what a
//! rule names, and nothing else: there are no UDP or UNIX sockets and no listeners for it.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

/// Why a rule was not understood.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TsiRuleError {
    /// The rule doesn't start with `tcp:`.
    Protocol,
    /// The address is missing or isn't one.
    Address,
    /// The prefix isn't a number, or is longer than the address.
    Prefix,
    /// The address has bits set to the right of its prefix.
    HostBits,
    /// An IPv4-mapped IPv6 address, which the matcher would never see: write it as IPv4.
    Mapped,
    /// The port is missing, zero or not a number, or the range is empty.
    Port,
}

impl fmt::Display for TsiRuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TsiRuleError::Protocol => "it does not start with \"tcp:\"",
            TsiRuleError::Address => "its address is not an IP address (IPv6 stands in brackets)",
            TsiRuleError::Prefix => "its prefix is not a number of bits of that address",
            TsiRuleError::HostBits => "its address has bits set to the right of the prefix",
            TsiRuleError::Mapped => "its address is IPv4-mapped, write it as IPv4",
            TsiRuleError::Port => "its port is not one from 1 to 65535, nor a range of them",
        })
    }
}

impl Error for TsiRuleError {}

#[derive(Clone, Debug, Eq, PartialEq)]
struct TsiRule {
    network: IpAddr,
    prefix: u32,
    ports: RangeInclusive<u16>,
}

impl TsiRule {
    fn parse(text: &str) -> Result<Self, TsiRuleError> {
        let rest = text.strip_prefix("tcp:").ok_or(TsiRuleError::Protocol)?;

        // `after` is what follows the address: `[/PREFIX]:PORT[-PORT]`.
        let (network, after) = if let Some(rest) = rest.strip_prefix('[') {
            let (address, after) = rest.split_once(']').ok_or(TsiRuleError::Address)?;
            let address: Ipv6Addr = address.parse().map_err(|_| TsiRuleError::Address)?;
            if address.to_ipv4_mapped().is_some() {
                return Err(TsiRuleError::Mapped);
            }
            (IpAddr::V6(address), after)
        } else {
            let end = rest.find(['/', ':']).ok_or(TsiRuleError::Port)?;
            let (address, after) = rest.split_at(end);
            let address: Ipv4Addr = address.parse().map_err(|_| TsiRuleError::Address)?;
            (IpAddr::V4(address), after)
        };

        let bits = if network.is_ipv4() { 32 } else { 128 };
        let (prefix, ports) = if let Some(after) = after.strip_prefix('/') {
            let (prefix, ports) = after.split_once(':').ok_or(TsiRuleError::Port)?;
            let prefix = u32::from(number(prefix).ok_or(TsiRuleError::Prefix)?);
            (prefix, ports)
        } else {
            (bits, after.strip_prefix(':').ok_or(TsiRuleError::Port)?)
        };
        if prefix > bits {
            return Err(TsiRuleError::Prefix);
        }
        if masked(network, prefix) != network {
            return Err(TsiRuleError::HostBits);
        }

        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let first = number(first).ok_or(TsiRuleError::Port)?;
        let last = number(last).ok_or(TsiRuleError::Port)?;
        if first == 0 || first > last {
            return Err(TsiRuleError::Port);
        }

        Ok(TsiRule {
            network,
            prefix,
            ports: first..=last,
        })
    }

    fn permits(&self, address: IpAddr, port: u16) -> bool {
        address.is_ipv4() == self.network.is_ipv4()
            && masked(address, self.prefix) == self.network
            && self.ports.contains(&port)
    }
}

/// The destinations that a context may connect to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TsiAllowlist {
    rules: Vec<TsiRule>,
}

impl TsiAllowlist {
    /// Makes a list out of its rules. Without a rule, the list permits nothing.
    pub fn parse<'a>(rules: impl IntoIterator<Item = &'a str>) -> Result<Self, TsiRuleError> {
        let rules = rules
            .into_iter()
            .map(TsiRule::parse)
            .collect::<Result<_, _>>()?;
        Ok(TsiAllowlist { rules })
    }

    /// Tells whether a TCP socket may be connected to this address.
    ///
    /// What is matched is where the host's kernel would go, not how the guest spelled it: an
    /// IPv4-mapped IPv6 address is the IPv4 address, and an unspecified address is the loopback.
    /// A scope selects an interface, which no rule can name, so there must be none.
    pub fn permits(&self, destination: &SocketAddr) -> bool {
        if let SocketAddr::V6(destination) = destination {
            if destination.scope_id() != 0 {
                return false;
            }
        }
        let address = match destination.ip().to_canonical() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            address => address,
        };
        self.rules
            .iter()
            .any(|rule| rule.permits(address, destination.port()))
    }
}

/// A decimal number in its one usual spelling: no sign, no blank, no leading zero.
fn number(text: &str) -> Option<u16> {
    let usual = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if usual {
        text.parse().ok()
    } else {
        None
    }
}

/// The address with only its first `prefix` bits kept.
fn masked(address: IpAddr, prefix: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(address) & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(address) & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddrV6;

    fn permits(rules: &[&str], destination: &str) -> bool {
        TsiAllowlist::parse(rules.iter().copied())
            .unwrap()
            .permits(&destination.parse().unwrap())
    }

    fn refused(rule: &str) -> TsiRuleError {
        TsiAllowlist::parse([rule]).expect_err(rule)
    }

    #[test]
    fn an_empty_list_permits_nothing() {
        assert!(!permits(&[], "127.0.0.1:80"));
        assert!(!permits(&[], "[::1]:80"));
        assert!(!permits(&[], "0.0.0.0:0"));
    }

    #[test]
    fn one_address_and_port_is_just_that() {
        for rule in ["tcp:127.0.0.16/32:40123", "tcp:127.0.0.16:40123"] {
            assert!(permits(&[rule], "127.0.0.16:40123"));
            assert!(!permits(&[rule], "127.0.0.16:40122"));
            assert!(!permits(&[rule], "127.0.0.16:40124"));
            assert!(!permits(&[rule], "127.0.0.17:40123"));
            assert!(!permits(&[rule], "127.0.0.15:40123"));
            assert!(!permits(&[rule], "[::1]:40123"));
        }
    }

    #[test]
    fn a_prefix_covers_its_first_and_last_address() {
        let rule = ["tcp:10.1.2.128/25:443"];
        assert!(permits(&rule, "10.1.2.128:443"));
        assert!(permits(&rule, "10.1.2.255:443"));
        assert!(!permits(&rule, "10.1.2.127:443"));
        assert!(!permits(&rule, "10.1.3.0:443"));

        let rule = ["tcp:[fd00:0:0:8::]/61:443"];
        assert!(permits(&rule, "[fd00:0:0:8::]:443"));
        assert!(permits(&rule, "[fd00:0:0:f:ffff:ffff:ffff:ffff]:443"));
        assert!(!permits(&rule, "[fd00:0:0:10::]:443"));
        assert!(!permits(&rule, "[fd00:0:0:7:ffff:ffff:ffff:ffff]:443"));
    }

    #[test]
    fn a_prefix_of_zero_is_one_family_only() {
        assert!(permits(&["tcp:0.0.0.0/0:443"], "192.0.2.1:443"));
        assert!(!permits(&["tcp:0.0.0.0/0:443"], "[2001:db8::1]:443"));
        assert!(permits(&["tcp:[::]/0:443"], "[2001:db8::1]:443"));
        assert!(!permits(&["tcp:[::]/0:443"], "192.0.2.1:443"));
    }

    #[test]
    fn a_range_holds_both_its_ends() {
        let rule = ["tcp:127.0.0.16/32:8000-8010"];
        assert!(permits(&rule, "127.0.0.16:8000"));
        assert!(permits(&rule, "127.0.0.16:8010"));
        assert!(!permits(&rule, "127.0.0.16:7999"));
        assert!(!permits(&rule, "127.0.0.16:8011"));
        assert!(permits(&["tcp:127.0.0.16:1-65535"], "127.0.0.16:65535"));
        assert!(!permits(&["tcp:127.0.0.16:1-65535"], "127.0.0.16:0"));
        assert!(permits(&["tcp:127.0.0.16:80-80"], "127.0.0.16:80"));
    }

    #[test]
    fn any_rule_may_permit() {
        let rules = ["tcp:127.0.0.16:80", "tcp:[::1]/128:81"];
        assert!(permits(&rules, "127.0.0.16:80"));
        assert!(permits(&rules, "[::1]:81"));
        assert!(!permits(&rules, "127.0.0.16:81"));
        assert!(!permits(&rules, "[::1]:80"));
    }

    #[test]
    fn a_mapped_address_is_matched_as_ipv4() {
        assert!(permits(&["tcp:127.0.0.16:80"], "[::ffff:127.0.0.16]:80"));
        assert!(!permits(&["tcp:127.0.0.16:80"], "[::ffff:127.0.0.1]:80"));
        assert!(!permits(&["tcp:[::]/0:80"], "[::ffff:127.0.0.1]:80"));
        // Not a mapped address, though it ends in the same 32 bits.
        assert!(!permits(&["tcp:127.0.0.16:80"], "[::127.0.0.16]:80"));
    }

    #[test]
    fn an_unspecified_address_is_the_loopback_it_leads_to() {
        assert!(permits(&["tcp:127.0.0.1:80"], "0.0.0.0:80"));
        assert!(permits(&["tcp:127.0.0.1:80"], "[::ffff:0.0.0.0]:80"));
        assert!(permits(&["tcp:[::1]:80"], "[::]:80"));
        assert!(!permits(&["tcp:127.0.0.16:80"], "0.0.0.0:80"));
        assert!(!permits(&["tcp:0.0.0.0/32:80"], "0.0.0.0:80"));
        assert!(!permits(&["tcp:[::]/128:80"], "[::]:80"));
    }

    #[test]
    fn a_scope_is_never_permitted() {
        let list = TsiAllowlist::parse(["tcp:[fe80::]/10:80"]).unwrap();
        let address = "fe80::1".parse().unwrap();
        assert!(list.permits(&SocketAddrV6::new(address, 80, 0, 0).into()));
        assert!(list.permits(&SocketAddrV6::new(address, 80, 7, 0).into()));
        assert!(!list.permits(&SocketAddrV6::new(address, 80, 0, 2).into()));
    }

    #[test]
    fn a_rule_that_is_not_exact_is_refused() {
        use TsiRuleError::*;
        let rules = [
            ("", Protocol),
            ("tcp", Protocol),
            ("127.0.0.1:80", Protocol),
            ("udp:127.0.0.1:80", Protocol),
            ("TCP:127.0.0.1:80", Protocol),
            (" tcp:127.0.0.1:80", Protocol),
            ("tcp:", Port),
            ("tcp::80", Address),
            ("tcp:localhost:80", Address),
            ("tcp:127.0.0:80", Address),
            ("tcp:127.0.0.01:80", Address),
            ("tcp:127.0.0.256:80", Address),
            ("tcp: 127.0.0.1:80", Address),
            ("tcp:*:80", Address),
            ("tcp:::1:80", Address),
            ("tcp:[::1:80", Address),
            ("tcp:[]:80", Address),
            ("tcp:[127.0.0.1]:80", Address),
            ("tcp:[fe80::1%1]:80", Address),
            ("tcp:[::ffff:127.0.0.1]:80", Mapped),
            ("tcp:[::ffff:0:0]/96:80", Mapped),
            ("tcp:127.0.0.1/:80", Prefix),
            ("tcp:127.0.0.1/33:80", Prefix),
            ("tcp:127.0.0.1/032:80", Prefix),
            ("tcp:127.0.0.1/+32:80", Prefix),
            ("tcp:127.0.0.1/-1:80", Prefix),
            ("tcp:127.0.0.1/255.0.0.0:80", Prefix),
            ("tcp:[::1]/129:80", Prefix),
            ("tcp:[::1]/4294967424:80", Prefix),
            ("tcp:127.0.0.1/24:80", HostBits),
            ("tcp:127.0.0.1/0:80", HostBits),
            ("tcp:[fd00::1]/64:80", HostBits),
            ("tcp:127.0.0.1", Port),
            ("tcp:127.0.0.1:", Port),
            ("tcp:127.0.0.1/32", Port),
            ("tcp:127.0.0.1/32:", Port),
            ("tcp:[::1]", Port),
            ("tcp:[::1]80", Port),
            ("tcp:127.0.0.1:0", Port),
            ("tcp:127.0.0.1:0-80", Port),
            ("tcp:127.0.0.1:81-80", Port),
            ("tcp:127.0.0.1:65536", Port),
            ("tcp:127.0.0.1:80-65536", Port),
            ("tcp:127.0.0.1:-80", Port),
            ("tcp:127.0.0.1:80-", Port),
            ("tcp:127.0.0.1:1-2-3", Port),
            ("tcp:127.0.0.1:080", Port),
            ("tcp:127.0.0.1:+80", Port),
            ("tcp:127.0.0.1:http", Port),
            ("tcp:127.0.0.1:80 ", Port),
            ("tcp:127.0.0.1:80,81", Port),
            ("tcp:127.0.0.1:80\n", Port),
            ("tcp:127.0.0.1:80:81", Port),
            ("tcp:127.0.0.1:\u{0661}", Port),
        ];
        for (rule, error) in rules {
            assert_eq!(refused(rule), error, "{rule:?}");
        }
    }

    #[test]
    fn one_bad_rule_refuses_the_list() {
        assert!(TsiAllowlist::parse(["tcp:127.0.0.1:80", "tcp:127.0.0.1:"]).is_err());
    }
}
