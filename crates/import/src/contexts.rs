//! The contexts of rows, which rows share: most rows of a log are of few programs.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;
use model::{CgroupInfo, ProcessContext, Program};

use crate::{
    cell::Cell,
    fields::program,
    oddity::{Oddities, Oddity},
};

/// Bytes of texts, and entries, that are remembered. A full memory is emptied.
const MAX_BYTES: usize = 6 << 20;
const MAX_CONTEXTS: usize = 16_384;

/// The programs of a context, by their addresses, its user and its network namespace.
type ContextKey = ([usize; 3], u32, u32);

/// A context with its programs, so that no other program gets their addresses.
struct KnownContext {
    context: Arc<ProcessContext>,
    _programs: [Arc<Program>; 3],
}

/// The programs and contexts of the last rows.
#[derive(Default)]
pub(crate) struct Contexts {
    /// By the values of their columns.
    programs: HashMap<Box<[u8]>, (Arc<Program>, Oddities), RandomState>,
    contexts: HashMap<ContextKey, KnownContext, RandomState>,
    bytes: usize,
    key: Vec<u8>,
}

impl Contexts {
    /// The program with these values: path, name, command line, digest.
    pub fn program(&mut self, cells: [Cell<'_>; 4], odd: &mut Oddities) -> Arc<Program> {
        self.key.clear();
        cells.iter().for_each(|cell| cell.add_to_key(&mut self.key));
        if let Some((program, of_program)) = self.programs.get(&*self.key) {
            odd.union(*of_program);
            return Arc::clone(program);
        }
        let mut of_program = Oddities::default();
        let program = Arc::new(program(cells, &mut of_program));
        odd.union(of_program);
        self.make_room(self.key.len() + bytes_of(&program));
        self.programs.insert(self.key.as_slice().into(), (Arc::clone(&program), of_program));
        program
    }

    /// The context of these programs.
    pub fn context(
        &mut self,
        programs: [Arc<Program>; 3],
        uid: u32,
        network_namespace: u32,
    ) -> Arc<ProcessContext> {
        let addresses = programs.each_ref().map(|program| Arc::as_ptr(program) as usize);
        let key = (addresses, uid, network_namespace);
        if let Some(known) = self.contexts.get(&key) {
            return Arc::clone(&known.context);
        }
        self.make_room(programs.iter().map(|program| bytes_of(program)).sum());
        let [program, parent, grandparent] = programs.each_ref().map(|program| (**program).clone());
        let cgroup = CgroupInfo::default();
        let context =
            Arc::new(ProcessContext { program, parent, grandparent, uid, network_namespace, cgroup });
        self.contexts.insert(key, KnownContext { context: Arc::clone(&context), _programs: programs });
        context
    }

    fn make_room(&mut self, bytes: usize) {
        if self.bytes + bytes > MAX_BYTES || self.contexts.len() >= MAX_CONTEXTS {
            self.programs.clear();
            self.contexts.clear();
            self.bytes = 0;
        }
        self.bytes += bytes;
    }
}

fn bytes_of(program: &Program) -> usize {
    program.path.len() + program.name.len() + program.command_line.len()
}

/// Notes that a row refers to something that is not there. Id 0 stands for none.
pub(crate) fn add_missing(id: i64, odd: &mut Oddities) {
    if id != 0 {
        odd.add(Oddity::MissingReference);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_share_contexts_and_a_full_memory_mixes_nothing_up() {
        let mut contexts = Contexts::default();
        let mut odd = Oddities::default();
        let mut of = |text: &str, uid| {
            let cell = Cell::Text(text.as_bytes());
            let program = contexts.program([cell, cell, cell, Cell::None], &mut odd);
            let none = contexts.program([Cell::None; 4], &mut odd);
            contexts.context([Arc::clone(&program), program, none], uid, 7)
        };
        assert!(Arc::ptr_eq(&of("a", 1), &of("a", 1)));
        assert!(!Arc::ptr_eq(&of("a", 1), &of("a", 2)));
        let long = "x".repeat(4000);
        for number in 0..3000 {
            let text = format!("{number} {long}");
            let context = of(&text, number);
            assert_eq!((context.program.path.as_slice(), context.uid), (text.as_bytes(), number));
        }
        assert!(contexts.bytes <= MAX_BYTES);
    }
}
