/* Bad plugins: each macro makes one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kiln_plugin.h"

#if defined(ODD_SIZE)
#define DESCRIPTION "{\"name\":\"bad\",\"version\":\"0.1.0\",\"previews\":true}"
#else
#define DESCRIPTION "{\"name\":\"bad\",\"version\":\"0.1.0\",\"step\":{\"with\":{\"type\":\"object\"}}}"
#endif

static void answer(kiln_reply *reply, const char *text) {
  reply->data = (const uint8_t *)text;
  reply->length = strlen(text);
}

static int32_t describe(kiln_reply *reply) {
#if defined(DESCRIBES_NOTHING)
  answer(reply, "");
#elif defined(DESCRIBES_NO_JSON)
  answer(reply, "name: bad");
#elif defined(DESCRIBES_NO_TEXT)
  answer(reply, "{\"name\":\"\xff\xfe\"}");
#elif defined(DESCRIBES_NO_SCHEMA)
  answer(reply, "{\"name\":\"bad\",\"version\":\"1\",\"step\":{\"with\":{\"type\":\"nothing\"}}}");
#elif defined(CANNOT_DESCRIBE)
  answer(reply, "it is not in the mood");
  return KILN_FAILED;
#else
  answer(reply, DESCRIPTION);
#endif
  return KILN_OK;
}

static int32_t create(const kiln_host_table *table, void **instance, kiln_reply *reply) {
#if defined(CANNOT_BE_MADE)
  answer(reply, "there is no camera");
  return KILN_FAILED;
#elif defined(MAKES_NOTHING)
  (void)table, (void)instance, (void)reply;
  return KILN_OK;
#else
  (void)reply;
  *instance = (void *)table;
  return KILN_OK;
#endif
}

static int32_t call(void *instance, uint64_t id, kiln_bytes hook, kiln_bytes request, kiln_reply *reply) {
  (void)instance, (void)id, (void)hook, (void)request;
#if defined(ANSWERS_NO_TEXT)
  answer(reply, "{\"artifacts\":[{\"text\":\"\xc3\x28\"}]}");
#elif defined(ANSWERS_NO_JSON)
  answer(reply, "artifacts: none");
#elif defined(ANSWERS_A_LIST)
  answer(reply, "[]");
#elif defined(ANSWERS_A_GIGABYTE)
  /* Nobody may even look at it: there are not so many bytes. */
  answer(reply, "{}");
  reply->length = (size_t)1 << 30;
#elif defined(RETURNS_NONSENSE)
  return 42;
#elif defined(FAILS_WITHOUT_A_WORD)
  return KILN_FAILED;
#elif defined(EXITS)
  exit(7);
#elif defined(CRASHES)
  *(volatile int *)0 = 1;
#elif defined(READS_STDIN)
  /* Whatever a program reads there is none of its business. */
  if (system("cat > /dev/null") != 0) return KILN_FAILED;
  answer(reply, "{\"artifacts\":[{\"text\":\"nothing to read\"}]}");
#elif defined(LEAVES_ONE_BEHIND)
  /* What it started lives on. */
  if (system("sleep 45 > /dev/null 2>&1 &") != 0) return KILN_FAILED;
  abort();
#elif defined(GOES_WITH_ITS_LIBRARY)
  /* Once: where it was built there is nothing any more, and it has crashed. */
  if (remove("libbad.so") == 0) abort();
  answer(reply, "{\"artifacts\":[{\"text\":\"here again\"}]}");
#elif defined(HANGS)
  for (;;) sleep(1);
#else
  answer(reply, "{\"artifacts\":[{\"text\":\"not so bad\"}]}");
#endif
  return KILN_OK;
}

static int32_t preview(void *instance, kiln_bytes about, kiln_bytes picture, kiln_reply *reply) {
  (void)instance, (void)about, (void)picture, (void)reply;
  return KILN_OK;
}

static kiln_plugin_table table = {
#if defined(WRONG_MAGIC)
    .magic = 0x6d6b6c6e706c7567,
#else
    .magic = KILN_PLUGIN_MAGIC,
#endif
#if defined(SHORT)
    .size = 24,
#elif defined(ODD_SIZE)
    /* Half of `preview`. */
    .size = offsetof(kiln_plugin_table, preview) + 4,
#else
    .size = sizeof(kiln_plugin_table),
#endif
#if defined(NEWER_MAJOR)
    .major = 2,
    .minor = 3,
#else
    .major = KILN_PLUGIN_MAJOR,
#if defined(NEWER_MINOR)
    .minor = 99,
#else
    .minor = KILN_PLUGIN_MINOR,
#endif
#endif
#if !defined(NO_DESCRIBE)
    .describe = describe,
#endif
#if !defined(NO_CREATE)
    .create = create,
#endif
#if !defined(NO_CALL)
    .call = call,
#endif
    .preview = preview,
};

#if defined(NO_SYMBOL)
KILN_EXPORT const kiln_plugin_table *another_entry(void) { return &table; }
#elif defined(NULL_TABLE)
KILN_EXPORT const kiln_plugin_table *kiln_plugin_entry(void) { (void)table; return NULL; }
#else
KILN_EXPORT const kiln_plugin_table *kiln_plugin_entry(void) { return &table; }
#endif
