// The gateway's memory in numbers: what all work together may take, and what each piece of it counts. DESIGN.md, "Memory".

const MIB = 1024 * 1024

/** What everything that callers can make the gateway hold may take together, in bytes, unless `serve --memory` says otherwise. */
export const MEMORY_BYTES_DEFAULT = 512 * MIB

/** Least that `serve --memory` takes, in bytes: a few uploads of a few tenants at once. */
export const MEMORY_BYTES_MIN = 64 * MIB

/** A caller gets no more while it holds more than this share of what is free then: alone it gets to a fifth of all. */
export const CALLER_SHARE = 1 / 4

/** The same for all callers of one tenant: alone it gets to a third. */
export const TENANT_SHARE = 1 / 2

/** What a tenant may hold however much others do, in bytes: an upload or a download, and calls beside it. */
export const TENANT_BYTES_MIN = 16 * MIB

/** Part of TENANT_BYTES_MIN that uploads and downloads leave for calls and answers: those are refused where there is no room. */
export const CALLS_SHARE = 1 / 16

/** Smaller pieces of work of a tenant that may be let in before a larger one of another caller; then they wait until it is. */
export const PASSED_MAX = 16

/** Sessions of one caller (an agent, or one token of a person); a further one is refused. */
export const CALLER_SESSIONS_MAX = 256

/**
 * What an upload has for itself until it ends, in bytes: the first window, runs that wait, and the first AHEAD_ITEMS_MIN items.
 */
export const UPLOAD_BYTES = 4 * MIB

/**
 * Window that an upload always has, in bytes: the largest message of chunks that are smaller than it, its heads, and runs beside
 * it.
 */
export const UPLOAD_WINDOW_BYTES_MIN = 2.5 * MIB

/** What a message of one large chunk takes beside the chunk, in bytes. */
export const MESSAGE_OVERHEAD_BYTES = 64 * 1024

/**
 * What one run or id takes at most that was answered and is not durable yet, in bytes: a test measures 113 where its chunk is
 * wanted, 173 where it came.
 */
export const ITEM_BYTES = 256

/** A download in bytes: one message on its way, the next one, and what that is put together from. */
export const DOWNLOAD_BYTES = 12 * MIB

/** What a session may receive of one message beyond the credit that it granted without asking for more memory, in bytes. */
export const INTAKE_BYTES = 64 * 1024

/** Longest message before hello is accepted, in bytes: a token and what goes with it. */
export const HELLO_BYTES_MAX = 16 * 1024

/** Connections that did not say hello yet; past it the oldest one of the address that has most of them ends. */
export const STRANGERS_MAX = 1024

/** Frames that may wait in a socket; further ones count as memory of the session's caller. */
export const FRAMES_UNSENT_FREE = 64

/** What a frame takes at least that waits in a socket, in bytes: 1,481 of resident memory were measured for one of 120 bytes. */
export const FRAME_UNSENT_BYTES_MIN = 1536
