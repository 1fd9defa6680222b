//! TLS for listeners that are not the data plane's.

use std::io;
use std::sync::Arc;

use plugin::exchange::Demand;
use rustls::ServerConfig;

use super::keeper::Keeper;
use super::offer::Offer;
use super::settings::TlsSettings;

/// A configuration of rustls that shows the default certificates of `settings` to everybody and demands of clients what
/// they say. Its tickets are its own; there are none where certificates are demanded, because nobody would look at those
/// of resumed sessions again.
///
/// # Errors
/// When there is no randomness for keys, or no certificate.
pub fn server_config(mut settings: TlsSettings, offer: Offer) -> io::Result<Arc<ServerConfig>> {
    settings.session_tickets &= settings.verify_client == Demand::Nothing;
    let keeper = Keeper::new(settings).map_err(io::Error::other)?;
    let shown = keeper.default_shown().ok_or_else(|| io::Error::other("there is no certificate to show"))?;
    shown.config(keeper.demand(), offer).ok_or_else(|| io::Error::other("nothing was made ready"))
}
