//! What has to be read out of an X.509 certificate (RFC 5280) besides what webpki checks: the version, the names, the dates and
//! the key; and a subject as Java writes it (RFC 2253, `X500Principal.getName`), which is a client's identity.
//!
//! The bytes come from clients that are not known yet.

use super::der::{Der, DerError, Item, oid_text, tag};

/// The object identifier of the basic constraints.
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];

/// The last second that a certificate can name.
const FOREVER: i64 = 253_402_300_799;

/// Parts of a certificate, as they lie in its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Certificate<'a> {
    /// What is signed.
    pub signed: &'a [u8],
    /// 1, 2 or 3.
    pub version: u32,
    /// Who signed, as a whole sequence.
    pub issuer: &'a [u8],
    /// Whose it is, as a whole sequence.
    pub subject: &'a [u8],
    /// First and last second at which it holds, since 1970.
    pub valid: (i64, i64),
    /// The key with its algorithm, as a whole sequence.
    pub key_info: &'a [u8],
    /// The key's algorithm, without the head of its sequence.
    pub key_algorithm: &'a [u8],
    /// The key.
    pub key: &'a [u8],
    /// What its extensions say of being an authority: nothing, or whether it is one.
    pub is_authority: Option<bool>,
    /// The signature's algorithm, without the head of its sequence.
    pub signature_algorithm: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Takes a certificate apart. Nothing is verified.
    ///
    /// # Errors
    /// If it has another form.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DerError> {
        let mut outer = Der(bytes);
        let mut parts = outer.sequence()?;
        outer.end()?;
        let signed = parts.expect(tag::SEQUENCE)?;
        let signature_algorithm = parts.expect(tag::SEQUENCE)?;
        let signature = parts.bits()?;
        parts.end()?;

        let mut fields = signed.items();
        let version = match fields.optional(tag::context(0))? {
            None => 1,
            Some(version) => version.items().small()?.saturating_add(1),
        };
        if !(1..=3).contains(&version) {
            return Err(DerError("a certificate of an unknown version"));
        }
        fields.expect(tag::INTEGER)?;
        if fields.expect(tag::SEQUENCE)?.body != signature_algorithm.body {
            return Err(DerError("a certificate that names two algorithms for its signature"));
        }
        let issuer = fields.expect(tag::SEQUENCE)?;
        let mut validity = fields.sequence()?;
        let valid = (seconds(validity.any()?)?, seconds(validity.any()?)?);
        let subject = fields.expect(tag::SEQUENCE)?;
        let key_info = fields.expect(tag::SEQUENCE)?;
        let mut key_parts = key_info.items();
        let key_algorithm = key_parts.expect(tag::SEQUENCE)?;
        let key = key_parts.bits()?;
        for number in [1, 2] {
            fields.optional(tag::context_primitive(number))?;
        }
        let is_authority = match fields.optional(tag::context(3))? {
            None => None,
            Some(extensions) => basic_constraints(extensions.items().sequence()?)?,
        };
        fields.end()?;
        Ok(Self {
            signed: signed.whole,
            version,
            issuer: issuer.whole,
            subject: subject.whole,
            valid,
            key_info: key_info.whole,
            key_algorithm: key_algorithm.body,
            key,
            is_authority,
            signature_algorithm: signature_algorithm.body,
            signature,
        })
    }

    /// Whether it may have signed others: it says so, or is too old to say.
    pub fn may_sign(&self) -> bool {
        self.is_authority == Some(true) || self.version < 3
    }

    /// Whose it is, as Java writes it.
    ///
    /// # Errors
    /// If it is no name.
    pub fn subject_text(&self) -> Result<String, DerError> {
        rfc_2253(self.subject)
    }
}

fn basic_constraints(mut extensions: Der<'_>) -> Result<Option<bool>, DerError> {
    let mut found = None;
    while !extensions.is_empty() {
        let mut extension = extensions.sequence()?;
        let name = extension.expect(tag::OID)?.body;
        extension.optional(tag::BOOLEAN)?;
        let value = extension.expect(tag::OCTET_STRING)?.body;
        if name == BASIC_CONSTRAINTS {
            let is_authority = Der(value).sequence()?.optional(tag::BOOLEAN)?;
            found = Some(is_authority.is_some_and(|flag| flag.body.iter().any(|byte| *byte != 0)));
        }
    }
    Ok(found)
}

