//! What a member asks of its storage beside appending: epochs, a shorter log, another state. Asked for in order, answered in order,
//! and only then believed.

use super::{Epochs, Role, StorageWork};
use crate::ids::{Epoch, Zxid};
use crate::replica::event::{Action, Now, Reloaded};
use crate::replica::node::Replica;

impl Replica {
    pub(super) fn save_epochs(&mut self, accepted: Option<Epoch>, current: Option<Epoch>) {
        let ensemble = self.ensemble.as_deref_mut().expect("only members have epochs");
        let before = ensemble.storage.iter().rev().find_map(|work| match work {
            StorageWork::Save { epochs, .. } => Some(*epochs),
            _ => None,
        });
        let before = before.unwrap_or(ensemble.epochs);
        let epochs = Epochs {
            accepted: accepted.unwrap_or(before.accepted),
            current: current.unwrap_or(before.current),
        };
        assert!(
            epochs.accepted >= before.accepted && epochs.current >= before.current && epochs.accepted >= epochs.current,
            "epochs only grow, and nobody lives in one that it has not accepted: {before:?}, then {epochs:?}"
        );
        ensemble.storage.push_back(StorageWork::Save { role: ensemble.role_number, epochs });
        self.actions.push_back(Action::SaveEpochs { accepted, current });
    }

    pub(super) fn truncate(&mut self, to: Zxid) {
        let ensemble = self.ensemble.as_deref_mut().expect("only members truncate");
        tracing::warn!(from = %ensemble.log_end, %to, "the leader does not have the end of this server's log: it is cut off");
        ensemble.storage.push_back(StorageWork::Truncate { role: ensemble.role_number, to });
        self.actions.push_back(Action::Truncate(to));
    }

    /// The whole state of the leader has come in: it takes the place of this server's in memory at once, and on the disk when
    /// [`Action::Install`] is done. Until then it counts for nothing: a server that stops in between has its old one.
    pub(super) fn install(&mut self, now: Now, zxid: Zxid, state: Reloaded) {
        self.replace_state(now, zxid, state);
        self.publish_head();
        let ensemble = self.ensemble.as_deref_mut().expect("only members are sent a state");
        ensemble.history.reset(zxid);
        tracing::info!(%zxid, "the leader's state takes the place of this server's");
        ensemble.storage.push_back(StorageWork::Install { role: ensemble.role_number, zxid });
        let version = self.published_version.clone();
        let sessions = self.pipeline.sessions().iter().collect();
        self.actions.push_back(Action::Install { version, sessions });
    }

    fn replace_state(&mut self, now: Now, zxid: Zxid, state: Reloaded) {
        self.pipeline.install(state.tree, state.sessions, zxid, now.instant);
        self.trigger.reset();
        self.snapshot_waiting = None;
        let ensemble = self.ensemble.as_deref_mut().expect("only members replace their state");
        ensemble.log_end = zxid;
        ensemble.log_durable = zxid;
    }

    pub(in crate::replica) fn handle_epochs_saved(&mut self, now: Now) {
        let ensemble = self.ensemble.as_deref_mut().expect("only members save epochs");
        let Some(StorageWork::Save { role, epochs }) = ensemble.storage.pop_front() else {
            panic!("the storage has saved epochs that it was not given");
        };
        ensemble.epochs = epochs;
        if role == ensemble.role_number {
            match &mut ensemble.role {
                Role::Leading(leading) => leading.zab.epochs_saved(now.instant, epochs.accepted, epochs.current),
                Role::Following(following) => following.zab.epochs_saved(now.instant, epochs.accepted, epochs.current),
                Role::Settling | Role::Looking => {}
            }
        }
    }

    pub(in crate::replica) fn handle_truncated(&mut self, now: Now, state: Reloaded) {
        let ensemble = self.ensemble.as_deref_mut().expect("only members truncate");
        let Some(StorageWork::Truncate { role, to }) = ensemble.storage.pop_front() else {
            panic!("the storage has truncated what it was not told to");
        };
        let zxid = state.tree.view().zxid();
        assert!(zxid <= to, "the storage was told to truncate to {to} and came to {zxid}");
        self.replace_state(now, zxid, state);
        let ensemble = self.ensemble.as_deref_mut().expect("it was there just now");
        ensemble.history.truncate(zxid);
        if role == ensemble.role_number
            && let Role::Following(following) = &mut ensemble.role
        {
            following.zab.truncated(now.instant, zxid);
        }
    }

    pub(in crate::replica) fn handle_installed(&mut self, now: Now, zxid: Zxid) {
        let ensemble = self.ensemble.as_deref_mut().expect("only members are sent a state");
        let Some(StorageWork::Install { role, zxid: asked }) = ensemble.storage.pop_front() else {
            panic!("the storage has installed what it was not given");
        };
        assert_eq!(asked, zxid, "the storage has installed another state");
        if role == ensemble.role_number
            && let Role::Following(following) = &mut ensemble.role
        {
            following.zab.snapshot_installed(now.instant, zxid);
        }
    }
}
