//! How long requests take, and where: histograms that each thread keeps for itself and that are merged when somebody asks
//! (`mntr`, [`ZookeeperServer::monitor`](crate::server::ZookeeperServer::monitor)). All times are whole microseconds.
//!
//! **Operations** ([`Operations`]): from the moment when the shard read the bytes that completed the request to the moment when
//! its answer was given to the socket. Told as `zk_op_<name>_latency_{avg,p50,p99,p999,max,cnt}` for each operation that occurred.
//!
//! **Stages** ([`Stage`]): the parts of that way. Told as `zk_stage_<stage>_{avg,p50,p99,p999,max,cnt}`.
//!
//! ```text
//!  read    ├─ decode ─┤─ answer ─┤
//!
//!  write   ├─ decode ─┤─ queue ─┤─ log_write ─┤─ sync ─┤─ publish ─┤─ answer ─┤        one server
//!  write   ├─ decode ─┤─ queue ─┤─────── quorum ───────┤─ publish ─┤─ answer ─┤        a member of an ensemble
//!                               ├─ log_write ─┤─ sync ─┤ beside it
//! ```
//!
//! | stage | from | to | counted |
//! |---|---|---|---|
//! | decode | its bytes were read from the socket | all requests that came together are parsed; reads are answered, writes handed to the replica | by request |
//! | queue | handed to the replica | its batch is on its way: to the log and the followers, or from a follower to the leader | by request |
//! | log_write | the disk was given a frame | it is written | by frame |
//! | sync | written | durable | by frame |
//! | quorum | a leader has sent the proposal; a follower has sent its client's request on | committed; come back committed | by transaction; by request |
//! | publish | decided: durable, or committed | the version is seen by the shard that is to answer | by answer |
//! | answer | the answer is made: the reads of a batch are done, or the version is seen | given to the socket | by answer |
//!
//! What a table cannot say:
//! - A frame is one or more batches: what collected while the frame before was under way. Where the device writes through
//!   in one command (DSYNC), write and sync are not to be told apart: all of it is `sync`, and `log_write` has no values. Without
//!   `forceSync` there is no `sync`.
//! - Requests that come together share their times: the clock is read once for all of them, not once each. So `decode` of a
//!   client that pipelines is the time of its whole burst, and the reads in it are answered as one.
//! - Between the stages lies the waking of a thread, which is in the operation's latency and in no stage.
//! - Of a client that is slow to take its answers, an answer counts as given when the socket was first offered it.
//! - `auth` and `sasl` are answered on the spot and counted nowhere, as in Apache's server. What never was answered (the
//!   connection ended, the office of a leader ended) is not counted either.
//!
//! **Milestones** ([`Milestones`]): Apache's own latencies of a transaction, counted from its making, told in milliseconds under
//! Apache's names. Where another server made it, its clock counts against ours, as in Apache's server.
//!
//! **Cost.** A histogram has a fixed number of buckets, two significant digits from 1 µs to [`LATENCY_US_MAX`], about 20 KiB; longer
//! times count as the longest. It is made when its first value comes and never grows. To record is to find a bucket by the
//! leading zeros of the value and to add to it: once for all requests that share a time.

mod histogram;
mod names;
mod operations;
mod stages;
mod table;

pub use histogram::{Histogram, LATENCY_US_MAX, Tally};
pub(crate) use names::names;
pub use operations::{Kind, Operations};
pub use stages::{Milestone, Milestones, Stage, Stages};
