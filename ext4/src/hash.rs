//! The hash that sorts the names of an indexed directory: half of MD4's work on 32 bytes at a time, with a seed, of which
//! two words are kept. Described in the kernel's Documentation/filesystems/ext4/ and in RFC 1320.

/// The words that MD4 begins with; used where the file system has no seed.
const INITIAL: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// The constants of rounds 2 and 3: the square roots of 2 and 3, times 2 to the 30th.
const ROOT_2: u32 = 0x5a82_7999;
const ROOT_3: u32 = 0x6ed9_eba1;

/// What stands for the end of a directory, and so for no name.
const END: u32 = 0xffff_fffe;

/// The hash of a name. Its lowest bit is 0: index entries keep there whether a block goes on with the hash of the one
/// before.
pub(crate) fn half_md4(name: &[u8], seed: [u32; 4]) -> u32 {
    let mut state = if seed == [0; 4] { INITIAL } else { seed };
    // A name has at least one byte, and so one part.
    let mut rest = name;
    while !rest.is_empty() {
        transform(&mut state, &words(rest));
        rest = &rest[rest.len().min(32)..];
    }
    match state[1] & !1 {
        END => END - 2,
        hash => hash,
    }
}

/// The first 32 bytes of `rest` as words, filled up with its length. Bytes count as signed, as the superblock's flags say.
fn words(rest: &[u8]) -> [u32; 8] {
    // Names have at most 255 bytes.
    let pad = (rest.len() as u32 & 0xff) * 0x0101_0101;
    let mut words = [pad; 8];
    for (word, bytes) in words.iter_mut().zip(rest.chunks(4)) {
        for &byte in bytes {
            *word = (byte as i8 as u32).wrapping_add(*word << 8);
        }
    }
    words
}

fn transform(state: &mut [u32; 4], words: &[u32; 8]) {
    let choose = |x: u32, y: u32, z: u32| z ^ (x & (y ^ z));
    let majority = |x: u32, y: u32, z: u32| (x & y).wrapping_add((x ^ y) & z);
    let parity = |x: u32, y: u32, z: u32| x ^ y ^ z;
    let mut work = *state;
    round(&mut work, words, [0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 11, 19], 0, choose);
    round(&mut work, words, [1, 3, 5, 7, 0, 2, 4, 6], [3, 5, 9, 13], ROOT_2, majority);
    round(&mut work, words, [3, 7, 2, 6, 1, 5, 0, 4], [3, 9, 11, 15], ROOT_3, parity);
    for (word, work) in state.iter_mut().zip(work) {
        *word = word.wrapping_add(work);
    }
}

fn round(
    work: &mut [u32; 4],
    words: &[u32; 8],
    order: [usize; 8],
    shifts: [u32; 4],
    constant: u32,
    mix: impl Fn(u32, u32, u32) -> u32,
) {
    for (step, &index) in order.iter().enumerate() {
        // The word that changes goes backwards through the four.
        let at = |n: usize| (n + 4 - step % 4) % 4;
        let mixed = mix(work[at(1)], work[at(2)], work[at(3)]);
        work[at(0)] = work[at(0)]
            .wrapping_add(mixed)
            .wrapping_add(words[index])
            .wrapping_add(constant)
            .rotate_left(shifts[step % 4]);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn as_debugfs_has_it() {
        // The seed as debugfs reads it: a UUID, its bytes in order.
        let seed_text = "00112233-4455-6677-8899-aabbccddeeff";
        let seed = [0x3322_1100, 0x7766_5544, 0xbbaa_9988, 0xffee_ddcc];
        let long = "n".repeat(255);
        for name in ["a", "abc", "abcd", "hello.txt", &long[..31], &long[..32], &long[..33], "grüße", &long]
        {
            for (seed, arguments) in [(seed, format!("-s {seed_text} ")), ([0; 4], String::new())] {
                let request = format!("dx_hash -h half_md4 {arguments}{name}");
                let run = Command::new("debugfs").args(["-R", &request]).output().unwrap();
                let said = String::from_utf8_lossy(&run.stdout).into_owned();
                let hash = said.split("0x").nth(1).unwrap_or_else(|| panic!("debugfs said {said:?}"));
                let hash = u32::from_str_radix(&hash[..8], 16).unwrap();
                assert_eq!(half_md4(name.as_bytes(), seed), hash, "{request}: {said}");
            }
        }
    }
}
