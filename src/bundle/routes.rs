//! IPv4 subnets, as far as choosing a free one needs them.

use std::net::Ipv4Addr;

/// A subnet: an address with its host bits zero, and a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subnet {
    base: u32,
    mask: u32,
}

impl Subnet {
    /// The subnet that `address` is in under `mask`.
    pub(super) fn new(address: Ipv4Addr, mask: Ipv4Addr) -> Self {
        let mask = u32::from(mask);
        Self { base: u32::from(address) & mask, mask }
    }

    /// Do the two share an address?
    pub(super) fn overlaps(self, other: Self) -> bool {
        let wider = self.mask & other.mask;
        self.base & wider == other.base & wider
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_overlap_when_one_holds_the_other() {
        let subnet = |a, b, c, mask: [u8; 4]| Subnet::new(Ipv4Addr::new(a, b, c, 9), Ipv4Addr::from(mask));
        let wide = subnet(10, 230, 7, [255, 255, 0, 0]);
        assert!(wide.overlaps(subnet(10, 230, 1, [255, 255, 255, 0])));
        assert!(subnet(10, 230, 1, [255, 255, 255, 0]).overlaps(wide));
        assert!(!wide.overlaps(subnet(10, 231, 1, [255, 255, 255, 0])));
        assert!(!subnet(10, 230, 1, [255, 255, 255, 0]).overlaps(subnet(10, 230, 2, [255, 255, 255, 0])));
    }
}
