//! A scenario: known traffic of one kind, and the actors that make it.

use crate::{
    actor_process::{ActorProcess, ActorResult},
    lab::LabNamespace,
};

/// The function that an actor runs.
pub(crate) type ActorFunction = Box<dyn Fn(&ActorProcess) -> ActorResult<()> + Send + Sync>;

/// The definition of one process of a scenario.
pub(crate) struct ActorDefinition {
    /// Its name, unique within the scenario.
    pub(crate) role: String,
    /// The namespace in which the selftest starts it; `None` if another actor starts it.
    pub(crate) namespace: Option<LabNamespace>,
    pub(crate) run: ActorFunction,
}

/// A check in addition to the counters and the identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExtraCheck {
    None,
    /// The traffic must be spread over at least this many windows.
    MinWindows(usize),
    /// The recorder must report a packet ring, whose bytes the kernel does not show. The actor in this role is not compared.
    RingReported(&'static str),
}

/// Known traffic of one kind.
pub(crate) struct Scenario {
    /// A short name, unique among all scenarios.
    pub(crate) id: String,
    pub(crate) actors: Vec<ActorDefinition>,
    /// Whether it runs in parallel with the other scenarios, because it takes long.
    pub(crate) is_parallel: bool,
    /// Number of barriers that its actors reach before the recorder starts; 0 for a scenario that starts after the recorder.
    pub(crate) barriers_before_recorder: usize,
    pub(crate) extra_check: ExtraCheck,
}

impl Scenario {
    /// Makes a scenario without actors.
    pub(crate) fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            actors: Vec::new(),
            is_parallel: false,
            barriers_before_recorder: 0,
            extra_check: ExtraCheck::None,
        }
    }

    /// Adds a process that the selftest starts.
    pub(crate) fn actor(
        mut self,
        role: &str,
        namespace: LabNamespace,
        run: impl Fn(&ActorProcess) -> ActorResult<()> + Send + Sync + 'static,
    ) -> Self {
        let (role, namespace) = (role.to_owned(), Some(namespace));
        self.actors.push(ActorDefinition { role, namespace, run: Box::new(run) });
        self
    }

    /// Adds a process that another actor starts.
    pub(crate) fn child_actor(
        mut self,
        role: &str,
        run: impl Fn(&ActorProcess) -> ActorResult<()> + Send + Sync + 'static,
    ) -> Self {
        self.actors.push(ActorDefinition { role: role.to_owned(), namespace: None, run: Box::new(run) });
        self
    }

    /// Lets the scenario run in parallel with the other scenarios.
    pub(crate) fn parallel(mut self) -> Self {
        self.is_parallel = true;
        self
    }

    /// Starts the scenario before the recorder, which starts when the actors have reached this many barriers.
    pub(crate) fn before_recorder(mut self, barriers: usize) -> Self {
        self.barriers_before_recorder = barriers;
        self
    }

    /// Adds a check to that of the counters.
    pub(crate) fn with_check(mut self, check: ExtraCheck) -> Self {
        self.extra_check = check;
        self
    }
}
