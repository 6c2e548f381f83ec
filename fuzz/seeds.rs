//! What the mutations of each target begin with.

pub const DRAWINGS: &[&str] = &[
    r#"{"last_node_id":9,"nodes":[{"id":1,"type":"Make","mode":0,"inputs":[{"name":"width","type":"INT","link":1,"widget":{"name":"width"}}],"outputs":[{"name":"IMAGE","type":"IMAGE"}],"widgets_values":[8,"fixed","big",3]},{"id":2,"type":"PrimitiveNode","outputs":[{"type":"INT"}],"widgets_values":[16,"fixed"]},{"id":3,"type":"Reroute","inputs":[{"name":"","type":"*","link":2}],"outputs":[{"type":"IMAGE"}]},{"id":4,"type":"Save","title":"Out","inputs":[{"name":"images","type":"IMAGE","link":3}],"widgets_values":["a"]},{"id":5,"type":"Note","widgets_values":["x"]},{"id":6,"type":"Make","mode":4,"inputs":[],"outputs":[{"type":"IMAGE"}]},{"id":7,"type":"Make","mode":2}],"links":[[1,2,0,1,0,"INT"],[2,1,0,3,0,"IMAGE"],[3,3,0,4,0,"IMAGE"]],"version":0.4}"#,
    r#"{"nodes":[{"id":1,"type":"sheet","inputs":[{"name":"width","type":"INT","link":null}],"outputs":[{"type":"IMAGE"}],"widgets_values":[32],"properties":{"proxyWidgets":[["1","width"],["-1","width"]]}},{"id":2,"type":"Save","inputs":[{"name":"images","type":"IMAGE","link":9}]}],"links":[{"id":9,"origin_id":1,"origin_slot":0,"target_id":2,"target_slot":0,"type":"IMAGE"}],"definitions":{"subgraphs":[{"id":"sheet","name":"S","inputs":[{"name":"width","type":"INT","linkIds":[1]}],"outputs":[{"name":"o","linkIds":[2]}],"nodes":[{"id":1,"type":"Make","inputs":[{"name":"width","type":"INT","link":1,"widget":{"name":"width"}}],"outputs":[{"type":"IMAGE"}],"widgets_values":[1,"big",2]}],"links":[{"id":1,"origin_id":-10,"origin_slot":0,"target_id":1,"target_slot":0},{"id":2,"origin_id":1,"origin_slot":0,"target_id":-20,"target_slot":0}],"inputNode":{"id":-10},"outputNode":{"id":-20}}]}}"#,
    r#"{"workflow":{"nodes":[{"id":1,"type":"workflow>g","inputs":[],"outputs":[{"type":"IMAGE"}],"widgets_values":[7]},{"id":2,"type":"SetNode","inputs":[{"name":"IMAGE","type":"IMAGE","link":1}],"widgets_values":["n"]},{"id":3,"type":"GetNode","widgets_values":["n"],"outputs":[{"type":"IMAGE"}]},{"id":4,"type":"SaveImage","inputs":[{"name":"images","type":"IMAGE","link":2}],"widgets_values":["%Make.width%_%date:yyyy-MM-dd%_{a|b}"]}],"links":[[1,1,0,2,0,"IMAGE"],[2,3,0,4,0,"IMAGE"]],"extra":{"groupNodes":{"g":{"nodes":[{"type":"Make","inputs":[],"outputs":[{"type":"IMAGE"}]}],"links":[],"external":[[0,0,"IMAGE"]],"config":{}}},"ue_links":[{"downstream":4,"downstream_slot":"0","upstream":"1","upstream_slot":0}]}}}"#,
];

