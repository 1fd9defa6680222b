//! The fields by which Kong's plugins look callers up in a directory that its maker hosts. There is none here.

use model::record;

use crate::build::BuildError;

record! {
    /// Principals of a hosted directory.
    #[allow(dead_code)]
    pub struct Principals {
        /// Whether callers are looked up in the directory. Not available: leave it off.
        enabled: bool = false;
        /// Name of the directory.
        directory: String = "default";
        /// Whether a caller that the directory does not know is refused.
        error_on_miss: bool = true;
    }
}

impl Principals {
    /// Refuses to look anybody up.
    ///
    /// # Errors
    /// The field `config.principals.enabled`, where it is on.
    pub fn refuse(&self) -> Result<(), BuildError> {
        if self.enabled {
            let message = "principals of a hosted directory are not available; set it to false";
            return Err(BuildError::new("config.principals.enabled", message));
        }
        Ok(())
    }
}
