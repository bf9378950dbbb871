// Paths in a configuration, and how long that of a UNIX socket may be.

import * as v from 'valibot'

/** Longest path of a UNIX socket, in bytes. */
export const SOCKET_PATH_BYTES_MAX = 107

export const absolutePath = v.pipe(v.string(), v.startsWith('/', 'an absolute path'))

export const socketPath = v.pipe(
  absolutePath,
  v.maxBytes(
    SOCKET_PATH_BYTES_MAX,
    `the path of a UNIX socket, at most ${SOCKET_PATH_BYTES_MAX} bytes; a symbolic link to its folder makes it shorter`,
  ),
)
