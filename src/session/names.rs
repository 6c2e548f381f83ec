//! Names for a shell to complete: what files and the journal say right now. Nothing is complained of: what cannot be read has no names.

use std::path::Path;

use serde_yaml::Value;

use super::history::{History, project_of};
use super::load::PROJECT_FILE;

/// Runs that are offered.
const RUNS: usize = 50;
/// Files that are larger are no pipelines.
const LARGEST: u64 = 4 * 1024 * 1024;

/// The steps of a pipeline.
pub fn steps(pipeline: &Path) -> Vec<String> {
    keys(pipeline, "steps")
}

/// The servers that can be named in the project around a folder, beside URLs.
pub fn servers(folder: &Path) -> Vec<String> {
    let mut names = keys(&project_of(folder).join(PROJECT_FILE), "servers");
    for own in ["local", "embedded"] {
        if !names.iter().any(|name| name == own) {
            names.push(own.to_owned());
        }
    }
    names
}

/// The profiles of the project around a folder.
pub fn profiles(folder: &Path) -> Vec<String> {
    keys(&project_of(folder).join(PROJECT_FILE), "profiles")
}

/// The newest runs of the project around a folder, each with its pipeline and how it stands.
pub fn runs(folder: &Path) -> Vec<(String, String)> {
    let Ok(history) = History::open(folder) else {
        return Vec::new();
    };
    let runs = history.reader().runs().unwrap_or_default();
    let told = runs.into_iter().take(RUNS).map(|run| {
        let about = format!("{}, {}", run.pipeline, history.alive(&run).word());
        (run.run.0, about)
    });
    told.collect()
}

/// The keys of a map at the top of a YAML file.
fn keys(path: &Path, of: &str) -> Vec<String> {
    let small = std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() <= LARGEST);
    let text = small.then(|| std::fs::read_to_string(path).ok()).flatten();
    let read: Option<Value> = text.and_then(|text| serde_yaml::from_str(&text).ok());
    let map = read.as_ref().and_then(|root| root.get(of)?.as_mapping());
    let keys = map.into_iter().flat_map(serde_yaml::Mapping::keys);
    keys.filter_map(|key| key.as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_files_that_may_be_wrong_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("p.yaml", "steps:\n  base: { nonsense: 1 }\n  last: {}\n");
        write(
            "kiln.yaml",
            "servers: { farm: {} }\nprofiles: { draft: {} }\n",
        );
        assert_eq!(steps(&dir.path().join("p.yaml")), ["base", "last"]);
        assert_eq!(servers(dir.path()), ["farm", "local", "embedded"]);
        assert_eq!(profiles(dir.path()), ["draft"]);
        write("p.yaml", "steps: [");
        assert_eq!(steps(&dir.path().join("p.yaml")), Vec::<String>::new());
        assert_eq!(runs(dir.path()), Vec::new());
    }
}
