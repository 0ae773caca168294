//! What the fuzzer's bytes mean.
//!
//! A packet is eight bytes, as many bytes of payload as the eighth says, and the next packet. Ports are few, so that packets
//! that belong together find each other; all else in a packet is what the bytes say.

/// As many packets are sent of one input.
const PACKETS: usize = 64;

/// The guest's CID, as the device is told.
pub(crate) const GUEST_CID: u64 = 3;
const HOST_CID: u64 = 2;

/// Where TSI's requests go; 1032 is none.
const TSI_PORTS: std::ops::RangeInclusive<u32> = 1024..=1032;
/// Where TSI's streams come from.
const TSI_PROXY_PORT: u32 = 620;
const TSI_CREATE: u32 = 1024;
const TSI_CONNECT: u32 = 1025;

const STREAM: u16 = 1;
const DGRAM: u16 = 3;

/// One packet, and how it lies in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Packet {
    pub(crate) src_cid: u64,
    pub(crate) dst_cid: u64,
    pub(crate) src_port: u32,
    pub(crate) dst_port: u32,
    /// What the header says; the payload may have another length.
    pub(crate) len: u32,
    pub(crate) kind: u16,
    pub(crate) op: u16,
    pub(crate) flags: u32,
    pub(crate) buf_alloc: u32,
    pub(crate) fwd_cnt: u32,
    pub(crate) payload: Vec<u8>,
    pub(crate) layout: Layout,
}

/// How a packet is cut into descriptors.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Layout {
    /// Header and payload in one.
    #[default]
    One,
    /// One each.
    Two,
    /// The payload in two.
    Three,
    /// One each, and the payload's leads to itself.
    Loop,
    /// The header's descriptor is too short.
    ShortHeader,
    /// The payload lies outside of the memory.
    Outside,
    /// The payload is the device's to write.
    Writable,
    /// Each descriptor is all of the memory.
    Huge,
}

const LAYOUTS: [Layout; 8] = [
    Layout::One,
    Layout::Two,
    Layout::Three,
    Layout::Loop,
    Layout::ShortHeader,
    Layout::Outside,
    Layout::Writable,
    Layout::Huge,
];

pub(crate) fn packets(mut data: &[u8], allowed_port: u16) -> Vec<Packet> {
    let mut packets = Vec::new();
    while packets.len() < PACKETS
        && let Some((&[to, how, op, src_port, lie, extra, credit, count], rest)) = data.split_first_chunk()
    {
        let (payload, rest) = rest.split_at(rest.len().min(count.into()));
        data = rest;
        let mut payload = payload.to_vec();
        let tsi = TSI_PORTS.contains(&(TSI_CREATE + u32::from(to & 0xf)));
        let dst_port = if tsi { TSI_CREATE + u32::from(to & 0xf) } else { port(to) };
        if tsi {
            few_sockets(dst_port, &mut payload);
        }
        if dst_port == TSI_CONNECT && to & 0x10 != 0 {
            // No fuzzer guesses a port: it writes down where the allowed one belongs.
            if let Some(place) = payload.get_mut(10..12).filter(|place| **place == [0xaa, 0xaa]) {
                place.copy_from_slice(&allowed_port.to_be_bytes());
            }
        }
        let sent = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        packets.push(Packet {
            src_cid: if how & 0x80 == 0 { GUEST_CID } else { extra.into() },
            dst_cid: if how & 0x40 == 0 { HOST_CID } else { extra.into() },
            src_port: port(src_port),
            dst_port,
            len: match lie % 8 {
                1 => sent + 1,
                2 => sent / 2,
                3 => 64 * 1024,
                4 => u32::MAX,
                5 => 0,
                _ => sent,
            },
            kind: match how >> 3 & 7 {
                0..=3 => DGRAM,
                4..=6 => STREAM,
                _ => extra.into(),
            },
            op: op.into(),
            flags: extra.into(),
            buf_alloc: u32::from(credit) << (extra % 25),
            fwd_cnt: u32::from(extra) << (credit % 25),
            payload,
            layout: LAYOUTS[usize::from(how & 7)],
        });
    }
    packets
}

/// Of few.
fn port(byte: u8) -> u32 {
    match byte {
        0..0xc0 => 2000 + u32::from(byte % 8),
        0xc0..0xf0 => TSI_PROXY_PORT,
        _ => 1024 + u32::from(byte % 16),
    }
}

/// A request begins with a port of the guest's, by which the device knows its socket: each is a descriptor of ours.
fn few_sockets(dst_port: u32, payload: &mut [u8]) {
    if let Some(place) = payload.first_chunk_mut::<4>() {
        *place = port(place[0]).to_le_bytes();
    }
    // A release and a question for a name have a second one.
    if matches!(dst_port, 1026 | 1031)
        && let Some(place) = payload.get_mut(4..8)
        && place[0] < 0x80
    {
        place.copy_from_slice(&TSI_PROXY_PORT.to_le_bytes());
    }
}
