//! Names that the system knows numbers by: users (`/etc/passwd`) and services (`/etc/services`).

mod services;
mod users;

pub use services::Services;
pub use users::Users;
