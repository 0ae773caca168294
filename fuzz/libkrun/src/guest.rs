//! A guest's memory and queues, laid out as virtio has them, and the device at their other end.

use std::sync::Arc;

use krun_devices::legacy::DummyIrqChip;
use krun_devices::virtio::{DeviceQueue, InterruptTransport, TsiAllowlist, TsiFlags, VirtioDevice, Vsock};
use krun_utils::eventfd::{EFD_NONBLOCK, EventFd};
use vm_memory::{GuestAddress, GuestMemoryMmap};

use crate::rings::{NEXT, QUEUE_SIZE, Rings, WRITE};
use crate::script::{GUEST_CID, Layout, Packet};

/// Its memory. Nothing says that a descriptor may not be all of it.
const MEMORY_BYTES: usize = 16 << 20;
/// What the device may write into at a time.
const RX_BYTES: u32 = 4096 + 64;
/// Where the packets to send are.
const PACKET_AT: u64 = 0x10_0000;
const PAYLOAD_AT: u64 = PACKET_AT + 0x1000;
const RX_AT: u64 = 0x20_0000;

const HEADER_BYTES: u32 = 44;

pub(crate) struct Guest {
    device: Vsock,
    allowed_port: u16,
    /// What the device has for us.
    rx: Rings,
    /// What we send.
    tx: Rings,
}

impl Guest {
    /// A device that allows this port of 127.0.0.1, and queues for it.
    pub(crate) fn boot(allowed_port: u16) -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY_BYTES)]).expect("memory");
        let rule = format!("tcp:127.0.0.1:{allowed_port}");
        let allowlist = TsiAllowlist::parse([rule.as_str()]).expect("a rule");
        let device = Vsock::new(GUEST_CID, None, None, TsiFlags::HIJACK_INET, Some(allowlist));
        let mut device = device.expect("a device");
        let interrupt = InterruptTransport::new(DummyIrqChip::new().into(), "fuzz".to_owned());
        // Virtio's order; nothing uses the third.
        let [mut rx, tx, events] = [0, 1, 2].map(|index| Rings::new(&memory, index));
        let queues = [&rx, &tx, &events].map(|rings| {
            DeviceQueue::new(rings.queue(), Arc::new(EventFd::new(EFD_NONBLOCK).expect("an eventfd")))
        });
        let activated = device.activate(memory, interrupt.expect("an interrupt"), queues.into());
        activated.expect("the device takes its queues");
        for index in 0..QUEUE_SIZE {
            rx.describe(index, (RX_AT + u64::from(index) * u64::from(RX_BYTES), RX_BYTES), WRITE, 0);
            rx.offer(index);
        }
        Self { device, allowed_port, rx, tx }
    }

    pub(crate) fn allowed_port(&self) -> u16 {
        self.allowed_port
    }

    /// Sends it, and takes whatever the device has for us.
    pub(crate) fn send(&mut self, packet: &Packet) {
        self.lay_out(packet);
        self.tx.offer(0);
        self.device.process_stream_tx();
        self.device.process_stream_rx();
        // The device fills the buffers in order: those that it has filled are its again.
        while self.rx.offered_count() != self.rx.used_count().wrapping_add(QUEUE_SIZE) {
            self.rx.offer(self.rx.offered_count() % QUEUE_SIZE);
        }
    }

    fn lay_out(&mut self, packet: &Packet) {
        let count = u32::try_from(packet.payload.len()).unwrap_or(0);
        self.tx.write(PACKET_AT, &header(packet));
        let combined = matches!(packet.layout, Layout::One | Layout::ShortHeader);
        let payload_at = if combined { PACKET_AT + u64::from(HEADER_BYTES) } else { PAYLOAD_AT };
        self.tx.write(payload_at, &packet.payload);
        let head = (PACKET_AT, HEADER_BYTES);
        let all = u32::try_from(MEMORY_BYTES).unwrap_or(u32::MAX);
        match packet.layout {
            Layout::One => self.tx.describe(0, (PACKET_AT, HEADER_BYTES + count), 0, 0),
            Layout::ShortHeader => self.tx.describe(0, (PACKET_AT, HEADER_BYTES - 1), 0, 0),
            Layout::Two => {
                self.tx.describe(0, head, NEXT, 1);
                self.tx.describe(1, (PAYLOAD_AT, count), 0, 0);
            }
            Layout::Three => {
                let half = count / 2;
                self.tx.describe(0, head, NEXT, 1);
                self.tx.describe(1, (PAYLOAD_AT, half), NEXT, 2);
                self.tx.describe(2, (PAYLOAD_AT + u64::from(half), count - half), 0, 0);
            }
            Layout::Loop => {
                self.tx.describe(0, head, NEXT, 1);
                self.tx.describe(1, (PAYLOAD_AT, count), NEXT, 1);
            }
            Layout::Outside => {
                self.tx.describe(0, head, NEXT, 1);
                self.tx.describe(1, (u64::from(all) - 1, count), 0, 0);
            }
            Layout::Writable => {
                self.tx.describe(0, head, NEXT, 1);
                self.tx.describe(1, (PAYLOAD_AT, count), WRITE, 0);
            }
            Layout::Huge => {
                self.tx.describe(0, head, NEXT, 1);
                self.tx.describe(1, (0, all), NEXT, 1);
            }
        }
    }
}

/// `struct virtio_vsock_hdr`.
fn header(packet: &Packet) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER_BYTES as usize);
    header.extend(packet.src_cid.to_le_bytes());
    header.extend(packet.dst_cid.to_le_bytes());
    header.extend(packet.src_port.to_le_bytes());
    header.extend(packet.dst_port.to_le_bytes());
    header.extend(packet.len.to_le_bytes());
    header.extend(packet.kind.to_le_bytes());
    header.extend(packet.op.to_le_bytes());
    header.extend(packet.flags.to_le_bytes());
    header.extend(packet.buf_alloc.to_le_bytes());
    header.extend(packet.fwd_cnt.to_le_bytes());
    header
}
