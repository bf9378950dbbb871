// Limits of the wire protocol, each with its unit; both sides obey them and check the other.

/** The WebSocket subprotocol of this version. */
export const SUBPROTOCOL = 'varve.v1'

/** Path of the WebSocket on the gateway. */
export const RPC_PATH = '/rpc'

/** Lowest protocol version this program speaks. */
export const VERSION_MIN = 1

/** Highest protocol version this program speaks. */
export const VERSION_MAX = 1

/** Largest frame, in bytes. */
export const FRAME_BYTES_MAX = 8 * 1024 * 1024

/** Deepest nesting of arrays and maps in a frame. */
export const FRAME_DEPTH_MAX = 16

/** Longest string in a frame, in bytes of UTF-8; a character of every limit below may take three. */
export const STRING_BYTES_MAX = 3 * 1024 * 1024

/** Arrays, maps and scalars in one frame. */
export const FRAME_ITEMS_MAX = 200_000

/** Calls one side may have open at once on a connection; one more is answered with TOO_MANY_REQUESTS. */
export const CALLS_OPEN_MAX = 256

/** Bytes a side may have waiting in its socket before the connection is given up as too slow. */
export const OUTBOUND_BYTES_MAX = 128 * 1024 * 1024

/** Credit a receiver grants on a stream whose messages are small, in bytes. */
export const STREAM_WINDOW_BYTES = 1024 * 1024

/** Credit a receiver grants on a stream of chunks, in bytes; at least FRAME_BYTES_MAX, or a full frame could never be sent. */
export const CHUNK_WINDOW_BYTES = 8 * 1024 * 1024

/** Least that a message takes of its stream's credit, in bytes: what a receiver needs to hold even an empty one. */
export const MESSAGE_COST_BYTES_MIN = 256

/** How long the gateway waits for the hello frame, in milliseconds. */
export const HELLO_TIMEOUT_MS = 10_000

/** Silence after which a side sends a ping, in milliseconds. */
export const HEARTBEAT_INTERVAL_MS = 15_000

/** Silence after which a side gives the connection up, in milliseconds. */
export const HEARTBEAT_TIMEOUT_MS = 45_000

/** Deadline of a call that names none, in milliseconds; a stream has none. */
export const DEADLINE_DEFAULT_MS = 60_000

/** Longest deadline a call may ask for, in milliseconds: a day. */
export const DEADLINE_MAX_MS = 24 * 60 * 60 * 1000

/** Longest bearer token, in characters. */
export const TOKEN_CHARS_MAX = 8192

/** Longest one-time code of a link that signs in, in characters. */
export const LOGIN_CODE_CHARS_MAX = 64

/** How long the one-time code of a link that signs in is good, in milliseconds: 5 minutes. */
export const LOGIN_CODE_LIFE_MS = 5 * 60 * 1000

/** Longest life of a person's or program's token, in milliseconds: 90 days. */
export const TOKEN_LIFE_MAX_MS = 90 * 24 * 60 * 60 * 1000

/** Longest public key that is looked at, in characters; a good one has 43. */
export const PUBLIC_KEY_CHARS_MAX = 128

/** Chunk ids in one `runs` message of an upload. */
export const UPLOAD_IDS_MAX = 1024

/** Runs in one `runs` message of an upload. */
export const UPLOAD_RUNS_MAX = 4096

/** Most runs and ids of an upload answered but not durable yet; further ones wait, sooner where the gateway's memory is low. */
export const UPLOAD_AHEAD_ITEMS_MAX = 32 * 1024

/** Most runs and ids of an upload that wait for their answer; an agent has fewer outstanding. */
export const UPLOAD_WAITING_ITEMS_MAX = 32 * 1024

/** Stored bytes in one message of chunks of an upload, unless it is one bundle: what a receiver's smallest window must hold. */
export const UPLOAD_STORED_BYTES_MAX = 2 * 1024 * 1024

/** Chunks in one message of an upload or download. */
export const FRAME_CHUNKS_MAX = 1024

/** Plain bytes of the chunks that one request of `image.read` asks for, unless it is one chunk. */
export const READ_PLAIN_BYTES_MAX = 4 * 1024 * 1024

