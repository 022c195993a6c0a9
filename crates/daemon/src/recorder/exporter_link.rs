//! The recorder's link to the exporter: its connection, and what goes over it.

use std::os::fd::{AsFd, OwnedFd};

use nix::poll::{PollFd, PollFlags};

use super::{sinks::position_file::PositionFile, state::Recorder};
use export::{SinkNews, SinkStatus};
use exporter::{
    messages::{FromExporter, ToExporter, VERSION},
    socket,
};
use ipc::{Channel, Received};
use live::protocol::ServerCopy;
use model::{
    Event, EventKind,
    text::{sanitize, time},
};

/// Messages that are taken at a time.
const MAX_MESSAGES: usize = 64;
/// Characters of a sentence of the exporter.
const MAX_SENTENCE: usize = 2000;
/// Characters of the name of a section: the exporter is not trusted with more.
const MAX_NAME: usize = 64;
/// Subject of the event about records that were deleted before they were sent to a server.
const UNSENT: &str = "unsent";

/// The listening socket, and the exporter that has connected to it.
pub(super) struct ExporterLink {
    listener: OwnedFd,
    connection: Option<Connection>,
    /// The version of an exporter that was turned away, once it was reported.
    refused: Option<String>,
}

struct Connection {
    channel: Channel,
    /// What it does; `None` before its first message.
    offers: Option<Offers>,
}

/// What an exporter does.
#[derive(Clone, Copy, Default)]
struct Offers {
    is_connected: bool,
    virustotal: bool,
    reverse_dns: bool,
}

/// What has come from the exporter.
enum News {
    /// It has connected and offers this, or is gone and offers nothing.
    Offers(Offers),
    Message(FromExporter),
    /// Another version has connected.
    Refused(String),
}

impl ExporterLink {
    pub(super) fn new(listener: OwnedFd) -> Self {
        Self { listener, connection: None, refused: None }
    }

    /// The descriptors to wait for before [`Recorder::serve_exporter`].
    pub(super) fn interests(&self) -> impl Iterator<Item = PollFd<'_>> {
        let connection = self.connection.iter().map(|connection| connection.channel.as_fd());
        // A second exporter waits until the first one is gone.
        let listener = self.connection.is_none().then(|| self.listener.as_fd());
        connection.chain(listener).map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN))
    }

    fn offers(&self) -> Offers {
        self.connection.as_ref().and_then(|connection| connection.offers).unwrap_or_default()
    }

    fn receive(&mut self) -> Vec<News> {
        if self.connection.is_none() {
            let accepted = socket::accept(&self.listener);
            self.connection =
                accepted.map(|socket| Connection { channel: Channel::new(socket), offers: None });
        }
        let mut news = Vec::new();
        for _ in 0..MAX_MESSAGES {
            let Some(connection) = &mut self.connection else { break };
            match connection.channel.receive() {
                Ok(Received::Nothing) => break,
                Ok(Received::Message(FromExporter::Hello { version, virustotal, reverse_dns }, _))
                    if connection.offers.is_none() && version == VERSION =>
                {
                    let offers = Offers { is_connected: true, virustotal, reverse_dns };
                    connection.offers = Some(offers);
                    news.push(News::Offers(offers));
                }
                Ok(Received::Message(FromExporter::Hello { version, .. }, _)) => {
                    news.extend(self.close());
                    if self.refused.as_ref() != Some(&version) {
                        news.push(News::Refused(version.clone()));
                        self.refused = Some(version);
                    }
                }
                Ok(Received::Message(message, _)) if connection.offers.is_some() => {
                    news.push(News::Message(message));
                }
                Ok(Received::Message(..) | Received::Closed) | Err(_) => news.extend(self.close()),
            }
        }
        news
    }

    /// Closes the connection; an exporter that lives connects again.
    fn close(&mut self) -> Option<News> {
        self.connection.take()?.offers.map(|_| News::Offers(Offers::default()))
    }

    /// Sends a question; false if it finds no room.
    fn send(&self, question: &ToExporter, file: Option<&std::fs::File>) -> bool {
        let Some(connection) = &self.connection else { return false };
        let message = Channel::encode(question);
        message.is_ok_and(|message| {
            connection.channel.send(&message, file.map(AsFd::as_fd)).is_ok_and(|sent| sent)
        })
    }
}

impl Recorder {
    /// Takes what the exporter has found, and asks it what is due. Never waits.
    pub(super) fn serve_exporter(&mut self) {
        let Some(mut exporter) = self.exporter.take() else { return };
        for news in exporter.receive() {
            let has_connected = matches!(&news, News::Offers(offers) if offers.is_connected);
            self.take_news(news);
            if has_connected {
                self.tell_positions(&mut exporter);
            }
        }
        if exporter.offers().virustotal
            && let Some(request) = self.reporter.next_lookup()
        {
            let question = ToExporter::LookUp { digest: request.digest, is_uploaded: request.is_uploaded };
            if !exporter.send(&question, request.file.as_ref())
                && let Some(gone) = exporter.close()
            {
                self.take_news(gone);
            }
        }
        while exporter.offers().reverse_dns
            && let Some(address) = self.names.next_reverse()
        {
            if !exporter.send(&ToExporter::Reverse(address), None)
                && let Some(gone) = exporter.close()
            {
                self.take_news(gone);
            }
        }
        self.exporter = Some(exporter);
    }

