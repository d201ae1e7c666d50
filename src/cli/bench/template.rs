//! Requests encoded once: a frame to copy, and the places in it where numbers go.
//!
//! Every number takes nine decimal digits, so that all frames of one kind are of one length and nothing is formatted anew.

use crate::wire::header::{RequestHeader, Xid};
use crate::wire::jute::put_frame;
use crate::wire::op::OpCode;

/// Digits of a number in paths and data.
pub(super) const DIGITS: usize = 9;

/// More than any number has.
pub(super) const NUMBER_MAX: u32 = 999_999_999;

/// Stands for number 0 and number 1 in a path or data while a template is made. Control characters: no path may have them.
pub(super) const PLACES: [&str; 2] = [PLACE_0, PLACE_1];
const PLACE_0: &str = "\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}";
const PLACE_1: &str = "\u{2}\u{2}\u{2}\u{2}\u{2}\u{2}\u{2}\u{2}\u{2}";

/// A frame with gaps.
#[derive(Clone, Debug)]
pub(super) struct Template {
    frame: Vec<u8>,
    /// Where digits go, and of which of the numbers.
    gaps: Vec<(usize, usize)>,
}

impl Template {
    /// The request of `op` with the body that `encode` appends, in which [`PLACES`] stand for numbers.
    pub(super) fn new(op: OpCode, encode: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut frame = Vec::new();
        put_frame(&mut frame, |out| {
            RequestHeader { xid: Xid(0), op }.encode(out);
            encode(out);
        });
        let mut gaps = Vec::new();
        let mut at = 0;
        while let Some(window) = frame.get(at..at + DIGITS) {
            match PLACES.iter().position(|place| place.as_bytes() == window) {
                Some(number) => {
                    gaps.push((at, number));
                    at += DIGITS;
                }
                None => at += 1,
            }
        }
        Self { frame, gaps }
    }

    /// Numbers the gaps anew: every `each` of them, in their order, are one number's.
    pub(super) fn renumbered(mut self, each: usize) -> Self {
        for (at, gap) in self.gaps.iter_mut().enumerate() {
            gap.1 = at / each;
        }
        self
    }

    /// Bytes of the frame.
    #[cfg(test)]
    pub(super) const fn len(&self) -> usize {
        self.frame.len()
    }

    /// Appends the frame with this xid and these numbers.
    pub(super) fn put(&self, out: &mut Vec<u8>, xid: i32, numbers: &[u32]) {
        let start = out.len();
        out.extend_from_slice(&self.frame);
        let frame = &mut out[start..];
        frame[4..8].copy_from_slice(&xid.to_be_bytes());
        for &(at, number) in &self.gaps {
            frame[at..at + DIGITS].copy_from_slice(&digits(numbers[number]));
        }
    }
}

/// Nine digits of a number.
pub(super) fn digits(number: u32) -> [u8; DIGITS] {
    assert!(number <= NUMBER_MAX, "numbers of requests are bounded by the options and by NUMBER_MAX");
    let mut digits = [b'0'; DIGITS];
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

/// The data of znodes: nine digits that name the key (if there is room), then letters.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    len: usize,
    letters: Vec<u8>,
}

impl Pattern {
    pub(super) fn new(len: usize) -> Self {
        let letters_len = if len >= DIGITS { len - DIGITS } else { len };
        Self { len, letters: (0..letters_len).map(|at| b'a' + (at % 26) as u8).collect() }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The data with a place for number `place`.
    pub(super) fn with_place(&self, place: usize) -> Vec<u8> {
        let mut data = Vec::with_capacity(self.len);
        if self.len >= DIGITS {
            data.extend_from_slice(PLACES[place].as_bytes());
        }
        data.extend_from_slice(&self.letters);
        data
    }

    /// Whether `data` is what key `number` holds.
    pub(super) fn is_of(&self, data: &[u8], number: u32) -> bool {
        if self.len < DIGITS {
            return data == self.letters;
        }
        data.split_first_chunk::<DIGITS>().is_some_and(|(head, tail)| *head == digits(number) && tail == self.letters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::jute::Reader;
    use crate::wire::request::SetDataRequest;

    #[test]
    fn numbers_have_nine_digits() {
        assert_eq!(&digits(0), b"000000000");
        assert_eq!(&digits(1_203), b"000001203");
        assert_eq!(&digits(NUMBER_MAX), b"999999999");
    }

    #[test]
    fn a_filled_template_reads_as_the_request() {
        for len in [0, 5, 8, 9, 100] {
            let pattern = Pattern::new(len);
            let path = format!("/bench/{}/x{}", PLACES[1], PLACES[0]);
            let data = pattern.with_place(0);
            assert_eq!(data.len(), len);
            let template = Template::new(OpCode::SET_DATA, |out| {
                SetDataRequest { path: path.into(), data: Some(&data), version: -1 }.encode(out);
            });
            let mut out = Vec::new();
            template.put(&mut out, 77, &[12, 34]);
            assert_eq!(out.len(), template.len());
            assert_eq!(out[..4], (out.len() as i32 - 4).to_be_bytes());
            let mut reader = Reader::new(&out[4..]);
            assert_eq!(RequestHeader::decode(&mut reader), Ok(RequestHeader { xid: Xid(77), op: OpCode::SET_DATA }));
            let request = SetDataRequest::decode(&mut reader).expect("a request");
            assert_eq!(request.path, "/bench/000000034/x000000012");
            assert!(pattern.is_of(request.data.expect("data"), 12));
            assert_eq!(pattern.is_of(request.data.expect("data"), 13), len < DIGITS);
            assert!(!pattern.is_of(b"something else", 12));
        }
    }
}
