//! Which classes can be acted, and how they are declared.

use std::borrow::Cow;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::catalog::{Catalog, NodeDef, Replacements};
use crate::embedded::catalog::object_info;
use crate::workflow::Graph;

/// The module of acted classes, so that a client can tell.
const MODULE: &str = "kiln.simulated";
/// The module of classes that take whatever they are given.
pub const LENIENT: &str = "kiln.simulated.any";
/// Outputs of a class that nobody knows.
const SLOTS: usize = 16;

/// Classes of `ComfyUI` 0.33.0 that ordinary graphs use: name, inputs (`?` marks optional ones), outputs; a `!` before the name ends a graph.
/// Names of models, samplers and the like are plain texts here: a rehearsal takes any.
const CLASSES: &str = "
CheckpointLoaderSimple | ckpt_name:STRING | MODEL CLIP VAE
UNETLoader | unet_name:STRING weight_dtype:STRING | MODEL
CLIPLoader | clip_name:STRING type?:STRING device?:STRING | CLIP
DualCLIPLoader | clip_name1:STRING clip_name2:STRING type?:STRING device?:STRING | CLIP
TripleCLIPLoader | clip_name1:STRING clip_name2:STRING clip_name3:STRING | CLIP
VAELoader | vae_name:STRING | VAE
LoraLoader | model:MODEL clip:CLIP lora_name:STRING strength_model:FLOAT strength_clip:FLOAT | MODEL CLIP
LoraLoaderModelOnly | model:MODEL lora_name:STRING strength_model:FLOAT | MODEL
ControlNetLoader | control_net_name:STRING | CONTROL_NET
UpscaleModelLoader | model_name:STRING | UPSCALE_MODEL
CLIPVisionLoader | clip_name:STRING | CLIP_VISION
StyleModelLoader | style_model_name:STRING | STYLE_MODEL
LoadImageMask | image:STRING channel:STRING | MASK
LoadAudio | audio:STRING | AUDIO
LoadVideo | file:STRING | VIDEO
LoadLatent | latent:STRING | LATENT
CLIPTextEncode | text:STRING clip:CLIP | CONDITIONING
CLIPTextEncodeFlux | clip:CLIP clip_l:STRING t5xxl:STRING guidance:FLOAT | CONDITIONING
CLIPTextEncodeSDXL | clip:CLIP width:INT height:INT crop_w:INT crop_h:INT target_width:INT target_height:INT text_g:STRING text_l:STRING | CONDITIONING
CLIPSetLastLayer | clip:CLIP stop_at_clip_layer:INT | CLIP
CLIPVisionEncode | clip_vision:CLIP_VISION image:IMAGE crop:STRING | CLIP_VISION_OUTPUT
FluxGuidance | conditioning:CONDITIONING guidance:FLOAT | CONDITIONING
ConditioningCombine | conditioning_1:CONDITIONING conditioning_2:CONDITIONING | CONDITIONING
ConditioningConcat | conditioning_to:CONDITIONING conditioning_from:CONDITIONING | CONDITIONING
ConditioningZeroOut | conditioning:CONDITIONING | CONDITIONING
ConditioningSetArea | conditioning:CONDITIONING width:INT height:INT x:INT y:INT strength:FLOAT | CONDITIONING
ReferenceLatent | conditioning:CONDITIONING latent?:LATENT | CONDITIONING
ControlNetApply | conditioning:CONDITIONING control_net:CONTROL_NET image:IMAGE strength:FLOAT | CONDITIONING
ControlNetApplyAdvanced | positive:CONDITIONING negative:CONDITIONING control_net:CONTROL_NET image:IMAGE strength:FLOAT start_percent:FLOAT end_percent:FLOAT vae?:VAE | CONDITIONING CONDITIONING
InpaintModelConditioning | positive:CONDITIONING negative:CONDITIONING vae:VAE pixels:IMAGE mask:MASK noise_mask:BOOLEAN | CONDITIONING CONDITIONING LATENT
TextEncodeQwenImageEdit | clip:CLIP prompt:STRING vae?:VAE image?:IMAGE | CONDITIONING
WanImageToVideo | positive:CONDITIONING negative:CONDITIONING vae:VAE width:INT height:INT length:INT batch_size:INT clip_vision_output?:CLIP_VISION_OUTPUT start_image?:IMAGE | CONDITIONING CONDITIONING LATENT
EmptyLatentImage | width:INT height:INT batch_size:INT | LATENT
EmptySD3LatentImage | width:INT height:INT batch_size:INT | LATENT
EmptyHunyuanLatentVideo | width:INT height:INT length:INT batch_size:INT | LATENT
EmptyLTXVLatentVideo | width:INT height:INT length:INT batch_size:INT | LATENT
EmptyLatentAudio | seconds:FLOAT batch_size:INT | LATENT
EmptyAceStepLatentAudio | seconds:FLOAT batch_size:INT | LATENT
TextEncodeAceStepAudio | clip:CLIP tags:STRING lyrics:STRING lyrics_strength:FLOAT | CONDITIONING
VAEEncode | pixels:IMAGE vae:VAE | LATENT
VAEEncodeForInpaint | pixels:IMAGE vae:VAE mask:MASK grow_mask_by:INT | LATENT
VAEEncodeAudio | audio:AUDIO vae:VAE | LATENT
SetLatentNoiseMask | samples:LATENT mask:MASK | LATENT
LatentUpscale | samples:LATENT upscale_method:STRING width:INT height:INT crop:STRING | LATENT
LatentUpscaleBy | samples:LATENT upscale_method:STRING scale_by:FLOAT | LATENT
RepeatLatentBatch | samples:LATENT amount:INT | LATENT
KSampler | model:MODEL seed:INT steps:INT cfg:FLOAT sampler_name:STRING scheduler:STRING positive:CONDITIONING negative:CONDITIONING latent_image:LATENT denoise:FLOAT | LATENT
KSamplerAdvanced | model:MODEL add_noise:STRING noise_seed:INT steps:INT cfg:FLOAT sampler_name:STRING scheduler:STRING positive:CONDITIONING negative:CONDITIONING latent_image:LATENT start_at_step:INT end_at_step:INT return_with_leftover_noise:STRING | LATENT
SamplerCustom | model:MODEL add_noise:BOOLEAN noise_seed:INT cfg:FLOAT positive:CONDITIONING negative:CONDITIONING sampler:SAMPLER sigmas:SIGMAS latent_image:LATENT | LATENT LATENT
SamplerCustomAdvanced | noise:NOISE guider:GUIDER sampler:SAMPLER sigmas:SIGMAS latent_image:LATENT | LATENT LATENT
KSamplerSelect | sampler_name:STRING | SAMPLER
BasicScheduler | model:MODEL scheduler:STRING steps:INT denoise:FLOAT | SIGMAS
RandomNoise | noise_seed:INT | NOISE
BasicGuider | model:MODEL conditioning:CONDITIONING | GUIDER
CFGGuider | model:MODEL positive:CONDITIONING negative:CONDITIONING cfg:FLOAT | GUIDER
ModelSamplingSD3 | model:MODEL shift:FLOAT | MODEL
ModelSamplingAuraFlow | model:MODEL shift:FLOAT | MODEL
ModelSamplingFlux | model:MODEL max_shift:FLOAT base_shift:FLOAT width:INT height:INT | MODEL
VAEDecode | samples:LATENT vae:VAE | IMAGE
VAEDecodeTiled | samples:LATENT vae:VAE tile_size:INT overlap:INT temporal_size?:INT temporal_overlap?:INT | IMAGE
VAEDecodeAudio | samples:LATENT vae:VAE | AUDIO
ImageUpscaleWithModel | upscale_model:UPSCALE_MODEL image:IMAGE | IMAGE
CreateVideo | images:IMAGE fps:FLOAT audio?:AUDIO | VIDEO
GetVideoComponents | video:VIDEO | IMAGE AUDIO FLOAT
!SaveVideo | video:VIDEO filename_prefix:STRING format:STRING codec:STRING |
!SaveWEBM | images:IMAGE filename_prefix:STRING codec:STRING fps:FLOAT crf:FLOAT |
!SaveAnimatedWEBP | images:IMAGE filename_prefix:STRING fps:FLOAT lossless:BOOLEAN quality:INT method:STRING |
!SaveAudio | audio:AUDIO filename_prefix:STRING |
!SaveAudioMP3 | audio:AUDIO filename_prefix:STRING quality?:STRING |
!SaveAudioOpus | audio:AUDIO filename_prefix:STRING quality?:STRING |
!PreviewAudio | audio:AUDIO |
PrimitiveInt | value:INT | INT
PrimitiveFloat | value:FLOAT | FLOAT
PrimitiveBoolean | value:BOOLEAN | BOOLEAN
PrimitiveString | value:STRING | STRING
PrimitiveStringMultiline | value:STRING | STRING
";

