//! Facts about remote addresses: domains, from the names that processes resolve and from the handshakes of their
//! connections; countries and networks, from local files.

mod address_cache;
mod dns_exchange;
mod dns_message;
mod dns_stream;
mod domain_name;
mod domains;
mod geo_record;
mod geography;
mod handshake;
mod http;
mod library_symbols;
mod quic;
mod remote_endpoint;
mod resolutions;
mod reverse_dns;
mod server_name;
mod special_purpose;
mod systemd_resolved;
mod tls;

pub use domains::{DomainDecision, Domains};
pub use geography::{GeoFiles, Geography, geography_files, packaged_country_file};
pub use library_symbols::{function_offsets, function_offsets_in};
pub use remote_endpoint::RemoteEndpoint;
pub use reverse_dns::{ReverseNames, look_up_address};
pub use systemd_resolved::{
    ResolvedAnswer, ResolvedStream, SOCKET as RESOLVED_SOCKET, SUBSCRIBE as RESOLVED_SUBSCRIBE,
};