pub const MEDIA: &[&str] = &[
    "PNG:\0\0\0\rIHDR\0\0\0\u{1}\0\0\0\u{1}\u{8}\0\0\0\0\0\0\0\0\0\0\0\u{b}tEXtprompt\0{}  \0\0\0\0\0\0\0\u{12}iTXtworkflow\0\0\0en\0\0{}\0\0\0\0\0\0\0\0IEND\0\0\0\0",
    "JPEG:",
    "RIFF\u{30}\0\0\0WEBPEXIF\u{24}\0\0\0II*\0\u{8}\0\0\0\u{1}\0\u{10}\u{1}\u{2}\0\u{a}\0\0\0\u{1a}\0\0\0\0\0\0\0prompt:{}\0",
    "\0\0\0\u{10}ftypisom\0\0\0\0\0\0\0\u{50}moov\0\0\0\u{48}meta\0\0\0\u{1c}keys\0\0\0\0\0\0\0\u{1}\0\0\0\u{e}mdtaprompt\0\0\0\u{24}ilst\0\0\0\u{1c}\0\0\0\u{1}\0\0\0\u{14}data\0\0\0\u{1}\0\0\0\0{}  ",
    "\0\0\0\u{14}ftypavif\0\0\0\0avif\0\0\0\u{40}meta\0\0\0\0\0\0\0\u{22}iinf\0\0\0\0\0\u{1}\0\0\0\u{14}infe\u{2}\0\0\0\0\u{1}\0\0Exif\0\0\0\u{1a}iloc\0\0\0\0D\0\0\u{1}\0\u{1}\0\0\0\u{1}\0\0\0\0\0\0\0\u{8}",
    "MKV:@\u{15}",
    "fLaC\u{4}\0\0\u{1c}\u{3}\0\0\0abc\u{1}\0\0\0\u{9}\0\0\0prompt={}\0\0\0\0",
    "OggS\0\u{2}\0\0\0\0\0\0\0\0\u{1}\0\0\0\0\0\0\0\0\0\0\0\u{1}\u{4}OpusOggS\0\0\0\0\0\0\0\0\0\0\u{1}\0\0\0\u{1}\0\0\0\0\0\0\0\u{1}\u{20}OpusTags\u{3}\0\0\0abc\u{1}\0\0\0\u{9}\0\0\0prompt={}\0",
    "ID3\u{4}\0\0\0\0\0\u{1c}TXXX\0\0\0\u{e}\0\0\u{3}prompt\0{}    \0\0\0\0",
    "glTF\u{2}\0\0\0\u{60}\0\0\0\u{2c}\0\0\0JSON{\"asset\":{\"extras\":{\"prompt\":\"{}\",\"a\":1}}}  ",
    "\u{28}\0\0\0\0\0\0\0{\"__metadata__\":{\"prompt\":\"{}\"},\"a\":{}}",
    "<svg><metadata><![CDATA[{\"prompt\":{}}]]></metadata><metadata>{&quot;workflow&quot;:{}}</metadata></svg>",
    "{\"1\": {\"class_type\": \"A\", \"inputs\": {}}}",
];

pub const SAVED: &[&str] = &[
    r#"{"kiln_catalog":1,"server":"x","version":"0.33.0","models":{"loras":["a/b.safetensors"],"vae":[]},"node_replacements":{"Gone":[{"new_node_id":"Make","input_mapping":[{"new_id":"width","old_id":"old"},{"new_id":"of","set_value":"big"}],"output_mapping":[{"new_idx":1,"old_idx":0}]}]},"object_info":{"Make":{"input":{"required":{"width":["INT",{"default":8,"min":1,"max":16384,"control_after_generate":true}],"of":["COMFY_DYNAMICCOMBO_V3",{"options":[{"key":"big","inputs":{"required":{"side":["INT",{"max":2}]}}},{"key":"small","inputs":{}}]}]},"optional":{"more":["COMFY_AUTOGROW_V3",{"template":{"input":{"required":{"x":["IMAGE",{}]}},"prefix":"x","min":0,"max":3}}]}},"output":["IMAGE","MASK"],"output_name":["IMAGE","MASK"],"python_module":"custom_nodes.pack","deprecated":true},"Save":{"input":{"required":{"images":["IMAGE",{}],"mode":[["a","b.png"],{}]}},"output":[],"output_node":true}}}"#,
    r#"{"Make":{"input":{"required":{"width":["INT",{"default":8,"control_after_generate":true}],"of":["COMFY_DYNAMICCOMBO_V3",{"options":[{"key":"big","inputs":{"required":{"side":["INT",{}]}}}]}]}},"output":["IMAGE"]},"Save":{"input":{"required":{"images":["IMAGE",{}],"filename_prefix":["STRING",{"default":"x"}]}},"output":[],"output_node":true},"SaveImage":{"input":{"required":{"images":["IMAGE",{}],"filename_prefix":["STRING",{"dynamicPrompts":true}]}},"output":[],"output_node":true}}"#,
    r#"{"A":{"input":{"required":{"x":["COMFY_MATCHTYPE_V3",{"template":{"template_id":"t","allowed_types":"IMAGE,MASK"}}],"y":["COMFY_DYNAMICSLOT_V3",{"slot":["IMAGE",{}],"inputs":{"required":{"z":["FLOAT",{"min":NaN,"max":Infinity}]}}}]}},"output":["COMFY_MATCHTYPE_V3"],"output_matchtypes":["t"],"dev_only":true}}"#,
];

