//! The tasks of a connection: one reads for as long as it lives, another writes when the client is slow to take its answers.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use crate::admin::figures::Counter;
use crate::rt::clock;
use crate::rt::executor::{spawn_local, timeout};
use crate::rt::socket::Stream;

use super::connection::{Connection, OUT_MAX_BYTES, OUT_REUSE_BYTES, Stage};
use super::{Door, OUTGOING_PAUSE_BYTES, Shard, State};

/// What has to become of a connection after what has come from it was looked through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    /// Read on.
    Read,
    /// There is more in the buffer, but it has to wait: for an answer, for the client to take its answers.
    Pause,
    /// Close.
    Close,
}

impl Shard {
    /// Reads from a connection, and has what it brings handled, until it ends.
    pub(super) async fn serve(self: Rc<Self>, slot: u32, stream: Rc<Stream>, door: Door) {
        let mut bytes = Vec::new();
        if door == Door::Plain || self.begin(slot, &stream, door, &mut bytes).await {
            self.read_on(slot, &stream, bytes).await;
        }
        self.end(slot, &stream, door).await;
    }

    /// Reads until the end.
    async fn read_on(self: &Rc<Self>, slot: u32, stream: &Rc<Stream>, mut bytes: Vec<u8>) {
        let is_secured = self.state.borrow_mut().connections.get_mut(slot).is_some_and(|own| own.tls.is_some());
        loop {
            self.catch_up().await;
            let flow = self.take(slot, &mut bytes);
            self.clone().end_turn();
            match flow {
                Flow::Close => break,
                Flow::Pause => {
                    self.resumed(slot).await;
                    continue;
                }
                Flow::Read => {}
            }
            if bytes.is_empty() {
                // An idle connection owns no buffer.
                bytes = Vec::new();
            }
            let read = if is_secured {
                self.read_records(slot, stream, &mut bytes).await
            } else {
                stream.read(&mut bytes).await
            };
            match read {
                Ok(0) => break,
                Ok(len) => {
                    let state = &mut *self.state.borrow_mut();
                    state.stats.figures.add(Counter::BytesReceived, len as u64);
                    if let Some(connection) = state.connections.get_mut(slot) {
                        connection.heard = clock::now();
                    }
                }
                Err(error) => {
                    tracing::debug!(peer = %stream.peer(), %error, "connection lost");
                    break;
                }
            }
            if self.state.borrow().outgoing.bodies.len() > OUTGOING_PAUSE_BYTES {
                self.sent().await;
            }
        }
    }

    /// As [`Stream::read`], of a secured connection: waits until records have brought something.
    async fn read_records(self: &Rc<Self>, slot: u32, stream: &Stream, bytes: &mut Vec<u8>) -> std::io::Result<usize> {
        loop {
            // An idle connection owns no buffer.
            let mut records = Vec::new();
            if stream.read(&mut records).await? == 0 {
                return Ok(0);
            }
            match self.open_records(slot, &records, bytes) {
                None => return Ok(0),
                // A part of a record, or something of the protocol's own, which may want an answer.
                Some(0) => self.clone().end_turn(),
                Some(len) => return Ok(len),
            }
        }
    }