/// The classes that can be acted, beside those that this server computes.
#[derive(Debug)]
pub(in crate::embedded) struct Simulation {
    info: Map<String, Value>,
    catalog: Catalog,
    /// Classes that are nowhere declared take whatever they are given.
    lenient: bool,
}

impl Simulation {
    /// The usual classes; or exactly those of a saved answer to `GET /object_info`.
    pub(in crate::embedded) fn new(catalog: Option<&Value>) -> Self {
        let mut info = match catalog {
            Some(given) => given.as_object().cloned().unwrap_or_default(),
            None => usual(),
        };
        // What this server computes is computed.
        if let Value::Object(own) = object_info(&[]) {
            info.extend(own);
        }
        let read = Value::Object(info);
        let (known, _) = Catalog::from_object_info(&read);
        let Value::Object(info) = read else {
            unreachable!("it was made an object two lines above")
        };
        Self {
            info,
            catalog: known.replacing(Replacements::default()),
            lenient: catalog.is_none(),
        }
    }

    /// Every declared class, as `/object_info` shows it, the computed ones left out.
    pub(in crate::embedded) fn info(&self) -> &Map<String, Value> {
        &self.info
    }

    /// The definitions that a graph is judged by.
    pub(in crate::embedded) fn catalog_for(&self, graph: &Graph) -> Cow<'_, Catalog> {
        let mut classes = graph.nodes.values().map(|node| node.class_type.as_str());
        if !self.lenient || classes.all(|class| self.catalog.node(class).is_some()) {
            return Cow::Borrowed(&self.catalog);
        }
        let mut catalog = self.catalog.clone();
        let classes = graph.nodes.values().map(|node| node.class_type.as_str());
        let unknown = classes.filter(|class| self.catalog.node(class).is_none());
        catalog.merge(lenient(unknown));
        Cow::Owned(catalog)
    }

    /// The definition of a class that is acted; `None` for one that is nowhere declared.
    pub(in crate::embedded) fn definition(&self, class: &str) -> Option<&NodeDef> {
        self.catalog.node(class)
    }
}

