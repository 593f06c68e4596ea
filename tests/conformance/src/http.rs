//! HTTP/1.1 as it passes by: one direction of a connection, cut into messages (RFC 9112).

/// The first line and what the judge needs of the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// The first line, in three parts.
    pub(crate) line: [String; 3],
    /// `Content-Length`.
    pub(crate) length: Option<u64>,
    /// Whether the body is in chunks.
    pub(crate) chunked: bool,
    /// `Content-Type`, without parameters.
    pub(crate) content: String,
    /// Whether a change of protocol is asked for or made.
    pub(crate) upgrade: bool,
}

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// Nothing.
    None,
    /// What the head says.
    Framed,
    /// Bytes of another protocol until the connection ends.
    Raw,
}

/// Who is told of messages.
pub(crate) trait Sink {
    /// A head has passed; says what follows it.
    fn head(&mut self, head: &Head) -> Body;
    /// A part of a body has passed.
    fn body(&mut self, bytes: &[u8]);
    /// The message is complete.
    fn end(&mut self);
}

#[derive(Debug)]
enum State {
    Head,
    Length(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailer,
    UntilEnd,
    Raw,
}

/// Largest head that is kept.
const HEAD: usize = 64 << 10;

/// One direction of a connection.
#[derive(Debug)]
pub(crate) struct Parser {
    state: State,
    line: Vec<u8>,
    /// Whether messages without a length end with the connection: responses do, requests have no body.
    responses: bool,
}

impl Parser {
    pub(crate) fn requests() -> Self {
        Self { state: State::Head, line: Vec::new(), responses: false }
    }

    pub(crate) fn responses() -> Self {
        Self { state: State::Head, line: Vec::new(), responses: true }
    }

    /// Takes what has passed.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], sink: &mut impl Sink) {
        while !bytes.is_empty() {
            bytes = self.step(bytes, sink);
        }
    }

    /// The connection has ended.
    pub(crate) fn close(&mut self, sink: &mut impl Sink) {
        if matches!(self.state, State::UntilEnd) {
            sink.end();
        }
    }

    fn step<'a>(&mut self, bytes: &'a [u8], sink: &mut impl Sink) -> &'a [u8] {
        match self.state {
            State::Raw => &[],
            State::UntilEnd => {
                sink.body(bytes);
                &[]
            }
            State::Length(left) => self.data(bytes, left, State::Length, sink),
            State::Chunk(left) => self.data(bytes, left, State::Chunk, sink),
            State::Head => self.head(bytes, sink),
            State::ChunkSize | State::ChunkEnd | State::Trailer => self.line(bytes, sink),
        }
    }

    fn data<'a>(
        &mut self,
        bytes: &'a [u8],
        left: u64,
        state: fn(u64) -> State,
        sink: &mut impl Sink,
    ) -> &'a [u8] {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let (mine, rest) = bytes.split_at(taken);
        sink.body(mine);
        let left = left - mine.len() as u64;
        self.state = match (left, &self.state) {
            (0, State::Chunk(_)) => State::ChunkEnd,
            (0, _) => {
                sink.end();
                State::Head
            }
            _ => state(left),
        };
        rest
    }

    fn head<'a>(&mut self, bytes: &'a [u8], sink: &mut impl Sink) -> &'a [u8] {
        // A head is short: byte by byte is fast enough and finds its end also across reads.
        for (at, &byte) in bytes.iter().enumerate() {
            self.line.push(byte);
            if self.line.ends_with(b"\r\n\r\n") {
                let head = Head::parse(&std::mem::take(&mut self.line));
                self.state = self.after(&head, sink);
                return bytes.get(at + 1..).unwrap_or_default();
            }
            if self.line.len() > HEAD {
                self.state = State::Raw;
                return &[];
            }
        }
        &[]
    }

    fn after(&self, head: &Head, sink: &mut impl Sink) -> State {
        let state = match (sink.head(head), head.length) {
            (Body::Raw, _) => return State::Raw,
            (Body::None, _) => State::Head,
            (Body::Framed, _) if head.chunked => return State::ChunkSize,
            (Body::Framed, Some(0)) => State::Head,
            (Body::Framed, Some(length)) => return State::Length(length),
            (Body::Framed, None) if self.responses => return State::UntilEnd,
            (Body::Framed, None) => State::Head,
        };
        sink.end();
        state
    }

    /// The lines between chunks.
    fn line<'a>(&mut self, bytes: &'a [u8], sink: &mut impl Sink) -> &'a [u8] {
        let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
            self.line.extend_from_slice(bytes);
            return &[];
        };
        let (mine, rest) = bytes.split_at(end + 1);
        self.line.extend_from_slice(mine);
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).trim().to_owned();
        self.state = match &self.state {
            State::ChunkSize => {
                let size = line.split(';').next().and_then(|size| u64::from_str_radix(size.trim(), 16).ok());
                match size {
                    Some(0) => State::Trailer,
                    Some(size) => State::Chunk(size),
                    None => State::Raw,
                }
            }
            State::Trailer if line.is_empty() => {
                sink.end();
                State::Head
            }
            State::Trailer => State::Trailer,
            _ => State::ChunkSize,
        };
        rest
    }
}

impl Head {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split("\r\n");
        let mut words = lines.next().unwrap_or_default().splitn(3, ' ').map(str::to_owned);
        let mut next = || words.next().unwrap_or_default();
        let mut head = Self { line: [next(), next(), next()], ..Self::default() };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match name.to_lowercase().as_str() {
                "content-length" => head.length = value.parse().ok(),
                "transfer-encoding" => head.chunked = value.to_lowercase().contains("chunked"),
                "content-type" => {
                    head.content = value.split(';').next().unwrap_or_default().trim().to_lowercase()
                }
                "upgrade" => head.upgrade = true,
                _ => {}
            }
        }
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Seen(Vec<String>);

    impl Sink for Seen {
        fn head(&mut self, head: &Head) -> Body {
            self.0.push(format!("{} ", head.line[1]));
            if head.line[1] == "101" { Body::Raw } else { Body::Framed }
        }
        fn body(&mut self, bytes: &[u8]) {
            if let Some(last) = self.0.last_mut() {
                last.push_str(&String::from_utf8_lossy(bytes));
            }
        }
        fn end(&mut self) {
            if let Some(last) = self.0.last_mut() {
                last.push('.');
            }
        }
    }

    #[test]
    fn messages_must_be_cut_however_they_arrive() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 404 Not\r\nTransfer-Encoding: chunked\r\n\r\n\
            3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\nHTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nto the end";
        for size in [1, 2, 3, 7, 50, 4096] {
            let (mut seen, mut parser) = (Seen::default(), Parser::responses());
            for part in text.chunks(size) {
                parser.feed(part, &mut seen);
            }
            parser.close(&mut seen);
            assert_eq!(seen.0, ["200 hello.", "404 abcde.", "204 .", "200 to the end."], "{size}");
        }
    }

    #[test]
    fn another_protocol_must_not_be_read() {
        let (mut seen, mut parser) = (Seen::default(), Parser::responses());
        parser.feed(b"HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", &mut seen);
        assert_eq!(seen.0, ["101 "]);
    }
}
