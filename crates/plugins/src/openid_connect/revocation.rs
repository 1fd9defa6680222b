//! Giving tokens back (RFC 7009).

use std::sync::Arc;

use plugin::BuildError;

use super::Setup;
use super::client::SignIn;
use super::exchange::pairs;
use super::http::{Http, Pairs};
use super::provider::{Endpoint, Provider};
use super::refusal::Refusal;

/// How tokens are given back.
pub(super) struct Revocation {
    http: Arc<Http>,
    provider: Provider,
    endpoint: Endpoint,
    sign_in: SignIn,
    token_name: String,
}

impl Revocation {
    pub(super) fn new(setup: &Setup<'_>) -> Result<Self, BuildError> {
        let &Setup { config, provider, .. } = setup;
        let grants = &config.grants;
        let text = grants.revocation_endpoint.as_deref();
        let method = grants.revocation_endpoint_auth_method.as_deref();
        let sign_in = SignIn::new(setup, ("revocation_endpoint_auth_method", method))?;
        let endpoint = Endpoint::new(setup, "revocation_endpoint", text, |told| told.revocation.as_ref())?;
        let text = config.possession.mtls_revocation_endpoint.as_deref();
        Ok(Self {
            http: sign_in.http(setup),
            provider: provider.clone(),
            endpoint: sign_in.endpoint(setup, endpoint, "mtls_revocation_endpoint", text)?.needed_for(
                setup,
                "logout_revoke",
                "revocation_endpoint",
            )?,
            sign_in,
            token_name: grants.revocation_token_param_name.clone(),
        })
    }

    /// Gives a token back. `kind` is what the provider is told about it (RFC 7009 2.1).
    pub(super) async fn revoke(&self, token: &str, kind: &str, now_s: u64) -> Result<(), Refusal> {
        let address = self.endpoint.find(&self.provider).await?;
        let mut form = pairs([(self.token_name.as_str(), token), ("token_type_hint", kind)]);
        let mut headers = Pairs::new();
        self.sign_in.add(&address, now_s, &mut form, &mut headers);
        match self.http.post_once(&address, &form, &headers).await {
            Ok(given) if given.status == 200 => Ok(()),
            _ => Err(Refusal::Unavailable),
        }
    }
}
