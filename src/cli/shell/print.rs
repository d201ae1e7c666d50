//! Stats, times, access control lists and data in zkCli's form.

use std::fmt::Write;

use crate::wire::acl::{Acl, Id, Perms};
use crate::wire::stat::Stat;

/// A stat block, without the newline behind its last line.
pub(super) fn stat(stat: &Stat) -> String {
    format!(
        "cZxid = 0x{:x}\nctime = {}\nmZxid = 0x{:x}\nmtime = {}\npZxid = 0x{:x}\ncversion = {}\ndataVersion = {}\n\
         aclVersion = {}\nephemeralOwner = 0x{:x}\ndataLength = {}\nnumChildren = {}",
        stat.czxid.0,
        date(stat.ctime.0),
        stat.mzxid.0,
        date(stat.mtime.0),
        stat.pzxid.0,
        stat.cversion,
        stat.version,
        stat.aversion,
        stat.ephemeral_owner.0,
        stat.data_length,
        stat.num_children,
    )
}

/// Milliseconds since 1970 as Java's `Date.toString` prints them, always in UTC: "Sun Nov 22 14:57:34 UTC 2026".
pub(super) fn date(ms: i64) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = ms.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Howard Hinnant's days-to-civil: years begin in March, so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12;
    let year = year_of_era + era * 400 + i64::from(month < 2);
    let weekday = WEEKDAYS[usize::try_from(days.rem_euclid(7)).unwrap_or(0)];
    let month = MONTHS[usize::try_from(month).unwrap_or(0)];
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday} {month} {day:02} {hour:02}:{minute:02}:{second:02} UTC {year}")
}

/// `[a, b, c]`.
pub(super) fn list(words: &[String]) -> String {
    format!("[{}]", words.join(", "))
}

/// An access control list, two lines an entry, without the newline behind the last.
pub(super) fn acl(entries: &[Acl<'_>]) -> String {
    let lines: Vec<String> = entries
        .iter()
        .map(|entry| format!("'{},'{}\n: {}", entry.id.scheme, entry.id.id, perms(entry.perms)))
        .collect();
    lines.join("\n")
}

const LETTERS: [(char, Perms); 5] =
    [('c', Perms::CREATE), ('d', Perms::DELETE), ('r', Perms::READ), ('w', Perms::WRITE), ('a', Perms::ADMIN)];

fn perms(perms: Perms) -> String {
    LETTERS.iter().filter(|(_, bit)| perms.intersects(*bit)).map(|(letter, _)| letter).collect()
}

/// Reads `scheme:id:perms,...`. Entries of another form and unknown letters are complained about and left out, as in zkCli;
/// the server refuses a list that has become empty.
pub(super) fn parse_acl(text: &str, mut complain: impl FnMut(String)) -> Vec<Acl<'static>> {
    let mut entries = Vec::new();
    for entry in text.split(',') {
        let parts = entry.split_once(':').and_then(|(scheme, rest)| rest.rsplit_once(':').map(|rest| (scheme, rest)));
        let Some((scheme, (id, letters))) = parts else {
            complain(format!("{entry} does not have the form scheme:id:perm"));
            continue;
        };
        let mut bits = 0;
        for letter in letters.chars() {
            match LETTERS.iter().find(|(known, _)| *known == letter) {
                Some((_, bit)) => bits |= bit.0,
                None => complain(format!("Unknown perm type: {letter}")),
            }
        }
        entries.push(Acl { perms: Perms(bits), id: Id::new(scheme.to_owned(), id.to_owned()) });
    }
    entries
}

/// Sixteen bytes a line, in hexadecimal and as text (the form of Netty's `prettyHexDump`, which zkCli uses).
pub(super) fn hex_dump(data: &[u8]) -> String {
    if data.is_empty() {
        return String::new();
    }
    let rule = format!("+--------+{}+----------------+", "-".repeat(49));
    let mut out = format!("         +{}+\n", "-".repeat(49));
    out.push_str("         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |\n");
    out.push_str(&rule);
    for (row, bytes) in data.chunks(16).enumerate() {
        let hex: String = bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, " {byte:02x}");
            hex
        });
        let text: String =
            bytes.iter().map(|byte| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' }).collect();
        let _ = write!(out, "\n|{:08x}|{hex:<48} |{text:<16}|", row * 16);
    }
    out.push('\n');
    out.push_str(&rule);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_javas() {
        assert_eq!(date(0), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(date(1_795_359_454_123), "Sun Nov 22 14:57:34 UTC 2026");
        assert_eq!(date(951_782_400_000), "Tue Feb 29 00:00:00 UTC 2000");
        assert_eq!(date(-1), "Wed Dec 31 23:59:59 UTC 1969");
        assert_eq!(date(4_107_542_400_000), "Mon Mar 01 00:00:00 UTC 2100");
    }

    #[test]
    fn lists_go_there_and_back() {
        let mut complaints = Vec::new();
        let entries =
            parse_acl("world:anyone:cdrwa,ip:127.0.0.1:r,digest:u:Jq7=:wx,bogus", |line| complaints.push(line));
        assert_eq!(acl(&entries), "'world,'anyone\n: cdrwa\n'ip,'127.0.0.1\n: r\n'digest,'u:Jq7=\n: w");
        assert_eq!(complaints, ["Unknown perm type: x", "bogus does not have the form scheme:id:perm"]);
    }

    #[test]
    fn dumps_are_nettys() {
        let expected = "         +-------------------------------------------------+
         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |
+--------+-------------------------------------------------+----------------+
|00000000| 61 20 62 0a 64 65 66 67 68 69 6a 6b 6c 6d 6e 6f |a b.defghijklmno|
|00000010| ff                                              |.               |
+--------+-------------------------------------------------+----------------+";
        assert_eq!(hex_dump(b"a b\ndefghijklmno\xff"), expected);
        assert_eq!(hex_dump(b""), "");
    }
}
