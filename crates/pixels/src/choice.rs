//! Choices by their names, as nodes write them.

use crate::Error;

/// The one of `choices` that is called `name`; `what` says what kind of choice it is.
pub(crate) fn choose<T: Copy>(
    what: &'static str,
    name: &str,
    choices: &[(&str, T)],
) -> Result<T, Error> {
    let found = choices.iter().find(|(own, _)| *own == name);
    found.map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(own, _)| *own).collect();
        Error::UnknownOption {
            what,
            value: name.into(),
            expected: names.join(", "),
        }
    })
}
