"""The numbers of ZooKeeper's client protocol that the state machine decides with: opcodes, errors, events, modes.

Names and values are ZooKeeper's; only codes of its own table ever reach a client, since clients throw on others. The
records around them are in ``wire/zookeeper.py``; this module knows nothing of bytes.
"""

from typing import Final

# Operations. The machine applies the writes, sync and multi; reads are methods of ``machine.Machine``.
CREATE: Final = 1
DELETE: Final = 2
EXISTS: Final = 3
GET_DATA: Final = 4
SET_DATA: Final = 5
GET_ACL: Final = 6
SET_ACL: Final = 7
GET_CHILDREN: Final = 8
SYNC: Final = 9
GET_CHILDREN2: Final = 12
CHECK: Final = 13
MULTI: Final = 14
CREATE2: Final = 15
RECONFIG: Final = 16
CREATE_CONTAINER: Final = 19
CREATE_TTL: Final = 21
MULTI_READ: Final = 22
ERROR: Final = -1  # type of a failed result inside a multi, and of the header that ends it

# Errors.
OK: Final = 0
RUNTIME_INCONSISTENCY: Final = -2  # in a failed multi: the operations after the one that failed
MARSHALLING_ERROR: Final = -5
UNIMPLEMENTED: Final = -6
BAD_ARGUMENTS: Final = -8
NO_NODE: Final = -101
NO_AUTH: Final = -102
BAD_VERSION: Final = -103
NO_CHILDREN_FOR_EPHEMERALS: Final = -108
NODE_EXISTS: Final = -110
NOT_EMPTY: Final = -111
SESSION_EXPIRED: Final = -112
INVALID_ACL: Final = -114
SESSION_MOVED: Final = -118  # never sent: its connection is closed silently
RECONFIG_DISABLED: Final = -123

# Events.
CREATED: Final = 1
DELETED: Final = 2
CHANGED: Final = 3
CHILDREN_CHANGED: Final = 4

# Flags of a create: two bits, then three more modes. 4 means a container by opcode 19, and a plain persistent node by
# opcodes 1 and 15; 5 and 6 are persistent and persistent sequential with a time to live.
EPHEMERAL: Final = 1
SEQUENTIAL: Final = 2
FLAGS_PLAIN_MAX: Final = 4
FLAGS_MAX: Final = 6

# Permissions.
READ: Final = 1
WRITE: Final = 2
CREATE_CHILD: Final = 4
DELETE_CHILD: Final = 8
ADMIN: Final = 16
ALL: Final = 31
