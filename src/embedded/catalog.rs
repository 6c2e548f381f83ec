//! What `/object_info` and `/models` say, and the same as a [`Catalog`] for validation.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::nodes;
use crate::catalog::{Catalog, Replacements};

/// The folders that `ComfyUI` keeps models in. There are none here, but clients ask.
pub(super) const MODEL_FOLDERS: [&str; 27] = [
    "checkpoints",
    "configs",
    "loras",
    "vae",
    "text_encoders",
    "diffusion_models",
    "clip_vision",
    "style_models",
    "embeddings",
    "diffusers",
    "vae_approx",
    "controlnet",
    "gligen",
    "upscale_models",
    "latent_upscale_models",
    "custom_nodes",
    "datasets",
    "hypernetworks",
    "photomaker",
    "classifiers",
    "model_patches",
    "audio_encoders",
    "background_removal",
    "frame_interpolation",
    "geometry_estimation",
    "optical_flow",
    "detection",
];

/// Every class as `/object_info` shows it; `pictures` are the names that loaders offer.
pub(super) fn object_info(pictures: &[String]) -> Value {
    let classes: Map<String, Value> = nodes::classes()
        .map(|class| (class.name.to_owned(), class.info(pictures)))
        .collect();
    Value::Object(classes)
}

/// The classes as validation reads them. Which input files there are, it asks the folders.
pub(super) static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let catalog = Catalog::from_object_info(&object_info(&[])).0;
    catalog.replacing(Replacements::default())
});

/// The classes of the embedded server, without starting one. No input files are known.
pub fn catalog() -> Catalog {
    CATALOG.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_can_be_validated() {
        let (catalog, warnings) = Catalog::from_object_info(&object_info(&["a.png".into()]));
        assert_eq!(warnings, [""; 0]);
        for class in nodes::classes() {
            assert!(catalog.node(class.name).is_some(), "{}", class.name);
        }
    }
}