/// An instant in seconds since 1970 (RFC 5280, 4.1.2.5).
fn seconds(item: Item<'_>) -> Result<i64, DerError> {
    const WRONG: DerError = DerError("a date of another form");
    let digits = item.body.strip_suffix(b"Z").ok_or(WRONG)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(WRONG);
    }
    let two = |at: usize| i64::from(digits[at] - b'0') * 10 + i64::from(digits[at + 1] - b'0');
    let (year, at) = match (item.tag, digits.len()) {
        (tag::UTC_TIME, 12) => (two(0) + if two(0) < 50 { 2000 } else { 1900 }, 2),
        (tag::GENERALIZED_TIME, 14) => (two(0) * 100 + two(2), 4),
        _ => return Err(WRONG),
    };
    let (month, day, hour, minute, second) = (two(at), two(at + 2), two(at + 4), two(at + 6), two(at + 8));
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return Err(WRONG);
    }
    // Days of the proleptic Gregorian calendar, the year beginning in March, so that the leap day is its last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 719_469;
    Ok((days * 86_400 + hour * 3600 + minute * 60 + second).min(FOREVER))
}

/// The kinds of attributes that RFC 2253 names; Java writes all others as numbers.
const KEYWORDS: &[(&[u8], &str)] = &[
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "STREET"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
];

/// A name as Java writes it: the last part first.
pub fn rfc_2253(name: &[u8]) -> Result<String, DerError> {
    let mut parts = Der(name).sequence()?;
    let mut texts = Vec::new();
    while !parts.is_empty() {
        let mut set = parts.expect(tag::SET)?.items();
        let mut text = String::new();
        loop {
            attribute(set.sequence()?, &mut text)?;
            if set.is_empty() {
                break;
            }
            text.push('+');
        }
        texts.push(text);
    }
    texts.reverse();
    Ok(texts.join(","))
}

fn attribute(mut parts: Der<'_>, text: &mut String) -> Result<(), DerError> {
    let kind = parts.expect(tag::OID)?.body;
    let value = parts.any()?;
    parts.end()?;
    let keyword = KEYWORDS.iter().find(|(oid, _)| *oid == kind).map(|(_, keyword)| *keyword);
    match (keyword, string(value)) {
        (Some(keyword), Some(value)) => {
            text.push_str(keyword);
            text.push('=');
            escape(&value, text);
        }
        (keyword, _) => {
            match keyword {
                Some(keyword) => text.push_str(keyword),
                None => text.push_str(&oid_text(kind)),
            }
            text.push_str("=#");
            for byte in value.whole {
                text.push_str(&format!("{byte:02x}"));
            }
        }
    }
    Ok(())
}

/// The letters of a string; none for what is no string. Java reads every kind as UTF-8, BMPString included.
fn string(value: Item<'_>) -> Option<String> {
    let is_string = matches!(
        value.tag,
        tag::UTF8_STRING
            | tag::PRINTABLE_STRING
            | tag::T61_STRING
            | tag::IA5_STRING
            | tag::GENERAL_STRING
            | tag::BMP_STRING
            | tag::UNIVERSAL_STRING
    );
    is_string.then(|| String::from_utf8_lossy(value.body).into_owned())
}

/// RFC 2253, 2.4: backslashes before what has a meaning, and before blanks at both ends.
fn escape(value: &str, text: &mut String) {
    const BLANK: [char; 2] = [' ', '\r'];
    let inner = value.trim_start_matches(BLANK);
    let lead = value.len() - inner.len();
    let end = lead + inner.trim_end_matches(BLANK).len();
    for (at, letter) in value.char_indices() {
        let is_outer = at < lead || at >= end;
        match letter {
            '\0' => text.push_str("\\00"),
            ',' | '=' | '+' | '<' | '>' | '#' | ';' | '"' | '\\' => text.extend(['\\', letter]),
            _ if is_outer => text.extend(['\\', letter]),
            _ => text.push(letter),
        }
    }
}

#[cfg(test)]
mod tests;
