// The gateway's memory in numbers: the limit of all work together, and the cost of each piece. DESIGN.md, "Memory".

const MIB = 1024 * 1024

/** Default of `serve --memory`: memory for all callers' work together, in bytes. */
export const MEMORY_BYTES_DEFAULT = 512 * MIB

/** Minimum of `serve --memory`, in bytes: a few uploads of a few tenants at once. */
export const MEMORY_BYTES_MIN = 64 * MIB

/** A caller gets no more while it holds more than this share of what is free then: alone it gets to a fifth of all. */
export const CALLER_SHARE = 1 / 4

/** The same for all callers of one tenant: alone it gets to a third. */
export const TENANT_SHARE = 1 / 2

/** Memory that each tenant always has, in bytes: for an upload or a download, and calls beside it. */
export const TENANT_BYTES_MIN = 16 * MIB

/** Part of TENANT_BYTES_MIN that uploads and downloads leave for calls and answers, which are refused where there is no room. */
export const CALLS_SHARE = 1 / 16

/** Smaller pieces of work of a tenant that may be let in before a larger one of another caller; then they wait until it is. */
export const PASSED_MAX = 16

/** Sessions of one caller (an agent, or one token of a person); a further one is refused. */
export const CALLER_SESSIONS_MAX = 256

/** Memory that an upload always has, in bytes: the first window, runs that wait, and the first AHEAD_ITEMS_MIN items. */
export const UPLOAD_BYTES = 4 * MIB

/**
 * Window that an upload always has, in bytes: the largest message of chunks that are smaller than it, its heads, and runs beside
 * it.
 */
export const UPLOAD_WINDOW_BYTES_MIN = 2.5 * MIB

/** Overhead of a message of one large chunk, in bytes. */
export const MESSAGE_OVERHEAD_BYTES = 64 * 1024

/**
 * Most memory of one run or id that was answered and is not durable yet, in bytes: a test measures 113 where its chunk is
 * wanted, 173 where it came.
 */
export const ITEM_BYTES = 256

/** Memory of a download, in bytes: one message under way, the next one, and its parts. */
export const DOWNLOAD_BYTES = 12 * MIB

/** Memory of the log and the picture of a drill, in bytes: from the catalog, and in their frame. */
export const DRILL_BYTES = 2 * MIB

/** Memory of a comparison of two images, in bytes: 64 pairs of nodes of each of five levels, and the ranges of the answer. */
export const CHANGES_BYTES = 8 * MIB

/** Memory of one tree node that is read for a caller, in bytes: decoded, encoded again, and in its frame. */
export const NODE_READ_BYTES = 16 * 1024

/** Part of one message beyond the granted credit that a session may receive without asking for memory, in bytes. */
export const INTAKE_BYTES = 64 * 1024

/** Longest message before hello is accepted, in bytes: a token and what goes with it. */
export const HELLO_BYTES_MAX = 16 * 1024

/** Connections that have not sent hello yet; past it the oldest one of the address with most of them ends. */
export const STRANGERS_MAX = 1024

/** Frames that may wait in a socket; further ones count as memory of the session's caller. */
export const FRAMES_UNSENT_FREE = 64

/** Minimum cost of a frame that waits in a socket, in bytes: 1,481 of resident memory were measured for one of 120 bytes. */
export const FRAME_UNSENT_BYTES_MIN = 1536
