//! Node definitions of one server, kept in memory for the life of the process.
//!
//! The whole list can be megabytes and take a server half a second, so a few classes are asked for one by one.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use serde_json::Value;

use crate::catalog::{Catalog, Replacements};
use crate::client::{Client, ClientError};

/// More classes than this are fetched as the whole list.
const SINGLY: usize = 30;
/// Requests for single classes at a time.
const AT_ONCE: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Catalogs {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    catalog: Arc<Catalog>,
    /// Classes that were asked for, whether or not the server has them.
    asked: HashSet<String>,
    whole: bool,
}

impl Catalogs {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        let known = self.lock();
        // Definitions are read when they are asked for.
        let _ = known.catalog.nodes().count();
        known.catalog.broken()
    }

    pub(super) fn forget(&self) {
        *self.lock() = Known::default();
    }

    /// The catalog with these classes. Of one that the server does not have it is asked whether another takes its place.
    pub(super) async fn with(
        &self,
        client: &Client,
        classes: &[&str],
    ) -> Result<Arc<Catalog>, ClientError> {
        let catalog = self.classes(client, classes).await?;
        let lacking = |catalog: &Catalog, class: &str| catalog.node(class).is_none();
        if !classes.iter().any(|class| lacking(&catalog, class)) {
            return Ok(catalog);
        }
        let catalog = self.replacements(client, catalog).await;
        let instead = classes.iter().filter_map(|class| {
            let by = catalog.replacements()?.of(class)?;
            Some(by.new_node_id.clone())
        });
        let instead: Vec<String> = instead.filter(|class| lacking(&catalog, class)).collect();
        if instead.is_empty() {
            return Ok(catalog);
        }
        let instead: Vec<&str> = instead.iter().map(String::as_str).collect();
        self.classes(client, &instead).await
    }

    /// The catalog, and what the server puts in the place of classes that it does not have. One that does not tell leaves that unknown.
    async fn replacements(&self, client: &Client, catalog: Arc<Catalog>) -> Arc<Catalog> {
        if catalog.replacements().is_some() {
            return catalog;
        }
        let Ok(told) = client.node_replacements().await else {
            return catalog;
        };
        let told = serde_json::to_value(told).unwrap_or_default();
        let mut known = self.lock();
        let new = Catalog::clone(&known.catalog).replacing(Replacements::read(&told));
        known.catalog = Arc::new(new);
        Arc::clone(&known.catalog)
    }

    async fn classes(
        &self,
        client: &Client,
        classes: &[&str],
    ) -> Result<Arc<Catalog>, ClientError> {
        let missing = {
            let known = self.lock();
            if known.whole {
                return Ok(known.catalog.clone());
            }
            let new = classes
                .iter()
                .filter(|class| !known.asked.contains(**class));
            let missing: HashSet<String> = new.map(|class| (*class).to_owned()).collect();
            if missing.is_empty() {
                return Ok(known.catalog.clone());
            }
            missing
        };
        // A name that is more than one segment of a path cannot be asked for alone.
        let odd = |class: &String| class.is_empty() || class.contains('/');
        if missing.len() > SINGLY || missing.iter().any(odd) {
            return self.whole(client).await;
        }
        // Owned names and a boxed future, since callers hold this future across threads.
        let fetched: Vec<Value> = stream::iter(missing.clone())
            .map(|class| async move { client.object_info_class(&class).await }.boxed())
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let mut known = self.lock();
        let mut catalog = Catalog::clone(&known.catalog);
        for value in &fetched {
            if let Ok(some) = Catalog::open(&value.to_string()) {
                catalog.merge(some);
            }
        }
        known.asked.extend(missing);
        known.catalog = Arc::new(catalog);
        Ok(known.catalog.clone())
    }

    pub(super) async fn whole(&self, client: &Client) -> Result<Arc<Catalog>, ClientError> {
        {
            let known = self.lock();
            if known.whole {
                return Ok(known.catalog.clone());
            }
        }
        let text = client.object_info_text().await?;
        let read = tokio::task::spawn_blocking(move || Catalog::open(&text)).await;
        let read = read.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()));
        let catalog = match read {
            Ok(catalog) => catalog,
            // Asked again, it says in its own words what is wrong with the answer.
            Err(_) => Catalog::from_object_info(&client.object_info().await?).0,
        };
        let mut known = self.lock();
        let catalog = match known.catalog.replacements() {
            Some(told) => catalog.replacing(told.clone()),
            None => catalog,
        };
        *known = Known {
            catalog: Arc::new(catalog),
            asked: HashSet::new(),
            whole: true,
        };
        Ok(known.catalog.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ServerName;
    use axum::Json;
    use axum::extract::{Path, State};
    use axum::routing::{Router, get};
    use serde_json::json;

    type Asked = Arc<Mutex<Vec<String>>>;

    fn definition(name: &str) -> Value {
        json!({"input": {"required": {}}, "output": ["IMAGE"], "output_name": ["IMAGE"], "name": name, "display_name": name, "output_node": false})
    }

    async fn one(State(asked): State<Asked>, Path(class): Path<String>) -> Json<Value> {
        asked.lock().unwrap().push(class.clone());
        Json(match class.as_str() {
            "Missing" | "Gone" | "Lost" => json!({}),
            _ => json!({&*class: definition(&class)}),
        })
    }

    async fn all(State(asked): State<Asked>) -> Json<Value> {
        asked.lock().unwrap().push("*".to_owned());
        Json(json!({"A": definition("A"), "pack/B": definition("pack/B"), "Bad": 7}))
    }

    async fn server() -> (Client, Asked) {
        let asked = Asked::default();
        let replaced =
            json!({"Gone": [{"new_node_id": "A"}], "Lost": [{"new_node_id": "Missing"}]});
        let router = Router::new()
            .route(
                "/api/node_replacements",
                get(move || async { Json(replaced) }),
            )
            .route("/api/object_info", get(all))
            .route("/api/object_info/{class}", get(one))
            .with_state(asked.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (Client::new(ServerName::from("x"), &url).unwrap(), asked)
    }

    #[tokio::test]
    async fn a_class_is_asked_for_once_even_when_the_server_lacks_it() {
        let (client, asked) = server().await;
        let catalogs = Catalogs::default();
        for classes in [&["A", "Missing"][..], &["A"], &["Missing", "A", "C"]] {
            let catalog = catalogs.with(&client, classes).await.unwrap();
            assert!(catalog.node("A").is_some() && catalog.node("Missing").is_none());
        }
        let mut asked = asked.lock().unwrap().clone();
        asked.sort();
        assert_eq!(asked, ["A", "C", "Missing"]);
    }

    #[tokio::test]
    async fn what_takes_the_place_of_a_class_is_asked_for_when_one_is_missing() {
        let (client, asked) = server().await;
        let catalogs = Catalogs::default();
        let catalog = catalogs.with(&client, &["B"]).await.unwrap();
        assert!(catalog.replacements().is_none(), "nobody asked");
        let catalog = catalogs.with(&client, &["Gone", "Lost"]).await.unwrap();
        let stand_in = catalog.stand_in("Gone").unwrap();
        assert!(stand_in.certain && stand_in.by.new_node_id == "A");
        assert!(catalog.stand_in("Lost").is_none(), "nor has it the new one");
        let mut asked = asked.lock().unwrap().clone();
        asked.sort();
        assert_eq!(asked, ["A", "B", "Gone", "Lost", "Missing"]);
        let whole = catalogs.whole(&client).await.unwrap();
        assert!(whole.stand_in("Gone").is_some(), "it is not forgotten");
    }

    #[tokio::test]
    async fn many_classes_or_an_odd_name_fetch_the_whole_list() {
        let many: Vec<String> = (0..=SINGLY).map(|n| format!("N{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for classes in [&many[..], &["pack/B"]] {
            let (client, asked) = server().await;
            let catalogs = Catalogs::default();
            let catalog = catalogs.with(&client, classes).await.unwrap();
            assert!(catalog.node("pack/B").is_some());
            catalogs.with(&client, &["A", "Other"]).await.unwrap();
            assert_eq!(*asked.lock().unwrap(), ["*"]);
            assert_eq!(
                catalogs.warnings().len(),
                1,
                "one bad definition, one warning"
            );
        }
    }
}
