//! The error codes of ZooKeeper's wire (Apache's `KeeperException.Code`).

use std::fmt;

/// What a reply header's `err` says; 0 is success.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct ErrorCode(pub i32);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        impl ErrorCode {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The name as `KeeperException.Code` spells it, or `None` for a number that has none.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// Success.
    OK = 0, "OK";
    /// A failure of the server itself, such as a full disk.
    SYSTEM_ERROR = -1, "SYSTEMERROR";
    /// An operation of a failed multi that was not the one that failed.
    RUNTIME_INCONSISTENCY = -2, "RUNTIMEINCONSISTENCY";
    /// Data inconsistency.
    DATA_INCONSISTENCY = -3, "DATAINCONSISTENCY";
    /// The connection was lost; never sent, used by clients.
    CONNECTION_LOSS = -4, "CONNECTIONLOSS";
    /// The request could not be decoded.
    MARSHALLING_ERROR = -5, "MARSHALLINGERROR";
    /// The operation is unknown or switched off.
    UNIMPLEMENTED = -6, "UNIMPLEMENTED";
    /// The operation took too long.
    OPERATION_TIMEOUT = -7, "OPERATIONTIMEOUT";
    /// An invalid path, flag or version.
    BAD_ARGUMENTS = -8, "BADARGUMENTS";
    /// The session is unknown.
    UNKNOWN_SESSION = -12, "UNKNOWNSESSION";
    /// No quorum of the new configuration is connected.
    NEW_CONFIG_NO_QUORUM = -13, "NEWCONFIGNOQUORUM";
    /// Another reconfiguration is under way.
    RECONFIG_IN_PROGRESS = -14, "RECONFIGINPROGRESS";
    /// The znode does not exist.
    NO_NODE = -101, "NONODE";
    /// The client's identities do not have the permission.
    NO_AUTH = -102, "NOAUTH";
    /// The version given is not the present one.
    BAD_VERSION = -103, "BADVERSION";
    /// An ephemeral znode cannot have children.
    NO_CHILDREN_FOR_EPHEMERALS = -108, "NOCHILDRENFOREPHEMERALS";
    /// The znode exists already.
    NODE_EXISTS = -110, "NODEEXISTS";
    /// The znode has children.
    NOT_EMPTY = -111, "NOTEMPTY";
    /// The session has expired.
    SESSION_EXPIRED = -112, "SESSIONEXPIRED";
    /// An invalid callback; never sent, used by clients.
    INVALID_CALLBACK = -113, "INVALIDCALLBACK";
    /// The access control list is empty or names an unknown scheme or a malformed id.
    INVALID_ACL = -114, "INVALIDACL";
    /// Authentication failed; the connection is closed behind it.
    AUTH_FAILED = -115, "AUTHFAILED";
    /// The session lives on another connection by now.
    SESSION_MOVED = -118, "SESSIONMOVED";
    /// A write on a read-only server.
    NOT_READ_ONLY = -119, "NOTREADONLY";
    /// An ephemeral znode on a session that is local to one server.
    EPHEMERAL_ON_LOCAL_SESSION = -120, "EPHEMERALONLOCALSESSION";
    /// There is no such watch to remove.
    NO_WATCHER = -121, "NOWATCHER";
    /// The request timed out on the client; never sent, used by clients.
    REQUEST_TIMEOUT = -122, "REQUESTTIMEOUT";
    /// Reconfiguration is switched off.
    RECONFIG_DISABLED = -123, "RECONFIGDISABLED";
    /// The session was closed because it must authenticate with SASL and did not.
    SESSION_CLOSED_REQUIRE_SASL_AUTH = -124, "SESSIONCLOSEDREQUIRESASLAUTH";
    /// A hard quota would be exceeded.
    QUOTA_EXCEEDED = -125, "QUOTAEXCEEDED";
    /// The server is overloaded and dropped the operation.
    THROTTLED_OP = -127, "THROTTLEDOP";
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name}"),
            None => write!(f, "error {}", self.0),
        }
    }
}

impl std::error::Error for ErrorCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_their_names() {
        assert_eq!(ErrorCode::NO_NODE.to_string(), "NONODE");
        assert_eq!(ErrorCode(-999).to_string(), "error -999");
        assert_eq!(ErrorCode::THROTTLED_OP.0, -127);
    }
}
