//! What a member asks of its storage beside appending: epochs, a shorter log, another state. Asked for in order, answered in order,
//! and only then believed.

use super::{Epochs, Role, StorageWork};
use crate::ids::{Epoch, Zxid};
use crate::pipeline::CONFIG_PATH;
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
        let epochs =
            Epochs { accepted: accepted.unwrap_or(before.accepted), current: current.unwrap_or(before.current) };
        assert!(
            epochs.accepted >= before.accepted && epochs.current >= before.current && epochs.accepted >= epochs.current,
            "epochs only grow, and nobody lives in one that it has not accepted: {before:?}, then {epochs:?}"
        );
        ensemble.storage.push_back(StorageWork::Save { role: ensemble.role_number, epochs });
        self.actions.push_back(Action::SaveEpochs { accepted, current });
    }

    pub(super) fn truncate(&mut self, to: Zxid) {
        let ensemble = self.ensemble.as_deref_mut().expect("only members truncate");
        if to < ensemble.log_end {
            tracing::warn!(from = %ensemble.log_end, %to, "the leader does not have the end of this server's log: it is cut off");
        }
        ensemble.storage.push_back(StorageWork::Truncate { role: ensemble.role_number, to });
        self.actions.push_back(Action::Truncate(to));
    }

    /// The whole state of the leader has come in: it takes the place of this server's in memory at once, and on the disk when
    /// [`Action::Install`] is done. Until then it counts for nothing: a server that stops in between has its old one.
    pub(super) fn install(&mut self, now: Now, zxid: Zxid, state: Reloaded) {
        self.replace_state(now, zxid, state);
        self.pipeline.begin_fuzzy();
        self.publish_head();
        let ensemble = self.ensemble.as_deref_mut().expect("only members are sent a state");
        ensemble.history.reset(zxid);
        tracing::info!(%zxid, "the leader's state takes the place of this server's");
        ensemble.storage.push_back(StorageWork::Install { role: ensemble.role_number, zxid });
        let version = self.published_version.clone();
        let sessions = self.pipeline.sessions().iter().collect();
        self.actions.push_back(Action::Install { version, sessions });
    }

    /// A snapshot that was under way is given up by the storage without a word when it cuts or replaces.
    fn forget_snapshot(&mut self) {
        self.snapshot_waiting = None;
        self.snapshot_running = false;
    }

    /// `/zookeeper/config` tells the configuration that holds here, as on every member of Apache's (`initConfigInZKDatabase`). What a
    /// transaction has put there stays as that left it.
    pub(super) fn show_config(&mut self, now: Now) {
        let ensemble = self.ensemble.as_deref().expect("only members have a configuration to show");
        let (text, version) = (ensemble.options.membership.to_text(), ensemble.options.membership.version);
        let shown = self.pipeline.view().znode(CONFIG_PATH);
        if shown.and_then(|znode| znode.data()) != Some(text.as_bytes()) {
            self.pipeline.set_config(now.wall, &text, version, &mut Vec::new());
        }
    }

    fn replace_state(&mut self, now: Now, zxid: Zxid, state: Reloaded) {
        self.pipeline.install(state.tree, state.sessions, zxid, now.instant);
        self.show_config(now);
        self.trigger.reset();
        self.forget_snapshot();
        let ensemble = self.ensemble.as_deref_mut().expect("only members replace their state");
        ensemble.log_end = zxid;
        ensemble.log_durable = zxid;
    }

    /// What the storage was asked for before everything else that it has not answered.
    fn take_work(&mut self) -> StorageWork {
        let ensemble = self.ensemble.as_deref_mut().expect("only members ask the storage for more than appending");
        ensemble.storage.pop_front().expect("the storage answers what it was asked for")
    }

    /// Whether the role that asked for something is the present one.
    fn is_present(&self, role: u64) -> bool {
        self.ensemble.as_deref().is_some_and(|ensemble| ensemble.role_number == role && !ensemble.is_looking())
    }

    pub(in crate::replica) fn handle_epochs_saved(&mut self, now: Now) {
        let StorageWork::Save { role, epochs } = self.take_work() else {
            panic!("the storage saved no epochs in this place")
        };
        let is_present = self.is_present(role);
        let ensemble = self.ensemble.as_deref_mut().expect("it was there just now");
        ensemble.epochs = epochs;
        match &mut ensemble.role {
            Role::Leading(leading) if is_present => {
                leading.zab.epochs_saved(now.instant, epochs.accepted, epochs.current);
            }
            Role::Following(following) if is_present => {
                following.zab.epochs_saved(now.instant, epochs.accepted, epochs.current);
            }
            _ => {}
        }
    }

    pub(in crate::replica) fn handle_epochs_failed(&mut self, now: Now) {
        let StorageWork::Save { role, .. } = self.take_work() else {
            panic!("the storage saved no epochs in this place")
        };
        if self.is_present(role) {
            self.abstain(now);
            self.stand_down(now, "there is no room on the disk for an epoch");
        }
    }

    pub(in crate::replica) fn handle_truncated(&mut self, now: Now, state: Reloaded) {
        let StorageWork::Truncate { role, to } = self.take_work() else {
            panic!("the storage cut nothing in this place")
        };
        let zxid = state.tree.view().zxid();
        assert!(zxid <= to, "the storage was told to truncate to {to} and came to {zxid}");
        let is_present = self.is_present(role);
        self.replace_state(now, zxid, state);
        self.room_begins_anew();
        let ensemble = self.ensemble.as_deref_mut().expect("it was there just now");
        ensemble.history.truncate(zxid);
        if ensemble.history.last_record() != zxid {
            // Back from a leader's state that did not fit: the log goes on where that one's history does not.
            ensemble.history.reset(zxid);
        }
        if is_present && let Role::Following(following) = &mut ensemble.role {
            following.zab.truncated(now.instant, zxid);
        }
    }

    pub(in crate::replica) fn handle_truncate_impossible(&mut self, now: Now) {
        let StorageWork::Truncate { role, .. } = self.take_work() else {
            panic!("the storage cut nothing in this place")
        };
        self.forget_snapshot();
        if self.is_present(role) {
            self.come_back_for_the_state(now, "the log does not reach back to where the leader wants it cut");
        }
    }

    pub(in crate::replica) fn handle_installed(&mut self, now: Now, zxid: Zxid) {
        let StorageWork::Install { role, zxid: asked } = self.take_work() else {
            panic!("the storage installed nothing in this place")
        };
        assert_eq!(asked, zxid, "the storage has installed another state");
        self.room_begins_anew();
        let is_present = self.is_present(role);
        let ensemble = self.ensemble.as_deref_mut().expect("it was there just now");
        if is_present && let Role::Following(following) = &mut ensemble.role {
            following.zab.snapshot_installed(now.instant, zxid);
        }
    }

    /// The leader's state is in memory and cannot get to the disk: back to what the disk has.
    pub(in crate::replica) fn handle_install_failed(&mut self, now: Now, zxid: Zxid) {
        let StorageWork::Install { role, zxid: asked } = self.take_work() else {
            panic!("the storage installed nothing in this place")
        };
        assert_eq!(asked, zxid, "the storage has failed to install another state");
        if self.is_present(role) {
            // Those that elect each other with its vote would wait for it in vain, one after the other (seed 757670).
            self.abstain(now);
            self.stand_down(now, "there is no room on the disk for the leader's state");
        }
        self.truncate(Zxid::MAX);
    }

    /// The log counts what it takes, and what it was given, from the start again.
    fn room_begins_anew(&mut self) {
        self.log_given = 0;
        self.log_admit_through = 0;
    }
}
