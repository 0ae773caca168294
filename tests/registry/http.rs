//! A small HTTP server: one request a connection, answered by a closure.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A request, without its protocol version.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Reads one; `None` if none comes, or a TLS handshake instead.
    pub(crate) fn read(stream: &TcpStream) -> Option<Self> {
        let mut first = [0];
        if stream.peek(&mut first).ok()? == 0 || !first[0].is_ascii_uppercase() {
            return None;
        }
        let mut reader = BufReader::new(stream);
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|n| *n > 0).map(|_| line.trim_end().to_owned())
        };
        let first = line()?;
        let mut words = first.split(' ').map(str::to_owned);
        let (method, path) = (words.next()?, words.next()?);
        let mut headers = Vec::new();
        loop {
            let line = line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut request = Self { method, path, headers, body: String::new() };
        let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        request.body = String::from_utf8(body).unwrap();
        Some(request)
    }

    /// As it was read, but for a header that keeps the connection to this request, and without `left_out`.
    pub(crate) fn head(&self, left_out: &str) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\nConnection: close\r\n", self.method, self.path);
        for (name, value) in self.headers.iter().filter(|(name, _)| name != "connection" && name != left_out)
        {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head + "\r\n"
    }
}

/// An answer. The connection is closed behind it.
pub(crate) struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
    /// The same bytes for ever, and no length.
    endless: bool,
}

impl Answer {
    pub(crate) fn new(status: u16) -> Self {
        Self { status, headers: String::new(), body: Vec::new(), endless: false }
    }

    pub(crate) fn ok(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::new(200) }.header("Content-Type", content_type)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn endless(mut self) -> Self {
        self.endless = true;
        self
    }

    fn write(&self, mut to: &TcpStream) -> std::io::Result<()> {
        let length =
            if self.endless { String::new() } else { format!("Content-Length: {}\r\n", self.body.len()) };
        let status = self.status;
        write!(to, "HTTP/1.1 {status} Whatever\r\nConnection: close\r\n{length}{}\r\n", self.headers)?;
        to.write_all(&self.body)?;
        if self.endless {
            // Until the other side has had enough.
            loop {
                to.write_all(&self.body)?;
            }
        }
        Ok(())
    }
}

/// Serves until it is dropped.
pub(crate) struct Server {
    pub(crate) address: String,
    over: Arc<AtomicBool>,
}

impl Server {
    /// Answers each request by `answer`, which is also told our own address.
    pub(crate) fn start(answer: impl Fn(&Request, &str) -> Answer + Send + Sync + 'static) -> Self {
        Self::serve(move |stream, address| {
            if let Some(request) = Request::read(stream) {
                // Who has read enough goes away.
                answer(&request, address).write(stream).unwrap_or_default();
            }
        })
    }

    /// Hands over each connection.
    pub(crate) fn serve(each: impl Fn(&TcpStream, &str) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let over = Arc::new(AtomicBool::new(false));
        let server = Self { address: address.clone(), over: Arc::clone(&over) };
        let each = Arc::new(each);
        thread::spawn(move || {
            for stream in listener.incoming().map(Result::unwrap) {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let (each, address) = (Arc::clone(&each), address.clone());
                thread::spawn(move || {
                    each(&stream, &address);
                    // What was sent is to arrive before the connection is reset for what was not read.
                    stream.shutdown(Shutdown::Write).unwrap_or_default();
                    std::io::copy(&mut &stream, &mut std::io::sink()).unwrap_or_default();
                });
            }
        });
        server
    }

    pub(crate) fn reference(&self, name: &str) -> String {
        format!("docker://{}/{name}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(&self.address));
    }
}
