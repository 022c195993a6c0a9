//! The other end, ready to be sent to: what is made once for a session, not for each item.

use config::Destination;

use crate::{
    error::ForwardError,
    item::Item,
    journald,
    otlp::{Collector, Refusal, Totals},
    syslog::Syslog,
    target::Target,
    webhook::Hook,
};

/// Items that a receiver gets at once.
const MAX_ITEMS: usize = 500;

/// A receiver.
pub(crate) enum Receiver<'a> {
    Syslog(Syslog<'a>),
    Journald(String),
    Webhook(Hook<'a>),
    Otlp(Collector<'a>),
}

impl<'a> Receiver<'a> {
    /// The receiver of a section, whose certificates are read.
    pub fn new(target: &'a Target, host: &'a str) -> Result<Self, ForwardError> {
        Ok(match &target.section.destination {
            Destination::Syslog(server) => Self::Syslog(Syslog::new(target, server, host)?),
            Destination::Journald => Self::Journald(target.address()),
            Destination::Webhook(section) => Self::Webhook(Hook::new(target, section)?),
            Destination::Otlp(section) => Self::Otlp(Collector::new(target, section, host)?),
        })
    }

    /// How many items are sent at once, of which it has all or, after an error, perhaps some.
    pub fn batch(&self) -> usize {
        match self {
            // Each is a request with an answer of its own.
            Self::Webhook(_) => 1,
            Self::Syslog(_) | Self::Journald(_) | Self::Otlp(_) => MAX_ITEMS,
        }
    }

    /// Sends items; returns when the receiver has them, as far as it tells, but for those that it refuses for good.
    pub async fn send(&self, items: &[Item]) -> Result<Vec<Refusal>, ForwardError> {
        match self {
            Self::Syslog(syslog) => syslog.send(items).await?,
            Self::Journald(address) => journald::send(address, items).await?,
            Self::Webhook(hook) => {
                for item in items {
                    hook.send(item).await?;
                }
            }
            Self::Otlp(collector) => return collector.send_logs(items).await,
        }
        Ok(Vec::new())
    }

    /// Whether it gets sums as well.
    pub fn has_metrics(&self) -> bool {
        matches!(self, Self::Otlp(collector) if collector.has_metrics())
    }

    /// Sends sums, as [`Receiver::send`] does items.
    pub async fn send_metrics(&self, totals: &Totals) -> Result<Vec<Refusal>, ForwardError> {
        match self {
            Self::Otlp(collector) => collector.send_metrics(totals).await,
            Self::Syslog(_) | Self::Journald(_) | Self::Webhook(_) => Ok(Vec::new()),
        }
    }
}
