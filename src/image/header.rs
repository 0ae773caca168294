//! The fields of a tar header, and the records of PAX: POSIX.1-2008, pax, "ustar Interchange Format" and "pax Header Block";
//! numbers in base 256 are GNU's.

use std::collections::BTreeMap;

/// Extended records by their key.
pub(crate) type Pax = BTreeMap<Vec<u8>, Vec<u8>>;

/// Sum of all bytes with the checksum's own eight taken as spaces. Some old writers summed signed bytes.
pub(crate) fn checksum_is_right(header: &[u8; 512]) -> bool {
    if cfg!(fuzzing) {
        return true;
    }
    let Some(stated) = field_number(&header[148..156]) else { return false };
    let bytes =
        || header.iter().enumerate().map(|(i, &byte)| if (148..156).contains(&i) { b' ' } else { byte });
    let unsigned: i64 = bytes().map(i64::from).sum();
    let signed: i64 = bytes().map(|byte| i64::from(byte as i8)).sum();
    stated == unsigned || stated == signed
}

/// The name in the header itself; in ustar, what is before it is in a field of its own.
pub(crate) fn short_name(header: &[u8; 512]) -> Vec<u8> {
    let name = until_nul(&header[..100]);
    let prefix = until_nul(&header[345..500]);
    if &header[257..263] == b"ustar\0" && !prefix.is_empty() {
        [prefix, b"/", name].concat()
    } else {
        name.to_vec()
    }
}

pub(crate) fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// A number in octal digits, or in base 256 when the first bit is set. An empty field is 0.
pub(crate) fn field_number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        // Two's complement over the whole field but for the marker bit; bit 6 is the sign.
        let negative = first & 0x40 != 0;
        let mut value: i64 = if negative { i64::from(first) - 256 } else { i64::from(first & 0x3f) };
        for &byte in &field[1..] {
            value = value.checked_mul(256)?.checked_add(i64::from(byte))?;
        }
        return Some(value);
    }
    let digits = until_nul(field).trim_ascii();
    let mut value: i64 = 0;
    for &digit in digits {
        if !(b'0'..=b'7').contains(&digit) {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(i64::from(digit - b'0'))?;
    }
    Some(value)
}

/// The records of a PAX header: `LENGTH KEY=VALUE\n`, the length counting the whole record.
pub(crate) fn records(mut content: &[u8]) -> Result<Pax, String> {
    let bad = || "malformed PAX header".to_owned();
    let mut records = Pax::new();
    while content.first().is_some_and(|&byte| byte != 0) {
        let space = content.iter().position(|&byte| byte == b' ').ok_or_else(bad)?;
        let length = decimal(&content[..space]).and_then(|n| usize::try_from(n).ok()).ok_or_else(bad)?;
        let record = content.get(space + 1..length).ok_or_else(bad)?;
        let record = record.strip_suffix(b"\n").ok_or_else(bad)?;
        let equals = record.iter().position(|&byte| byte == b'=').ok_or_else(bad)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        if matches!(key, b"path" | b"linkpath" | b"GNU.sparse.name") && value.contains(&0) {
            return Err("a name with a NUL in it".to_owned());
        }
        match key {
            // The one kind that comes several times: a map of sparse files, in the order of its numbers.
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                let map = records.entry(b"GNU.sparse.map".to_vec()).or_default();
                if !map.is_empty() {
                    map.push(b',');
                }
                map.extend_from_slice(value);
            }
            _ => drop(records.insert(key.to_vec(), value.to_vec())),
        }
        content = &content[length..];
    }
    Ok(records)
}

pub(crate) fn decimal(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A PAX time: seconds since 1970, perhaps with a fraction, perhaps negative.
pub(crate) fn timestamp(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = whole.starts_with('-');
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let nanos: u32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    if negative && nanos > 0 {
        Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos))
    } else {
        Some((seconds, nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(field_number(b"0000644\0"), Some(0o644));
        assert_eq!(field_number(b"   644 \0"), Some(0o644));
        assert_eq!(field_number(b"\0\0\0\0"), Some(0));
        assert_eq!(field_number(b"0008\0"), None);
        assert_eq!(field_number(&[0x80, 0, 0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!(field_number(&[0xff; 8]), Some(-1));
        assert_eq!(field_number(&[0xbf; 12]), None, "more than 64 bits");
        assert_eq!(
            field_number(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]),
            Some(-2)
        );
    }

    #[test]
    fn times_have_fractions_and_signs() {
        assert_eq!(timestamp(b"12"), Some((12, 0)));
        assert_eq!(timestamp(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(timestamp(b"12.0000000019"), Some((12, 1)));
        assert_eq!(timestamp(b"-0.25"), Some((-1, 750_000_000)));
        assert_eq!(timestamp(b"-2"), Some((-2, 0)));
        for bad in [&b""[..], b"x", b"1.x", b"1.-5", "1.5\u{e9}".as_bytes(), b"99999999999999999999"] {
            assert_eq!(timestamp(bad), None);
        }
    }

    #[test]
    fn pax_records_are_counted() {
        let good = records(b"12 path=abc\n18 SCHILY.x=a=b\nc\n").unwrap();
        assert_eq!(good[&b"path"[..]], b"abc");
        assert_eq!(good[&b"SCHILY.x"[..]], b"a=b\nc");
        for bad in [
            &b"12 path=abc"[..],
            b"4 a=\n",
            b"x a=b\n",
            b"99 a=b\n",
            b"2 a",
            b"6 ab=\0",
            b"0 a=b\n",
            b"-1 a=b\n",
        ] {
            assert!(records(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
