//! Settings that replace those before while the recorder works. What it has got until then is recorded under the old ones.

use std::{path::Path, time::Instant};

use super::state::Recorder;
use crate::messages::Settings;
use model::{Event, EventKind, text::time};
use names::Geography;

impl Recorder {
    /// Closes the window under the old settings, and goes on with the new ones. `text` says what has changed.
    pub(super) fn apply(&mut self, settings: &Settings, text: String) {
        let other_rules = settings.rules != self.rules;
        if other_rules {
            // Groups that wait for their domain would be judged by rules that did not hold for them.
            self.name_groups(true);
        }
        self.close_window(false);
        self.reporter.add_event(Event::new(EventKind::Configuration, time::now(), text));
        self.window_length = settings.window_length();
        self.window_end = Instant::now() + self.window_length;
        self.window.apply(settings.rules.clone(), settings.write_limit_seconds, settings.fold_above);
        self.sinks.apply(settings, &self.problems);
        self.reporter.apply(settings);
        if settings.geography != self.geography_files {
            let directory = settings.reporter.record_json.parent().unwrap_or(Path::new("/"));
            let (geography, unknown) = Geography::open(&settings.geography, directory);
            unknown.iter().for_each(|problem| self.problems.report(problem));
            self.geography = geography;
            self.geography_files = settings.geography.clone();
        }
        if other_rules {
            self.contexts.set_rules(settings.rules.clone());
            self.names.set_rules(settings.rules.clone());
            self.connections.begin_anew();
            if let Some(live) = self.reporter.live() {
                live.end_subscriptions();
            }
            self.rules = settings.rules.clone();
        }
    }
}
