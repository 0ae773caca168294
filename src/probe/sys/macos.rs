//! macOS: `netstat`, which every Mac has, and which may see the sockets of all users.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Command, Stdio};

/// Where somebody listens on this machine, by TCP.
pub(crate) fn listeners() -> io::Result<Vec<SocketAddr>> {
    let mut netstat = Command::new("/usr/sbin/netstat");
    let output = netstat.args(["-an", "-p", "tcp"]).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("netstat: {}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(listener).collect())
}

/// `tcp4 0 0 127.0.0.1.631 *.* LISTEN`
fn listener(line: &str) -> Option<SocketAddr> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (protocol, local) = (fields.first()?, fields.get(3)?);
    if *fields.get(5)? != "LISTEN" {
        return None;
    }
    let (address, port) = local.rsplit_once('.')?;
    let ip: IpAddr = match address {
        "*" if *protocol == "tcp4" => Ipv4Addr::UNSPECIFIED.into(),
        "*" => Ipv6Addr::UNSPECIFIED.into(),
        // A zone is the interface's name.
        address => address.split('%').next()?.parse().ok()?,
    };
    Some(SocketAddr::new(ip, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_netstat_are_read() {
        let read = |line| listener(line).map(|address| address.to_string());
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(read("tcp4  0  0  127.0.0.1.631  *.*  LISTEN"), is("127.0.0.1:631"));
        assert_eq!(read("tcp46 0  0  *.22  *.*  LISTEN"), is("[::]:22"));
        assert_eq!(read("tcp6  0  0  fe80::1%lo0.5000  *.*  LISTEN"), is("[fe80::1]:5000"));
        assert_eq!(read("tcp4  0  0  10.0.0.1.50000  1.1.1.1.443  ESTABLISHED"), None);
        assert_eq!(read("Active Internet connections (including servers)"), None);
    }
}