pub const EVENTS: &[&str] = &[
    r#"{"type":"status","data":{"status":{"exec_info":{"queue_remaining":2}},"sid":"abc"}}"#,
    r#"{"type": "execution_start", "data": {"prompt_id": "p", "timestamp": 1760000000000}}"#,
    r#"{"type":"execution_cached","data":{"nodes":["1","2.0.0.3"],"prompt_id":"p","timestamp":1}}"#,
    r#"{"type":"progress_state","data":{"prompt_id":"p","nodes":{"3":{"value":1.0,"max":20.0,"state":"running","node_id":"3","prompt_id":"p","display_node_id":"3","parent_node_id":null,"real_node_id":"3"}}}}"#,
    r#"{"type":"executing","data":{"node":null,"prompt_id":"p"}}"#,
    r#"{"type":"executing","data":{"node":"2"}}"#,
    r#"{"type":"progress","data":{"value":3,"max":6,"prompt_id":"p","node":"3"}}"#,
    r#"{"type":"executed","data":{"node":"9","display_node":"9","output":{"images":[{"filename":"a_00001_.png","subfolder":"","type":"output"}],"values":[NaN,Infinity,-Infinity,1.5]},"prompt_id":"p"}}"#,
    r#"{"type":"execution_error","data":{"prompt_id":"p","node_id":"4","node_type":"X","executed":["1"],"exception_message":"no\n","exception_type":"ValueError","traceback":["a"],"current_inputs":{"a":[NaN]},"current_outputs":["1"]}}"#,
    r#"{"type":"execution_interrupted","data":{"prompt_id":"p","node_id":"3","node_type":"KSampler","executed":[]}}"#,
    r#"{"type":"execution_success","data":{"prompt_id":"p","timestamp":1}}"#,
    r#"{"type":"feature_flags","data":{"supports_preview_metadata":true,"max_upload_size":104857600}}"#,
];

pub const FRAMES: &[&str] = &[
    "\0\0\0\u{1}\0\0\0\u{2}\u{7f}PNG",
    "\0\0\0\u{3}\0\0\0\u{1}9a line of text",
    "\0\0\0\u{4}\0\0\0\u{20}{\"node_id\":\"3\",\"image_type\":\"x\"}JPEG",
    "\0\0\0\u{9}what",
];

pub const RECORDS: &[&str] = &[
    r#"{"id":"p","status":"completed","create_time":1,"execution_start_time":2,"execution_end_time":3,"outputs_count":1,"outputs":{"9":{"images":[{"filename":"a.png","subfolder":"sub","type":"output"}],"text":["t"]}},"preview_output":{"filename":"a.png","nodeId":"9","mediaType":"images"}}"#,
    r#"{"id":"p","status":"failed","execution_error":{"node_id":"4","node_type":"X","exception_message":"no","exception_type":"ModelDownloadError","current_inputs":{},"current_outputs":{}}}"#,
    r#"{"id":"p","status":"completed","execution_status":{"status_str":"success","completed":true,"messages":[["execution_start",{"prompt_id":"p"}],["execution_error",{"node_id":"3"}]]},"execution_meta":{"5.0":{"node_id":"5.0","display_node":"5"}},"outputs":{"5.0":{"gifs":[[{"filename":"g.gif","frame_rate":8.0}]]}}}"#,
    r#"{"jobs":[{"id":"a","status":"waiting_to_dispatch"},{"id":"b","status":"non_retryable_error"}],"pagination":{"offset":0,"limit":100,"total":2,"has_more":false,"next_cursor":"2"}}"#,
];

