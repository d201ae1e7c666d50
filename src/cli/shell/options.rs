//! The options of one command, read as zkCli's parser reads them: anywhere on the line, `-sw` for `-s -w`, `-v5` or `-v=5` for
//! `-v 5`, and `--` before words that only look like options.

/// An option that a command knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct OptionSpec {
    /// Without its dash.
    pub(super) name: &'static str,
    /// Whether a value follows.
    pub(super) has_value: bool,
}

/// An option that is there or not.
pub(super) const fn flag(name: &'static str) -> OptionSpec {
    OptionSpec { name, has_value: false }
}

/// An option with a value.
pub(super) const fn value(name: &'static str) -> OptionSpec {
    OptionSpec { name, has_value: true }
}

/// What was on the line, the command's own name left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    /// In the order given.
    options: Vec<(&'static str, String)>,
    /// The words that are no options.
    pub(super) words: Vec<String>,
}

impl Parsed {
    /// Reads the words behind the command's name.
    pub(super) fn parse(specs: &'static [OptionSpec], line: &[String]) -> Result<Self, String> {
        let mut parsed = Self::default();
        let mut line = line.iter();
        while let Some(word) = line.next() {
            let Some(name) = word.strip_prefix('-').filter(|name| !name.is_empty()) else {
                parsed.words.push(word.clone());
                continue;
            };
            if name == "-" {
                parsed.words.extend(line.by_ref().cloned());
                break;
            }
            let name = name.strip_prefix('-').unwrap_or(name);
            let (name, attached) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            if let Some(spec) = find(specs, name) {
                let value = match (spec.has_value, attached) {
                    (true, Some(value)) => value,
                    (true, None) => {
                        let looks_like_value = |next: &&String| !next.starts_with('-') || next.parse::<f64>().is_ok();
                        let next = line.next().filter(looks_like_value);
                        next.ok_or_else(|| format!("Missing argument for option: {name}"))?.clone()
                    }
                    (false, None) => String::new(),
                    (false, Some(_)) => return Err(format!("Unrecognized option: {word}")),
                };
                parsed.options.push((spec.name, value));
            } else if attached.is_none() {
                parsed.concatenated(specs, word)?;
            } else {
                return Err(format!("Unrecognized option: {word}"));
            }
        }
        Ok(parsed)
    }

    /// `-sw`, or `-sv5`.
    fn concatenated(&mut self, specs: &'static [OptionSpec], word: &str) -> Result<(), String> {
        let unrecognized = || format!("Unrecognized option: {word}");
        let letters = &word[1..];
        for (at, letter) in letters.char_indices() {
            let end = at + letter.len_utf8();
            let spec = find(specs, &letters[at..end]).ok_or_else(unrecognized)?;
            if spec.has_value {
                if end == letters.len() {
                    return Err(format!("Missing argument for option: {}", spec.name));
                }
                self.options.push((spec.name, letters[end..].to_owned()));
                return Ok(());
            }
            self.options.push((spec.name, String::new()));
        }
        Ok(())
    }

    /// Whether the option was given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Its value.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(given, _)| *given == name).map(|(_, value)| value.as_str())
    }

    /// Its value as a number.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        self.value(name)
            .map(|text| text.parse().map_err(|_| format!("-{name} must be followed by a number, not by {text:?}")))
            .transpose()
    }
}

fn find(specs: &'static [OptionSpec], name: &str) -> Option<&'static OptionSpec> {
    specs.iter().find(|spec| spec.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: &[OptionSpec] = &[flag("s"), flag("w"), value("v"), value("members")];

    fn parse(line: &str) -> Result<Parsed, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Parsed::parse(SPECS, &words)
    }

    #[test]
    fn options_stand_anywhere() {
        let parsed = parse("/a -s -v 3 x").expect("good");
        assert_eq!(parsed.words, ["/a", "x"]);
        assert!(parsed.has("s"));
        assert!(!parsed.has("w"));
        assert_eq!(parsed.number::<i32>("v"), Ok(Some(3)));
        assert_eq!(parsed.number::<i32>("members"), Ok(None));
    }

    #[test]
    fn all_spellings_are_known() {
        for line in ["-sw -v5 /a", "-swv5 /a", "-s -w -v=5 /a", "--s -w /a --v 5"] {
            let parsed = parse(line).expect(line);
            assert!(parsed.has("s") && parsed.has("w"), "{line}");
            assert_eq!(parsed.value("v"), Some("5"), "{line}");
            assert_eq!(parsed.words, ["/a"], "{line}");
        }
        assert_eq!(parse("-v -1 /a").expect("a negative value").number::<i32>("v"), Ok(Some(-1)));
        assert_eq!(parse("-s -- -w -").expect("words").words, ["-w", "-"]);
        assert_eq!(parse("-members server.1=a").expect("a long one").value("members"), Some("server.1=a"));
    }

    #[test]
    fn mistakes_are_told() {
        assert_eq!(parse("-q /a"), Err("Unrecognized option: -q".to_owned()));
        assert_eq!(parse("-sq /a"), Err("Unrecognized option: -sq".to_owned()));
        assert_eq!(parse("/a -v"), Err("Missing argument for option: v".to_owned()));
        assert_eq!(parse("-v -s /a"), Err("Missing argument for option: v".to_owned()));
        assert!(parse("-v x").expect("a word").number::<i32>("v").is_err());
    }
}