    /// Waits until the connection need not pause any more.
    async fn resumed(&self, slot: u32) {
        poll_fn(|cx| {
            let state = &mut *self.state.borrow_mut();
            match state.connections.get_mut(slot) {
                Some(connection) if connection.is_paused() && connection.stage != Stage::Ending => {
                    connection.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            }
        })
        .await;
    }

    /// Waits until the replica has taken what was collected for it.
    async fn sent(&self) {
        let mut is_first = true;
        poll_fn(|cx| {
            let state = &mut *self.state.borrow_mut();
            if std::mem::take(&mut is_first) && state.is_sending {
                state.waiting_for_send.push(cx.waker().clone());
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }

    /// The connection is over: what it left behind goes, once its last answer is sent.
    async fn end(self: Rc<Self>, slot: u32, stream: &Stream, door: Door) {
        let _ = timeout(self.options.drain_timeout, self.last_words_sent(slot)).await;
        let is_orderly = {
            let state = &mut *self.state.borrow_mut();
            state.watches.drop_watcher(State::watcher(slot));
            state.connections.remove(slot).is_some_and(|mut connection| {
                if let Some(tls) = connection.tls.as_mut().filter(|_| !connection.is_writing) {
                    // What does not go now is not worth waiting for.
                    let _ = stream.try_write(&tls.last_records());
                }
                state.outgoing.items.extend(connection.unheard());
                state.asked.retain(|_, asked| !asked.is_of(connection.id));
                connection.stage == Stage::Ending
            })
        };
        self.state.borrow_mut().make_room(&self.options);
        self.clone().end_turn();
        self.shared.left(self.number, stream.peer().ip(), door);
        if is_orderly {
            // What the client sent in the meantime would turn our end into a reset, which could overtake our last words:
            // so they are followed by our end alone, and by the rest when the client has ended, too, or had time to.
            stream.shutdown_write();
            let mut ignored = Vec::new();
            let ended = async {
                while matches!(stream.read(&mut ignored).await, Ok(1..)) {
                    ignored.clear()
                }
            };
            let _ = timeout(LINGER, ended).await;
        }
        stream.shutdown();
    }

    /// Waits until a connection that ends has sent its last answer.
    async fn last_words_sent(&self, slot: u32) {
        poll_fn(|cx| {
            let state = &mut *self.state.borrow_mut();
            match state.connections.get_mut(slot) {
                Some(connection)
                    if connection.stage == Stage::Ending && (connection.is_writing || !connection.out.is_empty()) =>
                {
                    connection.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            }
        })
        .await;
    }

    /// Sends what a connection has to be told, with one system call if the kernel takes it all.
    pub(super) fn flush(self: Rc<Self>, slot: u32) {
        let state = &mut *self.state.borrow_mut();
        let Some(connection) = state.connections.get_mut(slot) else {
            return;
        };
        connection.is_dirty = false;
        if connection.out.len() > OUT_MAX_BYTES {
            tracing::warn!(peer = %connection.peer, "the client does not take what it is told: closed");
            connection.give_up();
            return;
        }
        if connection.is_writing {
            connection.book_held();
            state.shed(&self.options);
            return;
        }
        if !connection.has_unsent() {
            return;
        }
        let stream = connection.stream.clone();
        let unsent = connection.unsent();
        match stream.try_write(unsent) {
            Ok(len) if len == unsent.len() => {
                state.stats.figures.add(Counter::ResponseBytes, len as u64);
                unsent.clear();
                if unsent.capacity() > OUT_REUSE_BYTES {
                    *unsent = Vec::new();
                }
                if !connection.has_unsent() {
                    Self::all_said(connection);
                    return;
                }
                // More than is sealed at once: the writer goes on.
            }
            Ok(len) => {
                state.stats.figures.add(Counter::ResponseBytes, len as u64);
                unsent.drain(..len);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::debug!(peer = %connection.peer, %error, "connection lost");
                connection.give_up();
                return;
            }
        }
        connection.is_writing = true;
        connection.book_held();
        state.shed(&self.options);
        let shard = self.clone();
        spawn_local(async move { shard.write_on(slot, stream).await });
    }

    /// Sends all of it. The client is not read from meanwhile, pings included: that it takes what it is sent counts as a sign of
    /// its life.
    async fn write_heard(&self, slot: u32, stream: &Rc<Stream>, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            let written = stream.write(bytes).await?;
            bytes = &bytes[written..];
            let connections = &mut self.state.borrow_mut().connections;
            if let Some(connection) = connections.get_mut(slot).filter(|own| Rc::ptr_eq(&own.stream, stream)) {
                connection.heard = clock::now();
            }
        }
        Ok(())
    }

    /// The kernel has all that the connection had to be told: its reader goes on, or ends it.
    fn all_said(connection: &mut Connection) {
        if connection.stage != Stage::Ending {
            connection.resume();
        } else if connection.stream.is_being_read() {
            // The reader waits for the client, which need not send anything behind its `closeSession`, nor end by itself. It
            // takes the connection and its watches away before the client sees our end.
            connection.stream.shutdown_read();
        } else {
            connection.wake_reader();
        }
    }

    /// Sends the rest as the client takes it.
    async fn write_on(self: Rc<Self>, slot: u32, stream: Rc<Stream>) {
        loop {
            let bytes = {
                let state = &mut *self.state.borrow_mut();
                let Some(connection) = state.connections.get_mut(slot).filter(|own| Rc::ptr_eq(&own.stream, &stream))
                else {
                    return;
                };
                connection.in_writer = 0;
                if !connection.has_unsent() {
                    connection.is_writing = false;
                    connection.book_held();
                    Self::all_said(connection);
                    return;
                }
                let bytes = std::mem::take(connection.unsent());
                connection.in_writer = bytes.len();
                connection.book_held();
                bytes
            };
            if let Err(error) = self.write_heard(slot, &stream, &bytes).await {
                tracing::debug!(peer = %stream.peer(), %error, "connection lost");
                let state = &mut *self.state.borrow_mut();
                if let Some(connection) = state.connections.get_mut(slot).filter(|own| Rc::ptr_eq(&own.stream, &stream))
                {
                    connection.is_writing = false;
                    connection.in_writer = 0;
                    connection.give_up();
                    connection.book_held();
                }
                return;
            }
            self.state.borrow_mut().stats.figures.add(Counter::ResponseBytes, bytes.len() as u64);
        }
    }
}

/// How long the client of a connection that we end may take to end it, too.
const LINGER: Duration = Duration::from_secs(1);
