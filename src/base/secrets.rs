//! The values of secrets, where they are needed.

use std::fmt;
use std::sync::Arc;

use super::inputs::Inputs;
use super::secret::{MissingSecret, reveal};

/// Where the values of secrets are looked up, at the moment in which they are needed. Cheap to clone; never prints a value.
#[derive(Clone, Default)]
pub struct Secrets {
    inputs: Arc<Inputs>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Secrets {
    /// The environment, and the `.env` that was read through these inputs.
    pub fn of(inputs: Arc<Inputs>) -> Self {
        Self { inputs }
    }

    /// The value of a secret; an empty one counts as unset.
    pub fn get(&self, name: &str) -> Option<String> {
        self.inputs.secret(name).filter(|value| !value.is_empty())
    }

    /// A text with the secrets' values in it.
    ///
    /// # Errors
    /// When a secret has no value, or a placeholder is not whole.
    pub fn reveal(&self, text: &str) -> Result<String, MissingSecret> {
        reveal(text, &|name| self.get(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::placeholder;

    #[test]
    fn a_dotenv_value_stands_in_for_a_variable_that_is_not_set() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(".env");
        std::fs::write(&file, "KILN_TEST_ONLY_HERE=hush\nPATH=/nowhere\n").unwrap();
        let inputs = Arc::new(Inputs::default());
        inputs.read_dotenv(&file).unwrap();
        let secrets = Secrets::of(inputs);
        let text = format!("Bearer {}", placeholder("KILN_TEST_ONLY_HERE"));
        assert_eq!(secrets.reveal(&text).unwrap(), "Bearer hush");
        assert_ne!(
            secrets.get("PATH").unwrap(),
            "/nowhere",
            "the environment wins"
        );
        let unset = secrets.reveal(&placeholder("KILN_TEST_NOWHERE"));
        assert!(unset.unwrap_err().to_string().contains("KILN_TEST_NOWHERE"));
        assert!(!format!("{secrets:?}").contains("hush"));
    }
}
