//! Vaults: where `{vault://...}` references look secrets up.

crate::record! {
    /// Settings of the vault of environment variables.
    pub struct EnvironmentVault {
        /// What the names of variables begin with.
        prefix: Option<String>, [matches("^[A-Za-z_][A-Za-z0-9_-]*$")];
    }
}

crate::entity! {
    /// A store of secrets under a prefix that references use.
    pub struct Vault in "vaults" {
        /// The word that references begin with.
        prefix: String, [unique(), matches("^[a-z][a-z0-9-]*[a-z0-9]+$"), not_one_of(&["env"])];
        /// The kind of vault; `env` reads environment variables.
        name: String, [one_of(&["env"])];
        /// What it is for.
        description: Option<String>;
        /// Settings of the kind.
        config: EnvironmentVault;
    }
    endpoint_key: "prefix"
}
