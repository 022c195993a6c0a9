//! The backend of ratatui, without its questions: a terminal that does not answer where the cursor is (a serial console, a
//! pseudo terminal that nobody reads) would end the screen, and an answer that comes late would be taken for keys.

use std::io::{self, Stdout};

use ratatui::{
    backend::{Backend, ClearType, CrosstermBackend, WindowSize},
    buffer::Cell,
    layout::{Position, Size},
};

/// The size of most terminals that do not know their own.
const USUAL_SIZE: Size = Size { width: 80, height: 24 };

/// Writes to standard output and knows where it has set the cursor.
pub(super) struct QuietBackend {
    inner: CrosstermBackend<Stdout>,
    cursor: Position,
}

impl QuietBackend {
    pub(super) fn new() -> Self {
        Self { inner: CrosstermBackend::new(io::stdout()), cursor: Position::ORIGIN }
    }
}

/// The size of a terminal; a serial console has none, and is taken for one of the usual size.
fn known_size(size: Size) -> Size {
    let known = |length: u16, usual: u16| if length == 0 { usual } else { length };
    Size { width: known(size.width, USUAL_SIZE.width), height: known(size.height, USUAL_SIZE.height) }
}

impl Backend for QuietBackend {
    type Error = io::Error;

    fn draw<'a, I: Iterator<Item = (u16, u16, &'a Cell)>>(&mut self, content: I) -> io::Result<()> {
        self.inner.draw(content)
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.inner.hide_cursor()
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        self.inner.show_cursor()
    }

    /// Where the cursor was set last. The screens hide it, so that its true place does not matter.
    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(self.cursor)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        self.cursor = position.into();
        self.inner.set_cursor_position(self.cursor)
    }

    fn clear(&mut self) -> io::Result<()> {
        self.inner.clear()
    }

    fn clear_region(&mut self, region: ClearType) -> io::Result<()> {
        self.inner.clear_region(region)
    }

    fn size(&self) -> io::Result<Size> {
        self.inner.size().map(known_size)
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        self.inner.window_size()
    }

    fn flush(&mut self) -> io::Result<()> {
        Backend::flush(&mut self.inner)
    }
}
