//! Finding a node the way people name it: by id, by exact title, by class.

use std::collections::HashMap;

use super::Graph;
use crate::base::NodeId;
use crate::diagnostic::did_you_mean;

/// By what a node was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Its id.
    Id,
    /// Its exact `_meta.title`.
    Title,
    /// Its `class_type`.
    Class,
}

/// Why a key names no node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No node has this id, title or class.
    #[error("no node has the id, title or class `{key}`")]
    NotFound {
        /// What was looked for.
        key: String,
        /// Names of nodes that are near to it, the nearest first.
        near: Vec<String>,
    },
    /// More than one node of the first tier that matches.
    #[error("`{key}` is the {} of {} nodes", if *tier == Tier::Title { "title" } else { "class" }, matches.len())]
    Ambiguous {
        /// What was looked for.
        key: String,
        /// By what they match.
        tier: Tier,
        /// The nodes, in file order.
        matches: Vec<NodeId>,
    },
}

/// The node that `key` means: the node with this id, else the one with exactly this title, else the one of this class. The first
/// tier that matches wins.
///
/// # Errors
/// When no node matches, or several do within the winning tier.
pub fn address(graph: &Graph, key: &str) -> Result<NodeId, AddressError> {
    if let Some((id, _)) = graph.nodes.get_key_value(key) {
        return Ok(id.clone());
    }
    for tier in [Tier::Title, Tier::Class] {
        let matches: Vec<NodeId> = graph
            .nodes
            .iter()
            .filter(|(_, node)| match tier {
                Tier::Title => node.title() == Some(key),
                _ => node.class_type == key,
            })
            .map(|(id, _)| id.clone())
            .collect();
        match matches.as_slice() {
            [] => {}
            [only] => return Ok(only.clone()),
            _ => {
                return Err(AddressError::Ambiguous {
                    key: key.to_owned(),
                    tier,
                    matches,
                });
            }
        }
    }
    let names = || {
        graph
            .nodes
            .values()
            .flat_map(|node| node.title().into_iter().chain([node.class_type.as_str()]))
    };
    let mut near: Vec<String> = Vec::new();
    while near.len() < 3 {
        let taken = &near;
        let next = did_you_mean(key, names().filter(|n| !taken.iter().any(|t| t == n)));
        match next.map(str::to_owned) {
            Some(name) => near.push(name),
            None => break,
        }
    }
    Err(AddressError::NotFound {
        key: key.to_owned(),
        near,
    })
}

/// What each name of a graph means, for many questions about one graph.
#[derive(Debug)]
pub struct Names<'g> {
    graph: &'g Graph,
    /// The only node of a title, or none where several have it.
    titles: HashMap<&'g str, Option<&'g NodeId>>,
    classes: HashMap<&'g str, Option<&'g NodeId>>,
}

impl<'g> Names<'g> {
    /// The names of a graph.
    pub fn new(graph: &'g Graph) -> Self {
        let mut names = Self {
            graph,
            titles: HashMap::new(),
            classes: HashMap::new(),
        };
        let note = |all: &mut HashMap<&'g str, Option<&'g NodeId>>, name, id| {
            let several = all.contains_key(name);
            all.insert(name, if several { None } else { Some(id) });
        };
        for (id, node) in &graph.nodes {
            if let Some(title) = node.title() {
                note(&mut names.titles, title, id);
            }
            note(&mut names.classes, &node.class_type, id);
        }
        names
    }

    /// Whether a name means this node and no other, as [`address`] has it.
    pub fn means(&self, name: &str, id: &NodeId) -> bool {
        if let Some((found, _)) = self.graph.nodes.get_key_value(name) {
            return found == id;
        }
        let tier = self.titles.get(name).or_else(|| self.classes.get(name));
        tier.is_some_and(|found| *found == Some(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::parse;

    fn graph() -> Graph {
        parse(
            r#"{"1":{"class_type":"LoadImage","inputs":{},"_meta":{"title":"KSampler"}},
                "2":{"class_type":"KSampler","inputs":{}},
                "KSamplerX":{"class_type":"1","inputs":{}},
                "4":{"class_type":"SaveImage","inputs":{},"_meta":{"title":"Out"}},
                "5":{"class_type":"SaveImage","inputs":{},"_meta":{"title":"Save"}}}"#,
        )
        .unwrap()
    }

    #[test]
    fn the_first_tier_that_matches_wins() {
        let graph = graph();
        assert_eq!(address(&graph, "1").unwrap().as_str(), "1");
        assert_eq!(address(&graph, "KSampler").unwrap().as_str(), "1");
        assert_eq!(address(&graph, "LoadImage").unwrap().as_str(), "1");
        assert_eq!(address(&graph, "Out").unwrap().as_str(), "4");
    }

    #[test]
    fn several_in_one_tier_are_listed() {
        let error = address(&graph(), "SaveImage").unwrap_err();
        assert_eq!(error.to_string(), "`SaveImage` is the class of 2 nodes");
        let AddressError::Ambiguous { matches, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(matches, [NodeId::from("4"), NodeId::from("5")]);
    }

    #[test]
    fn near_names_are_offered_for_none() {
        let error = address(&graph(), "LoadImagee").unwrap_err();
        assert_eq!(
            error,
            AddressError::NotFound {
                key: "LoadImagee".into(),
                near: vec!["LoadImage".into()]
            }
        );
    }

    #[test]
    fn many_names_mean_what_each_of_them_means() {
        let graph = crate::workflow::parse(
            r#"{"1":{"class_type":"A","inputs":{},"_meta":{"title":"2"}},
                "2":{"class_type":"A","inputs":{},"_meta":{"title":"Same"}},
                "3":{"class_type":"B","inputs":{},"_meta":{"title":"Same"}},
                "4":{"class_type":"C","inputs":{},"_meta":{"title":"B"}},
                "5":{"class_type":"Same","inputs":{}}}"#,
        )
        .unwrap();
        let names = Names::new(&graph);
        for name in ["1", "2", "A", "B", "C", "Same", "none", ""] {
            for id in graph.nodes.keys() {
                let means = address(&graph, name).is_ok_and(|found| found == *id);
                assert_eq!(names.means(name, id), means, "{name} {id}");
            }
        }
    }
}
