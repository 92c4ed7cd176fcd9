/* Apache's C client (libzookeeper_mt) against the server that the argument names. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zookeeper/zookeeper.h>

#define CHECK(holds)                                                           \
    do {                                                                       \
        if (!(holds)) {                                                        \
            fprintf(stderr, "line %d: not so: %s\n", __LINE__, #holds);        \
            exit(1);                                                           \
        }                                                                      \
    } while (0)

#define GIVES(code, call)                                                      \
    do {                                                                       \
        int got = (call);                                                      \
        if (got != (code)) {                                                   \
            fprintf(stderr, "line %d: %s gave %d (%s), not %d\n", __LINE__,    \
                    #call, got, zerror(got), (code));                          \
            exit(1);                                                           \
        }                                                                      \
    } while (0)

static volatile int last_event;
static char last_path[256];

static void on_event(zhandle_t *zh, int type, int state, const char *path, void *context)
{
    (void)zh;
    (void)state;
    (void)context;
    if (type == ZOO_SESSION_EVENT)
        return;
    snprintf(last_path, sizeof last_path, "%s", path);
    __sync_synchronize();
    last_event = type;
}

static void expect_event(int type, const char *path)
{
    for (int i = 0; i < 1000 && !last_event; i++)
        usleep(10000);
    __sync_synchronize();
    CHECK(last_event == type);
    CHECK(strcmp(last_path, path) == 0);
    last_event = 0;
}

static zhandle_t *open_client(const char *address, const clientid_t *id)
{
    zhandle_t *zh = zookeeper_init(address, on_event, 8000, id, NULL, 0);
    CHECK(zh != NULL);
    for (int i = 0; i < 1500 && zoo_state(zh) != ZOO_CONNECTED_STATE; i++)
        usleep(10000);
    CHECK(zoo_state(zh) == ZOO_CONNECTED_STATE);
    return zh;
}

static void operations(zhandle_t *zh)
{
    char path[256], data[64];
    int length = sizeof data;
    struct Stat stat;
    struct String_vector names;

    GIVES(ZOK, zoo_create(zh, "/a", "one", 3, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path));
    CHECK(strcmp(path, "/a") == 0);
    GIVES(ZNODEEXISTS, zoo_create(zh, "/a", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path));
    GIVES(ZNONODE, zoo_create(zh, "/x/y", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path));
    GIVES(ZOK, zoo_get(zh, "/a", 0, data, &length, &stat));
    CHECK(length == 3 && memcmp(data, "one", 3) == 0 && stat.version == 0);
    GIVES(ZOK, zoo_set2(zh, "/a", "two", 3, 0, &stat));
    CHECK(stat.version == 1 && stat.mzxid > stat.czxid);
    GIVES(ZBADVERSION, zoo_set(zh, "/a", "", 0, 0));
    GIVES(ZNONODE, zoo_exists(zh, "/none", 0, &stat));
    for (int i = 0; i < 3; i++) {
        char wanted[64];
        snprintf(wanted, sizeof wanted, "/a/s-%010d", i);
        GIVES(ZOK, zoo_create2(zh, "/a/s-", NULL, -1, &ZOO_OPEN_ACL_UNSAFE,
                               ZOO_PERSISTENT_SEQUENTIAL, path, sizeof path, &stat));
        CHECK(strcmp(path, wanted) == 0);
    }
    GIVES(ZOK, zoo_get_children2(zh, "/a", 0, &names, &stat));
    CHECK(names.count == 3 && stat.numChildren == 3);
    deallocate_String_vector(&names);
    GIVES(ZNOTEMPTY, zoo_delete(zh, "/a", -1));
    GIVES(ZOK, zoo_create(zh, "/e", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, path, sizeof path));
    GIVES(ZOK, zoo_exists(zh, "/e", 0, &stat));
    CHECK(stat.ephemeralOwner == zoo_client_id(zh)->client_id);
    GIVES(ZNOCHILDRENFOREPHEMERALS,
          zoo_create(zh, "/e/c", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path));
    GIVES(ZOK, zoo_create(zh, "/container", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_CONTAINER, path,
                          sizeof path));
    GIVES(ZOK, zoo_create_ttl(zh, "/ttl", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_WITH_TTL,
                              3600000, path, sizeof path));
}

static void watches(zhandle_t *zh, zhandle_t *other)
{
    char path[256], data[16];
    int length = sizeof data;
    struct Stat stat;
    struct String_vector names;

    GIVES(ZNONODE, zoo_wexists(zh, "/w", on_event, NULL, &stat));
    GIVES(ZOK, zoo_create(other, "/w", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path));
    expect_event(ZOO_CREATED_EVENT, "/w");
    GIVES(ZOK, zoo_wget(zh, "/w", on_event, NULL, data, &length, &stat));
    GIVES(ZOK, zoo_set(other, "/w", "1", 1, -1));
    expect_event(ZOO_CHANGED_EVENT, "/w");
    GIVES(ZOK, zoo_wget_children(zh, "/w", on_event, NULL, &names));
    deallocate_String_vector(&names);
    GIVES(ZOK, zoo_create(other, "/w/c", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path));
    expect_event(ZOO_CHILD_EVENT, "/w");
    GIVES(ZOK, zoo_wexists(zh, "/w/c", on_event, NULL, &stat));
    GIVES(ZOK, zoo_delete(other, "/w/c", 0));
    expect_event(ZOO_DELETED_EVENT, "/w/c");
    GIVES(ZOK, zoo_wexists(zh, "/w", on_event, NULL, &stat));
    GIVES(ZOK, zoo_remove_watches(zh, "/w", ZWATCHTYPE_DATA, on_event, NULL, 0));
    GIVES(ZOK, zoo_set(other, "/w", "2", 1, -1));
    usleep(50000);
    CHECK(last_event != ZOO_CHANGED_EVENT);
    last_event = 0;
}

static void multis(zhandle_t *zh)
{
    char path[256];
    struct Stat stat;
    zoo_op_t ops[4];
    zoo_op_result_t results[4];

    zoo_create_op_init(&ops[0], "/m", "0", 1, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path);
    zoo_set_op_init(&ops[1], "/m", "1", 1, 0, &stat);
    zoo_check_op_init(&ops[2], "/m", 1);
    zoo_delete_op_init(&ops[3], "/m", 1);
    GIVES(ZOK, zoo_multi(zh, 3, ops, results));
    CHECK(results[0].err == ZOK && stat.version == 1 && results[2].err == ZOK);
    GIVES(ZNODEEXISTS, zoo_multi(zh, 4, ops, results));
    CHECK(results[0].err == ZNODEEXISTS && results[1].err == ZRUNTIMEINCONSISTENCY);
    GIVES(ZOK, zoo_multi(zh, 1, &ops[3], results));
    GIVES(ZNONODE, zoo_exists(zh, "/m", 0, &stat));
}

static volatile int added;

static void on_added(int rc, const void *context)
{
    (void)context;
    added = rc == ZOK ? 1 : -1;
}

static void permissions(zhandle_t *ann, zhandle_t *nobody)
{
    char path[256], data[16];
    int length = sizeof data;
    struct ACL_vector acl;
    struct Stat stat;

    GIVES(ZOK, zoo_add_auth(ann, "digest", "ann:secret", 10, on_added, NULL));
    for (int i = 0; i < 1000 && !added; i++)
        usleep(10000);
    CHECK(added == 1);
    GIVES(ZOK, zoo_create(ann, "/p", "s", 1, &ZOO_CREATOR_ALL_ACL, 0, path, sizeof path));
    GIVES(ZNOAUTH, zoo_get(nobody, "/p", 0, data, &length, &stat));
    GIVES(ZINVALIDACL, zoo_create(nobody, "/q", "", 0, &ZOO_CREATOR_ALL_ACL, 0, path, sizeof path));
    GIVES(ZOK, zoo_get_acl(ann, "/p", &acl, &stat));
    CHECK(acl.count == 1 && strcmp(acl.data[0].id.scheme, "digest") == 0);
    deallocate_ACL_vector(&acl);
    GIVES(ZOK, zoo_set_acl(ann, "/p", stat.aversion, &ZOO_READ_ACL_UNSAFE));
    length = sizeof data;
    GIVES(ZOK, zoo_get(nobody, "/p", 0, data, &length, &stat));
    GIVES(ZNOAUTH, zoo_set(ann, "/p", "", 0, -1));
}

int main(int argc, char **argv)
{
    char address[300], root[64], path[256];
    struct Stat stat;

    CHECK(argc == 2);
    alarm(60);
    zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
    zhandle_t *setup = open_client(argv[1], NULL);
    snprintf(root, sizeof root, "/c-%d", (int)getpid());
    GIVES(ZOK, zoo_create(setup, root, "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, path, sizeof path));
    snprintf(address, sizeof address, "%s%s", argv[1], root);
    zhandle_t *zh = open_client(address, NULL), *other = open_client(address, NULL);
    operations(zh);
    puts("operations: ok");
    watches(zh, other);
    puts("watches: ok");
    multis(zh);
    puts("multis: ok");
    permissions(zh, other);
    puts("permissions: ok");
    GIVES(ZOK, zookeeper_close(zh));
    GIVES(ZNONODE, zoo_exists(other, "/e", 0, &stat));
    puts("closing: ok");
    zookeeper_close(other);
    zookeeper_close(setup);
    return 0;
}
