//! Why a call of the client failed.

use std::fmt;

use thiserror::Error;

use crate::wire::error_code::ErrorCode;
use crate::wire::jute::DecodeError;

/// Why a call failed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Error {
    /// The server refused, or the connection or session ended ([`ErrorCode::CONNECTION_LOSS`],
    /// [`ErrorCode::SESSION_EXPIRED`], [`ErrorCode::AUTH_FAILED`]). Prints as Apache's `KeeperException` does.
    #[error("{}", KeeperMessage(*code, path.as_deref()))]
    Keeper {
        /// Which refusal.
        code: ErrorCode,
        /// The path that the call was about, as the caller wrote it.
        path: Option<String>,
    },
    /// The path can name no znode; nothing was sent. The message is that of Apache's `PathUtils`.
    #[error("{0}")]
    InvalidPath(String),
    /// A connect string that names no host, or has a bad port or chroot.
    #[error("{0}")]
    ConnectString(String),
    /// The server's answer is not the record that the protocol promises.
    #[error("the server's answer cannot be read: {0}")]
    Answer(#[from] DecodeError),
}

impl Error {
    /// The refusal `code` about `path`.
    pub fn keeper(code: ErrorCode, path: Option<&str>) -> Self {
        Self::Keeper { code, path: path.map(str::to_owned) }
    }

    /// Its code, if the server or the connection's end gave one.
    pub const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Keeper { code, .. } => Some(*code),
            Self::InvalidPath(_) | Self::ConnectString(_) | Self::Answer(_) => None,
        }
    }
}

/// A refusal in the words of Apache's `KeeperException`, which scripts look for.
struct KeeperMessage<'a>(ErrorCode, Option<&'a str>);

impl fmt::Display for KeeperMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match words(self.0) {
            Some(words) => write!(f, "KeeperErrorCode = {words}")?,
            None => write!(f, "KeeperErrorCode = Unknown error {}", self.0.0)?,
        }
        self.1.map_or(Ok(()), |path| write!(f, " for {path}"))
    }
}

/// Apache's short name of an error.
const fn words(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::OK => "ok",
        ErrorCode::SYSTEM_ERROR => "SystemError",
        ErrorCode::RUNTIME_INCONSISTENCY => "RuntimeInconsistency",
        ErrorCode::DATA_INCONSISTENCY => "DataInconsistency",
        ErrorCode::CONNECTION_LOSS => "ConnectionLoss",
        ErrorCode::MARSHALLING_ERROR => "MarshallingError",
        ErrorCode::UNIMPLEMENTED => "Unimplemented",
        ErrorCode::OPERATION_TIMEOUT => "OperationTimeout",
        ErrorCode::BAD_ARGUMENTS => "BadArguments",
        ErrorCode::UNKNOWN_SESSION => "UnknownSession",
        ErrorCode::NEW_CONFIG_NO_QUORUM => "NewConfigNoQuorum",
        ErrorCode::RECONFIG_IN_PROGRESS => "ReconfigInProgress",
        ErrorCode::NO_NODE => "NoNode",
        ErrorCode::NO_AUTH => "NoAuth",
        ErrorCode::BAD_VERSION => "BadVersion",
        ErrorCode::NO_CHILDREN_FOR_EPHEMERALS => "NoChildrenForEphemerals",
        ErrorCode::NODE_EXISTS => "NodeExists",
        ErrorCode::NOT_EMPTY => "Directory not empty",
        ErrorCode::SESSION_EXPIRED => "Session expired",
        ErrorCode::INVALID_CALLBACK => "Invalid callback",
        ErrorCode::INVALID_ACL => "InvalidACL",
        ErrorCode::AUTH_FAILED => "AuthFailed",
        ErrorCode::SESSION_MOVED => "Session moved",
        ErrorCode::NOT_READ_ONLY => "Not a read-only call",
        ErrorCode::EPHEMERAL_ON_LOCAL_SESSION => "Ephemeral node on local session",
        ErrorCode::NO_WATCHER => "No such watcher",
        ErrorCode::REQUEST_TIMEOUT => "Request timeout",
        ErrorCode::RECONFIG_DISABLED => "Reconfig is disabled",
        ErrorCode::SESSION_CLOSED_REQUIRE_SASL_AUTH => "Session closed because client failed to authenticate",
        ErrorCode::QUOTA_EXCEEDED => "Quota has exceeded",
        ErrorCode::THROTTLED_OP => "Op throttled due to high load",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_print_as_apaches_do() {
        let refusal = Error::keeper(ErrorCode::NO_WATCHER, Some("/a"));
        assert_eq!(refusal.to_string(), "KeeperErrorCode = No such watcher for /a");
        assert_eq!(
            Error::keeper(ErrorCode::RECONFIG_DISABLED, None).to_string(),
            "KeeperErrorCode = Reconfig is disabled"
        );
        assert_eq!(Error::keeper(ErrorCode(-999), None).to_string(), "KeeperErrorCode = Unknown error -999");
    }
}
