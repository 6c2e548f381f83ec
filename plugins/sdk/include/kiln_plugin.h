/* Plugins for kiln, in C.
 *
 * The same as src/abi.rs, which a test holds it against. A plugin is a shared library that exports
 *
 *     const kiln_plugin_table *kiln_plugin_entry(void);
 *
 * The table must stay valid for as long as the process lives; libraries are never unloaded.
 *
 * Versions. Both tables begin with KILN_PLUGIN_MAGIC, their own size, and the major and minor version that they were built with. Another
 * major version is refused. Within one, members are only added at the end: read no further than `size`, and take what lies beyond it for
 * absent. Any function may be NULL; what a plugin does not have it does not name in its description.
 *
 * Threads. All functions of kiln_plugin_table but `describe` are called from one thread of the plugin's own, one at a time, between
 * `create` and `destroy`. Functions of kiln_host_table may be called from any thread and at any time: the table is there for as long as
 * the process lives, and once the instance has ended, they do nothing.
 *
 * Lifetimes. A kiln_bytes belongs to whoever hands it over and is valid until the call returns. A kiln_reply belongs to whoever fills it
 * in: kiln copies it and calls `free`, once, right after the call, on the same thread. Without `free` the bytes must stay valid until the
 * next call.
 *
 * Texts are UTF-8 without a final zero. Messages are JSON (schema/messages.schema.json). No exception may leave a function.
 */
#ifndef KILN_PLUGIN_H
#define KILN_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KILN_PLUGIN_MAGIC UINT64_C(0x6b696c6e706c7567) /* "kilnplug" */
#define KILN_PLUGIN_MAJOR 1
#define KILN_PLUGIN_MINOR 1 /* 1 added `preview` and both `extension` functions */

/* What functions return. After FAILED and PANICKED the reply is a sentence that says why. */
#define KILN_OK 0
#define KILN_FAILED 1
#define KILN_PANICKED 2

/* Levels of `log`. */
#define KILN_ERROR 1
#define KILN_WARN 2
#define KILN_INFO 3
#define KILN_DEBUG 4

/* Names of hooks that `call` is given. */
#define KILN_BEFORE_SUBMIT "before_submit"
#define KILN_AFTER_DOWNLOAD "after_download"
#define KILN_STEP "step"
#define KILN_FUNCTION "function"
#define KILN_FILTER "filter"

#if defined(_WIN32)
#define KILN_EXPORT __declspec(dllexport)
#else
#define KILN_EXPORT __attribute__((visibility("default")))
#endif

/* Bytes that somebody else owns, valid until the call returns. `data` may be NULL when `length` is 0. */
typedef struct kiln_bytes {
  const uint8_t *data;
  size_t length;
} kiln_bytes;

/* An answer; the caller hands over an empty one. */
typedef struct kiln_reply {
  const uint8_t *data;
  size_t length;
  void *owner; /* for the one who fills it in */
  void (*free)(struct kiln_reply *reply);
} kiln_reply;

/* What kiln offers. Any thread, at any time. */
typedef struct kiln_host_table {
  uint64_t magic;
  uint32_t size;
  uint16_t major;
  uint16_t minor;
  void *context; /* to be handed back to each function */
  /* A JSON object: `name`, `kiln`, `config`, `timeout_ms`. Valid as long as this table is. */
  kiln_bytes (*config)(void *context);
  /* A line for the user. */
  void (*log)(void *context, uint32_t level, kiln_bytes text);
  /* How far a call is, 0 to 1, and a few words on what it does. */
  void (*progress)(void *context, uint64_t call, double fraction, kiln_bytes note);
  /* 1 when nobody waits for the call any more: end soon. */
  uint32_t (*cancelled)(void *context, uint64_t call);
  /* Adds an artifact to what a call of `step` or `after_download` answers: JSON as in its reply. */
  int32_t (*add_artifact)(void *context, uint64_t call, kiln_bytes artifact);
  /* 1.1: a table of functions that a later version offers under a name, or NULL. */
  const void *(*extension)(void *context, kiln_bytes name);
} kiln_host_table;

/* What a plugin offers. */
typedef struct kiln_plugin_table {
  uint64_t magic;
  uint32_t size;
  uint16_t major;
  uint16_t minor;
  /* What the plugin is: a JSON object. Called first, before there is an instance. Required. */
  int32_t (*describe)(kiln_reply *reply);
  /* Makes the instance that all other functions are given; it must not be NULL. Required. */
  int32_t (*create)(const kiln_host_table *host, void **instance, kiln_reply *reply);
  /* The last call; not made when the plugin was given up. */
  void (*destroy)(void *instance);
  /* An event that the description asks for: a JSON object whose `kind` is `run` or `server`. */
  int32_t (*event)(void *instance, kiln_bytes event, kiln_reply *reply);
  /* A hook. `call` is the number of this call for the host's services. */
  int32_t (*call)(void *instance, uint64_t call, kiln_bytes hook, kiln_bytes request, kiln_reply *reply);
  /* 1.1: a preview frame: JSON about it, and the encoded picture. */
  int32_t (*preview)(void *instance, kiln_bytes about, kiln_bytes picture, kiln_reply *reply);
  /* 1.1: a table of functions that a later version of the plugin offers under a name, or NULL. */
  const void *(*extension)(void *instance, kiln_bytes name);
} kiln_plugin_table;

typedef const kiln_plugin_table *(*kiln_plugin_entry_fn)(void);

#ifdef __cplusplus
}
#endif

#endif
