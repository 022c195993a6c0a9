//! The connection to a server: made when it is needed, made again when it is gone, given up when nobody waits for its answer.

use std::{
    cell::{Cell, RefCell},
    ops::{Deref, DerefMut},
    sync::Arc,
    time::{Duration, Instant},
};

use export::{ExportError, Server, ServerSettings};
use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
};

use crate::error::ServerQueryError;

/// A connection that was not used for so long is made anew: what is between the two may have forgotten it, and would be waited for.
const MAX_IDLE: Duration = Duration::from_secs(60);

/// Interrupts the questions of a [`crate::ServerReader`] from another thread. All questions, also those that begin later, fail with
/// [`ServerQueryError::Interrupted`] until [`ServerInterrupter::resume`].
#[derive(Clone)]
pub struct ServerInterrupter(Arc<watch::Sender<bool>>);

impl ServerInterrupter {
    /// Interrupts the current question and those that follow.
    pub fn interrupt(&self) {
        self.0.send_replace(true);
    }

    /// Allows questions that begin from now on.
    pub fn resume(&self) {
        self.0.send_replace(false);
    }
}

/// A connection, and how much an answer may take.
pub(crate) struct Connection {
    server: Server,
    /// Rows of an answer that are read at most.
    pub max_rows: usize,
    /// Whether sums are asked where they are exact.
    pub asks_sums: bool,
    /// Whether there are sums that the account may read; `None` if that was not looked at yet.
    has_sums: Option<bool>,
}

impl Connection {
    /// Whether there are sums to ask.
    pub async fn has_sums(&mut self) -> Result<bool, ExportError> {
        if !self.asks_sums {
            return Ok(false);
        }
        if self.has_sums.is_none() {
            self.has_sums = Some(self.server.has_sums().await?);
        }
        Ok(self.has_sums == Some(true))
    }
}

impl Deref for Connection {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// An open connection.
struct Open {
    server: Connection,
    /// By which the server knows it; `None` if it does not tell.
    id: Option<i64>,
    used: Instant,
}

/// A connection that is made when there is something to ask.
pub(crate) struct Session {
    settings: ServerSettings,
    /// Rows of an answer that are read at most.
    pub max_rows: usize,
    runtime: Runtime,
    /// `None` after an error.
    open: RefCell<Option<Open>>,
    /// A connection that was given up in the middle of a question, on which the server may still work.
    abandoned: Cell<Option<i64>>,
    interrupted: Arc<watch::Sender<bool>>,
}

impl Session {
    /// Prepares to connect.
    ///
    /// # Errors
    /// The system has no event loop.
    pub fn new(settings: ServerSettings, max_rows: usize) -> Result<Self, ServerQueryError> {
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(ServerQueryError::Runtime)?;
        Ok(Self {
            settings,
            max_rows,
            runtime,
            open: RefCell::default(),
            abandoned: Cell::default(),
            interrupted: Arc::new(watch::Sender::new(false)),
        })
    }

    /// A handle for another thread to interrupt questions.
    pub fn interrupter(&self) -> ServerInterrupter {
        ServerInterrupter(Arc::clone(&self.interrupted))
    }

    /// The server in a sentence, without secrets.
    pub fn address(&self) -> String {
        self.settings.address()
    }

    /// Reads in one transaction, so that all statements see the same state of the tables.
    pub fn read<T>(
        &self,
        read: impl AsyncFnOnce(&mut Connection) -> Result<T, ServerQueryError>,
    ) -> Result<T, ServerQueryError> {
        let taken = self.open.take();
        let id = Cell::new(None);
        let result = self.runtime.block_on(async {
            let mut interrupted = self.interrupted.subscribe();
            tokio::select! {
                biased;
                // The sender lives as long as this.
                _ = interrupted.wait_for(|interrupted| *interrupted) => Err(ServerQueryError::Interrupted),
                result = self.read_on(taken, read, &id) => result,
            }
        });
        if matches!(result, Err(ServerQueryError::Interrupted)) {
            self.abandoned.set(id.get().or(self.abandoned.get()));
        }
        let (result, open) = result?;
        *self.open.borrow_mut() = Some(open);
        Ok(result)
    }

    async fn read_on<T>(
        &self,
        taken: Option<Open>,
        read: impl AsyncFnOnce(&mut Connection) -> Result<T, ServerQueryError>,
        id: &Cell<Option<i64>>,
    ) -> Result<(T, Open), ServerQueryError> {
        let mut open = match taken {
            Some(open) => self.begin_again(open).await?,
            None => self.connect().await?,
        };
        id.set(open.id);
        let result = read(&mut open.server).await?;
        open.server.end_read().await?;
        id.set(None);
        open.used = Instant::now();
        Ok((result, open))
    }

    /// Begins a transaction on a connection, or on another one if the server has ended it meanwhile.
    async fn begin_again(&self, mut open: Open) -> Result<Open, ServerQueryError> {
        if open.used.elapsed() < MAX_IDLE && open.server.begin_read().await.is_ok() {
            return Ok(open);
        }
        drop(open);
        self.connect().await
    }

    async fn connect(&self) -> Result<Open, ServerQueryError> {
        let mut server = Server::connect(&self.settings).await?;
        if let Some(id) = self.abandoned.take() {
            // It may have ended by itself.
            let _ = server.end_question(id).await;
        }
        let id = server.id().await?;
        server.begin_read().await?;
        let asks_sums = self.settings.asks_sums;
        let server = Connection { server, max_rows: self.max_rows, asks_sums, has_sums: None };
        Ok(Open { server, id, used: Instant::now() })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            self.runtime.block_on(open.server.server.close());
        }
    }
}
