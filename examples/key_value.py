"""A replicated key-value store: compare-and-set, keys that expire, and a watch that misses nothing."""

from itertools import islice

from actors.machines.key_value import KeyValue, watch

if __name__ == "__main__":
    with KeyValue.cluster(nodes=3) as store:
        changes = watch(store)
        store.put("colour", "red")
        print("swapped:", store.cas("colour", "red", "blue"), store.cas("colour", "red", "green"))

        store.put("session/ann", {"since": "noon"}, ttl=0.3)
        print("sessions:", list(store.prefix("session/").items))
        print("killed", store.cluster.kill_leader())
        for change in islice(changes, 4):  # the last one comes when the session expires, under the new leader
            print(change.revision, change.kind, change.key)
        print("sessions:", list(store.prefix("session/").items))
