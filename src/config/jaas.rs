//! The file of `java.security.auth.login.config`: named sections with login modules and their options (Java's `ConfigFile`).
//!
//! ```text
//!  Server {
//!      org.apache.zookeeper.server.auth.DigestLoginModule required
//!      user_super="secret"     // an option
//!      user_bob="password";    // the module's end
//!  };
//! ```

use std::collections::BTreeMap;

use thiserror::Error;

/// One login module of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoginModule {
    /// The class of the module.
    pub(super) class: String,
    /// Its options.
    pub(super) options: BTreeMap<String, String>,
}

/// Where and how the file is not what it has to be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{problem}")]
pub(super) struct JaasError {
    /// From 1.
    pub(super) line: usize,
    problem: String,
}

/// All sections by name.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, Vec<LoginModule>>, JaasError> {
    let mut words = Words { rest: text, line: 1 };
    let mut sections = BTreeMap::new();
    while let Some(word) = words.next()? {
        let name = words.word(word, "the name of a section")?;
        words.expect('{')?;
        let mut modules = Vec::new();
        loop {
            let class = match words.some("a login module or }")? {
                Token::Sign('}') => break,
                token => words.word(token, "a login module")?,
            };
            let flag = words.some("required, requisite, sufficient or optional")?;
            let flag = words.word(flag, "required, requisite, sufficient or optional")?;
            if !["required", "requisite", "sufficient", "optional"].iter().any(|known| flag.eq_ignore_ascii_case(known))
            {
                return Err(words.error(format!("\"{flag}\" is neither required, requisite, sufficient nor optional")));
            }
            modules.push(LoginModule { class, options: options(&mut words)? });
        }
        words.expect(';')?;
        if sections.insert(name.clone(), modules).is_some() {
            return Err(words.error(format!("the section {name} stands twice")));
        }
    }
    Ok(sections)
}

/// `key=value ...;`
fn options(words: &mut Words<'_>) -> Result<BTreeMap<String, String>, JaasError> {
    let mut options = BTreeMap::new();
    loop {
        let key = match words.some("an option or ;")? {
            Token::Sign(';') => return Ok(options),
            token => words.word(token, "an option")?,
        };
        words.expect('=')?;
        let value = words.some("the value of an option")?;
        let value = words.word(value, "the value of an option")?;
        if value.contains("${") {
            // Java would put a system property there.
            return Err(words.error(format!("the value of {key} names a system property with ${{...}}")));
        }
        options.insert(key, value);
    }
}

enum Token {
    Word(String),
    Sign(char),
}

/// The text as Java's `StreamTokenizer` takes it apart.
struct Words<'a> {
    rest: &'a str,
    line: usize,
}

