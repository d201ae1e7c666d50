//! What happens without a client asking for it, and what operators ask.

use super::*;

impl Replica {
    pub(super) fn handle_tick(&mut self, now: Now) {
        let paused = now.instant.since(std::mem::replace(&mut self.ticked, now.instant));
        let tick = self.pipeline.sessions().tick();
        if paused > tick {
            // A leader has heard nothing of its learners' clients for so long: they are told with the answers to its pings, the
            // first of which goes out only now.
            self.expires_from = now.instant + tick;
        }
        self.tick_ensemble(now);
        for (session, owner) in self.pipeline.expire_local(now.instant) {
            tracing::info!(%session, "local session expired");
            self.stats.expired_count += 1;
            if let Some(owner) = owner {
                self.open.reply(ConnectionId::of(owner), ReplyKind::Close);
            }
        }
        if self.may_decide(now) {
            self.expire(now);
            self.remove_containers(now);
        }
    }

    /// Ends sessions whose time is up.
    fn expire(&mut self, now: Now) {
        // Without room for even one end, sessions live on until there is some.
        let may_expire = self.expired.is_empty() && now.instant >= self.expires_from;
        if may_expire && self.room_for(self.pipeline.create_len_bound(), 0) {
            self.expired.extend(self.pipeline.sessions_mut().expire(now.instant));
        }
        for session in std::mem::take(&mut self.expired) {
            if !self.may_decide(now) {
                // Whose time is up is for the next leader to say.
                return;
            }
            if !self.room_for(self.pipeline.close_len_bound(session), 0) {
                self.expired.push(session);
                continue;
            }
            if self.pipeline.sessions().timeout_ms(session).is_none() {
                // It was ended while it waited.
                continue;
            }
            tracing::info!(%session, "session expired");
            self.stats.expired_count += 1;
            let owner = self.pipeline.sessions().owner(session);
            let frame_start = self.open.frames.len();
            let mut sink =
                Sink { log: &mut self.record, reply: &mut self.open.frames, changes: &mut self.open.changes };
            let done = self.pipeline.close_session(now.wall, session, &mut sink);
            self.open.frames.truncate(frame_start);
            if done.logged {
                self.booked(done.zxid);
            }
            if let Some(owner) = owner.filter(|owner| owner.as_learner().is_none()) {
                self.open.reply(ConnectionId::of(owner), ReplyKind::Close);
            }
        }
    }

    /// Removes empty containers and TTL znodes whose time has passed (Apache's `ContainerManager`).
    pub(super) fn remove_containers(&mut self, now: Now) {
        if now.instant.since(self.containers_checked).as_millis() < u128::from(self.options.container_check_interval_ms)
        {
            return;
        }
        self.containers_checked = now.instant;
        let mut candidates = self.pipeline.container_candidates(now.wall);
        // The limit is by the minute, and a check is an interval's share of it.
        let share =
            u64::from(self.options.containers_per_minute_max) * self.options.container_check_interval_ms / 60_000;
        candidates.truncate(usize::try_from(share.max(1)).unwrap_or(usize::MAX));
        for path in candidates {
            let len = self.pipeline.delete_container_len_bound(&path);
            if !self.may_decide(now) || !self.room_for(len, SESSION_RESERVE_BYTES) {
                return;
            }
            let frame_start = self.open.frames.len();
            let mut sink =
                Sink { log: &mut self.record, reply: &mut self.open.frames, changes: &mut self.open.changes };
            let done = self.pipeline.delete_container(now.wall, &path, &mut sink);
            self.open.frames.truncate(frame_start);
            if done.logged {
                self.booked(done.zxid);
            }
        }
    }

    pub(super) fn handle_ask(&mut self, ask: Ask) {
        if ask.question == Question::ResetStats {
            self.forget_measures();
        }
        if self.asked.len() == ASKS_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back(Asked { ask, parts: Vec::new() });
        for shard in 0..self.options.shards {
            self.actions.push_back(Action::ToShard(shard, ToShard::Tell(ask)));
        }
    }

    pub(super) fn handle_told(&mut self, now: Now, ask: Ask, part: Part) {
        let Some(index) = self.asked.iter().position(|asked| asked.ask == ask) else {
            return;
        };
        self.asked[index].parts.push(part);
        if self.asked[index].parts.len() < self.options.shards {
            return;
        }
        let asked = self.asked.remove(index).expect("the index was found just now");
        let gathered = Gathered { replica: self.report(now, ask.question), parts: asked.parts };
        self.actions.push_back(Action::ToShard(usize::from(ask.shard), ToShard::Answer(ask, Arc::new(gathered))));
    }

    pub(super) fn report(&self, now: Now, question: Question) -> ReplicaReport {
        let mut report = self.stats.clone();
        report.outstanding =
            self.in_flight.iter().map(|batch| batch.segments.len() as u64).sum::<u64>() + self.open.records;
        report.ensemble = self.ensemble_report();
        report.session_count = self.pipeline.sessions().len() as u64;
        report.digests = self.pipeline.tree().digest_history().map(|sample| (sample.zxid, sample.digest)).collect();
        if question == Question::Sessions {
            let sessions = self.pipeline.sessions().dump().into_iter();
            report.sessions = sessions
                .map(|session| SessionReport {
                    session: session.session,
                    timeout_ms: session.timeout_ms,
                    expires_in_ms: u64::try_from(session.expires.since(now.instant).as_millis()).unwrap_or(u64::MAX),
                })
                .collect();
        }
        report
    }
}
