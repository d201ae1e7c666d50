//! Before and after the load: connections opened and closed, znodes made and removed.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::connection::{Connection, Op, Slot};
use super::record::Recorder;
use super::template::Template;
use super::worker::{After, Work};
use crate::cli::client::HostPort;
use crate::cli::client::pipeline::Pipeline;
use crate::wire::acl::AclList;
use crate::wire::error_code::ErrorCode;
use crate::wire::header::ReplyHeader;
use crate::wire::op::OpCode;
use crate::wire::request::{CreateRequest, PathVersionRequest, PathWatchRequest};

/// How long a server may take to answer one request of the control connection.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens the connections and asks nothing.
#[derive(Debug)]
pub(super) struct Opening;

impl Work for Opening {
    fn next(&mut self, _: &mut Connection, _: u64) -> bool {
        false
    }

    fn check(&mut self, _: &Connection, _: Slot, _: i64, _: &[u8]) -> Result<(), &'static str> {
        panic!("nothing was asked")
    }

    fn is_done(&self) -> bool {
        true
    }
}

/// Closes every session.
#[derive(Debug)]
pub(super) struct Closing {
    left: usize,
}

impl Closing {
    pub(super) const fn new(connections: usize) -> Self {
        Self { left: connections }
    }
}

impl Work for Closing {
    fn next(&mut self, connection: &mut Connection, since: u64) -> bool {
        if self.left == 0 || connection.step == u32::MAX {
            return false;
        }
        connection.step = u32::MAX;
        self.left -= 1;
        connection.push_rare(OpCode::CLOSE_SESSION, Slot { since, key: 0, op: Op::Close }, |_| {});
        true
    }

    fn check(&mut self, _: &Connection, _: Slot, _: i64, _: &[u8]) -> Result<(), &'static str> {
        Ok(())
    }

    fn excuses(&self, _: Op, _: i32) -> bool {
        true
    }

    fn answered(&mut self, _: &mut Connection, _: Slot, _: u64, _: &mut Recorder) -> After {
        After::Ended
    }

    fn is_done(&self) -> bool {
        self.left == 0
    }
}

/// The numbers of one request each.
pub(super) type Numbers = Box<dyn Iterator<Item = [u32; 2]> + Send>;

/// One kind of request, for a list of numbers: makes or removes many znodes as fast as the server can.
pub(super) struct Batch<'a> {
    template: &'a Template,
    op: Op,
    numbers: Numbers,
    is_done: bool,
    /// What is as good as success: already there, already gone.
    excused: &'static [ErrorCode],
    done: &'a AtomicU64,
}

impl<'a> Batch<'a> {
    pub(super) fn new(
        op: Op,
        template: &'a Template,
        numbers: Numbers,
        excused: &'static [ErrorCode],
        done: &'a AtomicU64,
    ) -> Self {
        Self { template, op, numbers, is_done: false, excused, done }
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("op", &self.op).field("excused", &self.excused).finish_non_exhaustive()
    }
}

impl Work for Batch<'_> {
    fn next(&mut self, connection: &mut Connection, since: u64) -> bool {
        let Some(numbers) = self.numbers.next() else {
            self.is_done = true;
            return false;
        };
        connection.push(self.template, &numbers, Slot { since, key: 0, op: self.op });
        true
    }

    fn check(&mut self, _: &Connection, _: Slot, _: i64, _: &[u8]) -> Result<(), &'static str> {
        Ok(())
    }

    fn excuses(&self, _: Op, error: i32) -> bool {
        self.excused.contains(&ErrorCode(error))
    }

    fn answered(&mut self, _: &mut Connection, _: Slot, _: u64, _: &mut Recorder) -> After {
        self.done.fetch_add(1, Ordering::Relaxed);
        After::Go
    }

    fn is_done(&self) -> bool {
        self.is_done
    }
}

/// A connection for the few requests of a run that come one at a time.
#[derive(Debug)]
pub(super) struct Control {
    pipe: Pipeline,
    server: String,
}

impl Control {
    pub(super) fn connect(host: &HostPort) -> Result<Self, String> {
        let server = host.to_string();
        let pipe =
            Pipeline::connect(host, PATIENCE, None).map_err(|error| format!("cannot connect to {server}: {error}"))?;
        let limit = pipe.stream().set_read_timeout(Some(PATIENCE));
        limit.map_err(|error| format!("{server}: {error}"))?;
        Ok(Self { pipe, server })
    }

    fn ask(&mut self, op: OpCode, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(ErrorCode, Vec<u8>), String> {
        let failed = |server: &str, error: std::io::Error| format!("{server} does not answer: {error}");
        self.pipe.push(op, encode);
        self.pipe.send().map_err(|error| failed(&self.server, error))?;
        let mut answer = None;
        while answer.is_none() {
            let taken = self.pipe.receive(|header: &ReplyHeader, body| answer = Some((header.err, body.to_vec())));
            taken.map_err(|error| failed(&self.server, error))?;
        }
        Ok(answer.expect("the loop ends with one"))
    }

    /// The data of a znode; `None` if it is not there.
    pub(super) fn get(&mut self, path: &str) -> Result<Option<Vec<u8>>, String> {
        let request = PathWatchRequest { path: path.into(), watch: false };
        match self.ask(OpCode::GET_DATA, |out| request.encode(out))? {
            (ErrorCode::OK, body) => {
                let mut reader = crate::wire::jute::Reader::new(&body);
                let data = reader.buffer().map_err(|error| format!("{path}: {error}"))?;
                Ok(Some(data.unwrap_or_default().to_vec()))
            }
            (ErrorCode::NO_NODE, _) => Ok(None),
            (error, _) => Err(format!("cannot read {path}: {error}")),
        }
    }

    /// Makes a znode without data; false if it is there already.
    pub(super) fn create(&mut self, path: &str) -> Result<bool, String> {
        let request = CreateRequest { path: path.into(), data: Some(b""), acl: AclList::OPEN, flags: 0, ttl_ms: -1 };
        match self.ask(OpCode::CREATE, |out| request.encode(OpCode::CREATE, out))?.0 {
            ErrorCode::OK => Ok(true),
            ErrorCode::NODE_EXISTS => Ok(false),
            error => Err(format!("cannot create {path}: {error}")),
        }
    }

    /// Removes a znode; false if it has children of somebody else.
    pub(super) fn delete(&mut self, path: &str) -> Result<bool, String> {
        let request = PathVersionRequest { path: path.into(), version: -1 };
        match self.ask(OpCode::DELETE, |out| request.encode(out))?.0 {
            ErrorCode::OK | ErrorCode::NO_NODE => Ok(true),
            ErrorCode::NOT_EMPTY => Ok(false),
            error => Err(format!("cannot delete {path}: {error}")),
        }
    }

    /// Closes its session.
    pub(super) fn close(mut self) {
        // The run is over: what fails now concerns nobody.
        let _ = self.ask(OpCode::CLOSE_SESSION, |_| {});
    }
}