pub const HISTORIES: &[&str] = &[
    r#"{"p":{"prompt":[0,"p",{"1":{"class_type":"EmptyImage","inputs":{}}},{"create_time":1},["9"]],"outputs":{"9":{"images":[{"filename":"a.png","subfolder":"","type":"temp"}],"animated":[true]}},"status":{"status_str":"success","completed":true,"messages":[["execution_cached",{"nodes":["1"],"prompt_id":"p"}]]},"meta":{"9":{"node_id":"9","display_node":"9","parent_node":null,"real_node_id":"9"}}}}"#,
    r#"{"p":{"outputs":{"1":{"values":[NaN]}},"status":{"status_str":"error","completed":false,"messages":[["execution_interrupted",{"node_id":"2"}]]}}}"#,
    r#"{"history":[{"prompt_id":"p","create_time":3,"prompt":{"priority":0,"prompt_id":"p","extra_data":{}},"outputs":{},"status":{"status_str":"success"}}]}"#,
];

pub const QUEUES: &[&str] = &[
    r#"{"queue_running":[[7,"r",{},{},[]]],"queue_pending":[[11,"c",{"1":{}},{"create_time":1},["9"]],[-3.0,"a",{},["9"],{"create_time":5}]]}"#,
    r#"{"queue_running":[],"queue_pending":[[1e400,"x"],["odd"],null,[18446744073709551615,"y"]]}"#,
];

pub const CATALOGS: &[&str] = &[
    r#"{"A":{"input":{"required":{"x":["INT",{"default":1,"min":0,"max":18446744073709551615,"step":1}],"y":["IMAGE"],"z":[["a","b"],{"default":"a","image_upload":true}],"f":["FLOAT",{"min":-1.5,"max":1e300,"round":false}]},"optional":{"m":["MASK,IMAGE",{"tooltip":"t"}],"s":["STRING",{"multiline":true}],"c":["COMBO",{"options":["a",1,true],"multiselect":true}]},"hidden":{"u":"UNIQUE_ID"}},"input_order":{"required":["x","y"]},"output":["IMAGE",["a","b"]],"output_is_list":[false,true],"output_name":["o","p"],"name":"A","display_name":"A title","description":"","python_module":"nodes","category":"c","output_node":true,"deprecated":false,"experimental":false}}"#,
    r#"{"B":{"input":{"required":{"w":["COMFY_AUTOGROW_V3",{"template":{"input":{"required":{"v":["IMAGE",{}]}},"prefix":"v","min":1,"max":50}}],"d":["COMFY_DYNAMICCOMBO_V3",{"options":[{"key":"k","inputs":{"required":{"i":["INT",{}]}}}]}],"t":["COMFY_MATCHTYPE_V3",{"template":{"template_id":"T","allowed_types":"*"}}]}},"output":["*"],"output_node":false,"api_node":true}}"#,
];

pub const ANSWERS: &[&str] = &[
    r#"{"prompt_id":"p","number":3,"node_errors":{}}"#,
    r#"{"prompt_id":"p","number":-0.0,"node_errors":{"9":{"errors":[{"type":"value_not_in_list","message":"Value not in list","details":"sampler_name: 'x'","extra_info":{"input_name":"sampler_name","input_config":[["a"],{}],"received_value":"x"}}],"dependent_outputs":["9"],"class_type":"KSampler"}}}"#,
    r#"{"error":{"type":"prompt_outputs_failed_validation","message":"Prompt outputs failed validation","details":"","extra_info":{}},"node_errors":{"1":{"errors":[],"class_type":null}}}"#,
    r#"{"error":"text","code":"X","message":"no"}"#,
];

pub const HTTP: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 5\r\nETag: \"tag\"\r\nContent-Disposition: filename=\"a.png\"\r\nConnection: close\r\n\r\nhello",
    "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 3-4/5\r\nContent-Length: 2\r\nConnection: close\r\n\r\nlo",
    "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/files/a?signature=%zz\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "HTTP/1.1 302 Found\r\nLocation: //[::1:/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "HTTP/1.1 429 Too Many\r\nRetry-After: 1.5e9\r\nContent-Type: application/json\r\nContent-Length: 52\r\nConnection: close\r\n\r\n{\"error\":{\"type\":\"QUEUE_LIMIT\",\"message\":\"later\"}}  ",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n20\r\n{\"queue_running\":[],\"queue_pendi\r\n7\r\nng\":[]}\r\n0\r\n\r\n",
    "HTTP/1.1 416 No\r\nContent-Range: bytes */5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nETag: W/\"tag\"\r\nConnection: close\r\n\r\n",
];