/// The classes of a simulating server without a catalog of its own; those among `classes` that nobody declared take whatever they are given.
pub fn simulated_catalog<'a>(classes: impl IntoIterator<Item = &'a str>) -> Catalog {
    static USUAL: LazyLock<Simulation> = LazyLock::new(|| Simulation::new(None));
    let mut catalog = USUAL.catalog.clone();
    let unknown = classes
        .into_iter()
        .filter(|class| USUAL.catalog.node(class).is_none());
    catalog.merge(lenient(unknown));
    catalog
}

/// Classes that take anything and give anything. Each may end a graph: whether it does, its place in the graph tells.
fn lenient<'a>(classes: impl Iterator<Item = &'a str>) -> Catalog {
    let info: Map<String, Value> = classes
        .map(|class| {
            let declared = json!({
                "input": { "required": {} },
                "output": vec!["*"; SLOTS],
                "output_is_list": vec![false; SLOTS],
                "output_name": vec!["*"; SLOTS],
                "name": class,
                "display_name": class,
                "python_module": LENIENT,
                "category": "simulated",
                "output_node": true,
            });
            (class.to_owned(), declared)
        })
        .collect();
    Catalog::from_object_info(&Value::Object(info)).0
}

fn usual() -> Map<String, Value> {
    CLASSES
        .lines()
        .filter_map(|line| {
            let mut parts = line.split('|').map(str::trim);
            let name = parts.next().filter(|name| !name.is_empty())?;
            let declared = declare(name, parts.next()?, parts.next()?);
            Some((name.trim_start_matches('!').to_owned(), declared))
        })
        .collect()
}

fn declare(name: &str, inputs: &str, outputs: &str) -> Value {
    let (mut required, mut optional) = (Map::new(), Map::new());
    for input in inputs.split_whitespace() {
        let Some((input, ty)) = input.split_once(':') else {
            continue;
        };
        let options = match ty {
            // As wide as the numbers are: bounds belong to the real thing.
            "INT" => json!([ty, {"min": i64::MIN, "max": u64::MAX}]),
            "FLOAT" => json!([ty, {"min": -1e300, "max": 1e300}]),
            _ => json!([ty, {}]),
        };
        match input.strip_suffix('?') {
            Some(input) => optional.insert(input.to_owned(), options),
            None => required.insert(input.to_owned(), options),
        };
    }
    let outputs: Vec<&str> = outputs.split_whitespace().collect();
    let class = name.trim_start_matches('!');
    json!({
        "input": { "required": required, "optional": optional },
        "output": outputs,
        "output_is_list": vec![false; outputs.len()],
        "output_name": outputs,
        "name": class,
        "display_name": class,
        "description": "A stand-in for rehearsals.",
        "python_module": MODULE,
        "category": "simulated",
        "output_node": name.starts_with('!'),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_class_is_declared_as_written() {
        let simulation = Simulation::new(None);
        let lines = CLASSES.lines().filter(|line| !line.is_empty()).count();
        assert_eq!(usual().len(), lines);
        let sampler = simulation.definition("KSampler").unwrap();
        assert_eq!((sampler.inputs.len(), sampler.outputs.len()), (10, 1));
        assert!(simulation.definition("SaveVideo").unwrap().output_node);
        let own = simulation.definition("SaveImage").unwrap();
        assert_eq!(
            own.python_module.as_deref(),
            Some("nodes"),
            "this one is real"
        );
    }

    #[test]
    fn with_a_catalog_there_are_exactly_its_classes_and_the_real_ones() {
        let given = json!({"Odd": {"input": {"required": {}}, "output": ["IMAGE"], "output_name": ["IMAGE"], "name": "Odd", "output_node": false}});
        let simulation = Simulation::new(Some(&given));
        let graph: Graph = serde_json::from_value(json!({
            "1": {"class_type": "Odd", "inputs": {}},
            "2": {"class_type": "KSampler", "inputs": {}},
        }))
        .unwrap();
        let catalog = simulation.catalog_for(&graph);
        assert!(catalog.node("Odd").is_some() && catalog.node("LoadImage").is_some());
        assert!(catalog.node("KSampler").is_none());
        assert!(
            simulated_catalog(["Odd"]).node("Odd").is_some(),
            "lenient without one"
        );
    }
}
