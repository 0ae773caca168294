//! Downloads from a server that takes its time, by one that has little.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::connection::{Connection, Patience};
use super::download::RemoteBlob;
use crate::image::config::ImageId;

const HASTY: Patience = Patience {
    connect: Duration::from_secs(10),
    answer: Duration::from_millis(300),
    stall: Duration::from_millis(300),
    pause: Duration::from_millis(1),
    attempts: 3,
};

/// Downloads `blob` from a server on loopback that answers what is not asked for by TLS. `each` gets the number of the
/// download, the first byte that is wanted, and the connection.
fn download(
    blob: &[u8],
    each: impl Fn(usize, usize, &mut TcpStream) + Send + Sync + 'static,
) -> (Result<Vec<u8>, String>, usize) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("{}/a:1", listener.local_addr().unwrap()).parse().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let (counter, each) = (Arc::clone(&count), Arc::new(each));
    thread::spawn(move || {
        for stream in listener.incoming().map(Result::unwrap) {
            let (counter, each) = (Arc::clone(&counter), Arc::clone(&each));
            thread::spawn(move || serve(stream, &counter, &*each));
        }
    });
    let connection = Connection::open(&image, HASTY).unwrap();
    let remote = RemoteBlob::new(connection, ImageId::of(blob), blob.len() as u64);
    let mut received = Vec::new();
    let result = remote.open().read_to_end(&mut received).map(|_| received);
    (result.map_err(|error| error.to_string()), count.load(Ordering::SeqCst))
}

fn serve(mut stream: TcpStream, counter: &AtomicUsize, each: &dyn Fn(usize, usize, &mut TcpStream)) {
    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let head: Vec<_> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let Some(path) = head.first().and_then(|line| line.strip_prefix("GET ")) else { return };
    if path.starts_with("/v2/ ") {
        write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").unwrap();
        return;
    }
    let range =
        head.iter().find_map(|line| line.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse().ok());
    each(counter.fetch_add(1, Ordering::SeqCst), range.unwrap_or(0), &mut stream);
}

/// The head of an answer with the part of a blob from `start` on, and `send` bytes of it.
fn answer(stream: &mut TcpStream, blob: &[u8], start: usize, send: usize) {
    let (len, rest) = (blob.len(), &blob[start..]);
    let status = if start == 0 { "200 OK" } else { "206 Partial Content" };
    let range = format!("Content-Range: bytes {start}-{}/{len}", len - 1);
    write!(stream, "HTTP/1.1 {status}\r\n{range}\r\nContent-Length: {}\r\n\r\n", rest.len()).unwrap();
    stream.write_all(&rest[..send.min(rest.len())]).unwrap();
}

/// Until the other side has had enough.
fn wait(stream: &mut TcpStream) {
    stream.read(&mut [0]).map(drop).unwrap_or_default();
}

fn blob() -> Vec<u8> {
    (0..200_000_u32).map(|i| (i % 251) as u8).collect()
}

#[test]
fn a_download_that_stalls_goes_on_by_another_connection() {
    let (received, count) = download(&blob(), |number, start, stream| {
        answer(stream, &blob(), start, if number == 0 { 1000 } else { usize::MAX });
        wait(stream);
    });
    assert!(received.unwrap() == blob());
    assert_eq!(count, 2);
}

#[test]
fn a_download_that_always_stalls_is_given_up() {
    let (received, count) = download(&blob(), |_, start, stream| {
        answer(stream, &blob(), start, if start == 0 { 1000 } else { 0 });
        wait(stream);
    });
    let error = received.unwrap_err();
    let digest = format!("sha256:{} from 127.0.0.1:", ImageId::of(&blob()));
    for part in [digest.as_str(), "ended after 1000 of 200000 bytes: 0 bytes came in 0.3 s"] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(count, 3);
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let (received, count) = download(&blob(), |_, _, stream| wait(stream));
    let error = received.unwrap_err();
    assert!(error.contains("ended after 0 of 200000 bytes: no answer within 0.3 s"), "{error}");
    assert_eq!(count, 3);
}

#[test]
fn a_few_bytes_an_attempt_are_no_progress() {
    let (received, count) = download(&blob(), |_, start, stream| answer(stream, &blob(), start, 100));
    let error = received.unwrap_err();
    assert!(error.contains("ended after 300 of 200000 bytes"), "{error}");
    assert_eq!(count, 3);
    let (received, count) = download(&blob(), |_, start, stream| answer(stream, &blob(), start, 66_000));
    assert!(received.unwrap() == blob());
    assert_eq!(count, 4);
}

#[test]
fn a_few_bytes_in_a_while_are_none_either() {
    let (received, count) = download(&blob(), |_, start, stream| {
        answer(stream, &blob(), start, 0);
        // It ends when the other side has had enough.
        for byte in &blob()[start..] {
            thread::sleep(Duration::from_millis(20));
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
        }
    });
    let error = received.unwrap_err();
    assert!(error.contains("bytes came in 0.3 s") && !error.contains(": 0 bytes"), "{error}");
    assert_eq!(count, 3);
}

#[test]
fn an_answer_that_begins_elsewhere_is_not_taken() {
    let (received, _) = download(&blob(), |number, start, stream| match number {
        0 => answer(stream, &blob(), 0, 1000),
        1 => answer(stream, &blob(), start + 1, usize::MAX),
        _ => answer(stream, &blob(), start, usize::MAX),
    });
    assert!(received.unwrap() == blob());
}

#[test]
fn an_empty_blob_needs_no_download() {
    let (received, count) = download(&[], |_, _, _| ());
    assert_eq!((received.unwrap().len(), count), (0, 0));
}