impl Words<'_> {
    fn error(&self, problem: impl Into<String>) -> JaasError {
        JaasError { line: self.line, problem: problem.into() }
    }

    fn some(&mut self, wanted: &str) -> Result<Token, JaasError> {
        self.next()?.ok_or_else(|| self.error(format!("it ends where {wanted} is to stand")))
    }

    fn word(&self, token: Token, wanted: &str) -> Result<String, JaasError> {
        match token {
            Token::Word(word) => Ok(word),
            Token::Sign(sign) => Err(self.error(format!("\"{sign}\" stands where {wanted} is to stand"))),
        }
    }

    fn expect(&mut self, sign: char) -> Result<(), JaasError> {
        match self.some(&format!("\"{sign}\""))? {
            Token::Sign(found) if found == sign => Ok(()),
            Token::Sign(found) => Err(self.error(format!("\"{found}\" stands where \"{sign}\" is to stand"))),
            Token::Word(_) => Err(self.error(format!("a word stands where \"{sign}\" is to stand"))),
        }
    }

    fn next(&mut self) -> Result<Option<Token>, JaasError> {
        self.skip_blanks()?;
        let Some(first) = self.rest.chars().next() else { return Ok(None) };
        let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter > '\u{a0}' || "_-$*.".contains(letter);
        if is_word(first) {
            let len = self.rest.find(|letter| !is_word(letter)).unwrap_or(self.rest.len());
            let (word, rest) = self.rest.split_at(len);
            self.rest = rest;
            return Ok(Some(Token::Word(word.to_owned())));
        }
        self.rest = &self.rest[first.len_utf8()..];
        if matches!(first, '"' | '\'') { self.quoted(first).map(Some) } else { Ok(Some(Token::Sign(first))) }
    }

    fn skip_blanks(&mut self) -> Result<(), JaasError> {
        loop {
            let blank = self.rest.len() - self.rest.trim_start_matches(|letter| letter <= ' ').len();
            self.skip(blank);
            if self.rest.starts_with("/*") {
                let Some(end) = self.rest.find("*/") else { return Err(self.error("a comment without its end")) };
                self.skip(end + 2);
            } else if self.rest.starts_with('/') {
                // One slash is as good as two to Java.
                self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
            } else {
                return Ok(());
            }
        }
    }

    fn skip(&mut self, len: usize) {
        let (skipped, rest) = self.rest.split_at(len);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }

    fn quoted(&mut self, quote: char) -> Result<Token, JaasError> {
        let mut word = String::new();
        let mut letters = self.rest.chars();
        loop {
            match letters.next() {
                Some(letter) if letter == quote => {
                    self.rest = letters.as_str();
                    return Ok(Token::Word(word));
                }
                None | Some('\n' | '\r') => return Err(self.error("a quote without its end")),
                Some('\\') => word.push(match letters.next() {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('r') => '\r',
                    Some('f') => '\u{c}',
                    Some('b') => '\u{8}',
                    Some('a') => '\u{7}',
                    Some('v') => '\u{b}',
                    Some(digit @ '0'..='7') => {
                        // One to three octal digits, at most 0377.
                        let max = if digit <= '3' { 2 } else { 1 };
                        let mut code = u32::from(digit) - u32::from('0');
                        for _ in 0..max {
                            let Some(next @ '0'..='7') = letters.clone().next() else { break };
                            code = code * 8 + u32::from(next) - u32::from('0');
                            letters.next();
                        }
                        char::from_u32(code).expect("three octal digits are at most 0377")
                    }
                    Some(letter) => letter,
                    None => return Err(self.error("a quote without its end")),
                }),
                Some(letter) => word.push(letter),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> BTreeMap<String, String> {
        let mut sections = parse(text).unwrap();
        sections.remove("Server").unwrap().remove(0).options
    }

    fn own(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn sections_modules_options() {
        let text = "
            // for the quorum
            QuorumServer { a.B optional; };
            /* for
               clients */
            Server {
                org.apache.zookeeper.server.auth.DigestLoginModule required
                user_super=\"super_secret\"   # no comment to Java
                ;
            };";
        assert_eq!(parse(text).unwrap_err().line, 8, "a number sign is no comment");
        let sections = parse(&text.replace("# no comment to Java", "// one")).unwrap();
        assert_eq!(sections["QuorumServer"], [LoginModule { class: "a.B".to_owned(), options: own(&[]) }]);
        let server = &sections["Server"];
        assert_eq!(server[0].class, "org.apache.zookeeper.server.auth.DigestLoginModule");
        assert_eq!(server[0].options, own(&[("user_super", "super_secret")]));
        assert_eq!(parse(" \n // nothing \n"), Ok(BTreeMap::new()));
        assert_eq!(parse(""), Ok(BTreeMap::new()));
    }

    #[test]
    fn values_in_quotes_and_without() {
        let text = "Server { M required user_a=plain-1.2 user_b='single \"double\"' \"user_c@R/x\"=\"q\\\"\\\\ \\101\\n\" useKeyTab=true; };";
        let wanted = [
            ("user_a", "plain-1.2"),
            ("user_b", "single \"double\""),
            ("user_c@R/x", "q\"\\ A\n"),
            ("useKeyTab", "true"),
        ];
        assert_eq!(one(text), own(&wanted));
        assert_eq!(one("Server{M REQUIRED a=\"\u{e4}\u{20ac}\";};"), own(&[("a", "\u{e4}\u{20ac}")]));
    }

    #[test]
    fn errors_have_a_line() {
        for (text, line, problem) in [
            ("Server {\n M required\n a=\"x\n\";};", 3, "a quote without its end"),
            ("Server {\n M needed a=b;};", 2, "\"needed\" is neither"),
            ("Server {\n M required a=b;}\n", 3, "it ends where \";\" is to stand"),
            ("Server {\n M required a b;};", 2, "a word stands where \"=\""),
            ("Server {\n M required a=;};", 2, "\";\" stands where the value of an option"),
            ("Server { M required", 1, "it ends where an option or ;"),
            ("/* open", 1, "a comment without its end"),
            ("= {", 1, "\"=\" stands where the name of a section"),
            ("A { M required; };\nA { M required; };", 2, "the section A stands twice"),
            ("A { M required\n a=\"${home}\"; };", 2, "the value of a names a system property"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text}: {error}");
            assert!(error.to_string().starts_with(problem), "{text}: {error}");
        }
    }
}
