//! Reading DER (ITU-T X.690): tags of one byte, definite lengths. What certificates and key stores are made of.
//!
//! The bytes may come from anybody: nothing here panics, allocates by a length that was read, or recurses.

use thiserror::Error;

/// The tags that are met.
pub mod tag {
    #![allow(missing_docs, reason = "ITU-T X.680's own names")]
    pub const BOOLEAN: u8 = 0x01;
    pub const INTEGER: u8 = 0x02;
    pub const BIT_STRING: u8 = 0x03;
    pub const OCTET_STRING: u8 = 0x04;
    pub const OID: u8 = 0x06;
    pub const UTF8_STRING: u8 = 0x0c;
    pub const PRINTABLE_STRING: u8 = 0x13;
    pub const T61_STRING: u8 = 0x14;
    pub const IA5_STRING: u8 = 0x16;
    pub const UTC_TIME: u8 = 0x17;
    pub const GENERALIZED_TIME: u8 = 0x18;
    pub const GENERAL_STRING: u8 = 0x1b;
    pub const UNIVERSAL_STRING: u8 = 0x1c;
    pub const BMP_STRING: u8 = 0x1e;
    pub const SEQUENCE: u8 = 0x30;
    pub const SET: u8 = 0x31;
    /// `[n]` that holds other items.
    pub const fn context(number: u8) -> u8 {
        0xa0 | number
    }
    /// `[n]` that holds bytes.
    pub const fn context_primitive(number: u8) -> u8 {
        0x80 | number
    }
}

/// These bytes are not what they have to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("malformed DER: {0}")]
pub struct DerError(pub &'static str);

/// One item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Item<'a> {
    /// What it is.
    pub tag: u8,
    /// What it holds.
    pub body: &'a [u8],
    /// All of it, with tag and length.
    pub whole: &'a [u8],
}

impl<'a> Item<'a> {
    /// What it holds, item by item.
    pub const fn items(&self) -> Der<'a> {
        Der(self.body)
    }
}

/// Items in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Der<'a>(pub &'a [u8]);

impl<'a> Der<'a> {
    /// Whether none is left.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next tag, if there is one.
    pub const fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next item, of any kind.
    pub fn any(&mut self) -> Result<Item<'a>, DerError> {
        let (&tag, rest) = self.0.split_first().ok_or(DerError("it ends too early"))?;
        if tag & 0x1f == 0x1f {
            return Err(DerError("a tag of several bytes"));
        }
        let (&first, rest) = rest.split_first().ok_or(DerError("it ends too early"))?;
        let (len, head) = match first {
            0..=0x7f => (usize::from(first), 2),
            0x80 => return Err(DerError("an indefinite length (BER)")),
            0x81..=0x84 => {
                let count = usize::from(first & 0x7f);
                let digits = rest.get(..count).ok_or(DerError("it ends too early"))?;
                (digits.iter().fold(0, |len: usize, digit| len << 8 | usize::from(*digit)), 2 + count)
            }
            _ => return Err(DerError("a length beyond 4 GiB")),
        };
        let end = head.checked_add(len).filter(|end| *end <= self.0.len()).ok_or(DerError("it ends too early"))?;
        let item = Item { tag, body: &self.0[head..end], whole: &self.0[..end] };
        self.0 = &self.0[end..];
        Ok(item)
    }

    /// The next item, which has to be of this kind.
    pub fn expect(&mut self, tag: u8) -> Result<Item<'a>, DerError> {
        let item = self.any()?;
        if item.tag == tag { Ok(item) } else { Err(DerError("another kind of item than expected")) }
    }

    /// The next item if it is of this kind.
    pub fn optional(&mut self, tag: u8) -> Result<Option<Item<'a>>, DerError> {
        if self.peek() == Some(tag) { self.any().map(Some) } else { Ok(None) }
    }

    /// The items of the next sequence.
    pub fn sequence(&mut self) -> Result<Self, DerError> {
        Ok(self.expect(tag::SEQUENCE)?.items())
    }

    /// The next whole number, which has to be small and not negative.
    pub fn small(&mut self) -> Result<u32, DerError> {
        let body = self.expect(tag::INTEGER)?.body;
        let digits = match body {
            [0, rest @ ..] => rest,
            [first, ..] if *first < 0x80 => body,
            _ => return Err(DerError("a number below zero")),
        };
        if digits.len() > 4 {
            return Err(DerError("a number that is too large"));
        }
        Ok(digits.iter().fold(0, |number, digit| number << 8 | u32::from(*digit)))
    }

    /// The next string of bits, which has to be one of whole bytes.
    pub fn bits(&mut self) -> Result<&'a [u8], DerError> {
        match self.expect(tag::BIT_STRING)?.body {
            [0, bytes @ ..] => Ok(bytes),
            _ => Err(DerError("a string of bits that ends within a byte")),
        }
    }

    /// Nothing may be left.
    pub const fn end(&self) -> Result<(), DerError> {
        if self.is_empty() { Ok(()) } else { Err(DerError("something behind the end")) }
    }
}

/// An object identifier as numbers with dots.
pub fn oid_text(body: &[u8]) -> String {
    let mut numbers: Vec<u64> = Vec::new();
    let mut number: u64 = 0;
    for byte in body {
        // Beyond 64 bits no number is known to anybody; it only has to be some text.
        number = number.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if numbers.is_empty() {
                let root = (number / 40).min(2);
                numbers.push(root);
                numbers.push(number - 40 * root);
            } else {
                numbers.push(number);
            }
            number = 0;
        }
    }
    let words: Vec<_> = numbers.iter().map(u64::to_string).collect();
    words.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_in_a_row() {
        let mut der = Der(&[0x30, 3, 2, 1, 5, 4, 0x81, 1, 9]);
        let mut inner = der.sequence().unwrap();
        assert_eq!(inner.small(), Ok(5));
        assert_eq!(inner.end(), Ok(()));
        let item = der.any().unwrap();
        assert_eq!((item.tag, item.body, item.whole), (tag::OCTET_STRING, &[9][..], &[4, 0x81, 1, 9][..]));
        assert!(der.is_empty());
        assert!(der.any().is_err());
    }

    #[test]
    fn no_bytes_panic() {
        for bytes in [
            &[][..],
            &[0x30],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 0x85, 1, 0, 0, 0, 0],
            &[0x30, 0x82, 1],
            &[0x30, 2, 1],
            &[0x1f, 1, 1],
        ] {
            assert!(Der(bytes).any().is_err(), "{bytes:?}");
        }
        assert!(Der(&[2, 1, 0x80]).small().is_err());
        assert!(Der(&[2, 5, 1, 0, 0, 0, 0]).small().is_err());
        assert_eq!(Der(&[2, 2, 0, 0x80]).small(), Ok(128));
        assert!(Der(&[3, 0]).bits().is_err());
        assert!(Der(&[3, 1, 3]).bits().is_err());
    }

    #[test]
    fn object_identifiers() {
        assert_eq!(oid_text(&[0x55, 4, 3]), "2.5.4.3");
        assert_eq!(oid_text(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1]), "1.2.840.113549.1.9.1");
        assert_eq!(oid_text(&[0x88, 0x37]), "2.999");
        assert_eq!(oid_text(&[]), "");
    }
}
