//! Secrets that are near: in the environment of the process and in files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use model::secret::{Secret, Wanted};

use super::files;

/// Folder of secrets where nobody names another: the one in which containers find theirs.
const USUAL_FOLDER: &str = "/run/secrets";

/// The kind of vaults that are folders; all others that are near are the environment.
const FILE: &str = "file";

/// The environment, and the folder of secrets where a vault names no other.
pub struct Near {
    variables: HashMap<String, Secret>,
    folder: PathBuf,
}

impl Near {
    /// With these variables, and this folder if it is not the usual one.
    pub fn new(variables: impl Iterator<Item = (String, String)>, folder: Option<&Path>) -> Self {
        Self {
            variables: variables.map(|(name, value)| (name, Secret::new(value))).collect(),
            folder: folder.unwrap_or(Path::new(USUAL_FOLDER)).to_owned(),
        }
    }

    /// What is there under that name.
    ///
    /// # Errors
    /// Why there is nothing.
    pub fn read(&self, wanted: &Wanted) -> Result<Secret, String> {
        let config = &wanted.config;
        if wanted.kind == FILE {
            let folder = config.path.as_deref().map_or(self.folder.as_path(), Path::new);
            return files::read(folder, &wanted.resource);
        }
        self.variable(config.prefix.as_deref(), &wanted.resource)
    }

    /// As Kong names variables: in capitals, with `_` for `-`, behind the vault's prefix (kong.md 1.8).
    fn variable(&self, prefix: Option<&str>, resource: &str) -> Result<Secret, String> {
        let name = format!("{}{resource}", prefix.unwrap_or_default()).replace('-', "_").to_ascii_uppercase();
        let value = self.variables.get(&name).cloned();
        value.ok_or_else(|| format!("the environment has no variable {name}"))
    }
}
