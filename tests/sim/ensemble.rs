//! What servers have to do with each other: votes, dials, and the links between a leader and its learners.

use zoo_server::ids::ServerId;
use zoo_server::replica::event::DialId;

use crate::world::World;

impl World {
    pub fn vote_arrives(&mut self, _from: usize, _to: usize) {}

    pub fn votes_again(&mut self, _server: usize) {}

    pub fn dial(&mut self, _server: usize, _dial: DialId, _target: ServerId, _attempt: u32) {}
}
