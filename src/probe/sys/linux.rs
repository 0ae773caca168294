//! Linux: `/proc/net`.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A socket that listens, in the column `st`.
const LISTENS: &str = "0A";

/// Where somebody listens on this machine, by TCP.
pub(crate) fn listeners() -> io::Result<Vec<SocketAddr>> {
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        match fs::read_to_string(table) {
            Ok(text) => found.extend(text.lines().filter_map(listener)),
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// `sl local_address rem_address st …`
fn listener(line: &str) -> Option<SocketAddr> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    if *fields.get(3)? != LISTENS {
        return None;
    }
    // Each word is as it lies in memory, the address being in network order there.
    let words: Option<Vec<[u8; 4]>> = (0..address.len())
        .step_by(8)
        .map(|at| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.to_ne_bytes()))
        .collect();
    let ip: IpAddr = match words?.concat()[..] {
        [a, b, c, d] => Ipv4Addr::new(a, b, c, d).into(),
        ref bytes => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into(),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_listeners_are_seen() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let own = std::net::TcpListener::bind(address).unwrap().local_addr().unwrap();
            assert!(!listeners().unwrap().contains(&own));
            let listener = std::net::TcpListener::bind(address).unwrap();
            assert!(listeners().unwrap().contains(&listener.local_addr().unwrap()));
        }
    }

    #[test]
    fn lines_of_others_are_none() {
        assert_eq!(listener("  sl  local_address rem_address   st"), None);
        assert_eq!(listener("0: 0100007F:0016 00000000:0000 01"), None);
        assert_eq!(listener("0: 0100007F"), None);
        assert_eq!(listener("0: 01:0016 00000000:0000 0A"), None);
    }
}
