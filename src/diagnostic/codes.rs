//! Every code, with the page that `kiln explain` prints. A test fails for a code without a snapshot of its text.
//!
//! K00xx files and the command line · K01xx the language · K02xx what the server would refuse · K03xx what kiln finds beyond the
//! server · K04xx servers and connections · K05xx failures while running · K06xx plugins · K07xx state.

/// A stable diagnostic code.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// `K` and four digits.
    pub id: &'static str,
    /// The word for tools, e.g. `unknown_key`.
    pub kind: &'static str,
    /// The page, Markdown.
    pub page: &'static str,
}

macro_rules! codes {
    ($($name:ident = $id:literal $kind:literal;)*) => {
        $(
            #[doc = concat!("`", $kind, "`; see `docs/codes/", $id, ".md`.")]
            pub static $name: Code = Code {
                id: $id,
                kind: $kind,
                page: include_str!(concat!("../../docs/codes/", $id, ".md")),
            };
        )*
        /// All codes in ascending order.
        pub static ALL: &[&Code] = &[$(&$name),*];
    };
}

codes! {
    // K00xx: files and the command line
    FILE_NOT_READABLE = "K0001" "file_not_readable";
    NOT_YAML = "K0002" "invalid_yaml";
    YAML_LIMIT = "K0003" "yaml_limit";
    NOT_JSON = "K0004" "invalid_json";
    BAD_ARGUMENT = "K0005" "bad_argument";
    UNKNOWN_SERVER = "K0006" "unknown_server";
    CANNOT_WATCH = "K0007" "cannot_watch";
    // K01xx: the language
    UNKNOWN_KEY = "K0101" "unknown_key";
    WRONG_TYPE = "K0102" "wrong_type";
    MISSING_KEY = "K0103" "missing_key";
    BAD_NAME = "K0104" "bad_name";
    UNQUOTED_TEMPLATE = "K0105" "unquoted_template";
    TEMPLATE_SYNTAX = "K0106" "template_syntax";
    UNDEFINED_NAME = "K0107" "undefined_name";
    TEMPLATE_FAILED = "K0108" "template_failed";
    TEMPLATE_FUEL = "K0109" "template_fuel";
    BAD_PARAM = "K0110" "bad_param";
    MISSING_PARAM = "K0111" "missing_param";
    CYCLE = "K0112" "cycle";
    UNKNOWN_STEP = "K0113" "unknown_step";
    SET_NO_SUCH_NODE = "K0114" "set_no_such_node";
    SET_AMBIGUOUS_NODE = "K0115" "set_ambiguous_node";
    SET_DOES_NOT_FIT = "K0116" "set_does_not_fit";
    NOT_A_WORKFLOW = "K0117" "not_a_workflow";
    UI_FORMAT = "K0118" "ui_format";
    UNSAFE_OUTPUT_PATH = "K0119" "unsafe_output_path";
    SAME_OUTPUT_PATH = "K0120" "same_output_path";
    WRONG_PLACE_FOR_FILE = "K0121" "wrong_place_for_file";
    ACCESSOR_COUNT = "K0122" "accessor_count";
    DUPLICATE_KEY = "K0123" "duplicate_key";
    BAD_VALUE = "K0124" "bad_value";
    BAD_DURATION = "K0125" "bad_duration";
    BAD_EXPRESSION = "K0126" "bad_expression";
    WRONG_STEP_KIND = "K0127" "wrong_step_kind";
    BAD_CLAIM = "K0128" "bad_claim";
    BAD_COMMAND = "K0130" "bad_command";
    BAD_MATRIX = "K0131" "bad_matrix";
    TOO_MANY_TASKS = "K0132" "too_many_tasks";
    CANNOT_BYPASS = "K0133" "cannot_bypass";
    NO_EARLIER_RESULTS = "K0134" "no_earlier_results";
    EMPTY_LIST = "K0135" "empty_list";
    NO_WORKFLOW = "K0140" "no_workflow";
    CANNOT_CONVERT = "K0141" "cannot_convert";
    CONVERTED = "K0142" "converted";
    // K02xx: what the server would refuse; kinds are the server's own error types
    MISSING_NODE_TYPE = "K0201" "missing_node_type";
    REQUIRED_INPUT_MISSING = "K0202" "required_input_missing";
    VALUE_NOT_IN_LIST = "K0203" "value_not_in_list";
    INVALID_INPUT_TYPE = "K0204" "invalid_input_type";
    VALUE_SMALLER_THAN_MIN = "K0205" "value_smaller_than_min";
    VALUE_BIGGER_THAN_MAX = "K0206" "value_bigger_than_max";
    RETURN_TYPE_MISMATCH = "K0207" "return_type_mismatch";
    BAD_LINKED_INPUT = "K0208" "bad_linked_input";
    CUSTOM_VALIDATION_FAILED = "K0209" "custom_validation_failed";
    DEPENDENCY_CYCLE = "K0210" "dependency_cycle";
    EXCEPTION_INNER = "K0211" "exception_during_inner_validation";
    EXCEPTION = "K0212" "exception_during_validation";
    NO_OUTPUTS = "K0213" "prompt_no_outputs";
    // K03xx: beyond the server
    UNDECLARED_INPUT = "K0301" "undeclared_input";
    DANGLING_LINK = "K0302" "dangling_link";
    BAD_DYNAMIC_CHOICE = "K0303" "bad_dynamic_choice";
    UNVERIFIED_FILE = "K0304" "unverified_file";
    SECRET_IN_GRAPH = "K0305" "secret_in_graph";
    FILE_REFUSED = "K0306" "file_refused";
    EXPERIMENTAL_NODE = "K0307" "experimental_node";
    UNREACHABLE_NODE = "K0308" "unreachable_node";
    TYPE_CONFLICT = "K0309" "type_conflict";
    VALUE_FOR_LINK = "K0310" "value_for_link";
    WRONG_KIND = "K0311" "wrong_kind";
    WRONG_COUNT = "K0312" "wrong_count";
    NO_PARTNER_KEY = "K0313" "no_partner_key";
    NO_INPUTS = "K0314" "no_inputs";
    DEPRECATED_NODE = "K0315" "deprecated_node";
    REPLACED_NODE = "K0316" "replaced_node";
    HIDDEN_CYCLE = "K0317" "hidden_cycle";
    // K04xx: servers and connections
    SERVER_UNREACHABLE = "K0401" "server_unreachable";
    NOT_COMFYUI = "K0402" "not_comfyui";
    SERVER_REFUSED = "K0403" "server_refused";
    NOT_AUTHORIZED = "K0404" "not_authorized";
    NO_CREDIT = "K0405" "no_credit";
    // K05xx: failures while running
    NODE_FAILED = "K0501" "node_failed";
    JOB_REJECTED = "K0502" "job_rejected";
    JOB_LOST = "K0503" "job_lost";
    JOB_INTERRUPTED = "K0504" "job_interrupted";
    TRANSFER_FAILED = "K0505" "transfer_failed";
    CANNOT_WRITE = "K0506" "cannot_write";
    NO_OUTPUT_FILES = "K0507" "no_output_files";
    WORKER_STUCK = "K0508" "worker_stuck";
    RESULT_RENAMED = "K0509" "result_renamed";
    COMMAND_FAILED = "K0510" "command_failed";
    PROGRAM_NOT_FOUND = "K0511" "program_not_found";
    TIMED_OUT = "K0512" "timed_out";
    RESULT_REJECTED = "K0513" "result_rejected";
    SERVER_DIFFERS = "K0514" "server_differs";
    JOB_AMBIGUOUS = "K0515" "job_ambiguous";
    PLAN_KEPT = "K0516" "plan_kept";
    // K06xx: plugins
    PLUGIN_NOT_LOADED = "K0601" "plugin_not_loaded";
    PLUGIN_CHANGED = "K0602" "plugin_changed";
    PLUGIN_CONFIG = "K0603" "plugin_config";
    UNKNOWN_PLUGIN = "K0604" "unknown_plugin";
    BAD_PLUGIN_INPUT = "K0605" "bad_plugin_input";
    PLUGIN_FAILED = "K0606" "plugin_failed";
    PLUGIN_GIVEN_UP = "K0607" "plugin_given_up";
    PLUGINS_OFF = "K0608" "plugins_off";
    // K07xx: state
    STATE_UNUSABLE = "K0701" "state_unusable";
    STATE_LOCKED = "K0702" "state_locked";
    CACHE_NOT_KEPT = "K0703" "cache_not_kept";
    CACHE_DAMAGED = "K0704" "cache_damaged";
}

