//! A split virtqueue, from the driver's side.

use krun_devices::virtio::Queue;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// As many descriptors has a queue.
pub const QUEUE_SIZE: u16 = 256;
/// What all its parts take.
const QUEUE_BYTES: u64 = 0x4000;

/// There is another descriptor behind this one.
pub const NEXT: u16 = 1;
/// The device writes to it.
pub const WRITE: u16 = 2;

/// The queue of this index, in memory.
pub struct Rings {
    memory: GuestMemoryMmap,
    table: u64,
    offered: u16,
}

impl Rings {
    /// Its place follows from its index.
    pub fn new(memory: &GuestMemoryMmap, index: u16) -> Self {
        Self { memory: memory.clone(), table: 0x1000 + QUEUE_BYTES * u64::from(index), offered: 0 }
    }

    /// The device's view of it.
    pub fn queue(&self) -> Queue {
        let mut queue = Queue::new(QUEUE_SIZE);
        queue.size = QUEUE_SIZE;
        queue.ready = true;
        queue.desc_table = GuestAddress(self.table);
        queue.avail_ring = GuestAddress(self.avail());
        queue.used_ring = GuestAddress(self.used());
        queue
    }

    /// Writes a descriptor: where, how many bytes, flags, and which one is next.
    pub fn describe(&self, index: u16, (at, bytes): (u64, u32), flags: u16, next: u16) {
        let place = self.table + 16 * u64::from(index);
        self.write(place, &at.to_le_bytes());
        self.write(place + 8, &bytes.to_le_bytes());
        self.write(place + 12, &flags.to_le_bytes());
        self.write(place + 14, &next.to_le_bytes());
    }

    /// Offers the chain that begins with this descriptor.
    pub fn offer(&mut self, head: u16) {
        self.write(self.avail() + 4 + 2 * u64::from(self.offered % QUEUE_SIZE), &head.to_le_bytes());
        self.offered = self.offered.wrapping_add(1);
        self.write(self.avail() + 2, &self.offered.to_le_bytes());
    }

    /// As many chains has the device used, modulo 2^16.
    pub fn used_count(&self) -> u16 {
        self.memory.read_obj(GuestAddress(self.used() + 2)).expect("the used ring")
    }

    /// As many chains were offered, modulo 2^16.
    pub fn offered_count(&self) -> u16 {
        self.offered
    }

    /// Writes to the guest's memory.
    pub fn write(&self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(at)).expect("an address that is in the memory");
    }

    fn avail(&self) -> u64 {
        self.table + 0x2000
    }

    fn used(&self) -> u64 {
        self.table + 0x3000
    }
}
