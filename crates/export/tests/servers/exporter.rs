//! An exporter that can be stopped at any moment.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use export::{ServerSettings, SinkNews, SinkStatus, run};
use store::WindowReader;

use super::log::Log;

/// Longest wait for anything on a slow, busy machine.
pub const TIMEOUT: Duration = Duration::from_secs(180);

/// An exporter in a thread; it ends in the middle of whatever it does when this is dropped, as a process that is killed.
pub struct Exporter {
    news: Arc<Mutex<Vec<SinkNews>>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Exporter {
    pub fn start(settings: &ServerSettings, log: &Path, host: &str) -> Self {
        let (settings, log, host) = (settings.clone(), log.to_owned(), host.to_owned());
        let news = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let told = Arc::clone(&news);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let report = |news| told.lock().unwrap().push(news);
                tokio::select! {
                    never = run(&settings, log, &host, report) => match never {},
                    _ = stopped => {}
                }
            });
        });
        Self { news, stop: Some(stop), thread: Some(thread) }
    }

    pub fn news(&self) -> Vec<SinkNews> {
        self.news.lock().unwrap().clone()
    }

    pub fn status(&self) -> SinkStatus {
        let news = self.news();
        let status = news.into_iter().rev().find_map(|news| match news {
            SinkNews::Status(status) => Some(status),
            _ => None,
        });
        status.unwrap_or_default()
    }

    pub fn problems(&self) -> Vec<String> {
        let problem = |news| match news {
            SinkNews::Problem(text) => Some(text),
            _ => None,
        };
        self.news().into_iter().filter_map(problem).collect()
    }

    /// Waits until all windows of the log are sent.
    pub fn wait_until_sent(&self, log: &Log) {
        let last = WindowReader::open(&log.path).unwrap().state().unwrap().last_window;
        wait_until(&format!("window {last} is sent"), || {
            let status = self.status();
            let is_sent = status.is_connected && status.last_window == last && status.lag_windows == Some(0);
            is_sent.then_some(()).ok_or_else(|| format!("{:?}", self.news()))
        });
    }

    /// Waits for a problem with this text in it.
    pub fn wait_for_problem(&self, text: &str) -> String {
        wait_until(text, || {
            let problems = self.problems();
            problems.iter().find(|problem| problem.contains(text)).cloned().ok_or(format!("{problems:?}"))
        })
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub fn wait_until<T>(what: &str, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match condition() {
            Ok(value) => return value,
            Err(state) => assert!(Instant::now() < deadline, "waited in vain: {what}; {state}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Sends all windows of a log with an exporter of its own.
pub fn send_all(settings: &ServerSettings, log: &Log) {
    Exporter::start(settings, &log.path, "host").wait_until_sent(log);
}
