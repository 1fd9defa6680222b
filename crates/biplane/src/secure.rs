//! TLS of the listeners: the certificates of those that have none of their own, and the Admin API and status listener.

use std::io;
use std::path::Path;
use std::sync::Arc;

use engine::{Listener, Offer, ServerConfig, TlsSettings};

use crate::settings::FromEnvironment;
use crate::start::Places;

/// Has all listeners for TLS that were given no certificate show the same one, which nobody has reason to trust.
///
/// # Errors
/// When it can neither be read nor made.
pub fn add_default_certificates(places: &Places, environment: &mut FromEnvironment) -> io::Result<()> {
    let FromEnvironment { settings, admin_tls, status_tls, given, .. } = environment;
    let all = [(&places.proxy, &mut settings.tls), (&places.admin, admin_tls), (&places.status, status_tls)];
    let lacks = |(listeners, tls): &(&Vec<Listener>, &mut TlsSettings)| {
        tls.default_certificates.is_empty() && listeners.iter().any(|listener| listener.tls)
    };
    let lacking: Vec<_> = all.into_iter().filter(lacks).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let pairs = engine::default_pairs(given.get("prefix").map(Path::new))?;
    for (_, tls) in lacking {
        tls.default_certificates.clone_from(&pairs);
    }
    Ok(())
}

/// How a listener of the control plane speaks TLS; none in cleartext.
///
/// # Errors
/// When TLS has no randomness to begin with.
pub fn config(listener: &Listener, tls: &TlsSettings) -> io::Result<Option<Arc<ServerConfig>>> {
    let offer = if listener.http2 { Offer::Http2 } else { Offer::Http1 };
    listener.tls.then(|| engine::server_config(tls.clone(), offer)).transpose()
}
