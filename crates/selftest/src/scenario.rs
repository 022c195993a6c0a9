//! What a scenario is, and all of them.

use super::{
    actor::{Outcome, Stage, Stop},
    lab, netlink, traffic,
};

/// Where an actor runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The first network namespace of the lab.
    Here,
    /// The second network namespace of the lab.
    There,
}

/// The work of an actor.
pub type Work = Box<dyn Fn(&Stage) -> Outcome<()> + Send + Sync>;

/// One process of a scenario.
pub struct Actor {
    /// Its name within the scenario.
    pub role: String,
    /// Where it runs; `None` when another actor starts it.
    pub place: Option<Place>,
    /// What it does.
    pub work: Work,
}

/// What is compared beside the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// Nothing.
    None,
    /// The traffic must be spread over at least this many windows.
    Windows(usize),
    /// The recorder must report a packet ring, whose bytes no kernel shows; the actor in this role is not compared.
    RingReported(&'static str),
}

/// Known traffic of one kind.
pub struct Scenario {
    /// Short and speaking.
    pub id: String,
    /// Its processes.
    pub actors: Vec<Actor>,
    /// Whether it runs beside the others because it takes long.
    pub overlapping: bool,
    /// How many times its actors meet before the recorder starts; 0: it starts after the recorder.
    pub meetings_before_recorder: usize,
    /// What is compared beside the counters.
    pub extra: Extra,
}

impl Scenario {
    /// A scenario without actors.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            actors: Vec::new(),
            overlapping: false,
            meetings_before_recorder: 0,
            extra: Extra::None,
        }
    }

    /// Adds a process that the selftest starts.
    pub fn actor(
        mut self,
        role: &str,
        place: Place,
        work: impl Fn(&Stage) -> Outcome<()> + Send + Sync + 'static,
    ) -> Self {
        self.actors.push(Actor { role: role.to_owned(), place: Some(place), work: Box::new(work) });
        self
    }

    /// Adds a process that another actor starts.
    pub fn helper(
        mut self,
        role: &str,
        work: impl Fn(&Stage) -> Outcome<()> + Send + Sync + 'static,
    ) -> Self {
        self.actors.push(Actor { role: role.to_owned(), place: None, work: Box::new(work) });
        self
    }

    /// Runs beside the others.
    pub fn overlapping(mut self) -> Self {
        self.overlapping = true;
        self
    }

    /// Starts before the recorder, which starts once the actors have met this many times.
    pub fn before_recorder(mut self, meetings: usize) -> Self {
        self.meetings_before_recorder = meetings;
        self
    }

    /// Compares something beside the counters.
    pub fn also(mut self, extra: Extra) -> Self {
        self.extra = extra;
        self
    }
}

/// Every scenario, in the order in which they run.
pub fn all() -> Vec<Scenario> {
    traffic::all()
}

/// Does the work of one actor: the actor's side of a scenario.
pub fn play(stage: &Stage) -> Outcome<()> {
    let scenarios = all();
    let actor = scenarios
        .iter()
        .filter(|scenario| scenario.id == stage.scenario)
        .flat_map(|scenario| &scenario.actors)
        .find(|actor| actor.role == stage.role)
        .ok_or_else(|| Stop::Failed(format!("no role {:?} in {:?}", stage.role, stage.scenario)))?;
    // Typed by hand outside the lab, an actor would talk to the machine's real network.
    if actor.place.is_some() && netlink::index(lab::INTERFACE).is_err() {
        return Err(Stop::Failed("this is not the selftest's private network".to_owned()));
    }
    (actor.work)(stage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_unique_and_short_enough_for_a_path() {
        let mut seen = std::collections::BTreeSet::new();
        for scenario in all() {
            for actor in &scenario.actors {
                let name = format!("{}-{}", scenario.id, actor.role);
                assert!(name.len() <= 60, "{name}");
                assert!(seen.insert(name.clone()), "{name} occurs twice");
            }
            assert!(scenario.actors.iter().any(|actor| actor.place.is_some()), "{}", scenario.id);
        }
        assert!(seen.len() > 20);
    }
}
