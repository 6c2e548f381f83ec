//! A plugin that was built against version 1.0 of the plugin interface, and must load for as long as kiln speaks version 1.

use kiln_plugin::{About, Artifact, Call, Host, Plugin, Result, Task, Value, json};

struct Frozen {
    greeting: String,
}

impl Plugin for Frozen {
    fn about() -> About {
        About::new("frozen", "1.0.0").step(json!({ "type": "object" }))
    }

    fn create(config: &Value, _host: Host) -> Result<Self> {
        let greeting = config["greeting"].as_str().unwrap_or("hello");
        Ok(Self {
            greeting: greeting.to_owned(),
        })
    }

    fn step(&mut self, _task: &Task, _call: Call) -> Result<Vec<Artifact>> {
        Ok(vec![Artifact::text(&format!("{} from 1.0", self.greeting))])
    }
}

kiln_plugin::export!(Frozen);
