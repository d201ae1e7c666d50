//! Which names an access control list may hold for the schemes `sasl` and `x509`: Kerberos principals (`KerberosName`) and
//! distinguished names (the constructor of Java's `X500Principal`).

/// Whether `id` is a principal, or any name without an at sign.
pub(super) fn is_principal(id: &str) -> bool {
    let Some((name, realm)) = id.split_once('@') else { return true };
    !realm.contains(['/', '@']) && name.split('/').count() <= 2
}

/// Keywords of Java's `AVAKeyword`, upper case.
const KEYWORDS: &[&str] = &[
    "C",
    "CN",
    "DC",
    "DNQ",
    "DNQUALIFIER",
    "EMAIL",
    "EMAILADDRESS",
    "GENERATION",
    "GIVENNAME",
    "INITIALS",
    "IP",
    "L",
    "O",
    "OU",
    "S",
    "SERIALNUMBER",
    "ST",
    "STREET",
    "SURNAME",
    "T",
    "UID",
];

/// Whether `id` is a distinguished name as RFC 2253 or RFC 1779 writes it. The empty one is.
pub(super) fn is_distinguished_name(id: &str) -> bool {
    if id.trim().is_empty() {
        return true;
    }
    pieces(id).is_some_and(|pieces| pieces.iter().all(|piece| is_attribute(piece)))
}

/// The attributes between commas, semicolons and plus signs that are neither quoted nor escaped. None for an open quote or a
/// backslash at the end.
fn pieces(name: &str) -> Option<Vec<&str>> {
    let mut pieces = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, letter) in name.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ',' | ';' | '+' if !quoted => {
                pieces.push(&name[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    pieces.push(&name[start..]);
    (!quoted && !escaped).then_some(pieces)
}

fn is_attribute(piece: &str) -> bool {
    let Some((kind, value)) = piece.split_once('=') else { return false };
    let (kind, value) = (kind.trim(), value.trim());
    (KEYWORDS.contains(&kind.to_ascii_uppercase().as_str()) || is_oid(kind)) && is_value(value)
}

fn is_oid(text: &str) -> bool {
    let text = text.strip_prefix("OID.").or_else(|| text.strip_prefix("oid.")).unwrap_or(text);
    let numbers: Option<Vec<u32>> = text.split('.').map(|number| number.parse().ok()).collect();
    numbers.is_some_and(|numbers| matches!(numbers[..], [0 | 1, 0..=39, ..] | [2, _, ..]))
}

fn is_value(value: &str) -> bool {
    if let Some(hex) = value.strip_prefix('#') {
        return !hex.is_empty() && hex.len().is_multiple_of(2) && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
    }
    if let Some(quoted) = value.strip_prefix('"') {
        // `pieces` has seen to it that the quotes are closed; nothing may stand behind them.
        let mut escaped = false;
        let end = quoted.find(|letter| {
            let ends = letter == '"' && !escaped;
            escaped = letter == '\\' && !escaped;
            ends
        });
        return end.is_some_and(|end| end + 1 == quoted.len());
    }
    let mut escaped = false;
    for letter in value.chars() {
        if !escaped && matches!(letter, '"' | '<' | '>') {
            return false;
        }
        escaped = letter == '\\' && !escaped;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kerberos_name() {
        for id in ["", "bob", "a/b", "a/b/c", "a@R", "a/b@R", "@", "/@"] {
            assert!(is_principal(id), "{id}");
        }
        for id in ["a/b/c@R", "a@b@c", "a@b/c"] {
            assert!(!is_principal(id), "{id}");
        }
    }

    /// By the class of JDK 17.
    #[test]
    fn x500_principal() {
        let good = [
            "",
            "CN=foo",
            "CN=foo, OU=bar,O=baz",
            "cn=a b",
            "CN=",
            "CN=a+OU=b",
            "CN=a;O=b",
            "2.5.4.3=x",
            "OID.2.5.4.3=x",
            "1.2=#0401ff",
            "CN=\"a,b\"",
            "CN=a\\,b",
            "EMAILADDRESS=a@b",
            "UID=u,ST=s,L=l,STREET=q,C=DE,T=t,SERIALNUMBER=1,GIVENNAME=g,SURNAME=s,INITIALS=i,DNQ=d,IP=1",
            "S=x",
            " CN = x ",
            "CN=\\20x",
            "CN=a=b",
            "CN=\u{e4}",
            "CN=a\\C3\\A4",
            "0.1.2.3=q",
        ];
        for id in good {
            assert!(is_distinguished_name(id), "{id}");
        }
        let bad = [
            "foo",
            "=x",
            "E=a@b",
            "XX=1",
            "CN=a,",
            ",CN=a",
            "CN=a,,O=b",
            "CN=a\\",
            "CN=#zz",
            "TITLE=x",
            "CN=a\"b",
            "CN=<x>",
            "1=x",
            "3.1=x",
            "CN= #x",
            "CN=\"a\"b",
            "CN=\"a",
        ];
        for id in bad {
            assert!(!is_distinguished_name(id), "{id}");
        }
    }
}
