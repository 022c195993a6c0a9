//! The settings of the exporter, as they follow from the configuration.

use config::{Config, layout::Layout};

/// The settings of the exporter of a daemon.
pub fn exporter_settings(layout: &Layout, config: &Config) -> exporter::Settings {
    let virustotal = (!config.virustotal.api_key.0.is_empty()).then(|| virustotal::Settings {
        url: config.virustotal.url.clone(),
        key: config.virustotal.api_key.0.clone(),
        upload: config.virustotal.file_upload,
        request_limit_seconds: config.virustotal.request_limit_seconds,
    });
    exporter::Settings::new(virustotal, config.names.reverse_dns, &layout.run_dir)
}
