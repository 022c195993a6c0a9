//! Desktop notifications: their content, the folding of bursts, and the user's notification service.

mod burst;
mod desktop;
mod notification;

pub use burst::BurstFolder;
pub use desktop::{Desktop, DesktopError};
pub use notification::{Notification, NotificationKind};
