//! The settings of a file and a command line in one table, and Java's ways to read a value.
//!
//! A key stands in the table without its `zookeeper.` prefix: Apache's server turns every key that it does not parse itself
//! into the system property `zookeeper.<key>`, so both spellings mean the same. Of several values the last one counts, and
//! the command line counts more than the file.
//!
//! Apache reads its own keys strictly (a malformed number ends the start) and system properties leniently (a malformed one
//! is as good as absent). Both are kept, the second with a notice.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{ConfigError, ErrorKind, Place};
use super::keys::{self, Effect};
use super::notices::{Notice, NoticeKind};

/// One value and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// The key as it was written.
    pub(super) key: String,
    pub(super) value: String,
    pub(super) place: Place,
}

impl Setting {
    pub(super) fn refuse(&self, problem: impl Into<String>, advice: impl Into<String>) -> ConfigError {
        ConfigError::new(ErrorKind::Value, problem, advice).key(&self.key).at(Some(self.place.clone()))
    }
}

/// The table.
#[derive(Default)]
pub(super) struct Settings {
    /// The file that was read, if there was one.
    pub(super) file: Option<Place>,
    by_key: BTreeMap<String, Setting>,
    pub(super) notices: Vec<Notice>,
    read: BTreeSet<&'static str>,
}

/// The name under which a key is looked up.
pub(super) fn canonical(key: &str) -> &str {
    key.strip_prefix("zookeeper.").unwrap_or(key)
}

impl Settings {
    /// Adds a setting; one of the same name that was added before no longer counts.
    pub(super) fn add(&mut self, key: &str, value: &str, place: Place) {
        let key = java_trim(key);
        let setting = Setting { key: key.to_owned(), value: java_trim(value).to_owned(), place };
        self.by_key.insert(canonical(key).to_owned(), setting);
    }

    /// All settings, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.by_key.iter().map(|(key, setting)| (key.as_str(), setting))
    }

    /// The value of `key`, if it is set.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Setting> {
        self.read.insert(key);
        self.by_key.get(key).cloned()
    }

    /// A whole number, strictly (`Integer.parseInt`).
    pub(super) fn int(&mut self, key: &'static str, advice: &str) -> Result<Option<i32>, ConfigError> {
        let Some(setting) = self.text(key) else { return Ok(None) };
        match setting.value.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(setting.refuse(format!("\"{}\" is not a whole number", setting.value), advice)),
        }
    }

    /// `true` or `false`, strictly (`QuorumPeerConfig.parseBoolean`).
    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> Result<bool, ConfigError> {
        match self.text(key) {
            None => Ok(default),
            Some(setting) if setting.value.eq_ignore_ascii_case("true") => Ok(true),
            Some(setting) if setting.value.eq_ignore_ascii_case("false") => Ok(false),
            Some(setting) => {
                Err(setting.refuse(format!("\"{}\" is neither true nor false", setting.value), "write true or false"))
            }
        }
    }

    /// `true` is true and everything else is false (`Boolean.parseBoolean`).
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let Some(setting) = self.text(key) else { return default };
        let value = setting.value.eq_ignore_ascii_case("true");
        if !value && !setting.value.eq_ignore_ascii_case("false") {
            self.adjusted(&setting, format!("\"{}\" counts as false, as in Apache's server", setting.value));
        }
        value
    }

    /// A number of at most `bits` bits, leniently and with Java's prefixes (`Integer.getInteger`, `Long.getLong`).
    fn lenient(&mut self, key: &'static str, default: i64, least: i64, most: i64) -> i64 {
        let Some(setting) = self.text(key) else { return default };
        match decode(&setting.value).filter(|number| (least..=most).contains(number)) {
            Some(number) => number,
            None => {
                let text = format!("\"{}\" is not a number of its range: {default} counts instead", setting.value);
                self.adjusted(&setting, text);
                default
            }
        }
    }

    /// `Integer.getInteger`.
    pub(super) fn lenient_int(&mut self, key: &'static str, default: i32) -> i32 {
        let number = self.lenient(key, i64::from(default), i64::from(i32::MIN), i64::from(i32::MAX));
        i32::try_from(number).expect("within the range just asked for")
    }

    /// `Long.getLong`.
    pub(super) fn lenient_long(&mut self, key: &'static str, default: i64) -> i64 {
        self.lenient(key, default, i64::MIN, i64::MAX)
    }

    pub(super) fn adjusted(&mut self, setting: &Setting, text: impl Into<String>) {
        self.notice(NoticeKind::Adjusted, setting, text);
    }

    pub(super) fn notice(&mut self, kind: NoticeKind, setting: &Setting, text: impl Into<String>) {
        let notice = Notice { kind, key: setting.key.clone(), place: Some(setting.place.clone()), text: text.into() };
        self.notices.push(notice);
    }

    /// Adds a notice for each key that does nothing here.
    pub(super) fn notice_keys_without_effect(&mut self) {
        let mut notices = Vec::new();
        for (key, setting) in self.iter() {
            let kind = match keys::effect(key) {
                Effect::Acts => continue,
                // Java's syntax allows it, and nothing could be said about it.
                Effect::None(_) if key.is_empty() => continue,
                Effect::NoneUnlessFalse(_) if setting.value.eq_ignore_ascii_case("false") => continue,
                Effect::None(kind) | Effect::NoneUnlessFalse(kind) => kind,
            };
            let (key, place) = (setting.key.clone(), Some(setting.place.clone()));
            notices.push(Notice { kind, key, place, text: String::new() });
        }
        self.notices.extend(notices);
    }

    /// The keys that were asked for so far.
    #[cfg(test)]
    pub(super) fn read(&self) -> &BTreeSet<&'static str> {
        &self.read
    }
}