pub const PIPELINES: &[&str] = &[
    include_str!("../pipelines/quickstart.yaml"),
    include_str!("../pipelines/product-shots.yaml"),
    include_str!("../pipelines/retouch.yaml"),
    include_str!("../pipelines/framed.yaml"),
    "name: x\nparams:\n  n: { type: int, default: 3, min: 1, max: 9 }\n  s: [a, b]\nretry: { attempts: 3, delay: 2s, for: [transient, oom], until: \"result.images | length == 4\" }\nsteps:\n  a:\n    workflow: a.json\n    matrix: { i: \"{{ range(3) }}\", j: [x, y], exclude: [{ i: 1 }] }\n    set: { KSampler: { seed: \"{{ seed() }}\" }, 3.cfg: 7.5 }\n    remove: [9]\n    timeout: 1h30m\n    when: \"{{ params.n > 1 }}\"\n  b:\n    command: [sh, -c, \"echo {{ item.image }}\"]\n    for_each: steps.a\n    outputs: { f: \"*.txt\" }\n    needs: [a]\n    claims: [gpu]\n",
    "steps: { a: { command: [x], when: )) : [ } }\n",
    "steps:\n  a: { when: x): y }: {\n",
];

pub const PROJECTS: &[&str] = &[
    "default_server: farm\nservers:\n  farm: { urls: [\"http://a:8188\", \"http://b:8188\"], max_jobs: 2, lost_after: 3s, token: \"{{ secret('T') }}\" }\n  cloud: { kind: cloud, api_key: \"{{ secret('K') }}\" }\n  own: { kind: embedded, simulate: true }\nprofiles:\n  draft: { params: { steps: 4 } }\noutputs: out\n",
    "servers: { x: { url: \"http://user:pass@h\", headers: { X-Key: abc }, ca_cert: c.pem } }\npartner_api_key: secret\n",
];

pub const PARAMS: &[&str] = &[
    "prompt: \"a kiln\"\nsteps: 20\ncfg: 7.5e0\nlist: [1, 2, {a: b}]\nnull_: ~\nyes: true\ntext: |\n  two\n  lines\n",
    "{\"a\": 18446744073709551615, \"b\": -9223372036854775808, \"c\": 1e999, \"d\": .nan}",
    "a: &x [1]\nb: *x\nc: !!str 5\n<<: {d: 1}\n? {complex: key}\n: v\n",
];

pub const WORKFLOWS: &[&str] = &[
    include_str!("../pipelines/workflows/txt2img.json"),
    include_str!("../pipelines/workflows/repaint.json"),
    include_str!("../pipelines/workflows/framed.json.j2"),
    r#"{"1":{"class_type":"A","inputs":{"x":18446744073709551615,"y":["2",0],"z":"a","l":{"__value__":[1,["1",0]]}},"_meta":{"title":"A title"}},"2":{"class_type":"B","inputs":{},"is_changed":["x"]}}"#,
    r#"{"last_node_id":2,"nodes":[{"id":1,"type":"KSampler","widgets_values":[1,"fixed"],"inputs":[{"name":"m","link":null}]}],"links":[[1,1,0,2,0,"IMAGE"]],"version":0.4}"#,
];

pub const TEMPLATES: &[&str] = &[
    "{{ params.n + 1 }}",
    "a {{ n | default('x') | upper }} b {% if n %}c{% else %}d{% endif %} {# no #}",
    "{{ steps.draw['task'].image[0:2] | map(attribute='path') | join(', ') }}",
    "{{ range(1000000) | list | length }}",
    "{% for i in range(10) %}{{ loop.index }}{% if i > 3 %}{% break %}{% endif %}{% endfor %}",
    "{{ read_yaml('a.yaml').a[1] }} {{ file('x.png').hash }} {{ glob('*') | length }} {{ env('X') }}",
    "{{ {'a': [1, 2.5, 'ü', none, true]}['a'][-1] }}",
    "{{ 'x' * 100000 * 100000 }}",
    "{% set x = 'a' %}{{ x ~ x }}{% macro m(a) %}{{ m(a) }}{% endmacro %}{{ m(1) }}",
];
