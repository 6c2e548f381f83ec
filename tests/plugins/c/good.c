/* A plugin in C: a step that greets, and a filter. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kiln_plugin.h"

/* Another build says something else. */
#if defined(SECOND)
#define SAID "answered from C again"
#else
#define SAID "answered from C"
#endif

static const kiln_host_table *host;

static kiln_bytes bytes(const char *text) {
  kiln_bytes out = {(const uint8_t *)text, strlen(text)};
  return out;
}

static void give_back(kiln_reply *reply) {
  free(reply->owner);
  memset(reply, 0, sizeof *reply);
}

static void answer(kiln_reply *reply, const char *text) {
  char *copy = malloc(strlen(text) + 1);
  strcpy(copy, text);
  reply->data = (const uint8_t *)copy;
  reply->length = strlen(copy);
  reply->owner = copy;
  reply->free = give_back;
}

static int32_t describe(kiln_reply *reply) {
  answer(reply, "{\"name\":\"good-c\",\"version\":\"0.1.0\",\"step\":{\"with\":{\"type\":\"object\"},\"outputs\":[]},"
                "\"filters\":[{\"name\":\"in_c\",\"about\":\"Says that it was C.\"}]}");
  return KILN_OK;
}

static int32_t create(const kiln_host_table *table, void **instance, kiln_reply *reply) {
  (void)reply;
  host = table;
  *instance = (void *)table;
  host->log(host->context, KILN_INFO, bytes("made in C"));
  return KILN_OK;
}

static int32_t call(void *instance, uint64_t id, kiln_bytes hook, kiln_bytes request, kiln_reply *reply) {
  (void)instance;
  (void)request;
  if (hook.length == strlen(KILN_FILTER) && memcmp(hook.data, KILN_FILTER, hook.length) == 0) {
    answer(reply, "{\"value\":\"C was here\"}");
    return KILN_OK;
  }
  host->progress(host->context, id, 1.0, bytes("greeting"));
  if (host->cancelled(host->context, id)) {
    answer(reply, "cancelled");
    return KILN_FAILED;
  }
  if (host->add_artifact(host->context, id, bytes("{\"text\":\"added from C\"}")) != KILN_OK ||
      host->extension(host->context, bytes("kiln.unheard-of")) != NULL) {
    answer(reply, "the host is not what it should be");
    return KILN_FAILED;
  }
  answer(reply, "{\"artifacts\":[{\"text\":\"" SAID "\"}]}");
  return KILN_OK;
}

static const kiln_plugin_table table = {
    .magic = KILN_PLUGIN_MAGIC,
    .size = sizeof(kiln_plugin_table),
    .major = KILN_PLUGIN_MAJOR,
    .minor = KILN_PLUGIN_MINOR,
    .describe = describe,
    .create = create,
    .call = call,
};

KILN_EXPORT const kiln_plugin_table *kiln_plugin_entry(void) { return &table; }
