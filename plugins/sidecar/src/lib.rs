//! Provenance beside every file: `a.png` gets `a.png.json` and `a.xmp`, for tools that know nothing of kiln. In a step with `save_as`
//! they are called as that says: `a.json` and `a.xmp`.
//!
//! ```yaml
//! plugins:
//!   sidecar: { path: plugins/sidecar, config: { formats: [json, xmp] } }
//! ```
//!
//! The XMP packet holds the prompt as `dc:description`, `kiln` as the creating tool, and run, task, seed and model under a namespace of
//! its own; digital asset managers read it from a file of the same name.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use kiln_plugin::{
    About, Artifact, Call, Change, File, Host, Plugin, Result, Results, Submission, Value, json,
};

/// Graphs that are remembered at a time: those of jobs under way.
const REMEMBERED: usize = 10_000;

/// The plugin.
#[derive(Debug)]
pub struct Sidecar {
    json: bool,
    xmp: bool,
    /// What is known of the graphs of jobs under way, by run and task.
    drawn: HashMap<(String, String), Drawn>,
}

/// What a graph says of itself.
#[derive(Clone, Debug, Default)]
struct Drawn {
    prompt: String,
    seeds: Vec<String>,
    models: Vec<String>,
}

impl Plugin for Sidecar {
    fn about() -> About {
        About::new("sidecar", env!("CARGO_PKG_VERSION"))
            .description("Provenance beside every file, as JSON and XMP.")
            .config(json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "formats": {
                        "type": "array",
                        "items": { "enum": ["json", "xmp"] },
                        "default": ["json", "xmp"],
                        "description": "What is written beside each file.",
                    },
                },
            }))
            .before_submit()
            .after_download()
    }

    fn create(config: &Value, _host: Host) -> Result<Self> {
        let has = |format: &str| match config["formats"].as_array() {
            Some(formats) => formats.iter().any(|one| one == format),
            None => true,
        };
        Ok(Self {
            json: has("json"),
            xmp: has("xmp"),
            drawn: HashMap::new(),
        })
    }

    fn before_submit(&mut self, job: &Submission, _call: Call) -> Result<Option<Value>> {
        if self.drawn.len() >= REMEMBERED {
            self.drawn.clear();
        }
        let key = (job.run().to_owned(), job.task().to_owned());
        self.drawn.insert(key, Drawn::of(job.graph()));
        Ok(None)
    }

    fn after_download(&mut self, results: &Results, _call: Call) -> Result<Option<Vec<Change>>> {
        let key = (results.run().to_owned(), results.task().to_owned());
        let drawn = self.drawn.remove(&key).unwrap_or_default();
        let mut changes = results.keep_all();
        for (at, file) in results.files() {
            let called = called(&file);
            let stem = match called.rsplit_once('.') {
                Some((stem, _)) => stem,
                None => &called,
            };
            let beside = |name: String, text: String| -> Result<Change> {
                let path = results.folder().join(format!("{at}-{name}"));
                std::fs::write(&path, text)?;
                let meta = json!({ "sidecar_of": called });
                Ok(Change::Add(Artifact::file(&path).named(&name).meta(meta)))
            };
            if self.json {
                let text = format!("{:#}\n", of_file(results, &file, &drawn));
                changes.push(beside(format!("{called}.json"), text)?);
            }
            if self.xmp {
                changes.push(beside(
                    format!("{stem}.xmp"),
                    packet(results, &file, &drawn),
                )?);
            }
        }
        Ok(Some(changes))
    }
}

impl Drawn {
    /// The texts of encoders, whole numbers under names that end in `seed`, and the names of model files.
    fn of(graph: &Value) -> Self {
        let mut drawn = Self::default();
        let mut texts = Vec::new();
        for node in graph.as_object().into_iter().flat_map(|all| all.values()) {
            let class = node["class_type"].as_str().unwrap_or_default();
            for (name, value) in node["inputs"].as_object().into_iter().flatten() {
                match value {
                    Value::String(text) if name == "text" && class.contains("TextEncode") => {
                        texts.push(text.clone());
                    }
                    Value::String(text) if is_model(text) => drawn.models.push(text.clone()),
                    Value::Number(number) if name.ends_with("seed") => {
                        drawn.seeds.push(number.to_string());
                    }
                    _ => {}
                }
            }
        }
        drawn.prompt = texts.into_iter().next().unwrap_or_default();
        drawn.models.dedup();
        drawn
    }
}

/// What the file is called where it lies: that need not be the server's name for it.
fn called(file: &File) -> String {
    let name = file.path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn is_model(text: &str) -> bool {
    let extension = Path::new(text).extension().and_then(|end| end.to_str());
    matches!(
        extension,
        Some("safetensors" | "ckpt" | "gguf" | "pt" | "pth" | "sft")
    )
}

fn of_file(results: &Results, file: &File, drawn: &Drawn) -> Value {
    json!({
        "file": called(file), "kind": file.kind, "blake3": file.hash, "size": file.size,
        "pipeline": results.pipeline(), "run": results.run(), "step": results.step(),
        "task": results.task(), "attempt": results.attempt(), "node": file.all.get("node"),
        "prompt": drawn.prompt, "seeds": drawn.seeds, "models": drawn.models,
        "made_by": "kiln",
    })
}

/// An XMP packet, as digital asset managers read it.
fn packet(results: &Results, file: &File, drawn: &Drawn) -> String {
    let mut own = String::new();
    let told = [
        ("pipeline", results.pipeline().to_owned()),
        ("run", results.run().to_owned()),
        ("task", results.task().to_owned()),
        ("blake3", file.hash.clone()),
        ("seeds", drawn.seeds.join(" ")),
        ("models", drawn.models.join(" ")),
    ];
    for (name, value) in told {
        if !value.is_empty() {
            // A `String` takes everything.
            let _ = write!(own, "\n   kiln:{name}=\"{}\"", escaped(&value));
        }
    }
    let description = match drawn.prompt.as_str() {
        "" => String::new(),
        prompt => format!(
            "\n   <dc:description><rdf:Alt><rdf:li xml:lang=\"x-default\">{}</rdf:li></rdf:Alt></dc:description>",
            escaped(prompt)
        ),
    };
    format!(
        "<?xpacket begin=\"\u{feff}\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>
<x:xmpmeta xmlns:x=\"adobe:ns:meta/\">
 <rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">
  <rdf:Description rdf:about=\"\"
   xmlns:dc=\"http://purl.org/dc/elements/1.1/\"
   xmlns:xmp=\"http://ns.adobe.com/xap/1.0/\"
   xmlns:kiln=\"https://github.com/kiln-run/kiln/ns/1.0/\"
   xmp:CreatorTool=\"kiln\"{own}>{description}
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end=\"w\"?>
"
    )
}

/// A text as it may stand in XML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            c if c < ' ' && c != '\t' && c != '\r' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

kiln_plugin::export!(Sidecar);