/// `String.trim` of Java: everything up to the blank goes from both ends.
fn java_trim(text: &str) -> &str {
    text.trim_matches(|letter| letter <= ' ')
}

/// `Long.decode` of Java: a sign, then `0x`, `0X` or `#` for hexadecimal, `0` for octal.
fn decode(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = if let Some(hex) =
        digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")).or_else(|| digits.strip_prefix('#'))
    {
        (16, hex)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (8, &digits[1..])
    } else {
        (10, digits)
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = i128::from(u64::from_str_radix(digits, radix).ok()?);
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

/// `Time.parseTimeInterval` of ZooKeeper, in milliseconds: a number with `ms`, `s`, `m`, `h` or `d`; `bare` milliseconds are
/// one unit of a number with no suffix.
pub(super) fn parse_interval(text: &str, bare: i64) -> Option<i64> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" => bare,
        "ms" | "MS" => 1,
        "s" | "S" => 1_000,
        "m" | "M" => 60_000,
        "h" | "H" => 3_600_000,
        "d" | "D" => 86_400_000,
        _ => return None,
    };
    digits.parse::<i32>().ok().map(|number| i64::from(number) * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        for (key, value) in pairs {
            settings.add(key, value, Place::CommandLine);
        }
        settings
    }

    #[test]
    fn the_prefix_is_optional_and_the_last_value_counts() {
        let mut settings = settings(&[("snapCount", "1"), ("zookeeper.snapCount", " 7 ")]);
        assert_eq!(settings.lenient_int("snapCount", 9), 7);
        assert_eq!(settings.lenient_int("other", 9), 9);
    }

    #[test]
    fn numbers_as_java_decodes_them() {
        for (text, number) in [
            ("1048575", Some(1_048_575)),
            ("0xfffff", Some(0xf_ffff)),
            ("0XFF", Some(255)),
            ("#ff", Some(255)),
            ("-0x10", Some(-16)),
            ("010", Some(8)),
            ("0", Some(0)),
            ("+5", Some(5)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("0x-1", None),
            ("+-1", None),
            ("1k", None),
            ("", None),
            ("08", None),
            ("0x", None),
        ] {
            assert_eq!(decode(text), number, "{text:?}");
        }
    }

    #[test]
    fn strict_and_lenient_reading() {
        let mut settings =
            settings(&[("tickTime", "2s"), ("snapCount", "many"), ("enforceQuota", "yes"), ("x", "TRUE")]);
        let error = settings.int("tickTime", "give milliseconds").unwrap_err();
        assert_eq!(error.to_string(), "command line: tickTime: \"2s\" is not a whole number; give milliseconds");
        assert_eq!(settings.lenient_int("snapCount", 100), 100);
        assert!(!settings.flag("enforceQuota", true));
        assert!(settings.flag("x", false));
        assert_eq!(settings.notices.len(), 2);
        assert!(settings.boolean("enforceQuota", false).is_err());
        assert_eq!(settings.boolean("x", false), Ok(true));
    }

    #[test]
    fn intervals() {
        assert_eq!(parse_interval("24", 3_600_000), Some(86_400_000));
        assert_eq!(parse_interval("30m", 3_600_000), Some(1_800_000));
        assert_eq!(parse_interval("500ms", 1), Some(500));
        assert_eq!(parse_interval("0", 3_600_000), Some(0));
        for wrong in ["", "h", "5 h", "5w", "1.5h", "9999999999"] {
            assert_eq!(parse_interval(wrong, 1), None, "{wrong:?}");
        }
    }
}
