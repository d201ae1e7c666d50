//! The four-letter words: four bytes where a client would send the length of its connect request.
//!
//! Sources: `FourLetterCommands` (names, codes, whitelist), `NIOServerCnxn.checkFourLetterWord`.

use std::collections::BTreeSet;

/// A word, by the four letters that an operator types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word {
    /// The configuration.
    Conf,
    /// All connections in detail.
    Cons,
    /// Resets the connections' statistics.
    Crst,
    /// Sizes of the data folders.
    Dirs,
    /// Sessions and their ephemeral nodes.
    Dump,
    /// The environment.
    Envi,
    /// The trace mask.
    Gtmk,
    /// The last digests of the tree.
    Hash,
    /// Whether the server is read-only.
    Isro,
    /// All figures, for monitoring.
    Mntr,
    /// Whether the server is alive.
    Ruok,
    /// Resets the server's statistics.
    Srst,
    /// The server, without its connections.
    Srvr,
    /// The server, with its connections.
    Stat,
    /// Sets the trace mask; eight more bytes follow it.
    Stmk,
    /// Watches by session.
    Wchc,
    /// Watches by path.
    Wchp,
    /// Watches, counted.
    Wchs,
    /// What telnet sends when its user ends it: closes the connection and answers nothing, if it is allowed.
    TelnetClose,
}

/// All of them.
pub const WORDS: [Word; 19] = [
    Word::Conf,
    Word::Cons,
    Word::Crst,
    Word::Dirs,
    Word::Dump,
    Word::Envi,
    Word::Gtmk,
    Word::Hash,
    Word::Isro,
    Word::Mntr,
    Word::Ruok,
    Word::Srst,
    Word::Srvr,
    Word::Stat,
    Word::Stmk,
    Word::Wchc,
    Word::Wchp,
    Word::Wchs,
    Word::TelnetClose,
];

/// How many bytes of argument follow [`Word::Stmk`]: a big-endian 64-bit mask.
pub const STMK_ARGUMENT_LEN: usize = 8;

impl Word {
    /// The word whose four bytes these are. Ask it of the first four bytes of a connection only: later they are
    /// a length.
    pub fn parse(bytes: [u8; 4]) -> Option<Self> {
        WORDS.into_iter().find(|word| word.bytes() == bytes)
    }

    /// Its four bytes.
    pub const fn bytes(self) -> [u8; 4] {
        match self {
            Self::Conf => *b"conf",
            Self::Cons => *b"cons",
            Self::Crst => *b"crst",
            Self::Dirs => *b"dirs",
            Self::Dump => *b"dump",
            Self::Envi => *b"envi",
            Self::Gtmk => *b"gtmk",
            Self::Hash => *b"hash",
            Self::Isro => *b"isro",
            Self::Mntr => *b"mntr",
            Self::Ruok => *b"ruok",
            Self::Srst => *b"srst",
            Self::Srvr => *b"srvr",
            Self::Stat => *b"stat",
            Self::Stmk => *b"stmk",
            Self::Wchc => *b"wchc",
            Self::Wchp => *b"wchp",
            Self::Wchs => *b"wchs",
            Self::TelnetClose => [0xff, 0xf4, 0xff, 0xfd],
        }
    }

    /// Its name, as the whitelist spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conf => "conf",
            Self::Cons => "cons",
            Self::Crst => "crst",
            Self::Dirs => "dirs",
            Self::Dump => "dump",
            Self::Envi => "envi",
            Self::Gtmk => "gtmk",
            Self::Hash => "hash",
            Self::Isro => "isro",
            Self::Mntr => "mntr",
            Self::Ruok => "ruok",
            Self::Srst => "srst",
            Self::Srvr => "srvr",
            Self::Stat => "stat",
            Self::Stmk => "stmk",
            Self::Wchc => "wchc",
            Self::Wchp => "wchp",
            Self::Wchs => "wchs",
            Self::TelnetClose => "telnet close",
        }
    }
}

/// Which words are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whitelist(BTreeSet<Word>);

impl Whitelist {
    /// From `4lw.commands.whitelist`: names with commas between them, `*` for all. `srvr` is always allowed, because
    /// zkServer.sh asks it, and `isro` in read-only mode, because clients do. Names that are no words are passed over.
    pub fn parse(list: Option<&str>, read_only_mode: bool) -> Self {
        let mut words = BTreeSet::from([Word::Srvr]);
        if read_only_mode {
            words.insert(Word::Isro);
        }
        for name in list.unwrap_or_default().split(',').map(str::trim) {
            if name == "*" {
                words.extend(WORDS);
            }
            words.extend(WORDS.into_iter().filter(|word| word.name() == name));
        }
        Self(words)
    }

    /// Whether `word` is answered.
    pub fn allows(&self, word: Word) -> bool {
        self.0.contains(&word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_known_by_their_bytes() {
        assert_eq!(Word::parse(*b"ruok"), Some(Word::Ruok));
        assert_eq!(Word::parse([0xff, 0xf4, 0xff, 0xfd]), Some(Word::TelnetClose));
        assert_eq!(Word::parse(*b"RUOK"), None);
        assert_eq!(Word::parse([0, 0, 0, 45]), None);
        for word in WORDS {
            assert_eq!(Word::parse(word.bytes()), Some(word));
        }
    }

    #[test]
    fn whitelist() {
        let default = Whitelist::parse(None, false);
        assert!(WORDS.into_iter().all(|word| default.allows(word) == (word == Word::Srvr)));
        let some = Whitelist::parse(Some(" stat , ruok,,nope"), true);
        let allowed: Vec<_> = WORDS.into_iter().filter(|&word| some.allows(word)).collect();
        assert_eq!(allowed, [Word::Isro, Word::Ruok, Word::Srvr, Word::Stat]);
        let all = Whitelist::parse(Some("stat, *"), false);
        assert!(WORDS.into_iter().all(|word| all.allows(word)));
    }
}
