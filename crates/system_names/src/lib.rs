//! Names that the system knows numbers by: users (`/etc/passwd`), groups (`/etc/group`) and services (`/etc/services`).

mod groups;
mod services;
mod users;

pub use groups::Groups;
pub use services::Services;
pub use users::Users;
