//! The virtiofs device of the patched libkrun, before a guest's kernel that sends what no kernel sends: a name that leads out of the
//! shared directory.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicI32;
use std::time::{Duration, Instant};

use bottle_fuzz_libkrun::rings::{NEXT, Rings, WRITE};
use krun_devices::legacy::DummyIrqChip;
use krun_devices::virtio::passthrough::PermissionSemantics;
use krun_devices::virtio::{DeviceQueue, Fs, InterruptTransport, VirtioDevice};
use krun_utils::eventfd::{EFD_NONBLOCK, EventFd};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const REQUEST_AT: u64 = 0x2_0000;
const ANSWER_AT: u64 = 0x3_0000;
const ANSWER_BYTES: u32 = 4096;

/// `enum fuse_opcode`, and the node of the shared directory.
const LOOKUP: u32 = 1;
const SYMLINK: u32 = 6;
const MKDIR: u32 = 9;
const UNLINK: u32 = 10;
const INIT: u32 = 26;
const ROOT: u64 = 1;

struct Driver {
    memory: GuestMemoryMmap,
    requests: Rings,
    kick: Arc<EventFd>,
    _device: Fs,
}

impl Driver {
    fn boot(shared: &str) -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
        let semantics = PermissionSemantics::LinuxComplete;
        let exit_code = Arc::new(AtomicI32::new(0));
        let shared = Some(shared.to_owned());
        let mut device =
            Fs::new("shared".to_owned(), semantics, shared, exit_code, false, Vec::new()).unwrap();
        let interrupt = InterruptTransport::new(DummyIrqChip::new().into(), "fs".to_owned()).unwrap();
        let [urgent, requests] = [0, 1].map(|index| Rings::new(&memory, index));
        let kick = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
        let unused = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
        let queues =
            vec![DeviceQueue::new(urgent.queue(), unused), DeviceQueue::new(requests.queue(), kick.clone())];
        device.activate(memory.clone(), interrupt, queues).unwrap();
        let mut driver = Self { memory, requests, kick, _device: device };
        // Version 7.31, and nothing that it may have.
        let init: Vec<u8> = [7u32, 31, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(driver.ask(INIT, &init), Some(0));
        driver
    }

    /// The error of the answer, or none if the device has no answer to such a request.
    fn ask(&mut self, opcode: u32, body: &[u8]) -> Option<i32> {
        let len = u32::try_from(40 + body.len()).unwrap();
        let mut request = Vec::new();
        request.extend(len.to_le_bytes());
        request.extend(opcode.to_le_bytes());
        request.extend(7u64.to_le_bytes());
        request.extend(ROOT.to_le_bytes());
        request.extend([0; 16]);
        request.extend(body);
        self.memory.write_slice(&request, GuestAddress(REQUEST_AT)).unwrap();
        self.memory.write_slice(&[0; 16], GuestAddress(ANSWER_AT)).unwrap();
        self.requests.describe(0, (REQUEST_AT, len), NEXT, 1);
        self.requests.describe(1, (ANSWER_AT, ANSWER_BYTES), WRITE, 0);
        self.requests.offer(0);
        self.kick.write(1).unwrap();
        let start = Instant::now();
        while self.requests.used_count() != self.requests.offered_count() {
            assert!(start.elapsed() < Duration::from_secs(30), "the device does not answer");
            std::thread::yield_now();
        }
        let [length, error]: [u32; 2] =
            [0, 4].map(|at| self.memory.read_obj(GuestAddress(ANSWER_AT + at)).unwrap());
        (length >= 16).then_some(error.cast_signed())
    }

    fn ask_by_name(&mut self, opcode: u32, fixed: &[u8], name: &str) -> Option<i32> {
        self.ask(opcode, &[fixed, name.as_bytes(), b"\0"].concat())
    }
}

#[test]
fn no_name_leads_out_of_a_shared_directory() {
    let around = std::env::temp_dir().join(format!("bottle-names-{}", std::process::id()));
    let shared = around.join("shared");
    fs::create_dir_all(&shared).unwrap();
    for file in [around.join("secret"), shared.join("inside")] {
        fs::write(file, "x").unwrap();
    }
    let mut driver = Driver::boot(shared.to_str().unwrap());
    let secret = around.join("secret");

    assert_eq!(driver.ask_by_name(LOOKUP, b"", "inside"), Some(0));
    for name in ["..", ".", "", "../secret", "inside/../../secret", secret.to_str().unwrap()] {
        assert_ne!(driver.ask_by_name(LOOKUP, b"", name), Some(0), "lookup of {name:?}");
    }
    assert_ne!(driver.ask_by_name(UNLINK, b"", "../secret"), Some(0));
    assert_ne!(driver.ask_by_name(MKDIR, &[0; 8], "../made"), Some(0));
    assert_ne!(driver.ask_by_name(SYMLINK, b"../link\0", "target"), Some(0));

    assert!(secret.exists() && !around.join("made").exists() && !around.join("link").is_symlink());
    assert_eq!(driver.ask_by_name(UNLINK, b"", "inside"), Some(0));
    assert!(!shared.join("inside").exists());
    fs::remove_dir_all(&around).unwrap();
}