    /// Tells an exporter that has connected what its receivers have.
    fn tell_positions(&mut self, exporter: &mut ExporterLink) {
        let positions = self.positions.as_ref().map(PositionFile::all).unwrap_or_default();
        if !exporter.send(&ToExporter::Positions(positions), None)
            && let Some(gone) = exporter.close()
        {
            self.take_news(gone);
        }
    }

    fn take_news(&mut self, news: News) {
        match news {
            News::Offers(offers) => {
                self.reporter.set_lookups_connected(offers.virustotal);
                if !offers.is_connected {
                    self.reporter.set_exporter_gone();
                }
                if !offers.reverse_dns {
                    self.names.ask_reverse_again();
                }
            }
            News::Refused(version) => self.problems.report(&format!(
                "An exporter of version {} has connected, and this picosnitch is {VERSION}: VirusTotal and name servers are not \
                 asked, and nothing of the log is sent. Restart both services.",
                sanitize::shorten(&version, 32)
            )),
            News::Message(FromExporter::Result(result)) => self.reporter.add_lookup(&self.channel, result),
            News::Message(FromExporter::Status(status)) => self.reporter.set_lookup_status(status),
            News::Message(FromExporter::Name(address, name)) => self.names.set_reverse(address, name.as_deref()),
            News::Message(FromExporter::Problem(text)) => {
                self.problems.report(&sanitize::shorten(&text, MAX_SENTENCE));
            }
            News::Message(FromExporter::Sink(news)) => self.take_sink_news(news),
            News::Message(FromExporter::Hello { .. }) => {}
        }
    }

    /// Takes what the exporter tells of the copy of the log on a server.
    fn take_sink_news(&mut self, news: SinkNews) {
        match news {
            SinkNews::Status(status) => self.reporter.set_server(server_copy(status)),
            SinkNews::Position(name, position) => {
                if let Some(positions) = &mut self.positions {
                    positions.set(sanitize::shorten(&name, MAX_NAME), position);
                }
            }
            SinkNews::Problem(text) => self.problems.report(&sanitize::shorten(&text, MAX_SENTENCE)),
            SinkNews::Deleted(text, unsent) => {
                let text = sanitize::shorten(&text, MAX_SENTENCE);
                let mut event = Event::new(EventKind::Retention, time::now(), &*text);
                event.subject = UNSENT.to_owned();
                event.count = unsent.windows + unsent.records;
                self.reporter.add_event(event);
                self.problems.report(&text);
            }
        }
    }
}

/// The state of a copy for the clients of the live socket.
fn server_copy(status: SinkStatus) -> ServerCopy {
    let short = |text: String| sanitize::shorten(&text, MAX_SENTENCE);
    ServerCopy {
        name: short(status.name),
        server: short(status.server),
        connected: status.is_connected,
        last_window: status.last_window,
        sent_windows: status.sent_windows,
        sent_records: status.sent_records,
        lag_windows: status.lag_windows,
        lacks_since: status.lacks_since,
        unsent_windows: status.unsent.windows,
        unsent_records: status.unsent.records,
        problem: status.problem.map(short),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exporter_of_another_version_is_turned_away_and_another_one_taken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(socket::NAME);
        let user = sandbox::User { uid: nix::unistd::Uid::current(), gid: nix::unistd::Gid::current() };
        let mut link = ExporterLink::new(socket::listen_at(&path, user).unwrap());
        let hello = |version: &str| {
            let message =
                FromExporter::Hello { version: version.to_owned(), virustotal: true, reverse_dns: false };
            let channel = Channel::new(socket::connect(&path).unwrap());
            assert!(channel.send(&Channel::encode(&message).unwrap(), None).unwrap());
            channel
        };
        let old = hello("0");
        assert!(matches!(&link.receive()[..], [News::Refused(version)] if version == "0"));
        assert!(link.connection.is_none() && !link.offers().virustotal);
        drop(old);
        // It is told once.
        let _old = hello("0");
        assert!(link.receive().is_empty());
        let new = hello(VERSION);
        assert!(matches!(&link.receive()[..], [News::Offers(offers)] if offers.virustotal));
        assert!(link.send(&ToExporter::Reverse([192, 0, 2, 1].into()), None));
        drop(new);
        assert!(matches!(&link.receive()[..], [News::Offers(offers)] if !offers.virustotal));
        assert!(link.connection.is_none());
    }
}