/// The code that somebody means: its id in any case, its number alone, or its kind.
pub fn find(wanted: &str) -> Option<&'static Code> {
    let number = wanted.strip_prefix(['K', 'k']).unwrap_or(wanted);
    let digits = (1..=4).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    let id = digits.then(|| format!("K{number:0>4}"));
    ALL.iter()
        .copied()
        .find(|code| id.as_deref() == Some(code.id) || code.kind == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_by_its_id_its_number_and_its_kind() {
        for wanted in ["K0203", "k0203", "0203", "203", "K203", "value_not_in_list"] {
            assert_eq!(find(wanted).map(|code| code.id), Some("K0203"), "{wanted}");
        }
        for stranger in ["", "K", "K02030", "20-3", "é203", "bogus"] {
            assert!(find(stranger).is_none(), "{stranger}");
        }
    }

    #[test]
    fn codes_are_unique_ascending_and_explained() {
        for pair in ALL.windows(2) {
            assert!(
                pair[0].id < pair[1].id,
                "{} before {}",
                pair[0].id,
                pair[1].id
            );
        }
        for code in ALL {
            assert!(
                code.page.starts_with(&format!("# {}: ", code.id)),
                "{} has no title",
                code.id
            );
            assert!(
                code.page.lines().count() >= 5,
                "{} says too little",
                code.id
            );
        }
    }
}
