//! What an operator should know about a configuration that works: keys without effect, values that were adjusted.
//!
//! Everything is said once, at start, and keys of one kind share a line: a zoo.cfg of an old Apache ensemble may hold dozens.

use super::error::Place;

/// Why a key is mentioned, the most serious first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoticeKind {
    /// It asks for protection (encryption, identities, records) that this server does not give.
    Unprotected,
    /// The value was not usable and another stands in its place, as in Apache's server.
    Adjusted,
    /// It acts, but not quite as in Apache's server.
    Different,
    /// It asks for something that is not built yet.
    NotBuilt,
    /// It matters in an ensemble only, and this is one server.
    EnsembleOnly,
    /// It tunes a part that Apache's server has and this one does not.
    NoSuchPart,
    /// Neither server knows it: perhaps a misspelling.
    Unknown,
}

/// One key and what is to be said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Why.
    pub kind: NoticeKind,
    /// The key as it was written.
    pub key: String,
    /// Where it was set.
    pub place: Option<Place>,
    /// The particulars; empty where the kind says it all.
    pub text: String,
}

/// All notices of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notices(pub Vec<Notice>);

impl Notices {
    /// Lines to print, the most serious first; kinds without particulars are gathered on one line each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (kind, words) in [
            (NoticeKind::Unprotected, "asks for protection that this server does not give"),
            (NoticeKind::Adjusted, "adjusted"),
            (NoticeKind::Different, "acts differently here"),
            (NoticeKind::NotBuilt, "without effect, not built yet"),
            (NoticeKind::EnsembleOnly, "without effect on a single server"),
            (NoticeKind::NoSuchPart, "without effect, tunes a part that this server does not have"),
            (NoticeKind::Unknown, "without effect, not a known key"),
        ] {
            let (plain, particular): (Vec<_>, Vec<_>) =
                self.0.iter().filter(|notice| notice.kind == kind).partition(|notice| notice.text.is_empty());
            for notice in particular {
                let place = notice.place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
                lines.push(format!("{place}{}: {}", notice.key, notice.text));
            }
            if !plain.is_empty() {
                let keys: Vec<_> = plain.iter().map(|notice| notice.key.as_str()).collect();
                lines.push(format!("{words}: {}", keys.join(", ")));
            }
        }
        lines
    }

    /// Whether one of them is about missing protection.
    pub fn is_unprotected(&self) -> bool {
        self.0.iter().any(|notice| notice.kind == NoticeKind::Unprotected)
    }
}
