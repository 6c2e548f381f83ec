//! Node packs and models installed by a server's ComfyUI-Manager.

use serde::Serialize;

use super::reach::{Complaint, Open};
use crate::client::{InstallError, Installing, ModelWish};
use crate::diagnostic::{Diagnostic, codes};

/// What is to be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A node pack, by the address of its git repository.
    Nodes {
        /// The address.
        url: String,
    },
    /// A model.
    Model(ModelWish),
}

/// What was installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Installed {
    /// `nodes` or `model`.
    pub what: &'static str,
    /// Where it came from.
    pub from: String,
    /// The address of the server.
    pub url: String,
    /// Whether the server lists it now; null where only a restart would tell.
    pub listed: Option<bool>,
}

/// Installs something on every part of a server that answers, telling how far each is.
///
/// # Errors
/// When a server has no Manager, its Manager refuses, or it cannot be asked.
pub async fn install(
    open: &Open,
    wish: &Wish,
    mut told: impl FnMut(&str, Installing),
) -> Result<Vec<Installed>, Box<Complaint>> {
    let mut done = Vec::new();
    for endpoint in open.endpoints() {
        let url = &endpoint.url;
        let work = async {
            let manager = endpoint.client().manager().await?;
            match wish {
                Wish::Nodes { url } => manager.install_nodes(url).await?,
                Wish::Model(wish) => manager.install_model(wish).await?,
            }
            manager.run(|state| told(url, state)).await
        };
        work.await
            .map_err(|error| complaint(open, url, wish, &error))?;
        let (what, from, listed) = match wish {
            Wish::Nodes { url } => ("nodes", url, None),
            Wish::Model(wish) => {
                let files = endpoint.client().models_in(&wish.folder).await;
                let named =
                    |name: &String| name.rsplit(['/', '\\']).next() == Some(wish.filename.as_str());
                let listed = files.ok().map(|files| files.iter().any(named));
                ("model", &wish.url, listed)
            }
        };
        done.push(Installed {
            what,
            from: from.clone(),
            url: url.clone(),
            listed,
        });
    }
    Ok(done)
}

#[expect(
    clippy::unnecessary_box_returns,
    reason = "it is the error of a result, where it is boxed"
)]
fn complaint(open: &Open, url: &str, wish: &Wish, error: &InstallError) -> Box<Complaint> {
    if let InstallError::Client(error) = error {
        return open.wrong(error);
    }
    let message = format!("server `{}` ({url}): {error}", open.name);
    let built = Diagnostic::error(&codes::SERVER_REFUSED, message);
    let by_hand = match wish {
        Wish::Nodes { url } => format!(
            "or install it on the server by hand: `git clone {url}` in ComfyUI's folder `custom_nodes`, its requirements with pip, then restart ComfyUI"
        ),
        Wish::Model(wish) => format!(
            "or put the file on the server by hand: as `models/{}/{}` in ComfyUI's folder",
            wish.folder, wish.filename
        ),
    };
    let built = match error {
        InstallError::Absent => built.help(
            "install ComfyUI-Manager on the server: `pip install comfyui-manager`, and start ComfyUI with `--enable-manager`",
        ),
        InstallError::Forbidden => built.help(
            "lower `security_level` in the Manager's config.ini on the server, or do it from the server's own machine",
        ),
        InstallError::NotListed(_) => {
            built.help("a Manager only fetches models of its own list, under the names that stand there")
        }
        InstallError::Stuck => built.help("the server's own log tells what it waits for"),
        InstallError::Client(_) => built,
    };
    Complaint::of(built.help(by_hand))
}