/** Tree nodes that one request of `image.read` asks for: all children of one node. */
export const READ_NODES_MAX = 64

/** Requests of one `image.read` that are answered at once; further ones wait. */
export const READS_AT_ONCE_MAX = 8

/** Bytes of a proof of possession and of the key it is made with. */
export const PROOF_BYTES = 32

/** Most ranges of one machine's disks that a backup is asked to read again; beyond that, a disk is read in full. */
export const REREAD_RANGES_MAX = 4096

/** Longest time before its job at which an instant counts that was taken by who held the lease then, in milliseconds. */
export const INSTANT_LEAD_MS_MAX = 15 * 60 * 1000

/** Disks of one machine. */
export const DISKS_MAX = 256

/** Disks of one machine that a restore point may name as left out: those it has, and those that its base had. */
export const LEFT_OUT_MAX = 2 * DISKS_MAX

/** Attachments of one restore point. */
export const ATTACHMENTS_MAX = 256

/** Largest attachment, in bytes. */
export const ATTACHMENT_BYTES_MAX = 16 * 1024 * 1024

/** Largest sum of the attachments of one restore point, in bytes. */
export const ATTACHMENTS_BYTES_MAX = 256 * 1024 * 1024

/** Longest name of an attachment, in bytes of UTF-8: what a file system takes as one part of a path. */
export const ATTACHMENT_NAME_BYTES_MAX = 255

/** Files that a restore point may name as those that could not be attached. */
export const MISSING_MAX = 256

/** Longest record of the files below a disk, in characters; a longer one is stored as its hash. */
export const EVIDENCE_CHARS_MAX = 4096

/** Chunks that one `image.compare` asks about, and that one `image.content` names. */
export const COMPARE_CHUNKS_MAX = 1024

/** Names of QMP commands that an agent tells of those that it relays; it may allow more. */
export const RELAY_TOLD_MAX = 64

/** Longest text that a list of the audit log is searched for, in characters. */
export const AUDIT_SEARCH_CHARS_MAX = 128

/** Machines of one agent. */
export const MACHINES_MAX = 1024

/** Rows of one page of a listing. */
export const PAGE_ROWS_MAX = 250

/** Longest cursor of a listing, in characters. */
export const CURSOR_CHARS_MAX = 2048

/** Most disks of the points or jobs of one page, which ends early where there would be more; none has more than DISKS_MAX. */
export const PAGE_DISKS_MAX = 4096

/** JSON text of a machine's configuration kept with a restore point, in characters. */
export const CONFIGURATION_CHARS_MAX = 64 * 1024

/** Folders, and devices, that an agent's configuration lets restores write to. */
export const RESTORE_PLACES_MAX = 64

/** Restores of a tenant that run at once. */
export const RESTORES_RUNNING_MAX = 16

/** Newest drills of a restore point that are kept. */
export const DRILLS_KEPT_MAX = 3

/** Largest picture of a drill's screen, in bytes. */
export const DRILL_PICTURE_BYTES_MAX = 512 * 1024

/** Longest end of a drill's serial console that is kept, in characters. */
export const DRILL_LOG_CHARS_MAX = 64 * 1024

/** How long a restore point stays in use by one call of points.use, in milliseconds: 7 days. */
export const POINT_USE_MS_MAX = 7 * 24 * 60 * 60_000

/** Restore points that one agent, or one person, uses at once. */
export const POINT_USES_OF_ONE_MAX = 64

/** Restore points of a tenant that are used at once, each user's counted. */
export const POINT_USES_MAX = 1024

/** Most checkpoints of a machine that one answer has. */
export const CHECKPOINTS_MAX = 256

/** Most disks of all the checkpoints of one answer together. */
export const CHECKPOINT_DISKS_MAX = 4096

/** Longest name of a checkpoint, in characters. */
export const CHECKPOINT_NAME_CHARS_MAX = 1024

/** JSON text of a relayed QMP command's arguments or answer, in characters. */
export const QMP_CHARS_MAX = 1024 * 1024
