//! Whole frames out of a stream of bytes.

use std::io::{self, ErrorKind, Read};

/// The longest frame a server may send. Beyond it the stream is taken for something else than ZooKeeper's protocol.
///
/// Above any sensible `jute.maxbuffer` (1 MiB by default), because answers such as a long list of children may be longer.
pub const FRAME_LEN_MAX: usize = 256 << 20;

/// How much one read asks for.
const READ_LEN: usize = 64 << 10;

/// Bytes that came and are not yet read as frames.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
    /// Where the first unread frame starts.
    start: usize,
    /// Behind the last byte that came.
    end: usize,
}

impl FrameReader {
    /// Empty.
    pub const fn new() -> Self {
        Self { buffer: Vec::new(), start: 0, end: 0 }
    }

    /// Reads once from `stream`. `Ok(0)` is its end; a read timeout is the error it is.
    pub fn fill(&mut self, stream: &mut impl Read) -> io::Result<usize> {
        if self.start > 0 && (self.start == self.end || self.buffer.len() - self.end < READ_LEN) {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.buffer.len() - self.end < READ_LEN {
            // Doubling, so that a long frame is not copied once for every read.
            self.buffer.resize((self.buffer.len() * 2).max(self.end + READ_LEN), 0);
        }
        let read = stream.read(&mut self.buffer[self.end..])?;
        self.end += read;
        Ok(read)
    }

    /// The payload of the next whole frame, if it has come.
    pub fn next_frame(&mut self) -> io::Result<Option<&[u8]>> {
        let Some(len) = self.buffer[self.start..self.end].first_chunk::<4>() else { return Ok(None) };
        let len = usize::try_from(i32::from_be_bytes(*len)).ok().filter(|len| *len <= FRAME_LEN_MAX);
        let len = len.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "a frame of unreasonable length"))?;
        let body = self.start + 4;
        if self.end - body < len {
            return Ok(None);
        }
        self.start = body + len;
        Ok(Some(&self.buffer[body..body + len]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::jute::{Put, put_frame};

    /// Gives its bytes `step` at a time.
    struct Dripping<'a> {
        bytes: &'a [u8],
        step: usize,
    }

    impl Read for Dripping<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let len = self.step.min(self.bytes.len()).min(out.len());
            let (head, tail) = self.bytes.split_at(len);
            out[..len].copy_from_slice(head);
            self.bytes = tail;
            Ok(len)
        }
    }

    #[test]
    fn frames_come_whole_however_the_bytes_drip() {
        let payloads: Vec<Vec<u8>> = [0, 1, 5, 70_000, 3].iter().map(|len| vec![7; *len]).collect();
        let mut bytes = Vec::new();
        payloads.iter().for_each(|payload| put_frame(&mut bytes, |out| out.put_bytes(payload)));
        for step in [1, 3, 1000, usize::MAX] {
            let mut stream = Dripping { bytes: &bytes, step };
            let mut frames = FrameReader::new();
            let mut came = Vec::new();
            while frames.fill(&mut stream).expect("a slice does not fail") > 0 {
                while let Some(frame) = frames.next_frame().expect("good lengths") {
                    came.push(frame.to_vec());
                }
            }
            assert_eq!(came, payloads, "step {step}");
        }
    }

    #[test]
    fn absurd_lengths_are_errors() {
        for len in [-1, i32::MAX] {
            let bytes = len.to_be_bytes();
            let mut frames = FrameReader::new();
            frames.fill(&mut &bytes[..]).expect("a slice does not fail");
            assert!(frames.next_frame().is_err());
        }
    }
}
